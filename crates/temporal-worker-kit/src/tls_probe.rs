//! Finds out why a TLS connection was closed.
//!
//! In TLS 1.3, a server rejects a client certificate after the handshake, and the HTTP library then reports
//! only that the connection was closed. Our own handshake receives the reason.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const PATIENCE: Duration = Duration::from_secs(5);

/// Performs a handshake and waits for the first byte. Returns the TLS error, if any.
pub(crate) async fn handshake_failure(
    address: &str,
    server_name: &str,
    config: ClientConfig,
) -> Option<rustls::Error> {
    let attempt = async {
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from(server_name.to_owned()).map_err(io::Error::other)?;
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        // In TLS 1.3, the handshake ends before the server has judged the client's certificate.
        stream.read(&mut [0]).await.map(drop)
    };
    let error = tokio::time::timeout(PATIENCE, attempt).await.ok()?.err()?;
    error.get_ref()?.downcast_ref::<rustls::Error>().cloned()
}
