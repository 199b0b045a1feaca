//! A worker inside this process, for the simulated cloud: `dev` and `demo` run it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use capacity_autopilot::{Autopilot, AutopilotSettings, CHANGE_TIMEOUT};
use capacity_engine::Policy;
use capacity_workflows::{
    ActivitySettings, CapacityActivities, Connection, Installation, Pulse, WorkerLimits, worker_options,
};
use cloud_simulator::RunningSimulator;
use openmetrics_reader::scrape::Scraper;
use slack_notifier::Webhook;
use temporal_dev_server::DevServer;
use temporalio_client::Client;
use temporalio_sdk::runtime::RuntimeOptions;
use temporalio_sdk::{Runtime, Worker};

/// The namespace that a development server has from the start.
pub(crate) const NAMESPACE: &str = "default";

/// An autopilot with the simulated cloud's own keys and the defaults of everything.
pub(crate) fn autopilot(cloud: &RunningSimulator) -> anyhow::Result<Autopilot> {
    let ops = cloud_ops_client::Config::try_new(&cloud.ops_url(), cloud.ops_key().into())?;
    let metrics =
        openmetrics_reader::scrape::Config::try_new(&cloud.metrics_url(), cloud.metrics_key().into())?;
    let settings = AutopilotSettings {
        policy: Policy::default(),
        home: None,
    };
    Ok(Autopilot::new(
        cloud_ops_client::Client::new(ops),
        Scraper::new(metrics),
        settings,
    ))
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
    body: impl Future<Output = T>,
) -> anyhow::Result<T> {
    let slack = slack_notifier::Config::try_new(cloud.slack_url().into())?;
    let activities = CapacityActivities {
        autopilot,
        client: client.clone(),
        settings: ActivitySettings {
            dry_run,
            max_concurrent_changes: 5,
            wait_for_changes: Duration::from_mins(10),
            price_per_million_actions: Policy::default().threshold.price.dollars(),
            webhook: Some(Webhook::new(slack)),
            installation: Installation::default(),
            change_timeout: CHANGE_TIMEOUT,
        },
        pulse: Pulse::default(),
        ledger: None,
    };
    let runtime = Runtime::from_current_tokio(RuntimeOptions::default())?;
    let limits = WorkerLimits {
        grace: Duration::from_secs(5),
        ..WorkerLimits::default()
    };
    let mut worker = Worker::new(&runtime, client.clone(), worker_options(activities, limits))?;
    let stop = worker.shutdown_handle();
    let (ended, result) = tokio::join!(worker.run(), async {
        let result = body.await;
        stop();
        result
    });
    ended.context("the worker ended")?;
    Ok(result)
}
