//! Connecting to the Temporal service: by API key, by client certificate, or without a credential.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use temporalio_client::{Client, ClientOptions, ClientTlsOptions, ConnectionOptions, TlsOptions, Url};
use temporalio_common::telemetry::metrics::TemporalMeter;

/// How long one attempt to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest pause between two attempts of the first connection.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// Where and how to connect.
#[derive(Debug, Clone)]
pub struct ConnectionSettings {
    /// Host and port.
    pub address: String,
    /// The namespace.
    pub namespace: String,
    /// How the process authenticates.
    pub credential: Credential,
    /// Whether TLS is used even without a credential.
    pub encrypted: bool,
    /// A certificate authority other than the system's.
    pub server_ca: Option<Pem>,
    /// The name that the server's certificate must carry, if it differs from the address.
    pub server_name: Option<String>,
    /// The identity of this process in the service's lists.
    pub identity: String,
    /// How many connections the task queues of this process share.
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

/// PEM text, or the file that holds it.
#[derive(Debug, Clone)]
pub enum Pem {
    /// The text.
    Data(SecretString),
    /// A file, read again when it changes.
    File(PathBuf),
}

impl Pem {
    /// Returns the PEM text itself if `text` is one, else the file of that name.
    pub fn of(text: &str) -> Self {
        if text.contains("-----BEGIN") {
            Self::Data(text.to_owned().into())
        } else {
            Self::File(PathBuf::from(text))
        }
    }

    pub(crate) fn read(&self) -> Result<Vec<u8>, ConnectError> {
        match self {
            Self::Data(data) => Ok(data.expose_secret().as_bytes().to_vec()),
            Self::File(path) => read_file(path),
        }
    }
}

/// How the process authenticates.
#[derive(Debug, Clone, Default)]
pub enum Credential {
    /// No credential: a local server.
    #[default]
    None,
    /// An API key, over TLS.
    ApiKey(SecretString),
    /// An API key in a file that is read again when it changes, over TLS.
    ApiKeyFile(PathBuf),
    /// A client certificate and its key.
    Certificate {
        /// The certificate.
        certificate: Pem,
        /// Its private key.
        key: Pem,
    },
}

impl Credential {
    pub(crate) fn api_key(&self) -> Result<Option<SecretString>, ConnectError> {
        match self {
            Self::ApiKey(key) => Ok(Some(key.clone())),
            Self::ApiKeyFile(path) => {
                let bytes = read_file(path)?;
                let key = String::from_utf8_lossy(&bytes).trim().to_owned();
                Ok(Some(key.into()))
            }
            Self::None | Self::Certificate { .. } => Ok(None),
        }
    }
}

fn read_file(path: &PathBuf) -> Result<Vec<u8>, ConnectError> {
    std::fs::read(path).map_err(|source| ConnectError::File {
        path: path.clone(),
        source,
    })
}

/// A connection that failed. Never shows a key.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Not an address.
    #[error("`{0}` is not a host and port such as localhost:7233")]
    Address(String),
    /// A file that cannot be read.
    #[error("cannot read {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The service cannot be reached, or refuses the connection.
    #[error("cannot connect to Temporal at {address}: {text}")]
    Refused {
        /// The address.
        address: String,
        /// The cause, from the client library.
        text: String,
    },
}

impl ConnectError {
    /// Whether another attempt can succeed without a change to the settings.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Refused { .. } => true,
            Self::Address(_) | Self::File { .. } => false,
        }
    }
}

impl ConnectionSettings {
    /// Connects once, for programs that start or query workflows.
    ///
    /// # Errors
    ///
    /// If the address is invalid, a file cannot be read, or the service refuses the connection.
    pub async fn connect(&self) -> Result<Client, ConnectError> {
        self.connect_with(None).await
    }

    pub(crate) async fn connect_with(&self, meter: Option<TemporalMeter>) -> Result<Client, ConnectError> {
        let encrypted =
            self.encrypted || !matches!(self.credential, Credential::None) || self.server_ca.is_some();
        let scheme = if encrypted { "https" } else { "http" };
        let invalid = || ConnectError::Address(self.address.clone());
        let target = Url::parse(&format!("{scheme}://{}", self.address)).map_err(|_| invalid())?;
        if target.port_or_known_default().is_none() || target.host_str().is_none() {
            return Err(invalid());
        }
        let mut options = ConnectionOptions::new(target).build();
        options.connect_timeout = Some(CONNECT_TIMEOUT);
        options.identity.clone_from(&self.identity);
        options.metrics_meter = meter;
        if encrypted {
            // An API key alone does not make the client library use TLS.
            options.tls_options = Some(self.tls()?);
        }
        options.api_key = self
            .credential
            .api_key()?
            .map(|key| key.expose_secret().to_owned());
        let client = ClientOptions::new(self.namespace.clone()).build();
        Client::connect(options, client)
            .await
            .map_err(|error| ConnectError::Refused {
                address: self.address.clone(),
                text: chain(&error),
            })
    }

    /// Connects, and retries until the service answers. Each pause is logged.
    pub(crate) async fn connect_patiently(
        &self,
        meter: Option<TemporalMeter>,
    ) -> Result<Client, ConnectError> {
        let mut wait = Duration::from_secs(1);
        loop {
            let error = match self.connect_with(meter.clone()).await {
                Ok(client) => return Ok(client),
                Err(error) if error.is_retryable() => error,
                Err(error) => return Err(error),
            };
            tracing::warn!(
                wait_seconds = wait.as_secs(),
                address = self.address,
                "waiting for Temporal: {error}"
            );
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(MAX_WAIT);
        }
    }

    fn tls(&self) -> Result<TlsOptions, ConnectError> {
        let client = match &self.credential {
            Credential::Certificate { certificate, key } => Some(
                ClientTlsOptions::builder()
                    .client_cert(certificate.read()?)
                    .client_private_key(key.read()?)
                    .build(),
            ),
            Credential::None | Credential::ApiKey(_) | Credential::ApiKeyFile(_) => None,
        };
        Ok(TlsOptions::builder()
            .maybe_server_root_ca_cert(self.server_ca.as_ref().map(Pem::read).transpose()?)
            .maybe_domain(self.server_name.clone())
            .maybe_client_tls_options(client)
            .build())
    }
}

/// Returns an error and its causes in one line, without repeating what the text already contains.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
