//! A real Prometheus, found on the system or unpacked, started on loopback with its own folder, and stopped
//! with its test.
//!
//! Other tests can include it with `#[path]`. It needs `tokio`, `reqwest` and `tempfile`, and nothing from
//! this crate.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The variable with the path of the server's program.
const VARIABLE: &str = "TEMPORAL_CAPACITY_PROMETHEUS";
/// The variable that skips tests on real servers.
const SKIP: &str = "TEMPORAL_CAPACITY_SKIP_SERVER_TESTS";
/// How long a server may take to start. Usually it takes less than a second.
const START_TIMEOUT: Duration = Duration::from_mins(1);

/// Stops the server and removes its folder when its own standard input closes, which also happens when the
/// process at the other end is killed.
const GUARDIAN: &str = r#""$@" >"$GUARDED_LOG" 2>&1 </dev/null & pid=$!
cat >/dev/null
kill -9 $pid 2>/dev/null
wait $pid 2>/dev/null
rm -rf "$GUARDED_FOLDER""#;

/// A running server. It stops when this is dropped, and when this process ends in any way.
#[derive(Debug)]
pub(crate) struct Prometheus {
    address: SocketAddr,
    guardian: Child,
    /// Closing it stops the server.
    leash: Option<ChildStdin>,
    folder: PathBuf,
}

impl Prometheus {
    /// Starts a server with a configuration and additional flags; `None` if tests on servers are skipped.
    ///
    /// # Panics
    ///
    /// If no server is available, or it does not start. The message contains the remedy.
    pub(crate) async fn start(config: &str, flags: &[&str]) -> Option<Self> {
        Self::start_filled(config, flags, None).await
    }

    /// Like [`Prometheus::start`], with the samples of a file in the `OpenMetrics` format already stored,
    /// regardless of their age.
    ///
    /// # Panics
    ///
    /// As [`Prometheus::start`], and if the file cannot be stored.
    pub(crate) async fn start_filled(
        config: &str,
        flags: &[&str],
        openmetrics: Option<&Path>,
    ) -> Option<Self> {
        let program = program()?;
        let folder = tempfile::tempdir().expect("a folder").keep();
        std::fs::write(folder.join("prometheus.yml"), config).expect("a file");
        if let Some(openmetrics) = openmetrics {
            let stored = run(Command::new(program.with_file_name("promtool"))
                .args(["tsdb", "create-blocks-from", "openmetrics"])
                .arg(openmetrics)
                .arg(folder.join("data")));
            stored.expect("blocks of what the file holds");
        }
        let address = free_address();
        let mut guardian = Command::new("sh")
            .args(["-c", GUARDIAN, "sh"])
            .arg(program)
            .arg(format!(
                "--config.file={}",
                folder.join("prometheus.yml").display()
            ))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=warn")
            .args(flags)
            .env("GUARDED_LOG", folder.join("log"))
            .env("GUARDED_FOLDER", &folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        let leash = guardian.stdin.take();
        let mut server = Self {
            address,
            guardian,
            leash,
            folder,
        };
        server.wait_until_ready().await;
        Some(server)
    }

    /// Returns its base URL.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns what it has logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    async fn wait_until_ready(&mut self) {
        let begun = Instant::now();
        loop {
            if self.is_ready().await {
                return;
            }
            assert!(
                begun.elapsed() < START_TIMEOUT,
                "Prometheus was not ready within {START_TIMEOUT:?}; it said: {}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn is_ready(&self) -> bool {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let Ok(mut stream) = tokio::net::TcpStream::connect(self.address).await else {
            return false;
        };
        let request = b"GET /-/ready HTTP/1.0\r\n\r\n";
        let mut answer = String::new();
        stream.write_all(request).await.is_ok()
            && stream.read_to_string(&mut answer).await.is_ok()
            && answer.starts_with("HTTP/1.0 200")
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // The guardian process detects that its standard input is closed, and stops the server.
        self.leash = None;
        let _ = self.guardian.wait();
    }
}

/// Returns the server's program; `None` if tests on servers are skipped.
fn program() -> Option<&'static PathBuf> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| {
        if std::env::var_os(SKIP).is_some_and(|value| value == "1") {
            // Not with a macro, because the output of a passing test's macros is hidden.
            let _ = writeln!(
                std::io::stderr(),
                "{SKIP}=1: the tests on a real Prometheus are skipped"
            );
            return None;
        }
        Some(find_or_unpack().unwrap_or_else(|problem| {
            panic!(
                "no Prometheus is available ({problem}): install it, or name its program in {VARIABLE}, \
                 or skip these tests with {SKIP}=1"
            )
        }))
    });
    program.as_ref()
}

/// Returns the tool that comes with the server; `None` if tests on servers are skipped.
#[allow(
    dead_code,
    reason = "only some of the test binaries that include this file have rules"
)]
pub(crate) fn promtool() -> Option<PathBuf> {
    let tool = program()?.with_file_name("promtool");
    assert!(tool.is_file(), "{} is missing beside Prometheus", tool.display());
    Some(tool)
}

fn find_or_unpack() -> Result<PathBuf, String> {
    if let Some(named) = std::env::var_os(VARIABLE).filter(|value| !value.is_empty()) {
        let path = PathBuf::from(named);
        return if path.is_file() {
            Ok(path)
        } else {
            Err(format!("{VARIABLE} names {}, which is no file", path.display()))
        };
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut candidates = std::env::split_paths(&path).map(|folder| folder.join("prometheus"));
    if let Some(found) = candidates.find(|candidate| candidate.is_file()) {
        return Ok(found);
    }
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("prometheus");
    let program = cache.join("usr/bin/prometheus");
    if program.is_file() {
        return Ok(program);
    }
    unpack_debian_package(&cache)?;
    if program.is_file() {
        Ok(program)
    } else {
        Err("Debian's package holds no usr/bin/prometheus".to_owned())
    }
}

/// Downloads and unpacks the package. Installs nothing, and needs no root access. Besides itself, it only
/// needs libc.
fn unpack_debian_package(cache: &Path) -> Result<(), String> {
    let parent = cache.parent().ok_or("no folder to unpack into")?;
    std::fs::create_dir_all(parent).map_err(|error| error.to_string())?;
    let work = tempfile::tempdir_in(parent).map_err(|error| error.to_string())?;
    let apt = |options: &[String], arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        run(command.args(options).args(arguments).current_dir(work.path()))
    };
    if apt(&[], &["download", "prometheus"]).is_err() {
        // The system may have no package lists, as in fresh containers, so use separate ones.
        let own = [
            ("State::Lists", "lists/partial"),
            ("Cache", "cache/archives/partial"),
        ];
        let mut options = Vec::new();
        for (name, folder) in own {
            let folder = work.path().join(folder);
            std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
            let top = folder.ancestors().find(|top| top.parent() == Some(work.path()));
            options.push(format!("-oDir::{name}={}", top.unwrap_or(&folder).display()));
        }
        apt(&options, &["update"])?;
        apt(&options, &["download", "prometheus"])?;
    }
    let entries = std::fs::read_dir(work.path()).map_err(|error| error.to_string())?;
    let package = entries
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .ok_or("apt-get left no package")?;
    let unpacked = work.path().join("unpacked");
    run(Command::new("dpkg").arg("-x").arg(package).arg(&unpacked))?;
    // Another test binary may have been faster, which is fine.
    let _ = std::fs::rename(&unpacked, cache);
    Ok(())
}

fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().last().unwrap_or("it failed without output");
    Err(format!("{name}: {last}"))
}

/// An address that was free a moment ago.
fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .expect("a free port of loopback")
}
