//! A worker inside this process, for the simulated cloud: `dev` and `demo` run it.

use std::sync::Arc;
use std::time::Duration;

use capacity_autopilot::{Autopilot, AutopilotSettings, Clock, MetricsSource};
use capacity_engine::Rules;
use capacity_workflows::{
    ActivitySettings, CapacityWorker, ConnectionSettings, Installation, SamplingSettings, WorkerLimits,
    worker_config,
};
use cloud_simulator::RunningSimulator;
use openmetrics_reader::scrape::Scraper;
use prometheus_reader::{PrometheusClient, PrometheusConfig};
use slack_notifier::Webhook;
use temporal_dev_server::DevServer;
use temporal_worker_kit::{Kit, Registry};
use temporalio_client::Client;

/// Requests an hour that sample every minute, with some to spare for evaluations.
const EVERY_MINUTE: u32 = 120;

/// The namespace that a development server has from the start.
pub(crate) const NAMESPACE: &str = "default";

/// An autopilot with the simulated cloud's own keys and the defaults of everything but the policy, whose clock runs as fast
/// as that cloud's. It reads the metrics endpoint: the newest minute.
pub(crate) fn autopilot(cloud: &RunningSimulator, speed: f64, rules: Rules) -> anyhow::Result<Autopilot> {
    let mut metrics =
        openmetrics_reader::scrape::Config::try_new(&cloud.metrics_url(), cloud.metrics_key().into())?;
    // The budget is per hour of the service, but the scraper counts real hours.
    let requests = if rules.policy.keeps_state() {
        EVERY_MINUTE.max(metrics.requests_per_hour)
    } else {
        metrics.requests_per_hour
    };
    metrics.requests_per_hour = hourly(requests, speed);
    with_metrics(cloud, Scraper::new(metrics).into(), speed, rules)
}

/// As [`autopilot`], with the past hour, which the simulated cloud's Prometheus API has: capacity is not released on less.
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
    // Evaluations and changes take real time, in which the simulated metrics age `speed` times as fast. Up to
    // ten, the usual limit is enough.
    rules.freshness.metrics_max_age *= whole(speed / 10.0).max(1);
    let settings = AutopilotSettings::new(rules);
    let autopilot = Autopilot::new(cloud_ops_client::Client::new(ops), metrics, settings);
    Ok(autopilot.with_clock(Clock::running_at(speed)))
}

/// Converts a budget per hour of the service to one per hour of real time.
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

/// Connects to a server that was just started: it accepts connections a moment before it accepts requests.
pub(crate) async fn connect(server: &DevServer) -> anyhow::Result<Client> {
    let connection = connection(server);
    let mut attempts = 0;
    loop {
        attempts += 1;
        match connection.connect().await {
            Ok(client) => return Ok(client),
            Err(error) if attempts >= 50 => return Err(error.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Runs a worker until `body` has ended, and returns what that returns.
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
    let settings = ActivitySettings {
        dry_run,
        webhook: Some(Webhook::new(slack)),
        sampling: SamplingSettings {
            speed,
            ..SamplingSettings::default()
        },
        // A simulated hour may be over in seconds.
        last_minute_to_release: 60,
        ..ActivitySettings::new(Installation::default())
    };
    let capacity = CapacityWorker::new(autopilot, registry.client()).with_settings(settings);
    let limits = WorkerLimits {
        grace: Duration::from_secs(5),
        ..WorkerLimits::default()
    };
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
