//! Connects to the Temporal service with an API key, a client certificate, or without a credential.

use std::time::{Duration, Instant};

use http_edge::pem::{self, CertificateDer, Pem, PemProblem, PrivateKeyDer};
use rustls::ClientConfig;
use secrecy::{ExposeSecret, SecretString};
use temporalio_client::grpc::WorkflowService;
use temporalio_client::tonic::{Code, IntoRequest, Status};
use temporalio_client::{Client, ClientOptions, ClientTlsOptions, ConnectionOptions, TlsOptions, Url};
use temporalio_common::protos::temporal::api::common::v1::WorkflowExecution;
use temporalio_common::protos::temporal::api::workflowservice::v1::{
    DescribeNamespaceRequest, SignalWorkflowExecutionRequest,
};
use temporalio_common::telemetry::metrics::TemporalMeter;

use crate::connect_error::{ConnectError, told};
use crate::connection_settings::{AUTHORITY, CERTIFICATE, ConnectionSettings, Credential, KEY, PemSettings};
use crate::tls_probe::handshake_failure;

/// Maximum time for one connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum pause between two attempts of the first connection.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// Time to wait for the namespace, because a new server accepts connections a moment before it has its namespaces.
const NEW_SERVER: Duration = Duration::from_secs(5);

impl ConnectionSettings {
    /// Connects once, for programs that start or query workflows.
    ///
    /// # Errors
    ///
    /// If the address or a certificate cannot be used, or the service rejects the connection.
    pub async fn connect(&self) -> Result<Client, ConnectError> {
        self.connect_with(None).await
    }

    /// Connects once, and records metrics of the calls on the connection.
    pub(crate) async fn connect_with(&self, meter: Option<TemporalMeter>) -> Result<Client, ConnectError> {
        let scheme = if self.is_encrypted() { "https" } else { "http" };
        let target = target(scheme, &self.address)?;
        let mut options = ConnectionOptions::new(target).build();
        options.connect_timeout = Some(CONNECT_TIMEOUT);
        options.identity.clone_from(&self.identity);
        options.metrics_meter = meter;
        let tls = if self.is_encrypted() {
            Some(self.tls()?)
        } else {
            None
        };
        // With an API key alone, the client library would not use TLS.
        options.tls_options = tls.as_ref().map(|tls| tls.options.clone());
        if let Credential::ApiKey(key) = &self.credential {
            options.api_key = Some(key.current().expose_secret().to_owned());
        }
        let client = ClientOptions::new(self.namespace.clone()).build();
        let error = match Client::connect(options, client).await {
            Ok(client) => return Ok(client),
            Err(error) => ConnectError::of(&error, self),
        };
        match tls {
            // Only if the client library could not say more than that the connection failed.
            Some(tls) if error.is_retryable() => {
                let failure = handshake_failure(&self.address, self.expected_name(), tls.config).await;
                Err(failure
                    .and_then(|failure| ConnectError::of_handshake(&failure, self))
                    .unwrap_or(error))
            }
            _ => Err(error),
        }
    }

    /// Connects and checks the namespace. Retries until the service responds, and logs each pause. A mistake
    /// that a person has to correct is an error.
    pub(crate) async fn connect_patiently(
        &self,
        meter: Option<TemporalMeter>,
    ) -> Result<Client, ConnectError> {
        let mut wait = Duration::from_secs(1);
        let mut answered: Option<Instant> = None;
        loop {
            let attempt = async {
                let client = self.connect_with(meter.clone()).await?;
                self.check_namespace(&client).await?;
                Ok::<_, ConnectError>(client)
            };
            let error = match attempt.await {
                Ok(client) => return Ok(client),
                Err(error) => error,
            };
            let is_new = matches!(error, ConnectError::NamespaceMissing { .. })
                && answered.get_or_insert_with(Instant::now).elapsed() < NEW_SERVER;
            if !error.is_retryable() && !is_new {
                return Err(error);
            }
            tracing::warn!(
                wait_seconds = wait.as_secs(),
                "waiting for the Temporal service: {error}"
            );
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(MAX_WAIT);
        }
    }

    /// Returns the name that the server's certificate must have.
    pub(crate) fn expected_name(&self) -> &str {
        let host = || self.address.rsplit_once(':').map_or("", |(host, _)| host);
        let name = self.server_name.as_deref().unwrap_or_else(host);
        // Addresses write IPv6 in brackets, certificates do not.
        name.trim_matches(['[', ']'])
    }

    /// Checks that the namespace exists, and that the credential can read and write it. Changes nothing: the
    /// write is a signal to a workflow that does not exist.
    ///
    /// # Errors
    ///
    /// If the namespace does not exist, or the credential lacks permission.
    pub async fn check_namespace(&self, client: &Client) -> Result<(), ConnectError> {
        let namespace = self.namespace.clone();
        let describe = DescribeNamespaceRequest {
            namespace: namespace.clone(),
            ..Default::default()
        };
        let described = client.clone().describe_namespace(describe.into_request()).await;
        described.map_err(|status| self.namespace_problem("read", &status))?;
        let signal = SignalWorkflowExecutionRequest {
            namespace,
            workflow_execution: Some(WorkflowExecution {
                workflow_id: "permission-check".to_owned(),
                run_id: String::new(),
            }),
            signal_name: "permission_check".to_owned(),
            identity: self.identity.clone(),
            ..Default::default()
        };
        match client
            .clone()
            .signal_workflow_execution(signal.into_request())
            .await
        {
            Ok(_) => Ok(()),
            // The workflow does not exist, so the signal was allowed.
            Err(status) if status.code() == Code::NotFound => Ok(()),
            Err(status) => Err(self.namespace_problem("use", &status)),
        }
    }

    fn namespace_problem(&self, attempt: &'static str, status: &Status) -> ConnectError {
        let (address, namespace) = (self.address.clone(), self.namespace.clone());
        match status.code() {
            Code::NotFound | Code::InvalidArgument => ConnectError::NamespaceMissing { address, namespace },
            Code::PermissionDenied | Code::Unauthenticated => ConnectError::NamespaceRefused {
                address,
                namespace,
                attempt,
                setting: self.credential.setting(),
                message: told(status.message()),
            },
            _ => ConnectError::Unreachable {
                address,
                text: told(status.message()),
            },
        }
    }

    /// Reads an API key again from its file, and uses a new one on these clients. Returns whether it has
    /// changed.
    pub(crate) fn renew_key(&self, clients: &[Client]) -> bool {
        let Credential::ApiKey(key) = &self.credential else {
            return false;
        };
        let is_usable = |key: &SecretString| http_edge::bearer(key).is_some();
        // The current key is passed as the rejected one, so that the file is read in any case.
        let Some(renewed) = key.renew_if(&key.current(), is_usable) else {
            return false;
        };
        for client in clients {
            let renewed = renewed.expose_secret().to_owned();
            client.connection().set_api_key(Some(renewed));
        }
        true
    }

    /// Reads the files of a connection, except the API key.
    pub(crate) fn pem_files(&self) -> Result<Vec<Vec<u8>>, ConnectError> {
        let identity = match &self.credential {
            Credential::Certificate { certificate, key } => vec![(CERTIFICATE, certificate), (KEY, key)],
            Credential::None | Credential::ApiKey(_) => Vec::new(),
        };
        let authority = self.server_ca.iter().map(|pem| (AUTHORITY, pem));
        identity
            .into_iter()
            .chain(authority)
            .filter(|(_, pem)| matches!(pem, Pem::File(_)))
            .map(|(settings, pem)| bytes_of(settings, pem))
            .collect()
    }

    /// Returns whether the API key is stored in a file.
    pub(crate) fn has_key_file(&self) -> bool {
        matches!(&self.credential, Credential::ApiKey(key) if key.file().is_some())
    }

    fn tls(&self) -> Result<Tls, ConnectError> {
        let authorities = match &self.server_ca {
            Some(authority) => {
                let text = text_of(AUTHORITY, authority)?;
                pem::certificates(text.as_bytes())
                    .map_err(|problem| problem_of(AUTHORITY, authority, problem))?
            }
            None => Vec::new(),
        };
        let verifier = http_edge::tls::verifier(&authorities).map_err(|error| match &self.server_ca {
            Some(authority) => problem_of(AUTHORITY, authority, PemProblem::Damaged),
            None => ConnectError::Authorities(error),
        })?;
        let builder = ClientConfig::builder_with_provider(http_edge::tls::provider())
            .with_safe_default_protocol_versions()
            .expect("the provider has cipher suites, and key exchange for them")
            // The verifier is webpki's and checks everything. It is passed in because both kinds of settings
            // need it.
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone());
        let (mut config, identity) = match &self.credential {
            Credential::Certificate { certificate, key } => {
                let identity = Identity::read(certificate, key)?;
                let config = builder
                    .with_client_auth_cert(identity.certificates, identity.key)
                    .map_err(|_| problem_of(CERTIFICATE, certificate, PemProblem::Damaged))?;
                (config, Some(identity.options))
            }
            Credential::None | Credential::ApiKey(_) => (builder.with_no_client_auth(), None),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        let options = TlsOptions::builder()
            .server_cert_verifier(verifier)
            .maybe_domain(self.server_name.clone())
            .maybe_client_tls_options(identity)
            .build();
        Ok(Tls { options, config })
    }
}

/// Returns the URL for an address, which must be host and port.
fn target(scheme: &str, address: &str) -> Result<Url, ConnectError> {
    if let Some((_, rest)) = address.split_once("://") {
        let host_and_port = rest.split(['/', '?', '#']).next().unwrap_or_default();
        return Err(ConnectError::AddressIsUrl {
            address: address.to_owned(),
            host_and_port: host_and_port.to_owned(),
        });
    }
    let invalid = || ConnectError::Address(address.to_owned());
    let (host, port) = address.rsplit_once(':').ok_or_else(invalid)?;
    if host.is_empty()
        // The URL parser would move these into a path or a user without an error.
        || host.contains(['/', '@', '?', '#', ' '])
        || !port.parse::<u16>().is_ok_and(|port| port > 0)
    {
        return Err(invalid());
    }
    Url::parse(&format!("{scheme}://{address}")).map_err(|_| invalid())
}

/// TLS settings for the client library, and for our own handshake.
struct Tls {
    options: TlsOptions,
    config: ClientConfig,
}

/// A client certificate and its key, verified to belong together.
struct Identity {
    certificates: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    options: ClientTlsOptions,
}

impl Identity {
    fn read(certificate: &Pem, key: &Pem) -> Result<Self, ConnectError> {
        let (certificate_text, key_text) = (text_of(CERTIFICATE, certificate)?, text_of(KEY, key)?);
        let certificates = pem::certificates(certificate_text.as_bytes())
            .map_err(|problem| problem_of(CERTIFICATE, certificate, problem))?;
        let private =
            pem::private_key(key_text.as_bytes()).map_err(|problem| problem_of(KEY, key, problem))?;
        pem::check_pair(&certificates, &private, &http_edge::tls::provider())
            .map_err(|problem| problem_of(KEY, key, problem))?;
        Ok(Self {
            certificates,
            key: private,
            options: ClientTlsOptions::builder()
                .client_cert(certificate_text.into_bytes())
                .client_private_key(key_text.into_bytes())
                .build(),
        })
    }
}

/// Reads PEM text in normalized form.
fn text_of(settings: PemSettings, source: &Pem) -> Result<String, ConnectError> {
    pem::plain(&bytes_of(settings, source)?).map_err(|problem| problem_of(settings, source, problem))
}

fn bytes_of(settings: PemSettings, source: &Pem) -> Result<Vec<u8>, ConnectError> {
    match source {
        Pem::Data(data) => Ok(data.expose_secret().as_bytes().to_vec()),
        Pem::File(path) => std::fs::read(path).map_err(|cause| ConnectError::File {
            setting: settings.0,
            path: path.clone(),
            cause,
        }),
    }
}

fn problem_of((path, data): PemSettings, source: &Pem, problem: PemProblem) -> ConnectError {
    let (setting, what) = match source {
        Pem::File(file) => (path, format!("the file {}", file.display())),
        Pem::Data(_) => (data, "it".to_owned()),
    };
    ConnectError::Pem {
        setting,
        what,
        problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_host_and_port_is_an_address() {
        for address in ["localhost:7233", "orders.a1b2c.tmprl.cloud:7233", "[::1]:7233"] {
            assert!(target("http", address).is_ok(), "{address}");
        }
        for address in [
            "localhost",
            ":7233",
            "localhost:0",
            "localhost:7233/",
            "me@localhost:7233",
            "",
        ] {
            assert!(
                matches!(target("http", address), Err(ConnectError::Address(_))),
                "{address}"
            );
        }
    }

    #[test]
    fn a_url_is_refused_with_what_to_write_instead() {
        let error = target("http", "http://localhost:7233/").expect_err("refused");
        assert_eq!(
            error.to_string(),
            "TEMPORAL_ADDRESS: `http://localhost:7233/` is a URL; use `localhost:7233`, host and port only"
        );
    }
}
