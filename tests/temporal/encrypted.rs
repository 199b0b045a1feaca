//! Tests of evaluations over connections with a client certificate or an API key, through a proxy that
//! terminates TLS and rejects clients that have neither. The worker kit tests the messages of failed
//! connections.

use std::time::Duration;

use capacity_settings::{Inputs, Needs};
use capacity_workflows::ConnectionSettings;

use crate::harness::{Setup, shared_server, throttled, with_worker};
use crate::proxy::{Certificates, Mutual, Proxy, Rules, SERVER_NAME, assert_is_a_sentence};

const KEY: &str = "a-key-of-the-home-namespace";

/// Returns the connection settings in a worker's environment.
fn connection(environment: &[(&str, &str)]) -> ConnectionSettings {
    let pairs = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    connection_of(pairs.collect())
}

/// Like `connection`, for owned strings.
fn connection_of(environment: Vec<(String, String)>) -> ConnectionSettings {
    let inputs = Inputs {
        environment: environment.into_iter().collect(),
        ..Inputs::default()
    };
    let needs = Needs {
        home: true,
        ..Needs::default()
    };
    let settings = capacity_settings::load(&inputs, needs).expect("valid settings");
    capacity_workflows::connection(&settings.home, "capacity-tests".to_owned()).expect("complete")
}

/// Returns the message of a failed connection. It must be a sentence without a library's Debug text, and the
/// connection must not be retried.
async fn refusal(connection: &ConnectionSettings) -> String {
    let connected = tokio::time::timeout(Duration::from_secs(20), connection.connect()).await;
    let Err(error) = connected.expect("a response in time") else {
        panic!("the connection was accepted");
    };
    let text = human_text::chain(&error);
    assert!(!error.is_retryable(), "{text}");
    assert_is_a_sentence(&text);
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_required_client_certificate_is_presented() {
    let Some(server) = shared_server() else { return };
    let world = Mutual::start(server).await;
    let (certificate, key) = (
        world.certificates.path("client.pem"),
        world.certificates.path("client.key"),
    );
    let without = refusal(&connection_of(world.environment(&[]))).await;
    assert!(
        without.contains("requires a client certificate") && without.contains("set TEMPORAL_CERT_PATH"),
        "{without}"
    );
    // As files, under the names of the original autopilot and of the SDK.
    for names in [
        ["TEMPORAL_CERT_PATH", "TEMPORAL_KEY_PATH"],
        ["TEMPORAL_TLS_CLIENT_CERT_PATH", "TEMPORAL_TLS_CLIENT_KEY_PATH"],
    ] {
        let with =
            connection_of(world.environment(&[(names[0], certificate.as_str()), (names[1], key.as_str())]));
        with.connect().await.expect("let in");
    }
    // Check the connection itself, and then a whole evaluation over it.
    let read = |path: &str| std::fs::read_to_string(path).expect("readable");
    let (certificate, key) = (read(&certificate), read(&key));
    let given = [
        ("TEMPORAL_TLS_CLIENT_CERT_DATA", certificate.as_str()),
        ("TEMPORAL_TLS_CLIENT_KEY_DATA", key.as_str()),
    ];
    let setup = Setup {
        connection: Some(connection_of(world.environment(&given))),
        ..throttled(&["checkout"])
    };
    with_worker("certificate", setup, async |world| {
        assert_eq!(world.evaluate("first").await.changes.len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_required_api_key_is_sent_encrypted() {
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
