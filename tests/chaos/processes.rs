//! The processes that are killed: server, database and workers. All of them end with this process.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStderr, Command};
use tokio::task::JoinHandle;

/// Timeout for a server to start again.
const START_TIMEOUT: Duration = Duration::from_mins(1);

/// Returns a command whose process is killed when this one ends for any reason, if the system supports that.
fn leashed(program: &Path, run_as: Option<&str>) -> Command {
    let mut command = if Path::new("/usr/bin/setpriv").is_file() {
        let mut command = Command::new("/usr/bin/setpriv");
        if let Some(user) = run_as {
            command.args(["--reuid", user, "--regid", "nogroup", "--clear-groups"]);
        }
        command.args(["--pdeathsig", "KILL"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    command
}

fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    Ok(listener.local_addr()?.port())
}

/// A Temporal development server with a database file.
pub(crate) struct TemporalServer {
    cli: PathBuf,
    database: PathBuf,
    port: u16,
    child: Option<Child>,
}

impl TemporalServer {
    pub(crate) async fn new(folder: &Path) -> anyhow::Result<Self> {
        let (cli, _) = temporal_dev_server::find_or_obtain(&|what| crate::event_log::say(what)).await?;
        Ok(Self {
            cli,
            database: folder.join("temporal.db"),
            port: free_port()?,
            child: None,
        })
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn start(&mut self) -> anyhow::Result<()> {
        let child = leashed(&self.cli, None)
            .args([
                "server",
                "start-dev",
                "--headless",
                "--ip=127.0.0.1",
                "--log-level=error",
            ])
            .arg(format!("--port={}", self.port))
            .arg(format!("--metrics-port={}", free_port()?))
            .arg(format!("--db-filename={}", self.database.display()))
            .spawn()
            .context("the Temporal server cannot be started")?;
        self.child = Some(child);
        Ok(())
    }

    /// Returns whether its process has exited on its own.
    pub(crate) fn has_ended(&mut self) -> bool {
        let child = self.child.as_mut();
        child.is_none_or(|child| child.try_wait().is_ok_and(|status| status.is_some()))
    }

    pub(crate) async fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill().await;
        }
    }
}

/// A PostgreSQL server with its own data folder.
pub(crate) struct Postgres {
    binaries: PathBuf,
    data: PathBuf,
    port: u16,
    run_as: Option<&'static str>,
    child: Option<Child>,
}

impl Postgres {
    /// Creates a database cluster. Every user must be able to access the folder.
    pub(crate) async fn new(folder: &Path) -> anyhow::Result<Self> {
        let binaries = find_postgres()?;
        let uid = Command::new("id").arg("-u").output().await?;
        // PostgreSQL refuses to run as root.
        let run_as = (uid.stdout == b"0\n").then_some("nobody");
        if let Some(user) = run_as {
            let owned = Command::new("chown").arg(user).arg(folder).status().await?;
            anyhow::ensure!(owned.success(), "chown {user} {} failed", folder.display());
        }
        let data = folder.join("data");
        let made = leashed(&binaries.join("initdb"), run_as)
            .args([
                "--auth=trust",
                "--username=ledger",
                "--no-sync",
                "--encoding=UTF8",
            ])
            .args(["--no-locale", "-D"])
            .arg(&data)
            .current_dir(folder)
            .status()
            .await?;
        anyhow::ensure!(made.success(), "initdb failed");
        Ok(Self {
            binaries,
            data,
            port: free_port()?,
            run_as,
            child: None,
        })
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://ledger:unused@127.0.0.1:{}/postgres", self.port)
    }

    /// Starts the server and waits until it accepts requests.
    pub(crate) async fn start(&mut self) -> anyhow::Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < START_TIMEOUT {
            if self.has_ended() {
                // Leftovers of a killed server can briefly prevent the next one from starting.
                let child = leashed(&self.binaries.join("postgres"), self.run_as)
                    .args([
                        "-h",
                        "127.0.0.1",
                        "-p",
                        &self.port.to_string(),
                        "-F",
                        "-k",
                        "",
                        "-D",
                    ])
                    .arg(&self.data)
                    .spawn()
                    .context("PostgreSQL cannot be started")?;
                self.child = Some(child);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
            let ready = Command::new(self.binaries.join("pg_isready"))
                .args(["-h", "127.0.0.1", "-p", &self.port.to_string()])
                .stdout(Stdio::null())
                .status()
                .await;
            if ready.is_ok_and(|status| status.success()) {
                return Ok(());
            }
        }
        anyhow::bail!("PostgreSQL did not come up within {} s", START_TIMEOUT.as_secs())
    }

    fn has_ended(&mut self) -> bool {
        let child = self.child.as_mut();
        child.is_none_or(|child| child.try_wait().is_ok_and(|status| status.is_some()))
    }

    pub(crate) async fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill().await;
        }
    }
}

fn find_postgres() -> anyhow::Result<PathBuf> {
    let is_whole = |folder: &PathBuf| {
        let programs = ["initdb", "postgres", "pg_isready"];
        programs.iter().all(|program| folder.join(program).is_file())
    };
    let versions = |folder: PathBuf| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries
            .map(|version| version.path().join("bin"))
            .collect::<Vec<_>>()
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    // If PostgreSQL is not installed, use the Debian packages that the ledger's tests unpack next to the
    // build.
    let fetched = crate::arguments::programs()?.join("../tmp/postgresql/usr/lib/postgresql");
    std::env::split_paths(&path)
        .chain(versions("/usr/lib/postgresql".into()))
        .chain(versions(fetched))
        .find(is_whole)
        .context("PostgreSQL is missing: install it, or run `cargo test --test suite`, which fetches it")
}

/// What happens to a worker's log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogReader {
    /// They are written to a file.
    Reads,
    /// Nobody reads them, and the pipe fills up.
    Stalls,
    /// They are lost, because the pipe is closed.
    Gone,
}

/// A worker and the reader of its log.
pub(crate) struct Worker {
    pub(crate) name: String,
    program: PathBuf,
    environment: Vec<(String, String)>,
    arguments: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
    reader: Option<JoinHandle<ChildStderr>>,
    /// A pipe that stays open but is not read.
    stalled: Option<ChildStderr>,
    stop_reading: Option<tokio::sync::oneshot::Sender<()>>,
}

impl Worker {
    pub(crate) fn new(
        name: String,
        program: PathBuf,
        folder: &Path,
        environment: Vec<(String, String)>,
        arguments: Vec<String>,
    ) -> Self {
        Self {
            program,
            log: folder.join(format!("{name}.log")),
            name,
            environment,
            arguments,
            child: None,
            reader: None,
            stalled: None,
            stop_reading: None,
        }
    }

    pub(crate) fn start(&mut self) -> anyhow::Result<()> {
        let mut child = leashed(&self.program, None)
            .args(&self.arguments)
            .env_clear()
            .envs(self.environment.iter().cloned())
            .current_dir(self.log.parent().unwrap_or(Path::new(".")))
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} cannot be started", self.program.display()))?;
        let pipe = child.stderr.take().context("its log")?;
        let (stop, stopped) = tokio::sync::oneshot::channel();
        self.reader = Some(tokio::spawn(read(pipe, self.log.clone(), stopped)));
        self.stop_reading = Some(stop);
        self.child = Some(child);
        Ok(())
    }

    pub(crate) fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Returns the exit status if the worker exited on its own.
    pub(crate) fn ended_by_itself(&mut self) -> Option<std::process::ExitStatus> {
        let status = self.child.as_mut()?.try_wait().ok().flatten()?;
        self.child = None;
        Some(status)
    }

    /// Kills the worker and waits until it has ended.
    pub(crate) async fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill().await;
        }
        self.set_reader(LogReader::Gone).await;
    }

    /// Terminates the worker and waits until it has drained.
    pub(crate) async fn stop(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        let id = child.id().unwrap_or_default().to_string();
        let _ = Command::new("kill").args(["-TERM", &id]).status().await;
        let _ = tokio::time::timeout(START_TIMEOUT, child.wait()).await;
        self.set_reader(LogReader::Gone).await;
    }

    /// Replaces the log reader. Only a restart brings a removed reader back.
    pub(crate) async fn set_reader(&mut self, how: LogReader) {
        if how == LogReader::Reads {
            return;
        }
        if let Some(stop) = self.stop_reading.take() {
            let _ = stop.send(());
        }
        if let Some(reader) = self.reader.take() {
            self.stalled = reader.await.ok();
        }
        if how == LogReader::Gone {
            self.stalled = None;
        }
    }
}

/// Appends a worker's log to a file until it is stopped. Returns the pipe, which is still open.
async fn read(
    mut pipe: ChildStderr,
    log: PathBuf,
    mut stop: tokio::sync::oneshot::Receiver<()>,
) -> ChildStderr {
    use tokio::io::AsyncReadExt;
    let file = tokio::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .await;
    let Ok(mut file) = file else { return pipe };
    let mut buffer = vec![0; 1 << 14];
    loop {
        let read = tokio::select! {
            biased;
            _ = &mut stop => return pipe,
            read = pipe.read(&mut buffer) => read,
        };
        match read {
            Ok(0) | Err(_) => return pipe,
            Ok(length) => {
                let _ = file.write_all(&buffer[..length]).await;
                let _ = file.flush().await;
            }
        }
    }
}
