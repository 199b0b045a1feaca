//! Evaluations over connections by client certificate and by API key, through a proxy that ends the encryption and refuses
//! whoever lacks either. What is said when a connection cannot be made is tested with the worker kit.

use std::time::Duration;

use capacity_settings::{Inputs, Needs};
use capacity_workflows::ConnectionSettings;

use crate::harness::{Setup, shared_server, throttled, with_worker};
use crate::proxy::{Certificates, Proxy, Rules, SERVER_NAME};

const KEY: &str = "a-key-of-the-home-namespace";

/// The connection that a worker's environment describes.
fn connection(environment: &[(&str, &str)]) -> ConnectionSettings {
    let pairs = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let inputs = Inputs {
        environment: pairs.collect(),
        ..Inputs::default()
    };
    let needs = Needs {
        home: true,
        ..Needs::default()
    };
    let settings = capacity_settings::load(&inputs, needs).expect("valid settings");
    capacity_workflows::connection(&settings.home, "capacity-tests".to_owned()).expect("complete")
}

/// Why a connection is not made: one sentence that is not made of a library's Debug text, and is not tried again.
async fn refusal(connection: &ConnectionSettings) -> String {
    let connected = tokio::time::timeout(Duration::from_secs(20), connection.connect()).await;
    let Err(error) = connected.expect("an answer in time") else {
        panic!("it was let in");
    };
    let text = capacity_autopilot::chain(&error);
    assert!(!error.is_retryable(), "{text}");
    for debug in ["Status {", "Transport", "Custom {", "\n", "hunter2"] {
        assert!(!text.contains(debug), "{text}");
    }
    text
}

/// A proxy that demands a client certificate, before the shared server.
struct Mutual {
    certificates: Certificates,
    address: String,
}

impl Mutual {
    async fn start() -> Option<Self> {
        let server = shared_server()?;
        let certificates = Certificates::make();
        let proxy = Proxy::start(server, certificates.server(true), Rules::default()).await;
        Some(Self {
            certificates,
            address: proxy.address.to_string(),
        })
    }

    /// The connection with these settings beside address, name and authority.
    fn connection(&self, given: &[(&str, &str)]) -> ConnectionSettings {
        let ca = self.certificates.path("ca.pem");
        let common = [
            ("TEMPORAL_ADDRESS", self.address.as_str()),
            ("TEMPORAL_NAMESPACE", "default"),
            ("TEMPORAL_TLS_SERVER_CA_CERT_PATH", &ca),
            ("TEMPORAL_TLS_SERVER_NAME", SERVER_NAME),
        ];
        connection(&[&common[..], given].concat())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_certificate_is_demanded_and_given() {
    let Some(world) = Mutual::start().await else {
        return;
    };
    let (certificate, key) = (
        world.certificates.path("client.pem"),
        world.certificates.path("client.key"),
    );
    let without = refusal(&world.connection(&[])).await;
    assert!(
        without.contains("requires a client certificate") && without.contains("set TEMPORAL_CERT_PATH"),
        "{without}"
    );
    // As files, under the names of the original and under those of the SDK.
    for names in [
        ["TEMPORAL_CERT_PATH", "TEMPORAL_KEY_PATH"],
        ["TEMPORAL_TLS_CLIENT_CERT_PATH", "TEMPORAL_TLS_CLIENT_KEY_PATH"],
    ] {
        let with = world.connection(&[(names[0], certificate.as_str()), (names[1], key.as_str())]);
        with.connect().await.expect("let in");
    }
    // Itself, and a whole evaluation over it.
    let read = |path: &str| std::fs::read_to_string(path).expect("readable");
    let (certificate, key) = (read(&certificate), read(&key));
    let given = [
        ("TEMPORAL_TLS_CLIENT_CERT_DATA", certificate.as_str()),
        ("TEMPORAL_TLS_CLIENT_KEY_DATA", key.as_str()),
    ];
    let setup = Setup {
        connection: Some(world.connection(&given)),
        ..throttled(&["checkout"])
    };
    with_worker("certificate", setup, async |world| {
        assert_eq!(world.evaluate("first").await.changes.len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_key_is_demanded_and_given_encrypted() {
    let Some(server) = shared_server() else { return };
    let certificates = Certificates::make();
    let rules = Rules {
        key: Some(KEY),
        ..Rules::default()
    };
    let proxy = Proxy::start(server, certificates.server(false), rules).await;
    let (address, ca) = (proxy.address.to_string(), certificates.path("ca.pem"));
    let common = [
        ("TEMPORAL_ADDRESS", address.as_str()),
        ("TEMPORAL_NAMESPACE", "default"),
        ("TEMPORAL_TLS_SERVER_CA_CERT_PATH", &ca),
        ("TEMPORAL_TLS_SERVER_NAME", SERVER_NAME),
    ];
    let wrong = connection(&[&common[..], &[("TEMPORAL_API_KEY", "hunter2")]].concat());
    let refused = refusal(&wrong).await;
    assert!(
        refused.contains("refused the credential (TEMPORAL_API_KEY): no such key; it is wrong, expired"),
        "{refused}"
    );
    let right = connection(&[&common[..], &[("TEMPORAL_API_KEY", KEY)]].concat());
    let setup = Setup {
        connection: Some(right),
        ..throttled(&["checkout"])
    };
    with_worker("api-key", setup, async |world| {
        assert_eq!(world.evaluate("first").await.changes.len(), 1);
    })
    .await;
}
