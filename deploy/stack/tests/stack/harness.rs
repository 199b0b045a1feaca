//! A stack for one test, with its doctor and a load that must not lose anything.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use temporal_stack::client::connection;
use temporal_stack::database::direct;
use temporal_stack::doctor::probe::{complete, is_completed, start};
use temporal_stack::place::{Place, Stack};
use temporal_stack::process::{self, Signal, State};
use temporal_stack::settings::DEFAULT;
use temporalio_client::Client;

pub(crate) const NAMESPACE: &str = "capacity";

/// A stack in its own folder, which ends with the test.
pub(crate) struct Running {
    pub(crate) folder: PathBuf,
    pub(crate) settings: PathBuf,
    pub(crate) place: Place,
    /// A separate file system for the databases.
    disk: Option<PathBuf>,
    /// Environment variables of the programs and of the server.
    variables: Vec<(&'static str, &'static str)>,
}

impl Drop for Running {
    fn drop(&mut self) {
        for name in process::names(&self.place) {
            let signal = if name == "postgres" {
                Signal::Interrupt
            } else {
                Signal::Kill
            };
            let _ = process::signal(&self.place, &name, signal);
        }
        if let Some(disk) = &self.disk {
            let _ = Command::new("umount").args(["--lazy"]).arg(disk).status();
        }
        if std::env::var_os("TEMPORAL_STACK_KEEP").is_none() {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

impl Running {
    /// Prepares a folder. Each test has its own addresses.
    pub(crate) fn new(loopback: &str, change: impl FnOnce(String) -> String) -> Self {
        // PostgreSQL's user must be able to access it.
        let folder = std::env::temp_dir().join(format!("temporal-stack-{loopback}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let settings = folder.join("stack.toml");
        std::fs::write(&settings, change(DEFAULT.replace("127.77", loopback))).expect("written");
        let place = Place::find(Some(&folder.join("run"))).expect("a place");
        Self {
            folder,
            settings,
            place,
            disk: None,
            variables: Vec::new(),
        }
    }

    pub(crate) fn with_variables(mut self, variables: &[(&'static str, &'static str)]) -> Self {
        self.variables = variables.to_vec();
        self
    }

    /// Puts the databases on a small separate disk. Call it before the stack starts.
    pub(crate) fn with_small_disk(mut self) -> Self {
        let folder = self.place.database();
        std::fs::create_dir_all(&folder).expect("a folder");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=400m", "tmpfs"])
            .arg(&folder)
            .status();
        assert!(
            mounted.is_ok_and(|status| status.success()),
            "a tmpfs for the databases cannot be mounted: this test needs root"
        );
        self.disk = Some(folder);
        self
    }

    pub(crate) fn program(&self, program: &str, arguments: &[&str]) -> Output {
        // The server is built only once and kept next to the build.
        let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("stack-home");
        let stack = Path::new(env!("CARGO_BIN_EXE_temporal-stack"));
        Command::new(stack.with_file_name(program))
            .args(arguments)
            .arg("--dir")
            .arg(self.place.folder())
            .env("TEMPORAL_STACK_HOME", home)
            .env_remove("TEMPORAL_CLOUD_OPS_API_KEY")
            .envs(self.variables.iter().copied())
            .output()
            .expect("it runs")
    }

    /// Runs a command that must succeed.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let output = self.program("temporal-stack", arguments);
        let said = text(&output);
        assert!(output.status.success(), "{arguments:?}: {said}");
        said
    }

    pub(crate) fn refused(&self, arguments: &[&str]) -> String {
        let output = self.program("temporal-stack", arguments);
        let said = text(&output);
        assert!(!output.status.success(), "{arguments:?} was not refused: {said}");
        said
    }

    pub(crate) fn up(&self, more: &[&str]) -> String {
        self.run(&self.up_arguments(more))
    }

    pub(crate) fn up_refused(&self, more: &[&str]) -> String {
        self.refused(&self.up_arguments(more))
    }

    fn up_arguments<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let settings = self.settings.to_str().expect("text");
        [&["up", "--settings", settings], more].concat()
    }

    /// Runs `doctor stack` and returns its findings.
    pub(crate) fn doctor(&self) -> Diagnosis {
        let output = self.program("temporal-capacity", &["doctor", "stack", "-o", "json"]);
        let checks: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", text(&output)));
        let of = |verdict: &str| {
            let checks = checks.iter().filter(|check| check["verdict"] == verdict);
            let shown = checks.map(|check| {
                let remedy = check["remedy"].as_str().expect("a remedy");
                assert!(
                    remedy.contains("Remedy: "),
                    "why it matters, and what to do: {check}"
                );
                format!(
                    "{}: {}",
                    check["check"].as_str().expect("text"),
                    check["finding"].as_str().expect("text")
                )
            });
            shown.collect::<Vec<_>>()
        };
        let diagnosis = Diagnosis {
            failures: of("bad"),
            warnings: of("odd"),
        };
        assert_eq!(
            output.status.code(),
            Some(i32::from(!diagnosis.failures.is_empty())),
            "1 if and only if something does not work: {diagnosis:#?}"
        );
        diagnosis
    }

    /// Stops PostgreSQL immediately. After kill -9, its children keep running for a moment, and a new server refuses
    /// to start next to them.
    pub(crate) async fn quit_postgres(&self) {
        let State::Running(pid) = process::state(&self.place, "postgres") else {
            panic!("it does not run")
        };
        let sent = Command::new("kill").args(["-QUIT", &pid.to_string()]).status();
        assert!(sent.expect("sent").success());
        while matches!(process::state(&self.place, "postgres"), State::Running(_)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) fn stack(&self) -> Stack {
        self.place.stack().expect("on record")
    }

    pub(crate) fn sql(&self, database: &str, sql: &str) {
        direct(&self.place, &self.stack(), database, sql).expect("done");
    }

    pub(crate) async fn client(&self) -> Client {
        let settings = connection(&self.place, &self.stack(), NAMESPACE);
        let begun = Instant::now();
        loop {
            match settings.connect().await {
                Ok(client) => return client,
                Err(error) => assert!(begun.elapsed() < Duration::from_mins(2), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub(crate) fn kill(&self, name: &str) {
        process::signal(&self.place, name, Signal::Kill).expect("sent");
    }
}

pub(crate) fn text(output: &Output) -> String {
    [&output.stdout[..], &output.stderr[..]]
        .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        .concat()
}

/// The doctor's findings, as `check: finding`.
#[derive(Debug)]
pub(crate) struct Diagnosis {
    pub(crate) failures: Vec<String>,
    pub(crate) warnings: Vec<String>,
}

/// Timeout for a fault or its repair to become visible.
const SHOWN: Duration = Duration::from_mins(4);

#[track_caller]
fn until(running: &Running, what: &str, is_so: impl Fn(&Diagnosis) -> bool) {
    let begun = Instant::now();
    loop {
        let diagnosis = running.doctor();
        if is_so(&diagnosis) {
            return;
        }
        assert!(begun.elapsed() < SHOWN, "{what}: {diagnosis:#?}");
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Waits until the doctor fails with this finding.
#[track_caller]
pub(crate) fn found(running: &Running, expected: &str) {
    until(running, expected, |diagnosis| {
        diagnosis
            .failures
            .iter()
            .any(|finding| finding.contains(expected))
    });
}

/// Waits until the doctor shows this finding as a warning and exits with 0.
#[track_caller]
pub(crate) fn noted(running: &Running, expected: &str) {
    until(running, expected, |diagnosis| {
        diagnosis.failures.is_empty()
            && diagnosis
                .warnings
                .iter()
                .any(|finding| finding.contains(expected))
    });
}

/// Asserts that there are no findings, except for having only one process per role, and for this machine's
/// disk.
#[track_caller]
pub(crate) fn healthy(running: &Running) {
    until(running, "healthy", |diagnosis| {
        diagnosis.failures.is_empty()
            && diagnosis.warnings.iter().all(|finding| {
                finding.starts_with("replicas: ") || finding.starts_with("disk of PostgreSQL: ")
            })
    });
}

/// Continuously starts and completes workflows until it is stopped.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    starter: tokio::task::JoinHandle<(Vec<(String, String)>, usize)>,
    pollers: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    pub(crate) fn begin(client: &Client, name: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let pollers = (0..2).map(|_| {
            let (client, stop) = (client.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let polled =
                        tokio::time::timeout(Duration::from_secs(10), complete(&client, NAMESPACE)).await;
                    if !matches!(polled, Ok(Ok(()))) {
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
            })
        });
        let pollers = pollers.collect();
        let (client, stopped, name) = (client.clone(), Arc::clone(&stop), name.to_owned());
        let starter = tokio::spawn(async move {
            let (mut started, mut refused) = (Vec::new(), 0);
            for number in 0.. {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let id = format!("{name}-{number}");
                match tokio::time::timeout(Duration::from_secs(10), start(&client, NAMESPACE, &id)).await {
                    Ok(Ok(run)) => started.push((id, run)),
                    _ => refused += 1,
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            (started, refused)
        });
        Self {
            stop,
            starter,
            pollers,
        }
    }

    /// Stops starting workflows, and follows all of them to their end. Returns the number of started
    /// workflows and of rejected starts.
    pub(crate) async fn end(self, client: &Client) -> (usize, usize) {
        let begun = Instant::now();
        self.stop.store(true, Ordering::Relaxed);
        let (started, refused) = self.starter.await.expect("it ran");
        for poller in self.pollers {
            poller.await.expect("it ran");
        }
        for (id, run) in &started {
            while !matches!(is_completed(client, NAMESPACE, id, run).await, Ok(true)) {
                assert!(
                    begun.elapsed() < Duration::from_mins(3),
                    "the workflow {id} is lost"
                );
                let _ = tokio::time::timeout(Duration::from_secs(2), complete(client, NAMESPACE)).await;
            }
        }
        (started.len(), refused)
    }
}

/// Returns how long it takes until a workflow can be started and completed again.
pub(crate) async fn recovery(client: &Client, name: &str) -> Duration {
    let begun = Instant::now();
    for number in 0.. {
        let id = format!("recovery-{name}-{number}");
        let started = tokio::time::timeout(Duration::from_secs(2), start(client, NAMESPACE, &id)).await;
        if let Ok(Ok(run)) = started {
            let since = Instant::now();
            while since.elapsed() < Duration::from_secs(5) {
                if matches!(is_completed(client, NAMESPACE, &id, &run).await, Ok(true)) {
                    return begun.elapsed();
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        assert!(
            begun.elapsed() < Duration::from_mins(3),
            "no recovery after {name}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    unreachable!("the loop has no end")
}
