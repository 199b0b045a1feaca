//! Connections by client certificate and by API key, through a proxy that ends the encryption and refuses whoever lacks either.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use capacity_settings::{Inputs, Needs};
use capacity_workflows::Connection;
use http_body_util::{Either, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, Uri, header};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::harness::{Setup, shared_server, throttled, with_worker};

const KEY: &str = "a-key-of-the-home-namespace";

/// An authority, a server's certificate and a client's, as PEM files.
struct Certificates {
    folder: tempfile::TempDir,
}

impl Certificates {
    fn make() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let keep = |name: &str, text: String| std::fs::write(folder.path().join(name), text).expect("kept");
        let authority_key = KeyPair::generate().expect("a key");
        let mut authority = CertificateParams::new(Vec::<String>::new()).expect("parameters");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        keep(
            "ca.pem",
            authority.self_signed(&authority_key).expect("signed").pem(),
        );
        let issuer = Issuer::from_params(&authority, &authority_key);
        for (name, host) in [("server", "temporal.example.com"), ("client", "automation")] {
            let key = KeyPair::generate().expect("a key");
            let parameters = CertificateParams::new(vec![host.to_owned()]).expect("parameters");
            let certificate = parameters.signed_by(&key, &issuer).expect("signed");
            keep(&format!("{name}.pem"), certificate.pem());
            keep(&format!("{name}.key"), key.serialize_pem());
        }
        Self { folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn chain(&self, name: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(Path::new(&self.path(name))).expect("a certificate")
    }

    /// How the proxy greets: with its certificate, and a look at the client's if that is demanded.
    fn server(&self, demands_certificate: bool) -> ServerConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .expect("versions");
        let builder = if demands_certificate {
            let mut roots = RootCertStore::empty();
            roots.add(self.chain("ca.pem")).expect("an authority");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::from_pem_file(Path::new(&self.path("server.key"))).expect("a key");
        let mut config = builder
            .with_single_cert(vec![self.chain("server.pem")], key)
            .expect("a certificate with its key");
        config.alpn_protocols = vec![b"h2".to_vec()];
        config
    }
}

/// Starts a proxy before the server; it refuses requests without the bearer key, if one is demanded.
async fn proxy(upstream: SocketAddr, tls: ServerConfig, key: Option<&'static str>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // Whoever has no certificate is refused here.
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                let upstream = TcpStream::connect(upstream).await.expect("the server");
                let (sender, connection) =
                    hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(upstream))
                        .await
                        .expect("HTTP/2");
                tokio::spawn(connection);
                let service = service_fn(move |request: Request<Incoming>| {
                    let mut sender = sender.clone();
                    async move {
                        if !is_allowed(&request, key) {
                            let refused = Response::builder()
                                .header(header::CONTENT_TYPE, "application/grpc")
                                .header("grpc-status", "16")
                                .header("grpc-message", "no such key");
                            return Ok(refused.body(Either::Right(Empty::<Bytes>::new())).expect("valid"));
                        }
                        sender
                            .send_request(plain(request))
                            .await
                            .map(|answer| answer.map(Either::Left))
                    }
                });
                let served = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service);
                drop(served.await);
            });
        }
    });
    address
}

fn is_allowed(request: &Request<Incoming>, key: Option<&str>) -> bool {
    let Some(key) = key else { return true };
    let given = request.headers().get(header::AUTHORIZATION);
    given.is_some_and(|given| given.as_bytes() == format!("Bearer {key}").as_bytes())
}

/// The server behind the proxy is not encrypted.
fn plain(mut request: Request<Incoming>) -> Request<Incoming> {
    let mut parts = request.uri().clone().into_parts();
    parts.scheme = Some(hyper::http::uri::Scheme::HTTP);
    *request.uri_mut() = Uri::from_parts(parts).expect("still a URI");
    request
}

/// The connection that a worker's environment describes.
fn connection(environment: &[(&str, &str)]) -> Connection {
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
    Connection::of(&settings.home, "capacity-tests".to_owned()).expect("complete")
}

async fn refusal(connection: &Connection) -> String {
    let connected = tokio::time::timeout(Duration::from_secs(20), connection.connect(None)).await;
    match connected.expect("an answer in time") {
        Ok(_) => panic!("it was let in"),
        Err(error) => capacity_autopilot::chain(&error),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_certificate_is_demanded_and_given() {
    let Some(server) = shared_server() else { return };
    let certificates = Certificates::make();
    let address = proxy(server, certificates.server(true), None).await.to_string();
    let (ca, certificate, key) = (
        certificates.path("ca.pem"),
        certificates.path("client.pem"),
        certificates.path("client.key"),
    );
    let common = [
        ("TEMPORAL_ADDRESS", address.as_str()),
        ("TEMPORAL_NAMESPACE", "default"),
        ("TEMPORAL_TLS_SERVER_CA_CERT_PATH", &ca),
        ("TEMPORAL_TLS_SERVER_NAME", "temporal.example.com"),
    ];
    let without = connection(&common);
    refusal(&without).await;
    // As files, under the names of the original and under those of the SDK.
    for names in [
        ["TEMPORAL_CERT_PATH", "TEMPORAL_KEY_PATH"],
        ["TEMPORAL_TLS_CLIENT_CERT_PATH", "TEMPORAL_TLS_CLIENT_KEY_PATH"],
    ] {
        let given = [(names[0], certificate.as_str()), (names[1], key.as_str())];
        let with = connection(&[&common[..], &given].concat());
        with.connect(None).await.expect("let in");
    }
    // Itself, and a whole evaluation over it.
    let read = |path: &str| std::fs::read_to_string(path).expect("readable");
    let (certificate, key) = (read(&certificate), read(&key));
    let given = [
        ("TEMPORAL_TLS_CLIENT_CERT_DATA", certificate.as_str()),
        ("TEMPORAL_TLS_CLIENT_KEY_DATA", key.as_str()),
    ];
    let setup = Setup {
        connection: Some(connection(&[&common[..], &given].concat())),
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
    let address = proxy(server, certificates.server(false), Some(KEY))
        .await
        .to_string();
    let ca = certificates.path("ca.pem");
    let common = [
        ("TEMPORAL_ADDRESS", address.as_str()),
        ("TEMPORAL_NAMESPACE", "default"),
        ("TEMPORAL_TLS_SERVER_CA_CERT_PATH", &ca),
        ("TEMPORAL_TLS_SERVER_NAME", "temporal.example.com"),
    ];
    let wrong = connection(&[&common[..], &[("TEMPORAL_API_KEY", "another-key")]].concat());
    let refused = refusal(&wrong).await;
    assert!(
        refused.contains("no such key") && !refused.contains("another-key"),
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
