//! One development server for all tests, with a separate namespace, worker and simulated cloud for each.

#![expect(
    clippy::print_stdout,
    reason = "what the server is doing shows in the tests' output"
)]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use capacity_autopilot::{Autopilot, AutopilotSettings, Clock, LedgerHandle};
use capacity_engine::Rules;
use capacity_ledger::Location;
use capacity_workflows::controller::Controller;
use capacity_workflows::{
    ActivitySettings, CapacityWorker, ConnectionSettings, EvaluationHealth, EvaluationReport, Installation,
    WorkerLimits, names, worker_config,
};
use cloud_simulator::{Account, Load, NamespaceSetup, RunningSimulator, SimulatorOptions};
use jiff::{SignedDuration, Timestamp};
use otlp_spans::Spans;
use temporal_dev_server::Options;
use temporal_stack::place::Place;
use temporal_worker_kit::{Kit, Registry};
use temporalio_client::Client;
use temporalio_client::grpc::WorkflowService;
use temporalio_client::tonic::IntoRequest;
use temporalio_common::protos::temporal::api::workflowservice::v1::RegisterNamespaceRequest;

pub(crate) const TASK_QUEUE: &str = names::TASK_QUEUE;

/// If set to 1, all tests here are skipped. Otherwise, a missing server fails them.
const SKIP: &str = "TEMPORAL_CAPACITY_SKIP_SERVER_TESTS";

/// Run directory of a self-hosted stack (`deploy/stack`) to use instead of a development server. Tests that
/// need their own server, or one without TLS behind a proxy, still start a development server.
const STACK: &str = "TEMPORAL_CAPACITY_TEST_STACK";

/// Returns the connection settings of the server that all tests share.
pub(crate) fn shared_connection() -> Option<ConnectionSettings> {
    let Some(folder) = std::env::var_os(STACK) else {
        return shared_server().map(plainly);
    };
    let place = Place::find(Some(Path::new(&folder))).expect("an absolute path");
    let stack = place
        .stack()
        .unwrap_or_else(|problem| panic!("{STACK}: {problem:#}"));
    Some(temporal_stack::client::connection(&place, &stack, "default"))
}

fn plainly(address: SocketAddr) -> ConnectionSettings {
    ConnectionSettings {
        address: address.to_string(),
        ..ConnectionSettings::default()
    }
}

/// Server setting without which the server would delay workflow runs in quick succession, as in tests.
pub(crate) const QUICK_RUNS: &str = "history.workflowIdReuseMinimalInterval=\"0s\"";

/// Starts the server on a thread that keeps it running until the process ends.
pub(crate) fn shared_server() -> Option<SocketAddr> {
    static SERVER: OnceLock<Option<SocketAddr>> = OnceLock::new();
    *SERVER.get_or_init(|| {
        if std::env::var(SKIP).as_deref() == Ok("1") {
            println!("{SKIP}=1: the tests on a Temporal server are skipped");
            return None;
        }
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            runtime.block_on(async {
                let options = Options {
                    dynamic_config: vec![QUICK_RUNS.to_owned()],
                    ..Options::default()
                };
                let started = temporal_dev_server::start(&options, &|what| println!("{what}")).await;
                let address = started
                    .as_ref()
                    .map(temporal_dev_server::DevServer::address)
                    .map_err(ToString::to_string);
                tell.send(address).expect("someone waits");
                std::future::pending::<()>().await;
            });
        });
        let started = told.recv().expect("the thread reports");
        Some(started.unwrap_or_else(|problem| {
            panic!("{problem}\n(or set {SKIP}=1 to skip the tests that need a server)")
        }))
    })
}

/// Speed of simulated time, as a multiple of real time.
pub(crate) const SPEED: f64 = 20.0;

/// Speed of the sampler, as a multiple of real time, if the test advances the time. It scrapes every 50 ms to look
/// for a new minute.
const STEPPED_SAMPLING: f64 = 1_200.0;

/// Options of a test.
pub(crate) struct Setup {
    pub(crate) account: Account,
    pub(crate) rules: Rules,
    pub(crate) installation: Installation,
    /// Maximum number of attempts for a request to the cloud.
    pub(crate) attempts: u32,
    /// Ledger for decisions and changes.
    pub(crate) ledger: Option<Location>,
    /// Whether usage is sampled. The worker's clock then follows the cloud's.
    pub(crate) sampled: bool,
    /// Whether throttling and high usage trigger evaluations.
    pub(crate) triggers: bool,
    /// Connection settings, if not unencrypted.
    pub(crate) connection: Option<ConnectionSettings>,
    /// Address of the test's own server, if it does not use the shared one.
    pub(crate) server: Option<SocketAddr>,
    pub(crate) dry_run: bool,
    /// Minute of the hour from which nothing is released.
    pub(crate) no_release_from_minute: i64,
    /// Webhook URL, if not that of the simulated cloud.
    pub(crate) slack_url: Option<String>,
    /// Build id of the worker.
    pub(crate) build: &'static str,
    pub(crate) spec_fields_not_compared: Vec<String>,
    /// Sends traces to the collector of a test.
    pub(crate) spans: Spans,
    pub(crate) operation_lag: SignedDuration,
    pub(crate) capacity_lag: SignedDuration,
    /// Speed of simulated time, as a multiple of real time; 0 if the test advances the time minute by minute.
    pub(crate) speed: f64,
    /// Start time of the cloud, if not the current time.
    pub(crate) start: Option<Timestamp>,
    pub(crate) change_timeout: Duration,
    pub(crate) no_progress_after: Duration,
    /// Points per response of the metrics endpoint that the scraper assumes; the real number by default.
    pub(crate) points_per_answer: Option<usize>,
}

/// Returns default rules with `DISABLE_ON_ESTIMATE=true`, so that capacity is released based on a single
/// minute.
pub(crate) fn on_estimates() -> Rules {
    let mut rules = Rules::default();
    rules.guards.disable_on_estimate = true;
    rules
}

impl Setup {
    /// Returns whether the test advances the time.
    fn is_stepped(&self) -> bool {
        self.speed <= 0.0
    }
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            account: Account::demo(),
            rules: on_estimates(),
            installation: Installation::default(),
            attempts: 4,
            ledger: None,
            sampled: false,
            triggers: true,
            connection: None,
            server: None,
            dry_run: false,
            no_release_from_minute: 60,
            slack_url: None,
            build: "test",
            spec_fields_not_compared: Vec::new(),
            spans: Spans::default(),
            operation_lag: SignedDuration::from_secs(2),
            capacity_lag: SignedDuration::from_secs(2),
            speed: SPEED,
            start: None,
            change_timeout: Duration::from_mins(15),
            no_progress_after: Duration::from_mins(10),
            points_per_answer: None,
        }
    }
}

/// Returns an account in which all namespaces are throttled.
pub(crate) fn throttled(names: &[&str]) -> Setup {
    let setups = names
        .iter()
        .map(|name| NamespaceSetup::new(*name, Load::Steady(560.0)))
        .collect();
    Setup {
        account: Account::new("a1b2c", setups),
        ..Setup::default()
    }
}

/// The environment of a test with a worker.
pub(crate) struct World {
    pub(crate) client: Client,
    pub(crate) installation: Installation,
    pub(crate) cloud: RunningSimulator,
    pub(crate) health: EvaluationHealth,
}

impl World {
    /// Waits until a condition is true, up to a bound.
    pub(crate) async fn until(&self, what: &str, bound: Duration, is_so: impl AsyncFn() -> bool) {
        let begun = std::time::Instant::now();
        while !is_so().await {
            assert!(begun.elapsed() < bound, "not {what} within {bound:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Returns the texts of all messages posted to the channel.
    pub(crate) fn messages(&self) -> Vec<String> {
        let text = |message: &serde_json::Value| message["text"].as_str().unwrap_or_default().to_owned();
        self.cloud.slack_messages().iter().map(text).collect()
    }

    /// Returns the number of updates posted to the cloud.
    pub(crate) fn posts(&self) -> u64 {
        let requests = self.cloud.requests();
        requests.get("POST /cloud/namespaces/{id}").copied().unwrap_or(0)
    }

    pub(crate) async fn evaluate(&self, update_id: &str) -> EvaluationReport {
        Controller::new(&self.client, &self.installation)
            .evaluate(update_id, Duration::from_secs(90))
            .await
            .expect("a report")
    }
}

/// Runs a test with a running worker in a separate namespace.
pub(crate) async fn with_worker(test: &str, setup: Setup, body: impl AsyncFnOnce(&World)) {
    let own = setup.connection.clone().or(setup.server.map(plainly));
    let Some(given) = own.or_else(shared_connection) else {
        return;
    };
    let namespace = format!("{test}-{}", std::process::id());
    let connection = ConnectionSettings {
        namespace: namespace.clone(),
        // This identity is part of recorded histories.
        identity: "capacity-tests".to_owned(),
        ..given
    };
    let client = connected(&connection).await;
    let new_namespace = RegisterNamespaceRequest {
        namespace,
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
    let options = SimulatorOptions::new(setup.account.clone());
    let cloud = cloud_simulator::start(SimulatorOptions {
        start: setup.start.unwrap_or(options.start),
        speed: setup.speed,
        operation_lag: setup.operation_lag,
        capacity_lag: setup.capacity_lag,
        check_duration: SignedDuration::from_secs(2),
        scrapes_per_hour: options.scrapes_per_hour.filter(|_| !setup.is_stepped()),
        ..options
    })
    .await
    .expect("started");
    let mut limits = WorkerLimits::default();
    limits.grace = Duration::from_secs(10);
    let capacity = capacity(&setup, &client, &cloud);
    let config = worker_config(connection, &setup.installation, limits);
    let stopped = capacity.clone();
    let kit = Kit::new(config, capacity.register(Registry::new())).on_drain(move || stopped.stop());
    let mut running = kit.start().await.expect("a worker");
    let world = World {
        client,
        installation: setup.installation.clone(),
        cloud,
        health: capacity.health().clone(),
    };
    let background = async {
        if !setup.sampled {
            std::future::pending::<()>().await;
        }
        capacity.background().await
    };
    tokio::select! {
        () = Box::pin(body(&world)) => {}
        never = Box::pin(background) => match never {},
    }
    running.stop();
    running.wait().await.expect("the worker ended well");
}

/// Connects to a server that has just started, which accepts connections shortly before it accepts requests.
async fn connected(connection: &ConnectionSettings) -> Client {
    let mut attempts = 0;
    loop {
        attempts += 1;
        match connection.connect().await {
            Ok(client) => return client,
            Err(error) => assert!(attempts < 50, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

pub(crate) fn capacity(setup: &Setup, client: &Client, cloud: &RunningSimulator) -> CapacityWorker {
    let mut ops = cloud_ops_client::Config::try_new(&cloud.ops_url(), cloud.ops_key().into()).expect("valid");
    ops.max_attempts = setup.attempts;
    let mut metrics =
        openmetrics_reader::scrape::Config::try_new(&cloud.metrics_url(), cloud.metrics_key().into())
            .expect("valid");
    if setup.sampled {
        // The scraper counts real hours, but the cloud's time is faster.
        metrics.requests_per_hour = if setup.is_stepped() { u32::MAX } else { 180 };
    }
    metrics.points_per_answer = setup.points_per_answer.unwrap_or(metrics.points_per_answer);
    let mut autopilot = Autopilot::new(
        cloud_ops_client::Client::new(ops),
        openmetrics_reader::scrape::Scraper::new(metrics),
        AutopilotSettings::new(setup.rules.clone()),
    );
    if setup.sampled {
        let clock = Clock::running_at(setup.speed);
        // The cloud may start at a different time than the current one.
        clock.correct(cloud.now());
        autopilot = autopilot.with_clock(clock);
    }
    if let Some(ledger) = setup.ledger.clone() {
        autopilot = autopilot.with_ledger(LedgerHandle::at(ledger));
    }
    let slack = slack_notifier::Config::try_new(
        setup
            .slack_url
            .clone()
            .unwrap_or_else(|| cloud.slack_url())
            .into(),
    )
    .expect("valid");
    let mut settings = ActivitySettings::new(setup.installation.clone());
    settings.spans = setup.spans.clone();
    settings.dry_run = setup.dry_run;
    settings.webhook = Some(slack_notifier::Webhook::new(slack));
    settings.change_timeout = setup.change_timeout;
    settings.sampling.triggers = setup.triggers;
    settings.sampling.speed = match setup.sampled {
        true if setup.is_stepped() => STEPPED_SAMPLING,
        true => setup.speed,
        false => 1.0,
    };
    settings.follow_every = Duration::from_secs(1);
    settings.no_progress_after = setup.no_progress_after;
    settings.no_release_from_minute = setup.no_release_from_minute;
    setup.build.clone_into(&mut settings.build);
    settings
        .spec_fields_not_compared
        .clone_from(&setup.spec_fields_not_compared);
    CapacityWorker::with_settings(autopilot, client.clone(), settings)
}
