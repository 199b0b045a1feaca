//! Performs a TLS handshake with a server process and returns its certificate, or explains why it failed.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http_edge::pem::{self, PemProblem};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{AlertDescription, CertificateError, ClientConfig};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::certificates::{FRONTEND_NAME, INTERNODE_NAME};
use crate::place::Place;
use crate::roles::Role;

/// Timeout of a handshake.
const BOUND: Duration = Duration::from_secs(5);

/// In TLS 1.3, a server rejects a client certificate after the handshake. Receiving its first byte proves
/// that it did not.
const FIRST_BYTE: Duration = Duration::from_secs(2);

/// The files for connecting to a role, by name in the folder of certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Leaf {
    /// Certificate that the role serves.
    pub(crate) file: &'static str,
    /// Certificate that the client presents.
    pub(crate) identity: &'static str,
    /// Authority that signed both certificates.
    pub(crate) authority: &'static str,
    /// Name in the role's certificate.
    pub(crate) name: &'static str,
}

impl Leaf {
    /// Returns the files for a role; `None` if it accepts no connections.
    pub(crate) fn of(role: Role) -> Option<Self> {
        match role {
            Role::Worker => None,
            Role::Frontend => Some(Self {
                file: "frontend",
                identity: "client",
                authority: "client-ca",
                name: FRONTEND_NAME,
            }),
            Role::History | Role::Matching => Some(Self {
                file: "internode",
                identity: "internode",
                authority: "internode-ca",
                name: INTERNODE_NAME,
            }),
        }
    }
}

/// A certificate or key in the run directory that is unusable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The file cannot be read.
    #[error("cannot read {}: {cause}", .path.display())]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// Cause of the failure.
        cause: io::Error,
    },
    /// The file does not contain the expected PEM block.
    #[error("{} {problem}", .path.display())]
    Pem {
        /// Path of the file.
        path: PathBuf,
        /// The problem with its content.
        problem: PemProblem,
    },
    /// The content is invalid for its purpose.
    #[error("{} cannot be used: {cause}", .path.display())]
    Unusable {
        /// Path of the file.
        path: PathBuf,
        /// Cause of the failure.
        cause: rustls::Error,
    },
}

/// Why a handshake failed. In the messages, "it" refers to the process.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The connection was not accepted.
    #[error("it does not accept connections ({0})")]
    Unreachable(io::Error),
    /// The connection was accepted, but there was no response.
    #[error("it does not respond within {} s", BOUND.as_secs())]
    Late,
    /// One of our own files is unusable.
    #[error(transparent)]
    File(#[from] FileError),
    /// The server's certificate has expired.
    #[error("the certificate that it serves has expired")]
    Expired,
    /// The server's certificate is not valid yet.
    #[error("the certificate that it serves is not valid yet according to this machine's clock")]
    NotYet,
    /// The server's certificate has a different name.
    #[error("the certificate that it serves is not valid for the name {0}")]
    Name(&'static str),
    /// The server's certificate was signed by a different authority.
    #[error("the certificate that it serves was not signed by the authority in {}", .0.display())]
    Authority(PathBuf),
    /// The server rejected our certificate.
    #[error("it refuses the certificate in {}: {reason}", .path.display())]
    Refused {
        /// The certificate that was presented.
        path: PathBuf,
        /// Reason that the server sent.
        reason: String,
    },
    /// The response is not TLS.
    #[error("the server at that address does not speak TLS")]
    NotTls,
    /// Any other error.
    #[error("the TLS handshake failed: {0}")]
    Other(io::Error),
}

/// The remedy that issues new certificates.
pub(crate) const RENEW: &str =
    "`temporal-stack certificates` issues new ones; the roles pick them up within a minute";

impl HandshakeError {
    /// Returns the remedy, for a process of this name.
    pub(crate) fn remedy(&self, name: &str) -> String {
        match self {
            Self::Unreachable(_) | Self::Late | Self::Other(_) => {
                format!("`temporal-stack logs {name}` shows why; `temporal-stack restart {name}` restarts it")
            }
            Self::File(_) | Self::Expired | Self::Name(_) => RENEW.to_owned(),
            // New certificates would not help: theirs begin a day in the past.
            Self::NotYet => "set this machine's clock".to_owned(),
            Self::Authority(path) => {
                format!("restore {} if it was replaced; otherwise {RENEW}", path.display())
            }
            Self::Refused { .. } => format!(
                "{RENEW}; if it still refuses, `temporal-stack restart {name}` makes it read the authorities again"
            ),
            Self::NotTls => {
                "stop the process that listens there (`ss -ltnp` shows it), then run `deploy/stack/up`"
                    .to_owned()
            }
        }
    }

    /// Returns whether the cause is a certificate. Waiting then helps only until the role has reloaded its
    /// files.
    pub(crate) fn is_about_certificates(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Late | Self::NotTls | Self::Other(_) => false,
            Self::File(_)
            | Self::Expired
            | Self::NotYet
            | Self::Name(_)
            | Self::Authority(_)
            | Self::Refused { .. } => true,
        }
    }
}

fn read(place: &Place, file: &str) -> Result<(PathBuf, Vec<u8>), FileError> {
    let path = place.tls().join(file);
    match std::fs::read(&path) {
        Ok(bytes) => Ok((path, bytes)),
        Err(cause) => Err(FileError::Read { path, cause }),
    }
}

/// Reads the certificate in a file, specified without `.pem`.
pub(crate) fn leaf_of(place: &Place, name: &str) -> Result<CertificateDer<'static>, FileError> {
    let (path, bytes) = read(place, &format!("{name}.pem"))?;
    let certificates = match pem::certificates(&bytes) {
        Ok(certificates) => certificates,
        Err(problem) => return Err(FileError::Pem { path, problem }),
    };
    let first = certificates.into_iter().next();
    first.ok_or(FileError::Pem {
        path,
        problem: PemProblem::NotPem,
    })
}

fn config(place: &Place, leaf: &Leaf) -> Result<ClientConfig, FileError> {
    let authority = leaf_of(place, leaf.authority)?;
    let identity = leaf_of(place, leaf.identity)?;
    let (path, bytes) = read(place, &format!("{}.key", leaf.identity))?;
    let key = match pem::private_key(&bytes) {
        Ok(key) => key,
        Err(problem) => return Err(FileError::Pem { path, problem }),
    };
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority).map_err(|cause| FileError::Unusable {
        path: place.tls().join(format!("{}.pem", leaf.authority)),
        cause,
    })?;
    let config = ClientConfig::builder_with_provider(http_edge::tls::provider())
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder
                .with_root_certificates(roots)
                .with_client_auth_cert(vec![identity], key)
        });
    let mut config = config.map_err(|cause| FileError::Unusable { path, cause })?;
    // The server closes connections that do not request HTTP/2.
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// Performs a handshake and returns the server's certificate.
///
/// # Errors
///
/// If the handshake fails, or if the process rejects our certificate.
pub(crate) async fn served(
    place: &Place,
    address: &str,
    leaf: &Leaf,
) -> Result<CertificateDer<'static>, HandshakeError> {
    let config = config(place, leaf)?;
    let handshake = async {
        let stream = TcpStream::connect(address)
            .await
            .map_err(HandshakeError::Unreachable)?;
        let name = ServerName::try_from(leaf.name)
            .map_err(|error| HandshakeError::Other(io::Error::other(error)))?;
        let connected = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        let mut stream = connected.map_err(|error| explain(place, leaf, error))?;
        // A server that stays silent has not rejected it.
        if let Ok(Err(error)) = tokio::time::timeout(FIRST_BYTE, stream.read(&mut [0])).await {
            return Err(explain(place, leaf, error));
        }
        let (_, session) = stream.get_ref();
        let first = session.peer_certificates().and_then(|chain| chain.first());
        let none = || HandshakeError::Other(io::Error::other("it serves no certificate"));
        first.map(|leaf| leaf.clone().into_owned()).ok_or_else(none)
    };
    tokio::time::timeout(BOUND, handshake)
        .await
        .unwrap_or(Err(HandshakeError::Late))
}

/// Determines the cause of a failed handshake.
fn explain(place: &Place, leaf: &Leaf, error: io::Error) -> HandshakeError {
    let file = |name: &str| place.tls().join(format!("{name}.pem"));
    let cause = error
        .get_ref()
        .and_then(|cause| cause.downcast_ref::<rustls::Error>());
    match cause {
        Some(rustls::Error::InvalidCertificate(cause)) => match cause {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => HandshakeError::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                HandshakeError::NotYet
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                HandshakeError::Name(leaf.name)
            }
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                HandshakeError::Authority(file(leaf.authority))
            }
            _ => HandshakeError::Other(error),
        },
        Some(rustls::Error::AlertReceived(alert)) => HandshakeError::Refused {
            path: file(leaf.identity),
            reason: meaning(*alert),
        },
        // Plain text does not parse as a TLS record.
        Some(rustls::Error::InvalidMessage(_)) => HandshakeError::NotTls,
        _ => HandshakeError::Other(error),
    }
}

/// Returns the meaning of a TLS alert that ended a handshake.
fn meaning(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateExpired => "it has expired".to_owned(),
        AlertDescription::UnknownCA
        | AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::DecryptError => "the authority that signed it is not trusted there".to_owned(),
        AlertDescription::CertificateRequired => {
            "it requires a client certificate and received none".to_owned()
        }
        other => format!("the alert {}", other.as_str().unwrap_or("of an unknown kind")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{connect, connection};
    use crate::place::{Programs, Stack};
    use crate::settings::Settings;
    use rstest::rstest;
    use rustls::server::WebPkiClientVerifier;
    use temporal_worker_kit::ConnectionSettings;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    #[rstest]
    #[case::name(
        CertificateError::NotValidForName,
        "is not valid for the name frontend.temporal-stack.internal"
    )]
    #[case::authority(
        CertificateError::UnknownIssuer,
        "was not signed by the authority in /run/stack/tls/client-ca.pem"
    )]
    #[case::expired(CertificateError::Expired, "has expired")]
    #[case::other(CertificateError::BadEncoding, "the TLS handshake failed")]
    fn a_certificate_that_is_refused_is_described(#[case] cause: CertificateError, #[case] expected: &str) {
        let said = explained(rustls::Error::InvalidCertificate(cause)).to_string();
        assert!(said.contains(expected), "{said}");
    }

    fn explained(cause: rustls::Error) -> HandshakeError {
        let place = Place::find(Some("/run/stack".as_ref())).expect("a place");
        let leaf = Leaf::of(Role::Frontend).expect("it accepts connections");
        explain(&place, &leaf, io::Error::other(cause))
    }

    #[test]
    fn a_server_that_refuses_our_certificate_is_quoted() {
        let refused = explained(rustls::Error::AlertReceived(AlertDescription::CertificateExpired));
        let said = refused.to_string();
        assert!(
            said.contains("it refuses the certificate in /run/stack/tls/client.pem: it has expired"),
            "{said}"
        );
        assert!(refused.is_about_certificates());
        assert!(
            refused
                .remedy("frontend-1")
                .contains("temporal-stack certificates")
        );
    }

    /// Returns a temporary run directory with new certificates.
    fn certified() -> (tempfile::TempDir, Place) {
        let folder = tempfile::tempdir().expect("a folder");
        let place = Place::find(Some(folder.path())).expect("a place");
        std::fs::create_dir_all(place.tls()).expect("a folder");
        crate::certificates::ensure(&place.tls(), "127.77", 90).expect("created");
        (folder, place)
    }

    /// Serves a leaf certificate to clients with a certificate of this authority, and returns the address.
    async fn serve(place: &Place, leaf: &str, clients: CertificateDer<'static>) -> String {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(clients).expect("an authority");
        let provider = http_edge::tls::provider();
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let key = std::fs::read(place.tls().join(format!("{leaf}.key"))).expect("readable");
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_client_cert_verifier(clients.build().expect("a verifier"))
            .with_single_cert(
                vec![leaf_of(place, leaf).expect("readable")],
                pem::private_key(&key).expect("a key"),
            )
            .expect("a pair");
        config.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    if let Ok(mut stream) = acceptor.accept(stream).await {
                        let _ = stream.write_all(b"settings").await;
                        let _ = stream.read(&mut [0]).await;
                    }
                });
            }
        });
        address
    }

    #[tokio::test]
    async fn each_failed_handshake_is_described_with_a_remedy_and_without_library_internals() {
        let (_folder, place) = certified();
        let (_other_folder, other) = certified();
        let leaf = Leaf::of(Role::Frontend).expect("it accepts connections");
        let ours = || leaf_of(&place, "client-ca").expect("readable");
        let theirs = || leaf_of(&other, "client-ca").expect("readable");
        let good = serve(&place, "frontend", ours()).await;
        served(&place, &good, &leaf).await.expect("a handshake");

        let plain = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let not_tls = plain.local_addr().expect("an address").to_string();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = plain.accept().await {
                let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
                let _ = stream.read(&mut [0; 512]).await;
            }
        });
        let cases = [
            (
                serve(&place, "client", ours()).await,
                "the certificate that it serves is not valid for the name frontend.temporal-stack.internal",
                "`temporal-stack certificates`",
            ),
            (
                serve(&other, "frontend", ours()).await,
                "the certificate that it serves was not signed by the authority in ",
                "client-ca.pem if it was replaced",
            ),
            (
                serve(&place, "frontend", theirs()).await,
                "client.pem: the authority that signed it is not trusted there",
                "`temporal-stack restart frontend-1`",
            ),
            (
                not_tls,
                "the server at that address does not speak TLS",
                "ss -ltnp",
            ),
            (
                "127.0.0.1:1".to_owned(),
                "it does not accept connections (Connection refused",
                "`temporal-stack logs frontend-1`",
            ),
        ];
        for (address, expected, remedy) in cases {
            let settings = ConnectionSettings {
                address: address.clone(),
                ..connection_of(&place)
            };
            let error = connect(&place, &settings).await.expect_err("no connection");
            let said = error.to_string();
            assert!(said.contains(expected), "{address}: {said}");
            assert!(!said.contains("Error"), "contains an internal error: {said}");
            let offered = error.remedy("frontend-1");
            assert!(offered.contains(remedy), "{address}: {offered}");
        }
    }

    fn connection_of(place: &Place) -> ConnectionSettings {
        let stack = Stack {
            settings: Settings::default(),
            postgres_programs: "/nonexistent".into(),
            programs: Programs {
                server: "/nonexistent".into(),
                sql_tool: "/nonexistent".into(),
                ui: "/nonexistent".into(),
                pgbouncer: "/nonexistent".into(),
            },
            simulated_cloud: true,
        };
        connection(place, &stack, "default")
    }

    #[tokio::test]
    async fn a_missing_file_is_reported() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = Place::find(Some(folder.path())).expect("a place");
        let leaf = Leaf::of(Role::History).expect("it accepts connections");
        let error = served(&place, "127.0.0.1:1", &leaf).await.expect_err("refused");
        assert!(error.to_string().contains("tls/internode-ca.pem"), "{error}");
    }
}
