//! Connections with a client certificate and with an API key, through a proxy that terminates TLS and rejects
//! clients without either; and the errors of failed connections.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rstest::rstest;
use temporal_worker_kit::{Config, ConnectError, ConnectionSettings, Kit, Registry, chain};

use crate::proxy::{Certificates, Mutual, Proxy, Rules, SERVER_NAME, assert_is_a_sentence};
use crate::worker::{Order, get};

const KEY: &str = "a-key-of-the-namespace";

/// Starts one server for all tests here, on a thread that keeps it until the process ends.
fn server() -> SocketAddr {
    static SERVER: OnceLock<SocketAddr> = OnceLock::new();
    *SERVER.get_or_init(|| {
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            runtime.block_on(async {
                let server = crate::worker::server().await;
                tell.send(server.address()).expect("someone waits");
                std::future::pending::<()>().await;
            });
        });
        told.recv().expect("a server")
    })
}

/// The connection that an environment describes.
fn connection(environment: &[(&str, &str)]) -> ConnectionSettings {
    let pairs = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    connection_of(pairs.collect())
}

/// The same, from owned text.
fn connection_of(environment: Vec<(String, String)>) -> ConnectionSettings {
    Config::parse("worker.toml", "", &environment.into_iter().collect())
        .expect("valid")
        .connection
}

/// Returns why a connection fails: one sentence without the library's Debug text, and without retries.
async fn refusal(connection: &ConnectionSettings) -> String {
    let connected = tokio::time::timeout(Duration::from_secs(20), connection.connect()).await;
    let Err(error) = connected.expect("a response in time") else {
        panic!("it was let in");
    };
    let text = chain(&error);
    assert!(!error.is_retryable(), "{text}");
    assert_is_a_sentence(&text);
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_required_client_certificate_is_sent() {
    let world = Mutual::start(server()).await;
    let (certificate, key) = (
        world.certificates.path("client.pem"),
        world.certificates.path("client.key"),
    );
    let without = refusal(&connection_of(world.environment(&[]))).await;
    assert!(
        without.contains("requires a client certificate") && without.contains("set TEMPORAL_CERT_PATH"),
        "{without}"
    );
    for names in [
        ["TEMPORAL_CERT_PATH", "TEMPORAL_KEY_PATH"],
        ["TEMPORAL_TLS_CLIENT_CERT_PATH", "TEMPORAL_TLS_CLIENT_KEY_PATH"],
        ["TEMPORAL_CLIENT_CERT", "TEMPORAL_CLIENT_KEY"],
    ] {
        let with =
            connection_of(world.environment(&[(names[0], certificate.as_str()), (names[1], key.as_str())]));
        with.connect().await.expect("let in");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_required_api_key_is_sent_encrypted() {
    let certificates = Certificates::make();
    let rules = Rules {
        key: Some(KEY),
        ..Rules::default()
    };
    let proxy = Proxy::start(server(), certificates.server(false), rules).await;
    let (address, ca) = (proxy.address.to_string(), certificates.path("ca.pem"));
    let common = [
        ("TEMPORAL_ADDRESS", address.as_str()),
        ("TEMPORAL_TLS_SERVER_CA_CERT_PATH", &ca),
        ("TEMPORAL_TLS_SERVER_NAME", SERVER_NAME),
    ];
    let wrong = connection(&[&common[..], &[("TEMPORAL_API_KEY", "hunter2")]].concat());
    let refused = refusal(&wrong).await;
    assert!(
        refused.contains("refused the credential (TEMPORAL_API_KEY): no such key; it is wrong, expired"),
        "{refused}"
    );
    let file = certificates.write("api.key", format!("{KEY}\n"));
    for (name, value) in [("TEMPORAL_API_KEY", KEY), ("TEMPORAL_API_KEY_FILE", &file)] {
        let right = connection(&[&common[..], &[(name, value)]].concat());
        right.connect().await.expect("let in");
    }
}

#[rstest]
#[case::newlines_spelled_out(|pem: &str| pem.replace('\n', "\\n"))]
#[case::quoted(|pem: &str| format!("\"{pem}\""))]
#[case::quoted_and_spelled_out(|pem: &str| format!("\"{}\"", pem.replace('\n', "\\n")))]
#[case::windows(|pem: &str| pem.replace('\n', "\r\n"))]
#[case::byte_order_mark(|pem: &str| format!("\u{feff}{pem}"))]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn common_variants_of_certificates_are_accepted(#[case] write: fn(&str) -> String) {
    let world = Mutual::start(server()).await;
    let of = |name: &str| write(&std::fs::read_to_string(world.certificates.path(name)).expect("readable"));
    let (ca, certificate, key) = (of("ca.pem"), of("client.pem"), of("client.key"));
    let as_text = connection(&[
        ("TEMPORAL_ADDRESS", &world.address),
        ("TEMPORAL_NAMESPACE", "default"),
        ("TEMPORAL_TLS_SERVER_CA_CERT_DATA", &ca),
        ("TEMPORAL_TLS_SERVER_NAME", SERVER_NAME),
        ("TEMPORAL_TLS_CLIENT_CERT_DATA", &certificate),
        ("TEMPORAL_TLS_CLIENT_KEY_DATA", &key),
    ]);
    as_text.connect().await.expect("let in with text");
    let as_files = connection(&[
        ("TEMPORAL_ADDRESS", &world.address),
        ("TEMPORAL_NAMESPACE", "default"),
        (
            "TEMPORAL_TLS_SERVER_CA_CERT_PATH",
            &world.certificates.write("ca.odd", &ca),
        ),
        ("TEMPORAL_TLS_SERVER_NAME", SERVER_NAME),
        (
            "TEMPORAL_CERT_PATH",
            &world.certificates.write("client.odd", &certificate),
        ),
        ("TEMPORAL_KEY_PATH", &world.certificates.write("key.odd", &key)),
    ]);
    as_files.connect().await.expect("let in with files");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_that_cannot_be_used_are_named_with_setting_and_file() {
    let world = Mutual::start(server()).await;
    let certificates = &world.certificates;
    let (certificate, key) = (certificates.path("client.pem"), certificates.path("client.key"));
    let der = certificates.write("client.der", certificates.chain("client.pem"));
    let others = Certificates::make();
    let missing = certificates.path("nowhere.pem");
    let cut = certificates.write("cut.pem", "-----BEGIN CERTIFICATE-----\nMIIB");
    let cases = [
        (
            &der,
            &key,
            "TEMPORAL_CERT_PATH: the file",
            "client.der is in DER (binary) form",
        ),
        (
            &key,
            &certificate,
            "TEMPORAL_CERT_PATH: the file",
            "client.key contains a private key, not a certificate",
        ),
        (
            &certificate,
            &certificate,
            "TEMPORAL_KEY_PATH: the file",
            "contains a certificate, not a private key",
        ),
        (
            &missing,
            &key,
            "TEMPORAL_CERT_PATH: the file",
            "nowhere.pem cannot be read: No such file",
        ),
        (
            &certificate,
            &missing,
            "TEMPORAL_KEY_PATH: the file",
            "nowhere.pem cannot be read: No such file",
        ),
        (
            &cut,
            &key,
            "TEMPORAL_CERT_PATH: the file",
            "cut.pem contains PEM text that is truncated or damaged",
        ),
        (
            &certificate,
            &others.path("client.key"),
            "TEMPORAL_KEY_PATH: the file",
            "does not belong to the certificate",
        ),
    ];
    for (certificate, key, setting, problem) in cases {
        let given = [
            ("TEMPORAL_CERT_PATH", certificate.as_str()),
            ("TEMPORAL_KEY_PATH", key.as_str()),
        ];
        std::fs::write(&missing, "").expect("written");
        let connection = connection_of(world.environment(&given));
        // A file that is missing from the start is a mistake of the configuration.
        std::fs::remove_file(&missing).expect("removed");
        let text = refusal(&connection).await;
        assert!(text.starts_with(setting) && text.contains(problem), "{text}");
    }
    // A valid certificate, signed by an authority that this server does not know.
    let (certificate, key) = (others.path("client.pem"), others.path("client.key"));
    let given = [
        ("TEMPORAL_CERT_PATH", certificate.as_str()),
        ("TEMPORAL_KEY_PATH", key.as_str()),
    ];
    let text = refusal(&connection_of(world.environment(&given))).await;
    assert!(
        text.contains("refused the client certificate (TEMPORAL_CERT_PATH, "),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_not_trusted_is_named_with_what_to_set() {
    let world = Mutual::start(server()).await;
    let foreign = Certificates::make();
    let (foreign_ca, ca) = (foreign.path("ca.pem"), world.certificates.path("ca.pem"));
    let common = [
        ("TEMPORAL_ADDRESS", world.address.as_str()),
        ("TEMPORAL_NAMESPACE", "default"),
    ];
    let name = ("TEMPORAL_TLS_SERVER_NAME", SERVER_NAME);
    let cases = [
        (
            vec![("TEMPORAL_TLS", "true"), name],
            "set TEMPORAL_TLS_SERVER_CA_CERT_PATH to that authority's certificate",
        ),
        (
            vec![("TEMPORAL_TLS_SERVER_CA_CERT_PATH", foreign_ca.as_str()), name],
            "(TEMPORAL_TLS_SERVER_CA_CERT_PATH, ",
        ),
        (
            vec![("TEMPORAL_TLS_SERVER_CA_CERT_PATH", ca.as_str())],
            "it is not valid for the name `127.0.0.1`: set TEMPORAL_TLS_SERVER_NAME",
        ),
    ];
    for (given, expected) in cases {
        let text = refusal(&connection(&[&common[..], &given].concat())).await;
        assert!(
            text.contains("is not trusted: ") && text.contains(expected),
            "{text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_not_sent_to_a_server_without_encryption() {
    let server = server();
    let address = server.to_string();
    let text = refusal(&connection(&[
        ("TEMPORAL_ADDRESS", &address),
        ("TEMPORAL_NAMESPACE", "default"),
        ("TEMPORAL_API_KEY", "hunter2"),
    ]))
    .await;
    assert!(
        text.contains("does not speak TLS, and TEMPORAL_API_KEY is never sent unencrypted"),
        "{text}"
    );
}

#[rstest]
#[case::read("DescribeNamespace", "is not allowed to read the namespace `default`")]
#[case::write("SignalWorkflowExecution", "is not allowed to use the namespace `default`")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_permission_for_the_namespace_is_detected(
    #[case] call: &'static str,
    #[case] expected: &str,
) {
    let server = server();
    let certificates = Certificates::make();
    let proxy = Proxy::start(server, certificates.server(false), Rules::default()).await;
    let (address, ca) = (proxy.address.to_string(), certificates.path("ca.pem"));
    let connection = connection(&[
        ("TEMPORAL_ADDRESS", address.as_str()),
        ("TEMPORAL_NAMESPACE", "default"),
        ("TEMPORAL_TLS_SERVER_CA_CERT_PATH", &ca),
        ("TEMPORAL_TLS_SERVER_NAME", SERVER_NAME),
        ("TEMPORAL_API_KEY", "hunter2"),
    ]);
    let client = connection.connect().await.expect("let in");
    connection.check_namespace(&client).await.expect("all is allowed");
    let calls: &'static [&'static str] = Box::leak(Box::new([call]));
    proxy.set(Rules {
        calls,
        status: Some("7"),
        ..Rules::default()
    });
    let error = connection.check_namespace(&client).await.expect_err("refused");
    let text = error.to_string();
    assert!(
        matches!(error, ConnectError::NamespaceRefused { .. }) && text.contains(expected),
        "{text}"
    );
    assert!(
        text.contains("(TEMPORAL_API_KEY)") && !text.contains("hunter2"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_that_does_not_exist_is_detected() {
    let server = server();
    let address = server.to_string();
    let connection = connection(&[("TEMPORAL_ADDRESS", &address), ("TEMPORAL_NAMESPACE", "nowhere")]);
    let client = connection
        .connect()
        .await
        .expect("a connection needs no namespace");
    let text = connection
        .check_namespace(&client)
        .await
        .expect_err("missing")
        .to_string();
    assert!(
        text.contains("`nowhere` (TEMPORAL_NAMESPACE) does not exist") && text.contains("namespace create"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_key_is_read_again_from_its_file_while_the_worker_polls() {
    let certificates = Certificates::make();
    let rules = |key| Rules {
        key: Some(key),
        ..Rules::default()
    };
    let proxy = Proxy::start(server(), certificates.server(false), rules("one")).await;
    let file = certificates.write("api.key", "one\n");
    let connection = connection(&[
        ("TEMPORAL_ADDRESS", &proxy.address.to_string()),
        ("TEMPORAL_TLS_SERVER_CA_CERT_PATH", &certificates.path("ca.pem")),
        ("TEMPORAL_TLS_SERVER_NAME", SERVER_NAME),
        ("TEMPORAL_API_KEY_FILE", &file),
    ]);
    let config = Config {
        connection,
        listen: Some(([127, 0, 0, 1], 0).into()),
        // It only checks after a rejection.
        reload_every: Duration::from_hours(1),
        ..Config::default()
    };
    let registry = Registry::new().workflow::<Order>("refused");
    let mut running = Kit::new(config, registry).start().await.expect("started");
    let listen = running.listen().expect("listening");
    let until = async |expected: &str| {
        let begun = Instant::now();
        loop {
            let answer = get(listen, "/readyz").await;
            if answer.contains(expected) {
                return answer;
            }
            assert!(begun.elapsed() < Duration::from_mins(1), "{expected}: {answer}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    until("200 OK").await;
    // A key that is refused while the SDK is still starting ends the worker at once.
    let begun = Instant::now();
    loop {
        let metrics = get(listen, "/metrics").await;
        let polls = |line: &str| line.starts_with("temporal_num_pollers{") && !line.ends_with(" 0");
        if metrics.lines().any(polls) {
            break;
        }
        assert!(begun.elapsed() < Duration::from_mins(1), "{metrics}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    proxy.set(rules("two"));
    let refused = until("\"polls_refused\":true").await;
    assert!(
        refused.contains("503")
            && refused.contains("TEMPORAL_API_KEY_FILE, ")
            && refused.contains("Replace it"),
        "{refused}"
    );
    certificates.write("api.key", "two\n");
    until("200 OK").await;
    running.stop();
    running.wait().await.expect("drained");
}
