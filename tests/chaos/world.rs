//! The simulated cloud, the processes around it, and the harness's knowledge of their state.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use capacity_workflows::ConnectionSettings;
use cloud_simulator::{Account, Faults, Load, NamespaceSetup, RunningSimulator, SimulatorOptions, Trace};
use jiff::SignedDuration;
use tokio::process::Command;

use crate::arguments::{Arguments, programs};
use crate::event_log::say;
use crate::processes::{Postgres, TemporalServer, Worker};

/// Minutes of simulated load: a busy period, and an idle one longer than the hour that releases are based on.
const BUSY: usize = 35;
const IDLE: usize = 95;
/// Number of namespaces that never need a change.
const QUIET: usize = 5;
/// Minutes of history that the cloud starts with.
const PAST_MINUTES: u16 = 10;

/// The conditions that the harness controls.
#[derive(Debug)]
pub(crate) struct Conditions {
    pub(crate) server: bool,
    pub(crate) workers: usize,
    pub(crate) cloud: bool,
    /// Start of a pause that is known to be in effect.
    pub(crate) paused_since: Option<Instant>,
    /// Whether a pause may be in effect.
    pub(crate) pausing: bool,
    /// Time from which throttled namespaces can be scaled up.
    good_since: Option<Instant>,
}

impl Conditions {
    /// Returns the time since which a worker has been running, the server and the Cloud Ops API have responded, and
    /// nothing has been paused. Ledger and log are not included, because scale-ups need neither.
    pub(crate) fn good_since(&self) -> Option<Instant> {
        self.good_since
    }

    fn noticed(&mut self) {
        let is_good = self.server && self.workers > 0 && self.cloud && !self.pausing;
        self.good_since = is_good.then(|| self.good_since.unwrap_or_else(Instant::now));
    }
}

pub(crate) struct World {
    pub(crate) cloud: RunningSimulator,
    pub(crate) server: tokio::sync::Mutex<TemporalServer>,
    pub(crate) database: tokio::sync::Mutex<Postgres>,
    pub(crate) workers: Vec<tokio::sync::Mutex<Worker>>,
    pub(crate) ledger_url: String,
    pub(crate) address: String,
    pub(crate) quiet: Vec<String>,
    conditions: Mutex<Conditions>,
    violations: Mutex<Vec<String>>,
    /// Deleted with this value. The database runs as a user who may not be able to access the other folder.
    _database_folder: tempfile::TempDir,
}

impl World {
    pub(crate) async fn start(arguments: &Arguments, folder: &Path) -> anyhow::Result<Arc<Self>> {
        let (account, quiet) = account(arguments)?;
        let cloud = cloud_simulator::start(SimulatorOptions {
            speed: arguments.speed,
            seed: arguments.seed,
            past_minutes: PAST_MINUTES,
            // 18 s and 6 s of real time at the default speed, so that kills happen while changes are in
            // progress.
            operation_lag: SignedDuration::from_mins(3),
            capacity_lag: SignedDuration::from_mins(1),
            faults: background(),
            ..SimulatorOptions::new(account)
        })
        .await?;
        let mut server = TemporalServer::new(folder).await?;
        let database_folder = tempfile::tempdir()?;
        let mut database = Postgres::new(database_folder.path()).await?;
        database.start().await?;
        server.start()?;
        let address = server.address();
        until_serving(&address, &mut server).await?;
        let environment: Vec<(String, String)> = [
            ("TEMPORAL_ADDRESS", address.clone()),
            ("TEMPORAL_NAMESPACE", "default".to_owned()),
            ("CLOUD_OPS_API_BASE_URL", cloud.ops_url()),
            ("CLOUD_METRICS_API_BASE_URL", cloud.metrics_url()),
            ("SLACK_WEBHOOK_URL", cloud.slack_url()),
            ("TEMPORAL_CLOUD_OPS_API_KEY", cloud.ops_key()),
            ("TEMPORAL_CLOUD_METRICS_API_KEY", cloud.metrics_key()),
            ("LEDGER_URL", database.url()),
            // One hour of real time is ten simulated hours. Each outage leaves a gap in them, so that
            // releases would be rare.
            ("DISABLE_ON_ESTIMATE", "true".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        let worker_arguments: Vec<String> = [
            "--listen",
            "127.0.0.1:0",
            "--cloud-speed",
            &arguments.speed.to_string(),
        ]
        .map(str::to_owned)
        .into();
        let program = programs()?.join("capacity-worker");
        let workers = (1..=arguments.workers).map(|number| {
            let name = format!("worker-{number}");
            // An older release reads the simulated time only from the cloud's responses.
            let older = arguments.older_worker.clone().filter(|_| number == 1);
            let own = if older.is_some() {
                &worker_arguments[..2]
            } else {
                &worker_arguments[..]
            };
            let program = older.unwrap_or_else(|| program.clone());
            let worker = Worker::new(name, program, folder, environment.clone(), own.to_vec());
            tokio::sync::Mutex::new(worker)
        });
        let workers = workers.collect();
        Ok(Arc::new(Self {
            ledger_url: database.url(),
            address,
            cloud,
            server: tokio::sync::Mutex::new(server),
            database: tokio::sync::Mutex::new(database),
            workers,
            quiet,
            conditions: Mutex::new(Conditions {
                server: true,
                workers: 0,
                cloud: true,
                paused_since: None,
                pausing: false,
                good_since: None,
            }),
            violations: Mutex::default(),
            _database_folder: database_folder,
        }))
    }

    pub(crate) fn conditions(&self) -> MutexGuard<'_, Conditions> {
        self.conditions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn change(&self, how: impl FnOnce(&mut Conditions)) {
        let mut conditions = self.conditions();
        how(&mut conditions);
        conditions.noticed();
    }

    pub(crate) fn violated(&self, what: String) {
        say(&format!("VIOLATION: {what}"));
        let mut violations = self.violations.lock().unwrap_or_else(PoisonError::into_inner);
        violations.push(what);
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        self.violations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn connection(&self) -> ConnectionSettings {
        connection(&self.address)
    }

    /// Runs `capacity-schedule`. Returns whether it succeeded, and its output.
    pub(crate) async fn schedule(&self, arguments: &[&str]) -> (bool, String) {
        let Ok(programs) = programs() else {
            return (false, "no program".to_owned());
        };
        let run = Command::new(programs.join("capacity-schedule"))
            .args(arguments)
            .env_clear()
            .env("TEMPORAL_ADDRESS", &self.address)
            .env("TEMPORAL_NAMESPACE", "default")
            .current_dir(std::env::temp_dir())
            .kill_on_drop(true)
            .output();
        match tokio::time::timeout(Duration::from_mins(1), run).await {
            Ok(Ok(output)) => {
                let said = [output.stdout, output.stderr].concat();
                (
                    output.status.success(),
                    String::from_utf8_lossy(&said).trim().to_owned(),
                )
            }
            Ok(Err(error)) => (false, error.to_string()),
            Err(_) => (false, "no response within a minute".to_owned()),
        }
    }
}

fn connection(address: &str) -> ConnectionSettings {
    ConnectionSettings {
        address: address.to_owned(),
        namespace: "default".to_owned(),
        identity: "chaos".to_owned(),
        ..ConnectionSettings::default()
    }
}

/// Waits until the server accepts requests. Starts it again if its process has ended.
pub(crate) async fn until_serving(address: &str, server: &mut TemporalServer) -> anyhow::Result<()> {
    let connection = connection(address);
    let begun = Instant::now();
    loop {
        if let Ok(client) = connection.connect().await
            && connection.check_namespace(&client).await.is_ok()
        {
            return Ok(());
        }
        if server.has_ended() {
            server.start()?;
        }
        anyhow::ensure!(
            begun.elapsed() < Duration::from_mins(1),
            "the Temporal server does not come up"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Returns faults that are present throughout the run.
pub(crate) fn background() -> Faults {
    Faults {
        unavailable: 0.01,
        too_many_requests: 0.005,
        dropped_before: 0.005,
        dropped_after: 0.02,
        ..Faults::default()
    }
}

/// Returns namespaces that alternate between throttled and idle, each at a different time, and some that are
/// always quiet.
fn account(arguments: &Arguments) -> anyhow::Result<(Account, Vec<String>)> {
    let mut random = fastrand::Rng::with_seed(arguments.seed);
    let period = BUSY + IDLE;
    let mut namespaces = Vec::new();
    for number in 0..arguments.namespaces {
        let at = number * period / arguments.namespaces;
        let rate = 700 + random.u32(0..500);
        let rows = (0..period).map(|minute| {
            let is_busy = (minute + at) % period < BUSY;
            if is_busy {
                format!("{rate},{}", rate + 50)
            } else {
                "0,0".to_owned()
            }
        });
        let rows: Vec<String> = std::iter::once("aps,peak10s".to_owned()).chain(rows).collect();
        let trace = Trace::read(rows.join("\n").as_bytes()).context("the load")?;
        let mut setup = NamespaceSetup::new(format!("shift-{number:03}"), Load::Replay(trace.into()));
        // On-demand provides the published limit, regardless of the load in the past week.
        setup.usual = Some(20.0);
        let begins_busy = at < BUSY;
        namespaces.push(if !begins_busy && random.bool() {
            setup.with_trus(6)
        } else {
            setup
        });
    }
    let quiet: Vec<String> = (0..QUIET).map(|number| format!("quiet-{number}")).collect();
    for name in &quiet {
        namespaces.push(NamespaceSetup::new(name, Load::Steady(60.0)));
    }
    let quiet = quiet.iter().map(|name| format!("{name}.a1b2c")).collect();
    Ok((Account::new("a1b2c", namespaces), quiet))
}

/// Creates an empty folder for logs and the server's database.
pub(crate) fn folder(arguments: &Arguments) -> anyhow::Result<PathBuf> {
    let folder = match &arguments.folder {
        Some(folder) => folder.clone(),
        None => programs()?.join("../chaos"),
    };
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    Ok(folder.canonicalize()?)
}
