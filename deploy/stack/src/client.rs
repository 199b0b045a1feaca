//! Connections to the roles, over TLS, and their health.

use std::time::Duration;

use temporal_worker_kit::{ConnectionSettings, Credential, Pem, chain};
use temporalio_client::grpc::HealthService;
use temporalio_client::tonic::IntoRequest;
use temporalio_client::{ClientTlsOptions, Connection, ConnectionOptions, TlsOptions, Url};
use temporalio_common::protos::grpc::health::v1::HealthCheckRequest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::certificates::{FRONTEND_NAME, INTERNODE_NAME};
use crate::place::{Place, Stack};
use crate::roles::{Member, Role};

/// How long one question may take.
const BOUND: Duration = Duration::from_secs(5);

/// The health check's word for "serving".
const SERVING: i32 = 1;

/// How a client connects to the stack.
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

/// Variables by which the SDKs, the Temporal CLI and our programs connect to the stack.
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

/// Asks a process of the server whether it serves. The worker role has no health check: its metrics answer.
///
/// # Errors
///
/// Why it does not, in one sentence.
pub async fn serving(place: &Place, stack: &Stack, member: Member) -> Result<(), String> {
    let Some(service) = member.role.health_service() else {
        let address = member.metrics(&stack.network().loopback);
        return http(&address, "/metrics").await.map(drop);
    };
    let (authority, leaf, name) = match member.role {
        Role::Frontend => ("client-ca.pem", "client", FRONTEND_NAME),
        _ => ("internode-ca.pem", "internode", INTERNODE_NAME),
    };
    let read = |file: String| {
        let path = place.tls().join(file);
        std::fs::read(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))
    };
    let identity = ClientTlsOptions::builder()
        .client_cert(read(format!("{leaf}.pem"))?)
        .client_private_key(read(format!("{leaf}.key"))?)
        .build();
    let address = member.grpc(&stack.network().loopback);
    let target = Url::parse(&format!("https://{address}")).map_err(|error| error.to_string())?;
    let mut options = ConnectionOptions::new(target).build();
    options.connect_timeout = Some(BOUND);
    options.tls_options = Some(
        TlsOptions::builder()
            .server_root_ca_cert(read(authority.to_owned())?)
            .domain(name.to_owned())
            .client_tls_options(identity)
            .build(),
    );
    // Only the frontend has that call.
    options.set_skip_get_system_info(true);
    let ask = async {
        let mut connection = Connection::connect(options)
            .await
            .map_err(|error| chain(&error))?;
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let answer = connection.check(request.into_request()).await;
        let answer = answer.map_err(|status| status.message().to_owned())?;
        if answer.into_inner().status == SERVING {
            Ok(())
        } else {
            Err("it reports that it is not serving".to_owned())
        }
    };
    tokio::time::timeout(BOUND, ask)
        .await
        .unwrap_or_else(|_| Err(format!("no response within {} s", BOUND.as_secs())))
}

/// Gets a page over plain HTTP, from loopback.
///
/// # Errors
///
/// If it is not answered with 200.
pub async fn http(address: &str, path: &str) -> Result<String, String> {
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = tokio::time::timeout(BOUND, ask)
        .await
        .map_err(|_| format!("no response from {address} within {} s", BOUND.as_secs()))?
        .map_err(|error| error.to_string())?;
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) == Some("200") {
        Ok(body.to_owned())
    } else {
        let first = body.lines().next().unwrap_or_default();
        Err(format!("{address}{path} answers `{status}` {first}"))
    }
}
