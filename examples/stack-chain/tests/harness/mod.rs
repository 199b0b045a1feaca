//! One development server for all tests, with a separate namespace, account, receiver and worker for each
//! test.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]
#![allow(
    clippy::print_stdout,
    reason = "what the server does shows in the tests' output"
)]

use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use stack_chain::labels::Dialect;
use stack_chain::metrics::Metrics;
use stack_chain::provider::RunRef;
use stack_chain::report::Reporter;
use stack_chain::server::{Server, count_open_chains, routes};
use stack_chain::simulator::{self, KEY_ID, KEY_SECRET, SimRun, SimStack, Simulator, WEBHOOK_SECRET};
use stack_chain::spacelift::{Config, Spacelift};
use stack_chain::webhook::Receiver;
use stack_chain::workflows::{
    ChainActivities, ChainReport, ChainSettings, StackDependencyChain, chain_id, register,
};
use temporal_dev_server::{DevServer, Options};
use temporal_worker_kit::{ConnectionSettings, Kit, Registry};
use temporalio_client::grpc::WorkflowService;
use temporalio_client::tonic::IntoRequest;
use temporalio_client::{Client, WorkflowFetchHistoryOptions, WorkflowGetResultOptions, WorkflowListOptions};
use temporalio_common::protos::temporal::api::history::v1::History;
use temporalio_common::protos::temporal::api::workflowservice::v1::RegisterNamespaceRequest;
use tokio::process::{Child, Command};

/// If set to 1, all tests here are skipped.
const SKIP: &str = "TEMPORAL_CAPACITY_SKIP_SERVER_TESTS";

/// Starts the server on a thread that keeps it running until the process ends.
fn shared_server() -> Option<SocketAddr> {
    static SERVER: OnceLock<Option<SocketAddr>> = OnceLock::new();
    *SERVER.get_or_init(|| {
        if std::env::var(SKIP).as_deref() == Ok("1") {
            println!("{SKIP}=1: the tests on a Temporal server are skipped");
            return None;
        }
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            runtime.block_on(async {
                let started =
                    temporal_dev_server::start(&Options::default(), &|what| println!("{what}")).await;
                let address = started
                    .as_ref()
                    .map(DevServer::address)
                    .map_err(ToString::to_string);
                sender.send(address).expect("the test waits");
                std::future::pending::<()>().await;
            });
        });
        Some(
            receiver
                .recv()
                .expect("the thread answers")
                .unwrap_or_else(|problem| panic!("{problem} (or set {SKIP}=1)")),
        )
    })
}

/// Returns settings with short intervals.
pub fn settings() -> ChainSettings {
    ChainSettings {
        most_running: 40,
        poll_ms: 300,
        second_look_ms: 1_500,
        ..ChainSettings::default()
    }
}

/// The environment of a test.
pub struct World {
    pub client: Client,
    pub simulator: Simulator,
    pub address: SocketAddr,
    pub namespace: String,
    receiver: SocketAddr,
    is_stopped: AtomicBool,
}

pub fn run_ref(run: &SimRun) -> RunRef {
    RunRef {
        stack: run.stack.clone(),
        run: run.id.clone(),
    }
}

async fn client(connection: &ConnectionSettings) -> Client {
    let client = connection.connect().await.expect("connected");
    let new_namespace = RegisterNamespaceRequest {
        namespace: connection.namespace.clone(),
        workflow_execution_retention_period: Some(Duration::from_hours(24).try_into().expect("in range")),
        ..Default::default()
    };
    let mut attempts = 0;
    while let Err(error) = client
        .clone()
        .register_namespace(new_namespace.clone().into_request())
        .await
    {
        attempts += 1;
        assert!(attempts < 50, "{error}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    client
}

/// Runs a test body with a running worker and a receiver.
pub async fn with_world(
    test: &str,
    stacks: Vec<SimStack>,
    settings: ChainSettings,
    body: impl AsyncFnOnce(&World),
) {
    with_reporter(test, stacks, settings, Reporter::default(), body).await;
}

/// Like [`with_world`], with a reporter.
pub async fn with_reporter(
    test: &str,
    stacks: Vec<SimStack>,
    settings: ChainSettings,
    reporter: Reporter,
    body: impl AsyncFnOnce(&World),
) {
    let Some(address) = shared_server() else { return };
    let namespace = format!("{test}-{}", std::process::id());
    let connection = ConnectionSettings {
        address: address.to_string(),
        namespace: namespace.clone(),
        identity: "stack-chain-tests".to_owned(),
        ..ConnectionSettings::default()
    };
    let client = client(&connection).await;
    let simulator = simulator::start(stacks).await.expect("started");
    let mut config = Config::try_new(&simulator.endpoint(), KEY_ID, KEY_SECRET.into()).expect("valid");
    config.requests_per_second = 500;
    config.first_wait = Duration::from_millis(20);
    let metrics = Arc::new(Metrics::default());
    let receiver = Receiver::try_new(&WEBHOOK_SECRET.into(), Duration::from_mins(15)).expect("a secret");
    let server = Server {
        client: client.clone().into(),
        receiver: Arc::new(receiver),
        settings,
        metrics: Arc::clone(&metrics),
    };
    let activities = ChainActivities {
        provider: Arc::new(Spacelift::new(config)),
        client: client.clone().into(),
        dialect: Dialect::Both,
        reporter,
        metrics: Arc::clone(&metrics),
    };
    let config = temporal_worker_kit::Config {
        connection,
        listen: Some(([127, 0, 0, 1], 0).into()),
        grace: Duration::from_secs(1),
        ..temporal_worker_kit::Config::default()
    };
    let shown = Arc::clone(&metrics);
    let kit = Kit::new(config, register(Registry::new(), activities))
        .routes(routes(server))
        .metrics(move || shown.text());
    let mut running = kit.start().await.expect("a worker");
    let world = World {
        client: client.clone(),
        simulator,
        address,
        namespace,
        receiver: running.listen().expect("listening"),
        is_stopped: AtomicBool::new(false),
    };
    world.simulator.deliver_to(&world.webhooks(), 1);
    let stopper = async {
        while !world.is_stopped.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        running.stop();
        running.wait().await.expect("the worker ended well");
    };
    let work = async {
        body(&world).await;
        world.stop_worker();
    };
    tokio::select! {
        ((), ()) = async { tokio::join!(stopper, work) } => {}
        never = count_open_chains(client.into(), metrics) => match never {},
    }
}

impl World {
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.receiver)
    }

    pub fn webhooks(&self) -> String {
        self.url("/webhooks/spacelift")
    }

    /// Stops the worker inside the test.
    pub fn stop_worker(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }

    /// Runs a stack as a user would, and returns the report of the resulting chain.
    pub async fn chain_after(&self, stack: &str) -> ChainReport {
        let origin = self.simulator.trigger_by(stack, Some("ann")).expect("known");
        self.report_of(&origin).await
    }

    pub async fn report_of(&self, origin: &SimRun) -> ChainReport {
        self.result_of(&chain_id(&run_ref(origin))).await
    }

    pub async fn result_of(&self, id: &str) -> ChainReport {
        let started = Instant::now();
        loop {
            let handle = self.client.get_workflow_handle::<StackDependencyChain>(id);
            let left = Duration::from_secs(150).saturating_sub(started.elapsed());
            match tokio::time::timeout(left, handle.get_result(WorkflowGetResultOptions::default())).await {
                Ok(Ok(report)) => return report,
                // The chain does not exist yet.
                Ok(Err(_)) if !left.is_zero() => tokio::time::sleep(Duration::from_millis(100)).await,
                Ok(Err(error)) => panic!("chain {id}: {error:?}"),
                Err(late) => panic!(
                    "chain {id} did not end ({late}); runs: {:?}",
                    self.simulator.runs()
                ),
            }
        }
    }

    pub async fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let started = Instant::now();
        while !is_so() {
            assert!(
                started.elapsed() < Duration::from_mins(1),
                "timed out waiting for {what}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn history(&self, id: &str) -> History {
        let handle = self.client.get_workflow_handle::<StackDependencyChain>(id);
        let history = handle.fetch_history(WorkflowFetchHistoryOptions::builder().build());
        History {
            events: history.into_events().await.expect("a history"),
        }
    }

    async fn ids(&self, query: &str) -> Vec<String> {
        let mut found = self.client.list_workflows(query, WorkflowListOptions::default());
        let mut ids = Vec::new();
        while let Some(workflow) = found.next().await {
            ids.push(workflow.expect("listed").id().to_owned());
        }
        ids
    }

    pub async fn chains(&self) -> Vec<String> {
        self.ids("WorkflowType = 'StackDependencyChain'").await
    }

    pub async fn until_listed(&self, count: usize) {
        let started = Instant::now();
        while self
            .ids("WorkflowType = 'StackDependencyChain' AND ExecutionStatus = 'Completed'")
            .await
            .len()
            < count
        {
            assert!(
                started.elapsed() < Duration::from_mins(1),
                "the chain is not listed"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until all delivered events have been handled. The list may be out of date, so it must be empty
    /// twice.
    pub async fn until_no_event_is_open(&self) {
        let started = Instant::now();
        let mut empty = 0;
        while empty < 2 {
            assert!(
                started.elapsed() < Duration::from_mins(1),
                "events are still open"
            );
            tokio::time::sleep(Duration::from_secs(1)).await;
            let open = self
                .ids("WorkflowType = 'RunFinished' AND ExecutionStatus = 'Running'")
                .await;
            empty = if open.is_empty() { empty + 1 } else { 0 };
        }
    }
}

fn prepared(world: &World, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stack-chain"));
    command
        .args(arguments)
        .env_clear()
        .env("HOME", std::env::temp_dir())
        .env("USER", "ann")
        .env("TEMPORAL_ADDRESS", world.address.to_string())
        .env("TEMPORAL_NAMESPACE", &world.namespace)
        .env("SPACELIFT_API_KEY_ENDPOINT", world.simulator.endpoint())
        .env("SPACELIFT_API_KEY_ID", KEY_ID)
        .env("SPACELIFT_API_KEY_SECRET", KEY_SECRET)
        .env("SPACELIFT_WEBHOOK_SECRET", WEBHOOK_SECRET)
        .kill_on_drop(true);
    command
}

/// Runs a command and returns its exit code, output and errors.
pub async fn command(world: &World, arguments: &[&str]) -> (i32, String, String) {
    let output = prepared(world, arguments).output().await.expect("started");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (
        output.status.code().unwrap_or(-1),
        text(output.stdout),
        text(output.stderr),
    )
}

/// Starts a server process on a free port, and waits until it is ready.
pub async fn process(world: &World, arguments: &[&str]) -> (Child, u16) {
    let port = TcpListener::bind("127.0.0.1:0")
        .expect("a free port")
        .local_addr()
        .expect("bound")
        .port();
    let listen = format!("127.0.0.1:{port}");
    let quick = [
        "--listen",
        &listen,
        "--poll-ms",
        "300",
        "--second-look-ms",
        "1500",
        "--requests-per-second",
        "200",
    ];
    let child = prepared(world, &[arguments, &quick].concat())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("started");
    let started = Instant::now();
    loop {
        let ready = reqwest::get(format!("http://{listen}/readyz")).await;
        if ready.is_ok_and(|it| it.status().is_success()) {
            return (child, port);
        }
        assert!(
            started.elapsed() < Duration::from_mins(1),
            "the process did not get ready"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
