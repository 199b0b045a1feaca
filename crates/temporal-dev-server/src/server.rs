//! A running development server, which stops with its parent process.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, Command};

use crate::cli::{CliError, find_or_obtain};

/// Maximum time for a server to start. In memory, it takes a fifth of a second.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// The server's guardian process: it stops the server when its own standard input closes, which also happens if the process that
/// holds the other end is killed.
const GUARDIAN: &str = r#""$@" >"$GUARDED_LOG" 2>&1 </dev/null & pid=$!
trap 'kill $pid 2>/dev/null; wait $pid 2>/dev/null; exit 0' TERM INT
( while kill -0 $pid 2>/dev/null; do sleep 1; done; kill $$ 2>/dev/null ) &
cat >/dev/null
kill $pid 2>/dev/null
wait $pid 2>/dev/null"#;

// Exhaustive: callers use struct update syntax (`..`), so a new field gets its default.
/// Options of a server.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Database file for its state; in memory if not set.
    pub database_file: Option<PathBuf>,
    /// Port; a free one if not set.
    pub port: Option<u16>,
    /// Whether to run its web UI.
    pub with_ui: bool,
    /// Dynamic configuration, as `key=value` with a JSON value.
    pub dynamic_config: Vec<String>,
}

/// Why a server could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// There is no command to start.
    #[error(transparent)]
    Cli(#[from] CliError),
    /// The process could not be started.
    #[error("the Temporal development server could not be started")]
    Spawn(#[source] std::io::Error),
    /// The server did not become healthy.
    #[error("the Temporal development server did not respond within {} s; its log: {log}", START_TIMEOUT.as_secs())]
    NotHealthy {
        /// The end of its log.
        log: String,
    },
}

/// A running server. It stops when this is dropped, and when this process ends in any way.
#[derive(Debug)]
pub struct DevServer {
    address: SocketAddr,
    ui: Option<SocketAddr>,
    guardian: Child,
    /// Closing it stops the server.
    leash: Option<ChildStdin>,
    log: PathBuf,
}

/// Starts a server on free loopback ports, and waits until it accepts connections.
///
/// # Errors
///
/// If the command cannot be obtained, or the server does not start.
pub async fn start(options: &Options, progress: &(dyn Fn(&str) + Sync)) -> Result<DevServer, StartError> {
    let (cli, _) = find_or_obtain(progress).await?;
    let (mut address, ui, metrics) = (free_port(), free_port(), free_port());
    if let Some(port) = options.port {
        address.set_port(port);
    }
    let mut arguments: Vec<String> = [
        cli.display().to_string(),
        "server".to_owned(),
        "start-dev".to_owned(),
        format!("--ip={}", Ipv4Addr::LOCALHOST),
        format!("--port={}", address.port()),
        format!("--metrics-port={}", metrics.port()),
        "--log-level=error".to_owned(),
    ]
    .into();
    arguments.push(if options.with_ui {
        format!("--ui-port={}", ui.port())
    } else {
        "--headless".to_owned()
    });
    arguments.extend(
        options
            .database_file
            .as_ref()
            .map(|file| format!("--db-filename={}", file.display())),
    );
    for setting in &options.dynamic_config {
        arguments.extend(["--dynamic-config-value".to_owned(), setting.clone()]);
    }
    let log = std::env::temp_dir().join(format!(
        "temporal-dev-server-{}-{}.log",
        std::process::id(),
        address.port()
    ));
    let mut guardian = Command::new("sh")
        .args(["-c", GUARDIAN, "sh"])
        .args(arguments)
        .env("GUARDED_LOG", &log)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // SIGKILL would end the guardian before it has stopped the server; the closed input ends both.
        .kill_on_drop(false)
        .spawn()
        .map_err(StartError::Spawn)?;
    let leash = guardian.stdin.take();
    let ui = options.with_ui.then_some(ui);
    let mut server = DevServer {
        address,
        ui,
        guardian,
        leash,
        log,
    };
    server.wait_until_healthy().await?;
    Ok(server)
}

impl DevServer {
    /// Returns the address of its frontend, `127.0.0.1:PORT`.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the address of its web UI.
    pub fn ui_address(&self) -> Option<SocketAddr> {
        self.ui
    }

    /// Waits until the server accepts connections. The first request may still have to be retried, as with any server.
    async fn wait_until_healthy(&mut self) -> Result<(), StartError> {
        let begun = Instant::now();
        loop {
            if TcpStream::connect_timeout(&self.address, Duration::from_millis(200)).is_ok() {
                return Ok(());
            }
            let has_ended = self.guardian.try_wait().is_ok_and(|status| status.is_some());
            if has_ended || begun.elapsed() > START_TIMEOUT {
                let log = std::fs::read_to_string(&self.log).unwrap_or_default();
                let last: Vec<&str> = log.lines().rev().take(5).collect();
                return Err(StartError::NotHealthy {
                    log: last.into_iter().rev().collect::<Vec<_>>().join(" | "),
                });
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Stops the server, and waits until it has exited.
    pub async fn shutdown(mut self) {
        if let Some(mut leash) = self.leash.take() {
            let _ = leash.shutdown().await;
        }
        // A server that needs longer still stops, because its guardian waits for it.
        let _ = tokio::time::timeout(Duration::from_secs(10), self.guardian.wait()).await;
        let _ = std::fs::remove_file(&self.log);
    }
}

impl Drop for DevServer {
    fn drop(&mut self) {
        // The guardian process detects that its standard input is closed, and stops the server.
        self.leash = None;
        let _ = std::fs::remove_file(&self.log);
    }
}

/// Returns a port that was free a moment ago.
fn free_port() -> SocketAddr {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    TcpListener::bind(any)
        .and_then(|listener| listener.local_addr())
        .unwrap_or(any)
}
