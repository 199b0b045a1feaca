//! TLS connections to the roles, and their health.

use std::time::Duration;

use temporal_worker_kit::{ConnectError, ConnectionSettings, Credential, Pem};
use temporalio_client::grpc::HealthService;
use temporalio_client::tonic::{IntoRequest, Status};
use temporalio_client::{Client, ClientTlsOptions, Connection, ConnectionOptions, TlsOptions, Url};
use temporalio_common::protos::grpc::health::v1::HealthCheckRequest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::certificates::FRONTEND_NAME;
use crate::handshake::{FileError, HandshakeError, Leaf, served};
use crate::place::{Place, Stack};
use crate::query_error::QueryError;
use crate::roles::{Member, Role};

/// Timeout of one request.
const BOUND: Duration = Duration::from_secs(5);

/// Status "serving" of the gRPC health check.
const SERVING: i32 = 1;

/// Returns the settings to connect to the stack.
pub fn connection(place: &Place, stack: &Stack, namespace: &str) -> ConnectionSettings {
    let file = |name: &str| Pem::File(place.tls().join(name));
    ConnectionSettings {
        address: stack.network().frontend(),
        namespace: namespace.to_owned(),
        credential: Credential::Certificate {
            certificate: file("client.pem"),
            key: file("client.key"),
        },
        encrypted: true,
        server_ca: Some(file("client-ca.pem")),
        server_name: Some(FRONTEND_NAME.to_owned()),
        identity: format!("temporal-stack@{}", std::process::id()),
        ..ConnectionSettings::default()
    }
}

/// Returns the environment variables with which SDKs, the Temporal CLI and our programs connect to the stack.
pub fn environment(place: &Place, stack: &Stack, namespace: &str) -> Vec<(&'static str, String)> {
    let file = |name: &str| place.tls().join(name).display().to_string();
    vec![
        ("TEMPORAL_ADDRESS", stack.network().frontend()),
        ("TEMPORAL_NAMESPACE", namespace.to_owned()),
        ("TEMPORAL_TLS", "true".to_owned()),
        ("TEMPORAL_TLS_CLIENT_CERT_PATH", file("client.pem")),
        ("TEMPORAL_TLS_CLIENT_KEY_PATH", file("client.key")),
        ("TEMPORAL_TLS_SERVER_CA_CERT_PATH", file("client-ca.pem")),
        ("TEMPORAL_TLS_SERVER_NAME", FRONTEND_NAME.to_owned()),
    ]
}

/// Why a process is not serving. In the messages, "it" refers to the process.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotServing {
    /// It was not started, or it was stopped.
    #[error("stopped")]
    Stopped,
    /// It exited without being stopped.
    #[error("died")]
    Died,
    /// The connection failed.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// The connection succeeded, but the call failed.
    #[error("the call failed: {0}")]
    Call(String),
    /// It reports that it is not serving.
    #[error("it reports that it is not serving")]
    Unhealthy,
    /// It does not respond over HTTP.
    #[error(transparent)]
    Page(#[from] PageError),
    /// The database does not respond.
    #[error(transparent)]
    Database(#[from] QueryError),
    /// It is serving, but the other processes have not discovered it.
    #[error("it has not joined the cluster yet")]
    Alone,
}

impl NotServing {
    /// Returns the remedy, for a process of this name.
    pub fn remedy(&self, name: &str) -> String {
        match self {
            Self::Stopped | Self::Died => {
                format!("`temporal-stack logs {name}` shows why it exited; `deploy/stack/up` starts it again")
            }
            Self::Handshake(error) => error.remedy(name),
            Self::Database(error) => error.remedy(),
            Self::Call(_) | Self::Unhealthy | Self::Page(_) | Self::Alone => {
                format!("`temporal-stack logs {name}` shows why; `temporal-stack restart {name}` restarts it")
            }
        }
    }
}

/// A failed HTTP request.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PageError {
    /// There was no connection, or it was closed.
    #[error("no response from {address}: {cause}")]
    Unreachable {
        /// Address of the server.
        address: String,
        /// Cause of the failure.
        cause: std::io::Error,
    },
    /// There was no response in time.
    #[error("no response from {address} within {} s", BOUND.as_secs())]
    Late {
        /// Address of the server.
        address: String,
    },
    /// The status is not 200.
    #[error("{url} returned `{status}` {body}")]
    Status {
        /// Address and path.
        url: String,
        /// Status line.
        status: String,
        /// First line of the page.
        body: String,
    },
}

/// Connects to the stack. Errors refer to its run directory instead of to client settings.
///
/// # Errors
///
/// If the connection fails.
pub async fn connect(place: &Place, settings: &ConnectionSettings) -> Result<Client, NotServing> {
    let error = match settings.connect().await {
        Ok(client) => return Ok(client),
        Err(error) => error,
    };
    // A handshake of our own can name the file to repair; the client library's error cannot.
    if let Some(leaf) = Leaf::of(Role::Frontend) {
        served(place, &settings.address, &leaf).await?;
    }
    Err(NotServing::Call(match error {
        ConnectError::Unreachable { text, .. } => text,
        error => error.to_string(),
    }))
}

/// Checks whether a server process is serving. The worker role has no health check, so its metrics page is
/// requested instead.
///
/// # Errors
///
/// If it is not serving, with the reason.
pub async fn serving(place: &Place, stack: &Stack, member: Member) -> Result<(), NotServing> {
    let (Some(service), Some(leaf)) = (member.role.health_service(), Leaf::of(member.role)) else {
        let address = member.metrics(&stack.network().loopback);
        return Ok(http(&address, "/metrics").await.map(drop)?);
    };
    let address = member.grpc(&stack.network().loopback);
    let ask = async {
        let connected = Connection::connect(options(place, &address, &leaf)?).await;
        let mut connection = match connected {
            Ok(connection) => connection,
            Err(error) => {
                // The client library reports the cause only in its Debug text, so determine it separately.
                served(place, &address, &leaf).await?;
                return Err(NotServing::Call(innermost(&error)));
            }
        };
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let answer = connection.check(request.into_request()).await;
        let answer = answer.map_err(|status| NotServing::Call(told(&status)))?;
        if answer.into_inner().status == SERVING {
            Ok(())
        } else {
            Err(NotServing::Unhealthy)
        }
    };
    // One bound for the connection, and one for the handshake that explains its failure.
    tokio::time::timeout(2 * BOUND, ask)
        .await
        .unwrap_or(Err(NotServing::Handshake(HandshakeError::Late)))
}

/// Returns the client library's options for connecting to a role.
fn options(place: &Place, address: &str, leaf: &Leaf) -> Result<ConnectionOptions, NotServing> {
    let read = |file: String| {
        let path = place.tls().join(file);
        std::fs::read(&path)
            .map_err(|cause| NotServing::Handshake(HandshakeError::File(FileError::Read { path, cause })))
    };
    let identity = ClientTlsOptions::builder()
        .client_cert(read(format!("{}.pem", leaf.identity))?)
        .client_private_key(read(format!("{}.key", leaf.identity))?)
        .build();
    let target = Url::parse(&format!("https://{address}"))
        .map_err(|error| NotServing::Call(format!("{address} is not an address: {error}")))?;
    let mut options = ConnectionOptions::new(target).build();
    options.connect_timeout = Some(BOUND);
    options.tls_options = Some(
        TlsOptions::builder()
            .server_root_ca_cert(read(format!("{}.pem", leaf.authority))?)
            .domain(leaf.name.to_owned())
            .client_tls_options(identity)
            .build(),
    );
    // Only the frontend supports this call.
    options.set_skip_get_system_info(true);
    Ok(options)
}

/// Returns the innermost cause, which is the most specific one.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let last = std::iter::successors(Some(error), |error| (*error).source()).last();
    last.map(ToString::to_string).unwrap_or_default()
}

/// Returns the server's message, or the name of the code if there is none.
pub(crate) fn told(status: &Status) -> String {
    match status.message() {
        "" => status.code().description().to_owned(),
        message => message.to_owned(),
    }
}

/// Fetches a page over plain HTTP from a loopback address.
///
/// # Errors
///
/// If there is no response, or if its status is not 200.
pub async fn http(address: &str, path: &str) -> Result<String, PageError> {
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        // With version 1.0, the server closes the connection after the page, so there are no chunks to parse.
        let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = tokio::time::timeout(BOUND, ask)
        .await
        .map_err(|_| PageError::Late {
            address: address.to_owned(),
        })?
        .map_err(|cause| PageError::Unreachable {
            address: address.to_owned(),
            cause,
        })?;
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) == Some("200") {
        return Ok(body.to_owned());
    }
    Err(PageError::Status {
        url: format!("{address}{path}"),
        status: status.to_owned(),
        body: body.lines().next().unwrap_or_default().to_owned(),
    })
}
