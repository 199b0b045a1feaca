//! Connecting to the Temporal service: by API key, by client certificate, or plain.

use std::path::PathBuf;
use std::time::Duration;

use capacity_settings::{Home, Pem};
use http_edge::Secret;
use secrecy::ExposeSecret;
use temporalio_client::{Client, ClientOptions, ClientTlsOptions, ConnectionOptions, TlsOptions, Url};
use temporalio_common::telemetry::metrics::TemporalMeter;

/// Where and how to connect.
#[derive(Debug, Clone, Default)]
pub struct Connection {
    /// Host and port.
    pub address: String,
    /// The namespace, as the service knows it.
    pub namespace: String,
    /// How to identify ourselves.
    pub credential: Credential,
    /// Whether the connection is encrypted without a credential as well.
    pub encrypted: bool,
    /// A certificate authority other than the system's.
    pub server_ca: Option<Pem>,
    /// The name that the server's certificate must carry, if it is another than the address's.
    pub server_name: Option<String>,
    /// What this process is called in the service's lists.
    pub identity: String,
}

/// How to identify ourselves.
#[derive(Debug, Clone, Default)]
pub enum Credential {
    /// Not at all: a local server.
    #[default]
    None,
    /// By an API key, encrypted.
    ApiKey(Secret),
    /// By a client certificate and its key, encrypted.
    Certificate {
        /// The certificate.
        certificate: Pem,
        /// Its key.
        key: Pem,
    },
}

/// A connection that was not made. Never shows a key.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A setting that is needed.
    #[error("{0} is not set")]
    NotSet(&'static str),
    /// No address.
    #[error("`{0}` is no host and port, such as localhost:7233")]
    Address(String),
    /// A file that cannot be read.
    #[error("{path} cannot be read")]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The service did not accept the connection.
    #[error("{address} did not accept the connection: {text}")]
    Refused {
        /// The address.
        address: String,
        /// What the client library says.
        text: String,
    },
}

impl Connection {
    /// Returns the connection that settings describe, under a name for the service's lists.
    ///
    /// # Errors
    ///
    /// If address or namespace is not set.
    pub fn of(home: &Home, identity: String) -> Result<Self, ConnectError> {
        let credential = match (&home.api_key, &home.certificate) {
            (Some(key), _) => Credential::ApiKey(key.clone()),
            (None, Some((certificate, key))) => Credential::Certificate {
                certificate: certificate.clone(),
                key: key.clone(),
            },
            (None, None) => Credential::None,
        };
        Ok(Self {
            address: home
                .address
                .clone()
                .ok_or(ConnectError::NotSet("TEMPORAL_ADDRESS"))?,
            namespace: home
                .namespace
                .clone()
                .ok_or(ConnectError::NotSet("TEMPORAL_NAMESPACE"))?,
            credential,
            encrypted: home.encrypted == Some(true),
            server_ca: home.server_ca.clone(),
            server_name: home.server_name.clone(),
            identity,
        })
    }

    /// Connects once.
    ///
    /// # Errors
    ///
    /// If the address is none, a file cannot be read, or the service does not accept the connection.
    pub async fn connect(&self, meter: Option<TemporalMeter>) -> Result<Client, ConnectError> {
        let encrypted =
            self.encrypted || !matches!(self.credential, Credential::None) || self.server_ca.is_some();
        let scheme = if encrypted { "https" } else { "http" };
        let invalid = || ConnectError::Address(self.address.clone());
        let target = Url::parse(&format!("{scheme}://{}", self.address)).map_err(|_| invalid())?;
        if target.port_or_known_default().is_none() || target.host_str().is_none() {
            return Err(invalid());
        }
        let mut options = ConnectionOptions::new(target).build();
        options.connect_timeout = Some(Duration::from_secs(10));
        options.identity.clone_from(&self.identity);
        options.metrics_meter = meter;
        if encrypted {
            // An API key alone does not make the client library encrypt.
            options.tls_options = Some(self.tls()?);
        }
        if let Credential::ApiKey(key) = &self.credential {
            options.api_key = Some(key.current().expose_secret().to_owned());
        }
        let client = ClientOptions::new(self.namespace.clone()).build();
        Client::connect(options, client)
            .await
            .map_err(|error| ConnectError::Refused {
                address: self.address.clone(),
                text: capacity_autopilot::chain(&error),
            })
    }

    fn tls(&self) -> Result<TlsOptions, ConnectError> {
        let read = |pem: &Pem| match pem {
            Pem::Data(data) => Ok(data.expose_secret().as_bytes().to_vec()),
            Pem::File(path) => std::fs::read(path).map_err(|source| ConnectError::File {
                path: path.clone(),
                source,
            }),
        };
        let client = match &self.credential {
            Credential::Certificate { certificate, key } => Some(
                ClientTlsOptions::builder()
                    .client_cert(read(certificate)?)
                    .client_private_key(read(key)?)
                    .build(),
            ),
            Credential::None | Credential::ApiKey(_) => None,
        };
        Ok(TlsOptions::builder()
            .maybe_server_root_ca_cert(self.server_ca.as_ref().map(read).transpose()?)
            .maybe_domain(self.server_name.clone())
            .maybe_client_tls_options(client)
            .build())
    }
}
