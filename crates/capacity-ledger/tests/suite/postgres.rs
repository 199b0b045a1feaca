//! A PostgreSQL server for the tests, found on the system, or downloaded from Debian's packages and unpacked.
//! It stops with this process.

use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// If this is 1, tests that need a server are skipped. Nothing else skips them.
const SKIP: &str = "TEMPORAL_CAPACITY_SKIP_SERVER_TESTS";

/// Downloads and unpacks the available version. A system without package lists, such as a fresh container,
/// gets separate lists. Nothing is installed.
const FETCH: &str = r#"
fetch() {
  for version in 15 17 16 18 14; do
    apt-get "$@" download "postgresql-$version" "postgresql-client-$version" libpq5 && return
  done
  return 1
}
mkdir -p lists/partial cache/archives/partial
own="-oDir::State::Lists=$PWD/lists -oDir::Cache=$PWD/cache"
fetch || { apt-get $own update && fetch $own; } || exit 1
for package in *.deb; do dpkg -x "$package" .; done"#;

/// Users that must use a password.
const ACCESS: &str = "host all guarded all scram-sha-256\nhost all all all trust\n";

/// Stops the server when its standard input closes, even if this process is killed.
pub(crate) const GUARDIAN: &str = r#""$@" </dev/null >/dev/null 2>&1 & pid=$!
cat >/dev/null
kill -INT $pid 2>/dev/null
wait $pid 2>/dev/null
rm -rf "$GUARDED_FOLDER""#;

static SERVER: OnceLock<Result<(PathBuf, u16, Child), String>> = OnceLock::new();

/// Returns the URL of a new, empty database; `None` if these tests are skipped.
pub(crate) fn new_database(name: &str) -> Option<String> {
    if std::env::var(SKIP).as_deref() == Ok("1") {
        let _ = writeln!(std::io::stderr(), "{SKIP}=1: the tests on PostgreSQL are skipped");
        return None;
    }
    let (binaries, port, _) = match SERVER.get_or_init(start) {
        Ok(server) => server,
        Err(problem) => {
            panic!("{problem}; install postgresql, or set {SKIP}=1 to skip the tests that need it")
        }
    };
    let name = format!("{name}_{}", std::process::id());
    let port = port.to_string();
    let created = tool(binaries, "createdb")
        .args(["-h", "127.0.0.1", "-p", &port, "-U", "ledger", &name])
        .status()
        .expect("createdb runs");
    assert!(created.success(), "a database could not be made");
    Some(format!("postgres://ledger:unused@127.0.0.1:{port}/{name}"))
}

fn start() -> Result<(PathBuf, u16, Child), String> {
    let binaries = find().map_or_else(fetch, Ok)?;
    let folder = std::env::temp_dir().join(format!("capacity-ledger-postgres-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let data = folder.join("data");
    let run_as = unprivileged();
    let as_user = |program: &Path| {
        let mut command = match run_as {
            Some(user) => {
                let mut command = Command::new("setpriv");
                command
                    .args(["--reuid", user, "--regid", "nogroup", "--clear-groups"])
                    .arg(program);
                command
            }
            None => Command::new(program),
        };
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command
    };
    hand_over(&folder)?;
    let made = as_user(&binaries.join("initdb"))
        .args([
            "--auth=trust",
            "--username=ledger",
            "--no-sync",
            "--encoding=UTF8",
            "--no-locale",
            "-D",
        ])
        .arg(&data)
        .current_dir(&folder)
        .output()
        .map_err(|error| error.to_string())?;
    if !made.status.success() {
        return Err(format!("initdb: {}", String::from_utf8_lossy(&made.stderr)));
    }
    std::fs::write(data.join("pg_hba.conf"), ACCESS).map_err(|error| error.to_string())?;
    let port = free_port()?;
    let mut server = Command::new("sh");
    server.args(["-c", GUARDIAN, "sh"]);
    if let Some(user) = run_as {
        server.args(["setpriv", "--reuid", user, "--regid", "nogroup", "--clear-groups"]);
    }
    let child = server
        .arg(binaries.join("postgres"))
        .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-F", "-k", ""])
        .arg("-D")
        .arg(&data)
        .current_dir(&folder)
        .env("GUARDED_FOLDER", &folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| error.to_string())?;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(30) {
        let ready = tool(&binaries, "pg_isready")
            .args(["-h", "127.0.0.1", "-p", &port.to_string()])
            .output();
        if ready.is_ok_and(|ready| ready.status.success()) {
            return Ok((binaries, port, child));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err("PostgreSQL did not come up within 30 s".to_owned())
}

/// Servers refuse to run as root; this is the user to run them as instead.
pub(crate) fn unprivileged() -> Option<&'static str> {
    Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|id| id.stdout == b"0\n")
        .then_some("nobody")
}

/// Makes the user that runs servers the owner of a folder.
pub(crate) fn hand_over(folder: &Path) -> Result<(), String> {
    let Some(user) = unprivileged() else {
        return Ok(());
    };
    let owned = Command::new("chown").arg("-R").arg(user).arg(folder).status();
    match owned {
        Ok(status) if status.success() => Ok(()),
        _ => Err(format!("chown {user} {} failed", folder.display())),
    }
}

pub(crate) fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    listener
        .local_addr()
        .map(|address| address.port())
        .map_err(|error| error.to_string())
}

fn tool(binaries: &Path, name: &str) -> Command {
    let mut command = Command::new(binaries.join(name));
    command.stdout(Stdio::null());
    command
}

fn find() -> Option<PathBuf> {
    let on_path = std::env::var_os("PATH")
        .into_iter()
        .flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    on_path
        .chain(under("/usr/lib/postgresql"))
        .find(|folder| is_whole(folder))
}

/// Some machines have links to only a few of the programs.
fn is_whole(folder: &Path) -> bool {
    ["initdb", "postgres", "createdb", "pg_isready"]
        .iter()
        .all(|program| folder.join(program).is_file())
}

/// The folders of programs in Debian's folder of versions.
fn under(folder: impl AsRef<Path>) -> Vec<PathBuf> {
    let versions = std::fs::read_dir(folder).into_iter().flatten().flatten();
    versions.map(|version| version.path().join("bin")).collect()
}

/// Downloads the packages and unpacks them next to the build. Nothing is installed.
fn fetch() -> Result<PathBuf, String> {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("postgresql");
    let unpacked = || {
        under(cache.join("usr/lib/postgresql"))
            .into_iter()
            .find(|folder| is_whole(folder))
    };
    if let Some(found) = unpacked() {
        return Ok(found);
    }
    std::fs::create_dir_all(&cache).map_err(|error| error.to_string())?;
    let fetched = Command::new("sh")
        .args(["-c", FETCH])
        .current_dir(&cache)
        .output()
        .map_err(|error| error.to_string())?;
    unpacked().ok_or_else(|| {
        format!(
            "PostgreSQL could not be fetched: {}",
            String::from_utf8_lossy(&fetched.stderr)
        )
    })
}
