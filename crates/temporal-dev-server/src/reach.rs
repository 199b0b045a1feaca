//! Connects to a running server, or starts one.

use std::time::Duration;

use tokio::net::TcpStream;

use crate::server::{DevServer, Options, StartError, start};

/// Maximum time for a running server to accept a connection.
const TIMEOUT: Duration = Duration::from_secs(2);

/// A server to connect to.
#[derive(Debug)]
#[non_exhaustive]
pub struct Reached {
    /// Address of the server, `HOST:PORT`.
    pub address: String,
    /// The server, if it was started. It stops when this is dropped.
    pub started: Option<DevServer>,
}

/// Returns the server at an address if anything accepts connections there, or starts one.
///
/// # Errors
///
/// If nothing is running there and no server can be started.
pub async fn reach(
    address: &str,
    options: &Options,
    progress: &(dyn Fn(&str) + Sync),
) -> Result<Reached, StartError> {
    let attempt = tokio::time::timeout(TIMEOUT, TcpStream::connect(address)).await;
    if matches!(attempt, Ok(Ok(_))) {
        return Ok(Reached {
            address: address.to_owned(),
            started: None,
        });
    }
    progress(&format!(
        "nothing is listening on {address}; starting a Temporal development server"
    ));
    let server = start(options, progress).await?;
    Ok(Reached {
        address: server.address().to_string(),
        started: Some(server),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_that_listens_is_used() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let reached = reach(&address, &Options::default(), &|_| {})
            .await
            .expect("reached");
        assert!(reached.address == address && reached.started.is_none());
    }
}
