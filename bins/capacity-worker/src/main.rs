//! The worker of the temporal-capacity autopilot: polls the task queue, runs workflows and activities,
//! and serves its health and metrics.

mod probe;
mod status;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use capacity_autopilot::{Autopilot, Clock, MetricsSource};
use capacity_settings::{Inputs, Needs, Settings};
use capacity_workflows::{
    ActivitySettings, CapacityWorker, ConnectionSettings, Installation, WorkerLimits, connection,
    worker_config,
};
use clap::{Parser, ValueEnum};
use otlp_spans::Spans;
use process_edge::{flush_errors, report_panics, write_error};
use slack_notifier::Webhook;
use temporal_worker_kit::{Config, InvalidLevel, Kit, LogSettings, Registry, subscriber};

/// Run the capacity autopilot on a Temporal task queue.
#[derive(Debug, Parser)]
#[command(name = "capacity-worker", version = process_edge::version(), max_term_width = 100)]
#[command(after_help = "\
Settings come from capacity.toml, .env, the environment and --set; `temporal-capacity settings show` prints them.
SIGTERM, SIGHUP and Ctrl-C drain the worker: running work may finish within --grace, and another worker takes over the rest.
A second signal ends the process at once.
Exit codes: 0 drained, or --check or --probe passed; 1 any error, including usage errors; 129, 130 or 143 after a second SIGHUP, Ctrl-C or SIGTERM.")]
struct Arguments {
    /// Check settings and all connections, including the ledger, then exit.
    #[arg(long)]
    check: bool,
    /// Check whether the worker at --listen is ready, print its response, and exit; for container health
    /// checks.
    #[arg(long, conflicts_with = "check")]
    probe: bool,
    /// Address to serve /metrics, /healthz and /readyz on.
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
    /// Speed of a simulated cloud, as a multiple of real time.
    #[arg(long, hide = true, default_value_t = 1.0, value_name = "FACTOR", value_parser = speed)]
    cloud_speed: f64,
    /// Settings file [default: ./capacity.toml, if it exists].
    #[arg(long, value_name = "FILE")]
    config: Option<std::path::PathBuf>,
    /// Override a setting by its name; repeatable.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Log level on standard error: error, warn, info, debug, trace or a tracing filter.
    #[arg(long, default_value = "info", value_name = "LEVEL", value_parser = log_level)]
    log_level: String,
    /// Log format.
    #[arg(long, value_enum, default_value_t = LogFormat::Text, value_name = "FORM")]
    log_format: LogFormat,
}

impl Arguments {
    fn limits(&self) -> WorkerLimits {
        let mut limits = WorkerLimits::default();
        limits.activities = usize::from(self.max_concurrent_activities);
        limits.workflow_tasks = usize::from(self.max_concurrent_workflow_tasks);
        limits.activities_per_second = self.max_activities_per_second.map(f64::from);
        limits.grace = Duration::from_secs(self.grace);
        limits
    }
}

fn speed(text: &str) -> anyhow::Result<f64> {
    let factor: f64 = text.parse().ok().context("not a number")?;
    ensure!((1.0..=600.0).contains(&factor), "specify a factor from 1 to 600");
    Ok(factor)
}

/// Formats of `--log-format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// Human-readable lines.
    Text,
    /// One JSON object per line.
    Json,
}

impl From<LogFormat> for temporal_worker_kit::LogFormat {
    fn from(format: LogFormat) -> Self {
        match format {
            LogFormat::Text => Self::Text,
            LogFormat::Json => Self::Json,
        }
    }
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
    // Before any settings are read: a health check runs without the worker's environment.
    if arguments.probe {
        return probe::probe(arguments.listen);
    }
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

/// How long to wait at exit for the last log lines to be written to standard error, because its reader may
/// have stopped reading.
const LAST_LINES: Duration = Duration::from_secs(2);

fn log_level(text: &str) -> Result<String, InvalidLevel> {
    LogSettings::try_new(text, temporal_worker_kit::LogFormat::Text).map(|log| log.level)
}

fn log(arguments: &Arguments) {
    let log = LogSettings {
        level: arguments.log_level.clone(),
        format: arguments.log_format.into(),
    };
    tracing::subscriber::set_global_default(subscriber(&log))
        .expect("no other code of this process sets a subscriber");
}

#[tokio::main]
async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let settings = settings(arguments)?;
    let autopilot = capacity_wiring::autopilot(&settings)?;
    let autopilot = Arc::new(autopilot.with_clock(Clock::running_at(arguments.cloud_speed)));
    let connection = worker_connection(&settings)?;
    if arguments.check {
        return check(&settings, &connection, &autopilot).await;
    }
    // An unreachable database is logged but does not keep the worker from starting.
    tokio::spawn(open_ledger(Arc::clone(&autopilot)));
    let spans = capacity_wiring::spans(&settings, PROGRAM, process_edge::version())?;
    let registry = Registry::new();
    let capacity = CapacityWorker::with_settings(
        Arc::clone(&autopilot),
        registry.client(),
        activity_settings(&settings, arguments.cloud_speed, spans.clone()),
    );
    let config = Config {
        listen: Some(arguments.listen),
        ..worker_config(connection, capacity.installation(), arguments.limits())
    };
    tracing::info!(dry_run = settings.dry_run, "starting");
    let health = capacity.health();
    let (ready, metrics, keys) = (health.clone(), health.clone(), health.clone());
    let (source, budget) = (
        Arc::clone(&autopilot),
        settings.metrics.as_ref().map(|it| it.requests_per_hour),
    );
    let (stopped, counted) = (capacity.clone(), spans.clone());
    let kit = Kit::new(config, capacity.register(registry))
        .ready_if(move || status::condition(&ready))
        .metrics(move || status::metrics(&metrics, &status::Requests::of(&source, budget), counted.counts()))
        .readiness(move || status::keys(&keys))
        .on_drain(move || stopped.stop());
    let outcome = tokio::select! {
        outcome = kit.run() => outcome,
        // Polled here and not spawned, so that it ends with the kit.
        never = capacity.background() => match never {},
    };
    // After the drain, whose activities send the last spans.
    spans.flush(LAST_SPANS).await;
    Ok(outcome?)
}

/// Service name of this program in traces.
const PROGRAM: &str = "capacity-worker";

/// How long to wait at exit for the collector to accept the last spans. The grace period of a pod allows for it.
const LAST_SPANS: Duration = Duration::from_secs(2);

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
        // METRICS_REQUESTS_PER_HOUR counts simulated hours, but the scraper counts real ones.
        metrics.hour = metrics.hour.div_f64(arguments.cloud_speed);
    }
    Ok(settings)
}

fn worker_connection(settings: &Settings) -> anyhow::Result<ConnectionSettings> {
    let identity = format!("capacity-worker@{}", std::process::id());
    Ok(connection(&settings.home, identity)?)
}

/// Opens the ledger in the background. Failures are logged and retried: scaling up works without a ledger, and
/// scaling down waits for it.
async fn open_ledger(autopilot: Arc<Autopilot>) {
    let Some(ledger) = autopilot.ledger() else {
        tracing::warn!(
            "LEDGER_URL is not set: usage is not sampled, and hourly usage is extrapolated from one minute"
        );
        return;
    };
    match ledger.call(async |ledger| Ok(ledger.location().to_owned())).await {
        Ok(ledger) => tracing::info!(ledger, "recording usage, decisions and changes"),
        Err(error) => {
            tracing::error!(%error, "cannot open the ledger; no capacity is released until it is available");
        }
    }
}

fn activity_settings(settings: &Settings, cloud_speed: f64, spans: Spans) -> ActivitySettings {
    let mut activities = ActivitySettings::new(Installation::of(&settings.home));
    activities.dry_run = settings.dry_run;
    // The settings allow at most 8. One at a time is the careful choice for anything else.
    activities.max_concurrent_changes = u32::try_from(settings.max_concurrent_changes).unwrap_or(1);
    activities.webhook = settings.slack.clone().map(Webhook::new);
    activities
        .spec_fields_not_compared
        .clone_from(&settings.spec_fields_not_compared);
    activities.sampling.triggers = settings.evaluate_on_throttling;
    activities.sampling.speed = cloud_speed;
    activities.sampling.keep_minutes = settings.keep.minutes;
    activities.sampling.keep_decisions = settings.keep.decisions;
    activities.spans = spans;
    activities
}

/// Checks every connection once.
async fn check(
    settings: &Settings,
    connection: &ConnectionSettings,
    autopilot: &Autopilot,
) -> anyhow::Result<()> {
    let client = connection.connect().await?;
    connection.check_namespace(&client).await?;
    tracing::info!(
        namespace = settings.home.namespace,
        "connected to the Temporal service, and its namespace is accessible"
    );
    let identity = autopilot.ops().current_identity().await?;
    tracing::info!(identity = identity.name, "the Cloud Ops API accepted the key");
    match autopilot.metrics() {
        MetricsSource::Endpoint(scraper) => {
            let families = scraper.families().await?;
            tracing::info!(families = families.len(), "the metrics endpoint accepted the key");
        }
        MetricsSource::Prometheus(client) => {
            let server = client.check().await?;
            tracing::info!(version = server.version, "Prometheus is reachable");
        }
    }
    if let Some(ledger) = autopilot.ledger() {
        let ledger = ledger
            .call(async |ledger| Ok(ledger.location().to_owned()))
            .await?;
        tracing::info!(ledger, "the ledger is accessible");
    }
    if let Some(collector) = capacity_wiring::collector(settings, PROGRAM, process_edge::version())? {
        match collector.check().await {
            Ok(()) => tracing::info!(url = collector.url(), "the collector accepts traces"),
            // The worker runs without a collector.
            Err(error) => tracing::warn!("{error:#}; traces will be dropped, but nothing else is affected"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Arguments;

    #[test]
    fn the_help_reads() {
        let help = Arguments::command().term_width(100).render_long_help();
        insta::assert_snapshot!(help.to_string());
    }
}
