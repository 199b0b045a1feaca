//! Certificates that change while the worker is running.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use temporal_worker_kit::{Config, Kit};
use temporalio_client::{WorkflowGetResultOptions, WorkflowStartOptions};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::worker::{Order, registry, server};

/// Client certificates, in the order of their connections.
type Seen = Arc<Mutex<Vec<CertificateDer<'static>>>>;

/// Writes an authority, a server certificate and one certificate per client.
fn certificates(folder: &Path, clients: &[&str]) {
    let keep = |name: &str, text: String| std::fs::write(folder.join(name), text).expect("kept");
    let authority_key = KeyPair::generate().expect("a key");
    let mut authority = CertificateParams::new(Vec::<String>::new()).expect("parameters");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    keep(
        "ca.pem",
        authority.self_signed(&authority_key).expect("signed").pem(),
    );
    let issuer = Issuer::from_params(&authority, &authority_key);
    for name in [&["server"][..], clients].concat() {
        let key = KeyPair::generate().expect("a key");
        let host = format!("{name}.example.com");
        let parameters = CertificateParams::new(vec![host]).expect("parameters");
        keep(
            &format!("{name}.pem"),
            parameters.signed_by(&key, &issuer).expect("signed").pem(),
        );
        keep(&format!("{name}.key"), key.serialize_pem());
    }
}

fn certificate(folder: &Path, name: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(folder.join(name)).expect("a certificate")
}

/// Starts a proxy that terminates TLS and requires a certificate from the authority.
async fn proxy(folder: &Path, upstream: SocketAddr) -> (SocketAddr, Seen) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(certificate(folder, "ca.pem")).expect("an authority");
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).expect("a key");
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier.build().expect("a verifier"))
        .with_single_cert(vec![certificate(folder, "server.pem")], key)
        .expect("a certificate with its key");
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let seen = Seen::default();
    let log = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, log) = (acceptor.clone(), Arc::clone(&log));
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let peer = stream
                    .get_ref()
                    .1
                    .peer_certificates()
                    .and_then(<[_]>::first)
                    .cloned();
                log.lock()
                    .expect("no panic")
                    .extend(peer.map(CertificateDer::into_owned));
                let mut upstream = TcpStream::connect(upstream).await.expect("the server");
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut upstream).await;
            });
        }
    });
    (address, seen)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_certificate_is_used_without_a_restart_and_a_broken_one_is_not() {
    let server = server().await;
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    certificates(folder, &["first", "second"]);
    let use_certificate = |name: &str| {
        for end in ["pem", "key"] {
            std::fs::copy(
                folder.join(format!("{name}.{end}")),
                folder.join(format!("client.{end}")),
            )
            .expect("copied");
        }
    };
    use_certificate("first");
    let (address, seen) = proxy(folder, server.address()).await;
    let path = |name: &str| folder.join(name).display().to_string();
    let text = format!(
        "[connection]\naddress = \"{address}\"\nserver_name = \"server.example.com\"\nserver_ca = \"{}\"\n\
         client_cert = \"{}\"\nclient_key = \"{}\"\n[worker]\nlisten = \"off\"\nreload_every = \"1s\"\n",
        path("ca.pem"),
        path("client.pem"),
        path("client.key")
    );
    let config = Config::parse("worker.toml", &text, &BTreeMap::new()).expect("valid");
    let mut running = Kit::new(config, registry()).start().await.expect("started");
    let order = async |id: &str| {
        let start = WorkflowStartOptions::new("orders", id).build();
        let order = running
            .client()
            .start_workflow(Order::run, 6, start)
            .await
            .expect("started");
        let result = order.get_result(WorkflowGetResultOptions::default());
        let result = tokio::time::timeout(Duration::from_secs(30), result)
            .await
            .expect("in time");
        assert_eq!(result.expect("a price"), 42);
    };
    order("with-the-first").await;
    let was_used = |name: &str| {
        seen.lock()
            .expect("no panic")
            .contains(&certificate(folder, name))
    };
    assert!(was_used("first.pem") && !was_used("second.pem"));

    std::fs::write(folder.join("client.pem"), "no certificate").expect("written");
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    order("with-a-broken-file").await;

    use_certificate("second");
    let begun = Instant::now();
    while !was_used("second.pem") {
        assert!(
            begun.elapsed() < Duration::from_mins(1),
            "the second certificate is used"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    order("with-the-second").await;
    running.stop();
    running.wait().await.expect("drained");
    server.shutdown().await;
}
