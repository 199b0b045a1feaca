//! The worker of the temporal-capacity autopilot: polls, runs, tells how it is.

mod http;
mod refusals;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use capacity_autopilot::{Autopilot, Clock, MetricsSource, chain};
use capacity_settings::{Inputs, Needs, Settings};
use capacity_workflows::{
    ActivitySettings, CapacityActivities, ConnectError, Connection, Ending, EvaluationHealth, Installation,
    SamplingSettings, WorkerLimits, keep_sampling, watch_controller, worker_options,
};
use clap::{Parser, ValueEnum};
use process_edge::{LogWriter, Signals, flush_errors, report_panics, write_error};
use slack_notifier::Webhook;
use temporalio_client::Client;
use temporalio_common::telemetry::metrics::{CoreMeter, TemporalMeter};
use temporalio_common::telemetry::{
    PrometheusExporterOptions, TelemetryOptions, start_prometheus_metric_exporter, telemetry_init,
};
use temporalio_sdk::runtime::RuntimeOptions;
use temporalio_sdk::{Runtime, Worker};
use tracing_subscriber::EnvFilter;

use http::{Health, serve};

/// Run the capacity autopilot on a Temporal task queue.
#[derive(Debug, Parser)]
#[command(name = "capacity-worker", version, max_term_width = 100)]
#[command(after_help = "\
Settings come from capacity.toml, .env, the environment and --set; `temporal-capacity settings show` prints them.
SIGTERM, SIGHUP and Ctrl-C drain: running work may finish within --grace; another worker takes over the rest. A second signal
ends the process at once.
Exit codes: 0 drained, or --check passed; 1 any error, usage included; 129, 130 or 143 after a second SIGHUP, Ctrl-C or SIGTERM.")]
struct Arguments {
    /// Check settings and all connections, including the ledger, then exit.
    #[arg(long)]
    check: bool,
    /// Address of /metrics, /healthz and /readyz.
    #[arg(long, default_value = "127.0.0.1:9464", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// Seconds that running work may take to finish after SIGTERM.
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    grace: u64,
    /// Maximum number of concurrent activities.
    #[arg(long, default_value_t = 50, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=1_000))]
    max_concurrent_activities: u16,
    /// Maximum number of concurrent workflow tasks.
    #[arg(long, default_value_t = 50, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(2..=1_000))]
    max_concurrent_workflow_tasks: u16,
    /// Maximum number of activities started per second [default: no limit].
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    max_activities_per_second: Option<u16>,
    /// Has no effect since 0.2: an evaluation no longer waits for its changes.
    #[arg(long, hide = true, value_name = "SECONDS")]
    wait_for_changes: Option<u64>,
    /// How much faster than real time the cloud runs, where it is a simulated one.
    #[arg(long, hide = true, default_value_t = 1.0, value_name = "FACTOR", value_parser = speed)]
    cloud_speed: f64,
    /// The settings file [default: capacity.toml in the working directory, if there is one].
    #[arg(long, value_name = "FILE")]
    config: Option<std::path::PathBuf>,
    /// Override one setting by its name; may be repeated.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// How much to log on the error stream: error, warn, info, debug, trace, or a tracing filter.
    #[arg(long, default_value = "info", value_name = "LEVEL")]
    log_level: String,
    /// Form of the log.
    #[arg(long, value_enum, default_value_t = LogFormat::Text, value_name = "FORM")]
    log_format: LogFormat,
}

impl Arguments {
    fn limits(&self) -> WorkerLimits {
        WorkerLimits {
            activities: usize::from(self.max_concurrent_activities),
            workflow_tasks: usize::from(self.max_concurrent_workflow_tasks),
            activities_per_second: self.max_activities_per_second.map(f64::from),
            grace: Duration::from_secs(self.grace),
        }
    }
}

fn speed(text: &str) -> Result<f64, String> {
    let factor: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (1.0..=600.0).contains(&factor) {
        Ok(factor)
    } else {
        Err("give a factor from 1 to 600".to_owned())
    }
}

/// Form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    log(&arguments);
    report_panics();
    let code = match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            write_error(format!("error: {error:#}\n"));
            ExitCode::from(1)
        }
    };
    flush_errors(LAST_LINES);
    code
}

/// How long the last lines of the log may take to be written. They may never be read.
const LAST_LINES: Duration = Duration::from_secs(2);

fn log(arguments: &Arguments) {
    let filter = EnvFilter::try_new(&arguments.log_level).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // A line that cannot be formatted is lost, like one that cannot be written.
        .log_internal_errors(false)
        .with_writer(LogWriter::new);
    match arguments.log_format {
        LogFormat::Text => builder.with_ansi(false).with_target(false).init(),
        LogFormat::Json => builder.json().init(),
    }
}

#[tokio::main]
async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let settings = settings(arguments)?;
    let autopilot = capacity_workflows::autopilot(&settings)?;
    let autopilot = Arc::new(autopilot.with_clock(Clock::running_at(arguments.cloud_speed)));
    if arguments.check {
        return check(&settings, &autopilot).await;
    }
    // The SDK's own exporter listens on a port of its own, and its text is appended to ours.
    let exporter = start_prometheus_metric_exporter(
        PrometheusExporterOptions::builder()
            .socket_addr(SocketAddr::from(([127, 0, 0, 1], 0)))
            .counters_total_suffix(true)
            .unit_suffix(true)
            .use_seconds_for_durations(true)
            .build(),
    )
    .context("the SDK's metrics could not be served")?;
    let telemetry = TelemetryOptions::builder()
        .metrics(exporter.meter.clone() as Arc<dyn CoreMeter>)
        .build();
    let meter = telemetry_init(telemetry.clone())?.get_temporal_metric_meter();
    let runtime = Runtime::from_current_tokio(
        RuntimeOptions::builder()
            .telemetry_options(telemetry)
            .build()
            .map_err(anyhow::Error::msg)?,
    )?;

    let signals = Signals::listen().context("cannot listen for signals")?;
    let health = Health::new(exporter.bound_addr, EvaluationHealth::default());
    let served = serve(arguments.listen, health.clone()).await?;
    let connection = connection(&settings)?;
    let client = tokio::select! {
        client = connect_patiently(&connection, meter) => client?,
        _ = signals.first() => return Ok(()),
    };
    // A database that is away is told of, and keeps no worker from its start.
    tokio::spawn(tell_of_ledger(Arc::clone(&autopilot)));
    let ending = Ending::default();
    let activities = CapacityActivities {
        autopilot: Arc::clone(&autopilot),
        client: client.clone(),
        settings: activity_settings(&settings, arguments.cloud_speed),
        health: health.evaluations.clone(),
        ending: ending.clone(),
    };
    let options = worker_options(activities, arguments.limits());
    let installation = Installation::of(&settings.home);
    let mut worker = Worker::new(&runtime, client.clone(), options)?;
    let stop = worker.shutdown_handle();
    tracing::info!(
        task_queue = settings.home.task_queue,
        listen = %served,
        dry_run = settings.dry_run,
        "polling"
    );
    health.set_ready(true);
    let ready = health.clone();
    let drain = async move {
        let signal = signals.first().await.as_str();
        tracing::info!(signal, "draining; a second signal ends the process at once");
        ready.set_ready(false);
        ending.begin();
        stop();
    };
    let (ended, ()) = tokio::join!(
        async {
            let ended = worker.run().await;
            health.set_ready(false);
            ended
        },
        async {
            tokio::select! {
                () = drain => {}
                // A worker that ends by itself is not waited for.
                () = health.wait_until_not_ready() => {}
                never = keep_sampling(&client, &installation, &autopilot) => match never {},
                never = watch_controller(&client, &installation, &health.evaluations) => match never {},
                never = refusals::watch(&connection, &client, &health) => match never {},
            }
        }
    );
    if let (Err(_), Some(reason)) = (&ended, health.refused()) {
        anyhow::bail!("{reason}, then start the worker again");
    }
    ended.context("the worker ended")?;
    tracing::info!("drained");
    Ok(())
}

fn settings(arguments: &Arguments) -> anyhow::Result<Settings> {
    let mut inputs = Inputs::from_process();
    inputs.file.clone_from(&arguments.config);
    for assignment in &arguments.set {
        let (name, value) = assignment
            .split_once('=')
            .with_context(|| format!("--set takes NAME=VALUE, not `{assignment}`"))?;
        inputs
            .flags
            .push((name.trim().to_owned(), value.to_owned(), "--set".to_owned()));
    }
    let mut settings = capacity_settings::load(
        &inputs,
        Needs {
            cloud_keys: true,
            home: true,
        },
    )?;
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    if let Some(metrics) = settings.metrics.as_mut() {
        // The budget is for an hour of the service, and the scraper counts ours.
        let budget = f64::from(metrics.requests_per_hour) * arguments.cloud_speed;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the cast saturates, and the number is positive"
        )]
        let budget = budget.ceil() as u32;
        metrics.requests_per_hour = budget;
    }
    Ok(settings)
}

/// A ledger that cannot be opened is told, and tried again: raising capacity needs none, lowering waits for it.
async fn tell_of_ledger(autopilot: Arc<Autopilot>) {
    let Some(memory) = autopilot.memory() else {
        tracing::warn!("LEDGER_URL is not set: no usage is sampled, and hours are estimated from one minute");
        return;
    };
    match memory.call(async |ledger| Ok(ledger.location().to_owned())).await {
        Ok(ledger) => tracing::info!(ledger, "usage, decisions and changes are kept"),
        Err(error) => tracing::error!(%error, "nothing is given back until the ledger can be used"),
    }
}

fn activity_settings(settings: &Settings, cloud_speed: f64) -> ActivitySettings {
    ActivitySettings {
        dry_run: settings.dry_run,
        max_concurrent_changes: u32::try_from(settings.max_concurrent_changes).unwrap_or(1),
        price_per_million_actions: settings.policy.threshold.price.dollars(),
        webhook: settings.slack.clone().map(Webhook::new),
        spec_fields_not_compared: settings.spec_fields_not_compared.clone(),
        sampling: SamplingSettings {
            triggers: settings.evaluate_on_throttling,
            speed: cloud_speed,
            keep_minutes: settings.keep.minutes,
            keep_decisions: settings.keep.decisions,
        },
        ..ActivitySettings::new(Installation::of(&settings.home))
    }
}

fn connection(settings: &Settings) -> anyhow::Result<Connection> {
    let identity = format!("capacity-worker@{}", std::process::id());
    Ok(Connection::of(&settings.home, identity)?)
}

/// Connects and checks the namespace. Retries while the service is unreachable; what somebody has to correct is an error.
async fn connect_patiently(connection: &Connection, meter: Option<TemporalMeter>) -> anyhow::Result<Client> {
    let mut wait = Duration::from_secs(1);
    loop {
        let error = match connect(connection, meter.clone()).await {
            Ok(client) => return Ok(client),
            Err(error) if error.is_passing() => error,
            Err(error) => return Err(error.into()),
        };
        tracing::warn!(
            wait_seconds = wait.as_secs(),
            "waiting for the Temporal service: {}",
            chain(&error)
        );
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(30));
    }
}

async fn connect(connection: &Connection, meter: Option<TemporalMeter>) -> Result<Client, ConnectError> {
    let client = connection.connect(meter).await?;
    connection.check_namespace(&client).await?;
    Ok(client)
}

/// Checks all connections once.
async fn check(settings: &Settings, autopilot: &Autopilot) -> anyhow::Result<()> {
    connect(&connection(settings)?, None).await?;
    tracing::info!(
        namespace = settings.home.namespace,
        "the Temporal service accepts the connection, and the namespace can be used"
    );
    let identity = autopilot.ops().current_identity().await?;
    tracing::info!(identity = identity.name, "the Cloud Ops API accepts its key");
    match autopilot.metrics() {
        MetricsSource::Endpoint(scraper) => {
            let families = scraper.families().await?;
            tracing::info!(families = families.len(), "the metrics endpoint accepts its key");
        }
        MetricsSource::Prometheus(client) => {
            let server = client.check().await?;
            tracing::info!(version = server.version, "Prometheus answers");
        }
    }
    if let Some(memory) = autopilot.memory() {
        let ledger = memory
            .call(async |ledger| Ok(ledger.location().to_owned()))
            .await?;
        tracing::info!(ledger, "the ledger can be used");
    }
    Ok(())
}
