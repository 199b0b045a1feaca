//! Tests of the worker as a process: checked, drained, killed in the middle of a change, and restarted.

#![expect(
    clippy::print_stdout,
    reason = "what the server is doing shows in the output of the tests"
)]

#[path = "process/killed.rs"]
mod killed;
#[path = "process/rolling.rs"]
mod rolling;

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use capacity_workflows::controller::{Controller, Trigger};
use capacity_workflows::{ConnectionSettings, Installation};
use cloud_simulator::{Account, Faults, Load, NamespaceSetup, RunningSimulator, SimulatorOptions};
use jiff::SignedDuration;
use rstest::rstest;
use temporal_dev_server::{DevServer, Options};
use temporalio_client::Client;

/// If set to 1, all tests here are skipped.
const SKIP: &str = "TEMPORAL_CAPACITY_SKIP_SERVER_TESTS";

struct World {
    server: DevServer,
    cloud: RunningSimulator,
    client: Client,
}

impl World {
    async fn new(operation_lag: i64, capacity_lag: i64) -> Option<Self> {
        let account = Account::new(
            "a1b2c",
            vec![NamespaceSetup::new("checkout", Load::Steady(560.0))],
        );
        Self::of(SimulatorOptions {
            speed: 20.0,
            operation_lag: SignedDuration::from_secs(operation_lag),
            capacity_lag: SignedDuration::from_secs(capacity_lag),
            check_duration: SignedDuration::from_secs(10),
            ..SimulatorOptions::new(account)
        })
        .await
    }

    async fn of(options: SimulatorOptions) -> Option<Self> {
        if std::env::var(SKIP).as_deref() == Ok("1") {
            println!("{SKIP}=1: the tests on a Temporal server are skipped");
            return None;
        }
        let server = temporal_dev_server::start(&Options::default(), &|what| println!("{what}"))
            .await
            .unwrap_or_else(|problem| panic!("{problem} (or set {SKIP}=1)"));
        let cloud = cloud_simulator::start(options).await.expect("started");
        let connection = ConnectionSettings {
            address: server.address().to_string(),
            namespace: "default".to_owned(),
            ..ConnectionSettings::default()
        };
        let begun = Instant::now();
        let client = loop {
            match connection.connect().await {
                Ok(client) => break client,
                Err(error) => assert!(begun.elapsed() < Duration::from_mins(1), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        Some(Self {
            server,
            cloud,
            client,
        })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_capacity-worker"));
        command
            .args(arguments)
            .args(["--listen", "127.0.0.1:0"])
            .args(
                ["--grace", "5"]
                    .iter()
                    .filter(|_| !arguments.contains(&"--grace")),
            )
            .env_clear()
            .current_dir(std::env::temp_dir())
            .env("TEMPORAL_ADDRESS", self.server.address().to_string())
            .env("TEMPORAL_NAMESPACE", "default")
            .env("CLOUD_OPS_API_BASE_URL", self.cloud.ops_url())
            .env("CLOUD_METRICS_API_BASE_URL", self.cloud.metrics_url())
            .env("SLACK_WEBHOOK_URL", self.cloud.slack_url())
            .env("TEMPORAL_CLOUD_OPS_API_KEY", self.cloud.ops_key())
            .env("TEMPORAL_CLOUD_METRICS_API_KEY", self.cloud.metrics_key())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    fn worker(&self) -> Child {
        self.command(&[]).spawn().expect("started")
    }

    async fn until(&self, what: &str, bound: Duration, is_so: impl Fn(&RunningSimulator) -> bool) {
        let begun = Instant::now();
        while !is_so(&self.cloud) {
            assert!(begun.elapsed() < bound, "not {what} within {bound:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

const POST: &str = "POST /cloud/namespaces/{id}";
const READ: &str = "GET /cloud/namespaces/{id}";

/// The moment at which a worker is killed.
struct Moment {
    what: &'static str,
    /// Duration of an operation in seconds of simulated time, which is twenty times as fast as real time.
    operation_lag: i64,
    capacity_lag: i64,
    faults: Faults,
    has_come: fn(&RunningSimulator) -> bool,
}

fn count(cloud: &RunningSimulator, route: &str) -> u64 {
    cloud.requests().get(route).copied().unwrap_or(0)
}

#[rstest]
#[case::before_the_post(Moment {
    what: "the account was listed",
    operation_lag: 2,
    capacity_lag: 2,
    faults: Faults::default(),
    has_come: |cloud| count(cloud, "GET /cloud/namespaces") > 0,
})]
#[case::accepted_and_the_answer_not_recorded(Moment {
    what: "a post whose response was lost",
    operation_lag: 2,
    capacity_lag: 2,
    faults: Faults { lost_answers_of: Some(POST.to_owned()), ..Faults::default() },
    has_come: |cloud| count(cloud, POST) > 0,
})]
#[case::while_it_waits(Moment {
    what: "a post",
    operation_lag: 100,
    capacity_lag: 2,
    faults: Faults::default(),
    has_come: |cloud| count(cloud, POST) > 0 && count(cloud, "GET /cloud/operations/{id}") > 0,
})]
#[case::after_fulfilled(Moment {
    what: "a read that verifies",
    operation_lag: 1,
    capacity_lag: 100,
    faults: Faults::default(),
    has_come: |cloud| count(cloud, READ) > 1,
})]
#[case::after_verifying(Moment {
    what: "the channel was notified",
    operation_lag: 2,
    capacity_lag: 2,
    faults: Faults::default(),
    has_come: |cloud| !cloud.slack_messages().is_empty(),
})]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_killed_at_any_moment_loses_nothing_and_changes_once(#[case] moment: Moment) {
    let Some(world) = World::new(moment.operation_lag, moment.capacity_lag).await else {
        return;
    };
    world.cloud.set_faults(moment.faults);
    let mut first = world.worker();
    Controller::new(&world.client, &Installation::default())
        .trigger(Trigger::Evaluation)
        .await
        .expect("signaled");
    world
        .until(moment.what, Duration::from_mins(2), moment.has_come)
        .await;
    first.kill().expect("killed");
    first.wait().expect("gone");
    world.cloud.set_faults(Faults::default());
    let mut second = world.worker();
    world
        .until("changed", Duration::from_secs(90), |cloud| {
            !cloud.changes().is_empty()
        })
        .await;
    // The second worker announces the evaluation that the first one started.
    let report = Controller::new(&world.client, &Installation::default())
        .evaluate("after", Duration::from_secs(90))
        .await
        .expect("a report");
    assert_eq!(report.error, None);
    assert_eq!(world.cloud.changes().len(), 1);
    assert_eq!(count(&world.cloud, POST), 1, "posted once");
    assert_eq!(world.cloud.incidents(), []);
    second.kill().expect("killed");
    second.wait().expect("gone");
    world.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_share_the_work_and_change_everything_once() {
    let Some(world) = World::new(2, 2).await else {
        return;
    };
    let mut workers = [world.worker(), world.worker()];
    for number in 0..3 {
        let (installation, id) = (Installation::default(), format!("ask-{number}"));
        let report = Controller::new(&world.client, &installation)
            .evaluate(&id, Duration::from_secs(90))
            .await;
        assert_eq!(report.expect("a report").error, None);
        world.cloud.advance(SignedDuration::from_mins(6));
    }
    assert_eq!((world.cloud.changes().len(), count(&world.cloud, POST)), (1, 1));
    for worker in &mut workers {
        worker.kill().expect("killed");
        worker.wait().expect("gone");
    }
    world.server.shutdown().await;
}

/// Returns a cloud in real time, with one idle namespace with provisioned capacity.
fn unhurried() -> SimulatorOptions {
    let orders = NamespaceSetup::new("orders", Load::Steady(0.0)).with_trus(4);
    SimulatorOptions::new(Account::new("a1b2c", vec![orders]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sampler_whose_worker_is_killed_misses_two_minutes_at_most() {
    let Some(world) = World::of(unhurried()).await else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ledger.db");
    let worker = || {
        let mut command = world.command(&["--grace", "60"]);
        command
            .env("LEDGER_URL", &file)
            .env("METRICS_REQUESTS_PER_HOUR", "180");
        command.spawn().expect("started")
    };
    let scrapes = |cloud: &RunningSimulator| count(cloud, "GET /v1/metrics");
    let mut first = worker();
    world
        .until("sampled", Duration::from_mins(1), |cloud| scrapes(cloud) >= 1)
        .await;
    let sampled = Instant::now();
    let mut second = worker();
    // The first worker runs the activity. It writes its minute at once and reports progress with heartbeats.
    tokio::time::sleep(Duration::from_secs(18)).await;
    first.kill().expect("killed");
    first.wait().expect("gone");
    world
        .until("sampled again", Duration::from_secs(170), |cloud| {
            scrapes(cloud) >= 2
        })
        .await;
    let apart = sampled.elapsed();
    assert!(
        apart < Duration::from_mins(2),
        "two minutes missing at most, not {apart:?}"
    );
    tokio::time::sleep(Duration::from_secs(1)).await;
    // The sampler does not delay the shutdown of a worker.
    let terminated = Command::new("kill")
        .args(["-TERM", &second.id().to_string()])
        .status();
    assert!(terminated.expect("sent").success());
    let begun = Instant::now();
    assert_eq!(second.wait().expect("ended").code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    let ledger = capacity_ledger::Ledger::open(&capacity_ledger::Location::Sqlite(file))
        .await
        .expect("opened");
    assert_eq!(ledger.info().await.expect("read").rows["minutes"], 2);
    assert_eq!(ledger.verify().await.expect("read"), Vec::<String>::new());
    world.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_on_different_ledgers_release_nothing_and_report_it() {
    let Some(world) = World::of(unhurried()).await else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let mut codes = Vec::new();
    for (number, file) in ["one.db", "two.db"].into_iter().enumerate() {
        let mut command = world.command(&[]);
        command
            .env("LEDGER_URL", folder.path().join(file))
            .env("DISABLE_ON_ESTIMATE", if number == 0 { "false" } else { "true" });
        let mut worker = command.spawn().expect("started");
        let id = format!("ask-{number}");
        let report = Controller::new(&world.client, &Installation::default())
            .evaluate(&id, Duration::from_secs(90))
            .await;
        let orders = report.expect("a report").decisions.remove(0);
        codes.push((
            orders.reason_code,
            orders.reason.contains("set the same LEDGER_URL"),
        ));
        worker.kill().expect("killed");
        worker.wait().expect("gone");
    }
    assert_eq!(
        codes,
        [
            ("estimate_only".to_owned(), false),
            ("ledgers_differ".to_owned(), true)
        ]
    );
    assert_eq!(world.cloud.changes().len(), 0);
    world.server.shutdown().await;
}

/// Returns a standard error that cannot be written to or is not read.
#[cfg(unix)]
fn broken_log(how: &str) -> Stdio {
    if how == "full" {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
        return full.expect("this runs on Linux").into();
    }
    let (reader, writer) = std::io::pipe().expect("a pipe");
    if how == "unread" {
        // Keep the pipe open until the tests end.
        std::mem::forget(reader);
    }
    writer.into()
}

#[cfg(unix)]
#[rstest]
#[case::reader_gone("closed")]
#[case::disk_full("full")]
#[case::reader_stopped("unread")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_log_loses_lines_and_nothing_else(#[case] how: &str) {
    let Some(world) = World::new(2, 2).await else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ledger.db");
    // Write more lines than fit into a pipe.
    let mut worker = world
        .command(&["--log-level", "debug"])
        .env("LEDGER_URL", &file)
        .stderr(broken_log(how))
        .spawn()
        .expect("started");
    let report = Controller::new(&world.client, &Installation::default())
        .evaluate("first", Duration::from_secs(90))
        .await
        .expect("a report");
    assert_eq!(report.error, None);
    // The sampler may have triggered a scale-up-only evaluation, whose change is still in progress.
    world
        .until("changed", Duration::from_mins(1), |cloud| {
            cloud.changes().len() == 1
        })
        .await;
    world
        .until("announced", Duration::from_mins(1), |cloud| {
            !cloud.slack_messages().is_empty()
        })
        .await;
    send(&worker, "-TERM");
    let begun = Instant::now();
    assert_eq!(worker.wait().expect("ended").code(), Some(0), "it drains");
    assert!(begun.elapsed() < Duration::from_mins(1), "{:?}", begun.elapsed());
    let ledger = capacity_ledger::Ledger::open(&capacity_ledger::Location::Sqlite(file))
        .await
        .expect("opened");
    let filter = capacity_ledger::HistoryFilter {
        changes_only: true,
        ..capacity_ledger::HistoryFilter::default()
    };
    let rows = ledger.history(None, &filter).await.expect("read");
    let outcomes: Vec<&str> = rows.iter().filter_map(|row| row.outcome.as_deref()).collect();
    assert_eq!(outcomes, ["changed"]);
    world.server.shutdown().await;
}

#[cfg(unix)]
fn send(worker: &Child, signal: &str) {
    let sent = Command::new("kill")
        .args([signal, &worker.id().to_string()])
        .status();
    assert!(sent.expect("sent").success());
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sighup_drains_and_a_second_signal_ends_the_worker_at_once() {
    let Some(world) = World::new(2, 2).await else {
        return;
    };
    // This server accepts connections and never responds, so that the announcement takes longer than the
    // test.
    let hanging = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = hanging.local_addr().expect("an address");
    let mut worker = world
        .command(&["--grace", "60"])
        .env("SLACK_WEBHOOK_URL", format!("http://{address}/services/x"))
        .spawn()
        .expect("started");
    Controller::new(&world.client, &Installation::default())
        .trigger(Trigger::Evaluation)
        .await
        .expect("signaled");
    let connected = tokio::task::spawn_blocking(move || hanging.accept().map(|accepted| (hanging, accepted)));
    let _kept = tokio::time::timeout(Duration::from_mins(1), connected)
        .await
        .expect("it announces")
        .expect("joined")
        .expect("accepted");
    send(&worker, "-HUP");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(worker.try_wait().expect("a child").is_none(), "it drains");
    let again = Instant::now();
    send(&worker, "-TERM");
    assert_eq!(worker.wait().expect("ended").code(), Some(143));
    assert!(again.elapsed() < Duration::from_secs(5), "{:?}", again.elapsed());

    let mut idle = world.worker();
    Controller::new(&world.client, &Installation::default())
        .evaluate("second", Duration::from_secs(90))
        .await
        .expect("a report");
    send(&idle, "-HUP");
    assert_eq!(idle.wait().expect("ended").code(), Some(0), "it drained");
    world.server.shutdown().await;
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_checks_itself_and_drains_on_sigterm() {
    let Some(world) = World::new(2, 2).await else {
        return;
    };
    let checked = world.command(&["--check"]).status().expect("ran");
    assert!(checked.success());
    let wrong = world
        .command(&["--check"])
        .env("TEMPORAL_CLOUD_OPS_API_KEY", "wrong")
        .status()
        .expect("ran");
    assert_eq!(wrong.code(), Some(1));
    let mut worker = world.worker();
    Controller::new(&world.client, &Installation::default())
        .evaluate("first", Duration::from_mins(1))
        .await
        .expect("a report");
    let terminated = Command::new("kill")
        .args(["-TERM", &worker.id().to_string()])
        .status()
        .expect("sent");
    assert!(terminated.success());
    let begun = Instant::now();
    assert_eq!(worker.wait().expect("ended").code(), Some(0));
    assert!(begun.elapsed() < Duration::from_mins(1), "{:?}", begun.elapsed());
    world.server.shutdown().await;
}
