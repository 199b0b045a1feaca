//! Encrypted connections: a custom certificate authority is trusted if it is configured, and only then.

use std::sync::Arc;

use prometheus_reader::ErrorKind;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::{actions, builder, chain, client};

const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-length: 46\r\nconnection: close\r\n\r\n{\"status\":\"success\",\"data\":{\"result\":[     ]}}";

/// Starts a server for `localhost`, and returns its URL and its authority in PEM.
async fn start() -> (String, String) {
    let mut of_authority = CertificateParams::new(Vec::new()).expect("no names");
    of_authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().expect("a key");
    let authority = of_authority.self_signed(&authority_key).expect("an authority");
    let key = KeyPair::generate().expect("a key");
    let certificate = CertificateParams::new(vec!["localhost".to_owned()])
        .expect("a name")
        .signed_by(&key, &Issuer::from_params(&of_authority, &authority_key))
        .expect("a certificate");
    let private = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let provider = tokio_rustls::rustls::crypto::ring::default_provider();
    let config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .expect("versions of TLS")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)
        .expect("a server's certificate");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(ANSWER).await;
            let _ = stream.shutdown().await;
        }
    });
    (format!("https://localhost:{port}"), authority.pem())
}

#[tokio::test]
async fn a_custom_authority_is_trusted_if_configured() {
    let (url, authority) = start().await;
    let trusting = client(builder(&url).custom_ca(authority));
    let coverage = trusting.samples(&actions(0, 60), |_| {}).await;
    assert_eq!(coverage.expect("a response").samples, 0);
}

#[tokio::test]
async fn an_unknown_authority_is_not_trusted_and_the_error_has_a_remedy() {
    let (url, _) = start().await;
    let (_, another) = start().await;
    for config in [builder(&url), builder(&url).custom_ca(another)] {
        let error = client(config).samples(&actions(0, 60), |_| {}).await;
        let error = error.expect_err("not trusted");
        assert!(matches!(error.kind(), ErrorKind::Unreachable { .. }));
        let text = chain(&error);
        assert!(text.contains("set the CA certificate"), "{text}");
    }
}

#[tokio::test]
async fn a_read_can_run_in_a_separate_task() {
    let (url, authority) = start().await;
    let client = client(builder(&url).custom_ca(authority));
    let read = tokio::spawn(async move {
        let mut samples = 0;
        let coverage = client.samples(&actions(0, 60), |_| samples += 1).await;
        (samples, coverage.is_ok())
    });
    assert_eq!(read.await.expect("a task"), (0, true));
}
