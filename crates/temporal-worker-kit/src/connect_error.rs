//! Why a connection failed, in one sentence with the setting, the file and the remedy.

use std::error::Error;
use std::path::PathBuf;

use http_edge::pem::PemProblem;
use rustls::{AlertDescription, CertificateError};
use temporalio_client::errors::ClientConnectError;
use temporalio_client::tonic::Code;

use crate::connection_settings::{ConnectionSettings, Credential};

/// Why a connection failed, or a namespace cannot be used. Never contains a key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The certificate authorities cannot be used.
    #[error("cannot load this system's certificate authorities: {0}")]
    Authorities(rustls::Error),
    /// Not a valid address.
    #[error("TEMPORAL_ADDRESS: `{0}` is not in the form HOST:PORT, such as localhost:7233")]
    Address(String),
    /// A URL instead of host and port.
    #[error("TEMPORAL_ADDRESS: `{address}` is a URL; use `{host_and_port}`, host and port only")]
    AddressIsUrl {
        /// The address as given.
        address: String,
        /// The host and port in it.
        host_and_port: String,
    },
    /// A file that cannot be read.
    #[error("{setting}: the file {} cannot be read: {cause}", .path.display())]
    File {
        /// Name of the setting that specifies the file.
        setting: &'static str,
        /// Path of the file.
        path: PathBuf,
        /// Why the file cannot be read.
        cause: std::io::Error,
    },
    /// A certificate or key that cannot be used.
    #[error("{setting}: {what} {problem}")]
    Pem {
        /// Name of the setting.
        setting: &'static str,
        /// The file, or the value itself.
        what: String,
        /// Why the certificate or key cannot be used.
        problem: PemProblem,
    },
    /// The server's certificate is not trusted.
    #[error("the certificate of {address} is not trusted: {reason}")]
    Untrusted {
        /// Address of the server.
        address: String,
        /// The reason, and what to set.
        reason: String,
    },
    /// The server requires a client certificate.
    #[error(
        "{address} requires a client certificate, and none is set: set TEMPORAL_CERT_PATH and TEMPORAL_KEY_PATH"
    )]
    CertificateRequired {
        /// Address of the server.
        address: String,
    },
    /// The server rejected our client certificate.
    #[error("{address} refused the client certificate ({setting}): {reason}")]
    CertificateRefused {
        /// Address of the server.
        address: String,
        /// The setting and the file.
        setting: String,
        /// The server's reason, and what to do.
        reason: String,
    },
    /// The server does not use TLS.
    #[error(
        "{address} does not speak TLS, and {because} is never sent unencrypted: use the server's TLS address, or, for a local server, unset it"
    )]
    NotEncrypted {
        /// Address of the server.
        address: String,
        /// The setting that requires TLS.
        because: String,
    },
    /// The server rejected the key.
    #[error(
        "{address} refused the credential ({setting}): {message}; it is wrong, expired, disabled or for another namespace"
    )]
    KeyRefused {
        /// Address of the server.
        address: String,
        /// The setting and the file.
        setting: String,
        /// The server's message.
        message: String,
    },
    /// The namespace does not exist.
    #[error(
        "the namespace `{namespace}` (TEMPORAL_NAMESPACE) does not exist at {address}: create it (`temporal operator namespace create --namespace {namespace}`), or, in Temporal Cloud, use the full name including the account, such as orders.a1b2c"
    )]
    NamespaceMissing {
        /// Address of the server.
        address: String,
        /// Name of the namespace.
        namespace: String,
    },
    /// The credential lacks permission for the namespace.
    #[error(
        "the credential ({setting}) is not allowed to {attempt} the namespace `{namespace}` (TEMPORAL_NAMESPACE) at {address}: {message}; grant it Write permission on that namespace, or use another credential"
    )]
    NamespaceRefused {
        /// Address of the server.
        address: String,
        /// Name of the namespace.
        namespace: String,
        /// The attempted operation: "read" or "use".
        attempt: &'static str,
        /// The setting and the file.
        setting: String,
        /// The server's message.
        message: String,
    },
    /// No response, or a transient failure.
    #[error("cannot reach the Temporal service at {address} (TEMPORAL_ADDRESS): {text}")]
    Unreachable {
        /// Address of the server.
        address: String,
        /// Why the service cannot be reached.
        text: String,
    },
}

impl ConnectError {
    /// Returns whether another attempt can succeed without a change to the settings.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Authorities(_)
            | Self::Address(_)
            | Self::AddressIsUrl { .. }
            | Self::File { .. }
            | Self::Pem { .. }
            | Self::Untrusted { .. }
            | Self::CertificateRequired { .. }
            | Self::CertificateRefused { .. }
            | Self::NotEncrypted { .. }
            | Self::KeyRefused { .. }
            | Self::NamespaceMissing { .. }
            | Self::NamespaceRefused { .. } => false,
        }
    }

    /// Explains the client library's error for this connection.
    pub(crate) fn of(error: &ClientConnectError, connection: &ConnectionSettings) -> Self {
        let address = connection.address.clone();
        let cause: &(dyn Error + 'static) = match error {
            // The first call after connecting. No namespace is involved yet, so a refusal concerns the
            // credential.
            ClientConnectError::SystemInfoCallError(status) => {
                if matches!(status.code(), Code::Unauthenticated | Code::PermissionDenied) {
                    return Self::KeyRefused {
                        address,
                        setting: connection.credential.setting(),
                        message: told(status.message()),
                    };
                }
                status
            }
            ClientConnectError::TonicTransportError(error) => error,
            other => other,
        };
        if let Some(failure) = tls_failure(cause)
            && let Some(known) = Self::of_tls(&failure, connection)
        {
            return known;
        }
        let mut text = told(&innermost(cause));
        if !connection.is_encrypted() && is_puzzled(&text) {
            text += "; if this server expects TLS, set TEMPORAL_TLS=true";
        }
        Self::Unreachable { address, text }
    }

    /// Explains a failed handshake for this connection; `None` if it adds nothing to what is already known.
    pub(crate) fn of_handshake(error: &rustls::Error, connection: &ConnectionSettings) -> Option<Self> {
        Self::of_tls(&TlsFailure::of(error)?, connection)
    }

    fn of_tls(failure: &TlsFailure, connection: &ConnectionSettings) -> Option<Self> {
        let address = connection.address.clone();
        let is_certified = matches!(connection.credential, Credential::Certificate { .. });
        match failure {
            TlsFailure::Untrusted(error) => Some(Self::Untrusted {
                address,
                reason: distrust(error, connection),
            }),
            TlsFailure::Alert(alert) if is_certified => {
                is_about_certificates(*alert).then(|| Self::CertificateRefused {
                    address,
                    setting: connection.credential.setting(),
                    reason: format!(
                        "{}; it has expired, or the server does not trust the authority that signed it",
                        alert.as_str().unwrap_or("unknown TLS alert")
                    ),
                })
            }
            TlsFailure::Alert(alert) => {
                // In TLS 1.2, a server that requires a missing client certificate sends the general handshake failure.
                let wants_one = is_about_certificates(*alert) || *alert == AlertDescription::HandshakeFailure;
                wants_one.then_some(Self::CertificateRequired { address })
            }
            TlsFailure::NotTls => {
                let because = match &connection.credential {
                    Credential::None => connection
                        .authority_setting()
                        .unwrap_or_else(|| "TEMPORAL_TLS=true".to_owned()),
                    credential => credential.setting(),
                };
                Some(Self::NotEncrypted { address, because })
            }
        }
    }
}

/// A TLS failure that points to a setting.
#[derive(Debug)]
enum TlsFailure {
    /// The client rejected the server's certificate.
    Untrusted(CertificateError),
    /// The server ended the handshake with this alert.
    Alert(AlertDescription),
    /// The response is not TLS.
    NotTls,
}

impl TlsFailure {
    fn of(error: &rustls::Error) -> Option<Self> {
        match error {
            rustls::Error::InvalidCertificate(error) => Some(Self::Untrusted(error.clone())),
            rustls::Error::AlertReceived(alert) => Some(Self::Alert(*alert)),
            // The first bytes are not a TLS record: a server without TLS has answered in its own protocol.
            rustls::Error::InvalidMessage(_) => Some(Self::NotTls),
            _ => None,
        }
    }
}

fn tls_failure(cause: &(dyn Error + 'static)) -> Option<TlsFailure> {
    let failure = std::iter::successors(Some(cause), |error| (*error).source()).find_map(|error| {
        // `source()` does not return the inner error of an I/O error.
        let inner = error
            .downcast_ref::<std::io::Error>()
            .and_then(|error| error.get_ref())
            .and_then(|inner| inner.downcast_ref::<rustls::Error>());
        TlsFailure::of(inner.or_else(|| error.downcast_ref())?)
    });
    // A server without TLS may also just close the connection. The TLS library has a text for that and no
    // type.
    failure.or_else(|| {
        innermost(cause)
            .contains("tls handshake eof")
            .then_some(TlsFailure::NotTls)
    })
}

fn is_about_certificates(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError
    )
}

/// Explains why a server's certificate is not trusted, and what to set.
fn distrust(error: &CertificateError, connection: &ConnectionSettings) -> String {
    let authority = match connection.authority_setting() {
        Some(setting) => format!("it was not signed by the configured certificate authority ({setting})"),
        None => "it was signed by a certificate authority that this system does not know: set \
                 TEMPORAL_TLS_SERVER_CA_CERT_PATH to that authority's certificate"
            .to_owned(),
    };
    match error {
        // An authority with the same name but another key, as after its renewal, causes a bad signature.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => authority,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            let name = connection.expected_name();
            format!(
                "it is not valid for the name `{name}`: set TEMPORAL_TLS_SERVER_NAME to a name in the certificate"
            )
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "it has expired: renew it on the server, or fix this machine's clock".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet: check this machine's clock".to_owned()
        }
        other => format!("{other}"),
    }
}

/// Returns the innermost cause, which is the most specific one.
fn innermost(cause: &(dyn Error + 'static)) -> String {
    let status = cause.downcast_ref::<temporalio_client::tonic::Status>();
    let last = std::iter::successors(Some(cause), |error| (*error).source()).last();
    match (status, last) {
        (Some(status), Some(last)) if last.is::<temporalio_client::tonic::Status>() => {
            match status.message() {
                "" => status.code().description().to_owned(),
                message => format!("{}: {message}", status.code().description()),
            }
        }
        (_, Some(last)) => last.to_string(),
        (_, None) => cause.to_string(),
    }
}

/// Returns whether the server did not understand an unencrypted connection.
fn is_puzzled(text: &str) -> bool {
    ["frame", "reset", "broken pipe", "closed", "http2", "protocol"]
        .iter()
        .any(|word| text.to_ascii_lowercase().contains(word))
}

/// Returns a server's message in one printable line, truncated.
pub(crate) fn told(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line: String = line.chars().filter(|c| !c.is_control()).take(300).collect();
    if line.is_empty() {
        "(no reason given)".to_owned()
    } else {
        line
    }
}
