//! A proxy that terminates TLS in front of a Temporal server and can reject calls, even those that are
//! waiting for a response.

#![allow(
    dead_code,
    reason = "several test binaries include this file, and none uses all of it"
)]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

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
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// Name in the server's certificate.
pub(crate) const SERVER_NAME: &str = "temporal.example.com";

/// A certificate authority, a server certificate and a client certificate, as PEM files.
pub(crate) struct Certificates {
    folder: tempfile::TempDir,
}

impl Certificates {
    pub(crate) fn make() -> Self {
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
        for (name, host) in [("server", SERVER_NAME), ("client", "automation")] {
            let key = KeyPair::generate().expect("a key");
            let parameters = CertificateParams::new(vec![host.to_owned()]).expect("parameters");
            let certificate = parameters.signed_by(&key, &issuer).expect("signed");
            keep(&format!("{name}.pem"), certificate.pem());
            keep(&format!("{name}.key"), key.serialize_pem());
        }
        Self { folder }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Writes another file to the same folder and returns its path.
    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        std::fs::write(self.folder.path().join(name), bytes).expect("written");
        self.path(name)
    }

    pub(crate) fn chain(&self, name: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(Path::new(&self.path(name))).expect("a certificate")
    }

    /// Returns the TLS configuration of the proxy, which requires a client certificate if configured to.
    pub(crate) fn server(&self, demands_certificate: bool) -> ServerConfig {
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

/// A proxy in front of a server that requires a client certificate.
pub(crate) struct Mutual {
    pub(crate) certificates: Certificates,
    pub(crate) address: String,
}

impl Mutual {
    pub(crate) async fn start(server: SocketAddr) -> Self {
        let certificates = Certificates::make();
        let proxy = Proxy::start(server, certificates.server(true), Rules::default()).await;
        Self {
            certificates,
            address: proxy.address.to_string(),
        }
    }

    /// Returns a client's environment with these settings, in addition to address, server name and authority.
    pub(crate) fn environment(&self, given: &[(&str, &str)]) -> Vec<(String, String)> {
        let ca = self.certificates.path("ca.pem");
        let common = [
            ("TEMPORAL_ADDRESS", self.address.as_str()),
            ("TEMPORAL_NAMESPACE", "default"),
            ("TEMPORAL_TLS_SERVER_CA_CERT_PATH", &ca),
            ("TEMPORAL_TLS_SERVER_NAME", SERVER_NAME),
        ];
        let pairs = common.iter().chain(given);
        pairs
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }
}

/// Asserts that the message of a failed connection is one sentence, without a library's Debug text or
/// secrets.
pub(crate) fn assert_is_a_sentence(text: &str) {
    for debug in ["Status {", "Transport", "Custom {", "\n", "hunter2"] {
        assert!(!text.contains(debug), "{text}");
    }
}

/// Rules for rejecting calls.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rules {
    /// API key without which every call is rejected.
    pub(crate) key: Option<&'static str>,
    /// Prefixes of calls that are rejected with any key.
    pub(crate) calls: &'static [&'static str],
    /// gRPC status of a rejection; 16 (unauthenticated) by default.
    pub(crate) status: Option<&'static str>,
}

impl Rules {
    fn refuse(&self, request: &Asked) -> bool {
        let wrong_key = self
            .key
            .is_some_and(|key| request.authorization != format!("Bearer {key}"));
        wrong_key || self.calls.iter().any(|call| request.call.starts_with(call))
    }

    fn refusal(&self) -> Response<Either<Incoming, Empty<Bytes>>> {
        Response::builder()
            .header(header::CONTENT_TYPE, "application/grpc")
            .header("grpc-status", self.status.unwrap_or("16"))
            .header("grpc-message", "no such key")
            .body(Either::Right(Empty::new()))
            .expect("valid")
    }
}

/// The parts of a request that the rules need.
struct Asked {
    call: String,
    authorization: String,
}

impl Asked {
    fn of(request: &Request<Incoming>) -> Self {
        let path = request.uri().path();
        let given = request.headers().get(header::AUTHORIZATION);
        Self {
            call: path.rsplit_once('/').map_or(path, |(_, call)| call).to_owned(),
            authorization: given
                .and_then(|given| given.to_str().ok())
                .unwrap_or_default()
                .to_owned(),
        }
    }
}

/// The proxy, which runs until the test ends.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    rules: watch::Sender<Rules>,
}

impl Proxy {
    pub(crate) async fn start(upstream: SocketAddr, tls: ServerConfig, rules: Rules) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let (rules, receiver) = watch::channel(rules);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, receiver) = (acceptor.clone(), receiver.clone());
                tokio::spawn(async move {
                    // Clients without a certificate are rejected here.
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
                        let (mut sender, mut rules) = (sender.clone(), receiver.clone());
                        async move {
                            let asked = Asked::of(&request);
                            let answer = sender.send_request(plain(request));
                            tokio::pin!(answer);
                            loop {
                                let now = rules.borrow_and_update().clone();
                                if now.refuse(&asked) {
                                    return Ok(now.refusal());
                                }
                                tokio::select! {
                                    answer = &mut answer => return answer.map(|answer| answer.map(Either::Left)),
                                    // Check a waiting call again, because the rules may have changed.
                                    Ok(()) = rules.changed() => {}
                                }
                            }
                        }
                    });
                    let served = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service);
                    drop(served.await);
                });
            }
        });
        Self { address, rules }
    }

    pub(crate) fn set(&self, rules: Rules) {
        self.rules.send_replace(rules);
    }
}

/// Prepares a request for the server behind the proxy, which is not encrypted.
fn plain(mut request: Request<Incoming>) -> Request<Incoming> {
    let mut parts = request.uri().clone().into_parts();
    parts.scheme = Some(hyper::http::uri::Scheme::HTTP);
    *request.uri_mut() = Uri::from_parts(parts).expect("still a URI");
    request
}
