//! The settings of a connection: address, namespace, credential, certificates.

use http_edge::Secret;
pub use http_edge::pem::Pem;

// Exhaustive: callers use struct update syntax (`..`), so a new field gets its default.
/// The settings of a connection.
#[derive(Debug, Clone)]
pub struct ConnectionSettings {
    /// Host and port of the service.
    pub address: String,
    /// Name of the Temporal namespace.
    pub namespace: String,
    /// How the process authenticates.
    pub credential: Credential,
    /// Whether TLS is used even without a credential.
    pub encrypted: bool,
    /// A certificate authority to use instead of the system's.
    pub server_ca: Option<Pem>,
    /// The name that the server's certificate must have, if it differs from the address.
    pub server_name: Option<String>,
    /// The identity under which the service lists this process.
    pub identity: String,
    /// Number of connections that the task queues of this process share.
    pub connections: usize,
}

impl Default for ConnectionSettings {
    fn default() -> Self {
        let host = gethostname::gethostname();
        Self {
            address: "localhost:7233".to_owned(),
            namespace: "default".to_owned(),
            credential: Credential::None,
            encrypted: false,
            server_ca: None,
            server_name: None,
            identity: format!("{}@{}", std::process::id(), host.to_string_lossy()),
            connections: 1,
        }
    }
}

/// How the process authenticates.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum Credential {
    /// No credential, for a local server.
    #[default]
    None,
    /// An API key, over TLS. A key in a file is read again when the file changes.
    ApiKey(Secret),
    /// A client certificate and its key.
    Certificate {
        /// Client certificate.
        certificate: Pem,
        /// Private key of the certificate.
        key: Pem,
    },
}

/// The settings for one certificate or key: its path, and the text itself.
pub(crate) type PemSettings = (&'static str, &'static str);

pub(crate) const CERTIFICATE: PemSettings = ("TEMPORAL_CERT_PATH", "TEMPORAL_TLS_CLIENT_CERT_DATA");
pub(crate) const KEY: PemSettings = ("TEMPORAL_KEY_PATH", "TEMPORAL_TLS_CLIENT_KEY_DATA");
pub(crate) const AUTHORITY: PemSettings = (
    "TEMPORAL_TLS_SERVER_CA_CERT_PATH",
    "TEMPORAL_TLS_SERVER_CA_CERT_DATA",
);

impl Credential {
    /// Returns the setting of the credential, with its file if there is one.
    pub fn setting(&self) -> String {
        match self {
            Self::None => "TEMPORAL_API_KEY, which is not set".to_owned(),
            Self::ApiKey(key) => match key.file() {
                Some(file) => format!("TEMPORAL_API_KEY_FILE, {}", file.display()),
                None => "TEMPORAL_API_KEY".to_owned(),
            },
            Self::Certificate { certificate, .. } => place(CERTIFICATE, certificate),
        }
    }
}

/// Formats a setting and its file.
fn place((path, data): PemSettings, pem: &Pem) -> String {
    match pem {
        Pem::File(file) => format!("{path}, {}", file.display()),
        Pem::Data(_) => data.to_owned(),
    }
}

impl ConnectionSettings {
    /// Returns whether the connection uses TLS.
    pub fn is_encrypted(&self) -> bool {
        self.encrypted || !matches!(self.credential, Credential::None) || self.server_ca.is_some()
    }

    /// Returns the setting and file of the certificate authority, if one is set.
    pub(crate) fn authority_setting(&self) -> Option<String> {
        self.server_ca.as_ref().map(|pem| place(AUTHORITY, pem))
    }
}
