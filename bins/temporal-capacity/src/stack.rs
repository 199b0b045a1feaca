//! A worker inside this process, for the simulated cloud: `dev` and `demo` run it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use capacity_autopilot::{Autopilot, AutopilotSettings, Clock, MetricsSource};
use capacity_engine::Policy;
use capacity_workflows::{
    ActivitySettings, CapacityActivities, Connection, Ending, EvaluationHealth, Installation,
    SamplingSettings, WorkerLimits, keep_sampling, worker_options,
};
use cloud_simulator::RunningSimulator;
use openmetrics_reader::scrape::Scraper;
use prometheus_reader::{PrometheusClient, PrometheusConfig};
use slack_notifier::Webhook;
use temporal_dev_server::DevServer;
use temporalio_client::Client;
use temporalio_sdk::runtime::RuntimeOptions;
use temporalio_sdk::{Runtime, Worker};

/// Requests an hour that sample every minute, with some to spare for evaluations.
const EVERY_MINUTE: u32 = 120;

/// The namespace that a development server has from the start.
pub(crate) const NAMESPACE: &str = "default";

/// An autopilot with the simulated cloud's own keys and the defaults of everything but the policy, whose clock runs as fast
/// as that cloud's. It reads the metrics endpoint: the newest minute.
pub(crate) fn autopilot(cloud: &RunningSimulator, speed: f64, policy: Policy) -> anyhow::Result<Autopilot> {
    let mut metrics =
        openmetrics_reader::scrape::Config::try_new(&cloud.metrics_url(), cloud.metrics_key().into())?;
    // The budget is one of the service's hours, and the scraper counts ours.
    let requests = if policy.acting.keeps_state() {
        EVERY_MINUTE.max(metrics.requests_per_hour)
    } else {
        metrics.requests_per_hour
    };
    metrics.requests_per_hour = hourly(requests, speed);
    with_metrics(cloud, Scraper::new(metrics).into(), speed, policy)
}

/// As [`autopilot`], with the past hour, which the simulated cloud's Prometheus API has: nothing is released on less.
pub(crate) fn autopilot_with_past(
    cloud: &RunningSimulator,
    speed: f64,
    policy: Policy,
) -> anyhow::Result<Autopilot> {
    let metrics = PrometheusConfig::builder(cloud.prometheus_url()).build()?;
    with_metrics(cloud, PrometheusClient::new(metrics)?.into(), speed, policy)
}

fn with_metrics(
    cloud: &RunningSimulator,
    metrics: MetricsSource,
    speed: f64,
    policy: Policy,
) -> anyhow::Result<Autopilot> {
    let ops = cloud_ops_client::Config::try_new(&cloud.ops_url(), cloud.ops_key().into())?;
    let settings = AutopilotSettings { policy, home: None };
    let autopilot = Autopilot::new(cloud_ops_client::Client::new(ops), metrics, settings);
    Ok(autopilot.with_clock(Clock::running_at(speed)))
}

/// A budget of the service's hours in ours.
fn hourly(requests: u32, speed: f64) -> u32 {
    let scaled = f64::from(requests) * speed.max(1.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "casts saturate, and the number is positive"
    )]
    let scaled = scaled.ceil() as u32;
    scaled
}

/// Connects to a server that was just started: it takes connections a moment before it takes requests.
pub(crate) async fn connect(server: &DevServer) -> anyhow::Result<Client> {
    let connection = Connection {
        address: server.address().to_string(),
        namespace: NAMESPACE.to_owned(),
        identity: "temporal-capacity".to_owned(),
        ..Connection::default()
    };
    let mut attempts = 0;
    loop {
        attempts += 1;
        match connection.connect(None).await {
            Ok(client) => return Ok(client),
            Err(error) if attempts >= 50 => return Err(error.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Runs a worker until `body` has ended, and returns what that returns.
pub(crate) async fn with_worker<T>(
    client: &Client,
    autopilot: Arc<Autopilot>,
    cloud: &RunningSimulator,
    dry_run: bool,
    speed: f64,
    body: impl Future<Output = T>,
) -> anyhow::Result<T> {
    let ending = Ending::default();
    let slack = slack_notifier::Config::try_new(cloud.slack_url().into())?;
    let activities = CapacityActivities {
        autopilot: Arc::clone(&autopilot),
        client: client.clone(),
        settings: ActivitySettings {
            dry_run,
            webhook: Some(Webhook::new(slack)),
            sampling: SamplingSettings {
                speed,
                ..SamplingSettings::default()
            },
            // A simulated hour may be over in seconds.
            last_minute_to_release: 60,
            ..ActivitySettings::new(Installation::default())
        },
        health: EvaluationHealth::default(),
        ending: ending.clone(),
    };
    let runtime = Runtime::from_current_tokio(RuntimeOptions::default())?;
    let limits = WorkerLimits {
        grace: Duration::from_secs(5),
        ..WorkerLimits::default()
    };
    let mut worker = Worker::new(&runtime, client.clone(), worker_options(activities, limits))?;
    let stop = worker.shutdown_handle();
    let (ended, result) = tokio::join!(Box::pin(worker.run()), async {
        let installation = Installation::default();
        let result = tokio::select! {
            result = body => result,
            never = keep_sampling(client, &installation, &autopilot) => match never {},
        };
        ending.begin();
        stop();
        result
    });
    ended.context("the worker ended")?;
    Ok(result)
}
