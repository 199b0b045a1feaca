//! Runs a worker inside this process for the simulated cloud of `dev` and `demo`.

use std::sync::Arc;
use std::time::Duration;

use capacity_autopilot::{Autopilot, AutopilotSettings, Clock, MetricsSource};
use capacity_engine::Rules;
use capacity_workflows::{
    ActivitySettings, CapacityWorker, ConnectionSettings, Installation, WorkerLimits, worker_config,
};
use cloud_simulator::RunningSimulator;
use openmetrics_reader::scrape::Scraper;
use prometheus_reader::{PrometheusClient, PrometheusConfig};
use slack_notifier::Webhook;
use temporal_dev_server::DevServer;
use temporal_worker_kit::{Kit, Registry};
use temporalio_client::Client;

/// Requests per hour: enough to sample every minute, with some left for evaluations.
const EVERY_MINUTE: u32 = 120;

/// The namespace that every development server creates.
pub(crate) const NAMESPACE: &str = "default";

/// Returns an autopilot for the simulated cloud, with its keys, these rules, and otherwise default settings. Its
/// clock runs as fast as the simulated one. It reads the newest minute from the metrics endpoint.
pub(crate) fn autopilot(cloud: &RunningSimulator, speed: f64, rules: Rules) -> anyhow::Result<Autopilot> {
    let mut metrics =
        openmetrics_reader::scrape::Config::try_new(&cloud.metrics_url(), cloud.metrics_key().into())?;
    // METRICS_REQUESTS_PER_HOUR counts simulated hours, but the scraper counts real ones.
    let requests = if rules.policy.keeps_state() {
        EVERY_MINUTE.max(metrics.requests_per_hour)
    } else {
        metrics.requests_per_hour
    };
    metrics.requests_per_hour = hourly(requests, speed);
    with_metrics(cloud, Scraper::new(metrics).into(), speed, rules)
}

/// Like [`autopilot`], but reads the past hour from the simulated Prometheus API, because capacity is only
/// released based on a full hour of data.
pub(crate) fn autopilot_with_past(
    cloud: &RunningSimulator,
    speed: f64,
    rules: Rules,
) -> anyhow::Result<Autopilot> {
    let metrics = PrometheusConfig::builder(cloud.prometheus_url()).build()?;
    with_metrics(cloud, PrometheusClient::new(metrics)?.into(), speed, rules)
}

fn with_metrics(
    cloud: &RunningSimulator,
    metrics: MetricsSource,
    speed: f64,
    rules: Rules,
) -> anyhow::Result<Autopilot> {
    let ops = cloud_ops_client::Config::try_new(&cloud.ops_url(), cloud.ops_key().into())?;
    let mut rules = rules;
    // Evaluations and changes take real time, during which the simulated metrics age `speed` times as fast.
    // Up to a speed of 10, the usual limit is enough.
    rules.freshness.metrics_max_age *= whole(speed / 10.0).max(1);
    let settings = AutopilotSettings::new(rules);
    let autopilot = Autopilot::new(cloud_ops_client::Client::new(ops), metrics, settings);
    Ok(autopilot.with_clock(Clock::running_at(speed)))
}

/// Converts a number of requests per simulated hour to one per real hour.
fn hourly(requests: u32, speed: f64) -> u32 {
    whole(f64::from(requests) * speed.max(1.0)).unsigned_abs()
}

#[expect(clippy::cast_possible_truncation, reason = "casts saturate")]
fn whole(number: f64) -> i32 {
    number.ceil() as i32
}

fn connection(server: &DevServer) -> ConnectionSettings {
    ConnectionSettings {
        address: server.address().to_string(),
        namespace: NAMESPACE.to_owned(),
        identity: "temporal-capacity".to_owned(),
        ..ConnectionSettings::default()
    }
}

/// Connects to a server that has just started. It accepts connections shortly before it accepts requests.
pub(crate) async fn connect(server: &DevServer) -> anyhow::Result<Client> {
    let connection = connection(server);
    let mut attempts = 0;
    loop {
        attempts += 1;
        match connection.connect().await {
            Ok(client) => return Ok(client),
            // Five seconds in all; the server needs a fraction of that.
            Err(error) if attempts >= 50 => return Err(error.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Runs a worker while `body` runs. Returns the result of `body`.
pub(crate) async fn with_worker<T>(
    server: &DevServer,
    autopilot: Arc<Autopilot>,
    cloud: &RunningSimulator,
    dry_run: bool,
    speed: f64,
    body: impl Future<Output = T>,
) -> anyhow::Result<T> {
    let registry = Registry::new();
    let slack = slack_notifier::Config::try_new(cloud.slack_url().into())?;
    let mut settings = ActivitySettings::new(Installation::default());
    settings.dry_run = dry_run;
    settings.webhook = Some(Webhook::new(slack));
    settings.sampling.speed = speed;
    // A simulated hour can end within seconds.
    settings.no_release_from_minute = 60;
    let capacity = CapacityWorker::with_settings(autopilot, registry.client(), settings);
    let mut limits = WorkerLimits::default();
    limits.grace = Duration::from_secs(5);
    let config = worker_config(connection(server), capacity.installation(), limits);
    let stopped = capacity.clone();
    let kit = Kit::new(config, capacity.register(registry)).on_drain(move || stopped.stop());
    let mut running = kit.start().await?;
    let result = tokio::select! {
        result = body => Ok(result),
        ended = running.wait() => Err(ended.err().map_or_else(|| anyhow::anyhow!("the worker ended"), Into::into)),
        never = capacity.background() => match never {},
    };
    running.stop();
    running.wait().await?;
    result
}
