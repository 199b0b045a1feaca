//! The worker as a process: checked, drained, killed in the middle of a change and started again.

#![expect(
    clippy::print_stdout,
    reason = "what the server is doing shows in the output of the tests"
)]

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use capacity_workflows::{Connection, Installation, ask, signal};
use cloud_simulator::{Account, Load, NamespaceSetup, RunningSimulator, SimulatorOptions};
use jiff::SignedDuration;
use temporal_dev_server::{DevServer, Options};
use temporalio_client::Client;

/// Set to 1, this skips every test here; nothing else does.
const SKIP: &str = "TEMPORAL_CAPACITY_SKIP_SERVER_TESTS";

struct World {
    server: DevServer,
    cloud: RunningSimulator,
    client: Client,
}

impl World {
    async fn new(operation_lag: SignedDuration) -> Option<Self> {
        if std::env::var(SKIP).as_deref() == Ok("1") {
            println!("{SKIP}=1: the tests on a Temporal server are skipped");
            return None;
        }
        let server = temporal_dev_server::start(&Options::default(), &|what| println!("{what}"))
            .await
            .unwrap_or_else(|problem| panic!("{problem} (or set {SKIP}=1)"));
        let account = Account::new(
            "a1b2c",
            vec![NamespaceSetup::new("checkout", Load::Steady(560.0))],
        );
        let options = SimulatorOptions {
            speed: 20.0,
            operation_lag,
            ..SimulatorOptions::new(account)
        };
        let cloud = cloud_simulator::start(options).await.expect("started");
        let connection = Connection {
            address: server.address().to_string(),
            namespace: "default".to_owned(),
            ..Connection::default()
        };
        let begun = Instant::now();
        let client = loop {
            match connection.connect(None).await {
                Ok(client) => break client,
                Err(error) => assert!(begun.elapsed() < Duration::from_secs(20), "{error}"),
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
            .args(["--listen", "127.0.0.1:0", "--grace", "5"])
            .env_clear()
            .current_dir(std::env::temp_dir())
            .env("TEMPORAL_ADDRESS", self.server.address().to_string())
            .env("TEMPORAL_NAMESPACE", "default")
            .env("CLOUD_OPS_API_BASE_URL", self.cloud.ops_url())
            .env("CLOUD_METRICS_API_BASE_URL", self.cloud.metrics_url())
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_killed_after_the_post_loses_nothing_and_changes_once() {
    // Five seconds of real time.
    let Some(world) = World::new(SignedDuration::from_secs(100)).await else {
        return;
    };
    let mut first = world.worker();
    signal(&world.client, &Installation::default())
        .await
        .expect("signalled");
    world
        .until("posted", Duration::from_secs(30), |cloud| {
            cloud.requests().contains_key(POST)
        })
        .await;
    first.kill().expect("killed");
    first.wait().expect("gone");
    let mut second = world.worker();
    world
        .until("changed", Duration::from_secs(90), |cloud| {
            !cloud.changes().is_empty()
        })
        .await;
    // The evaluation that the first worker began is told to its end by the second.
    let report = ask(
        &world.client,
        &Installation::default(),
        "after",
        Duration::from_secs(90),
    )
    .await
    .expect("a report");
    assert_eq!(report.error, None);
    assert_eq!(world.cloud.changes().len(), 1);
    assert_eq!(world.cloud.requests().get(POST), Some(&1), "posted once");
    assert_eq!(world.cloud.incidents(), []);
    second.kill().expect("killed");
    second.wait().expect("gone");
    world.server.shutdown().await;
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_checks_itself_and_drains_on_sigterm() {
    let Some(world) = World::new(SignedDuration::from_secs(2)).await else {
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
    ask(
        &world.client,
        &Installation::default(),
        "first",
        Duration::from_mins(1),
    )
    .await
    .expect("a report");
    let terminated = Command::new("kill")
        .args(["-TERM", &worker.id().to_string()])
        .status()
        .expect("sent");
    assert!(terminated.success());
    let begun = Instant::now();
    assert_eq!(worker.wait().expect("ended").code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    world.server.shutdown().await;
}
