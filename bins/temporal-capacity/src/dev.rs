//! `dev`: the whole stack in one terminal, until Ctrl-C.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use capacity_autopilot::{Autopilot, AutopilotSettings, CHANGE_TIMEOUT};
use capacity_engine::Policy;
use capacity_workflows::{
    ActivitySettings, CapacityActivities, Connection, Installation, Pulse, ScheduleOptions, WorkerLimits,
    create, worker_options,
};
use cloud_ops_client::Client;
use cloud_simulator::{Account, RunningSimulator, SimulatorOptions};
use openmetrics_reader::scrape::Scraper;
use slack_notifier::Webhook;
use temporal_dev_server::{DevServer, Options};
use temporalio_sdk::runtime::RuntimeOptions;
use temporalio_sdk::{Runtime, Worker};

use crate::arguments::Dev;
use crate::exit::{Exit, print, tell};

const NAMESPACE: &str = "default";

pub(crate) async fn run(flags: &Dev) -> anyhow::Result<Exit> {
    anyhow::ensure!(
        flags.speed > 0.0 && flags.speed.is_finite(),
        "--speed {}: give a factor above 0",
        flags.speed
    );
    let options = Options {
        database_file: flags.database.clone(),
        port: None,
        with_ui: true,
        dynamic_config: Vec::new(),
    };
    let server = temporal_dev_server::start(&options, &tell).await?;
    let cloud = cloud_simulator::start(SimulatorOptions {
        speed: flags.speed,
        ..SimulatorOptions::new(Account::demo())
    })
    .await?;
    let connection = Connection {
        address: server.address().to_string(),
        namespace: NAMESPACE.to_owned(),
        identity: "temporal-capacity dev".to_owned(),
        ..Connection::default()
    };
    let client = connect(&connection).await?;
    let activities = CapacityActivities {
        autopilot: Arc::new(autopilot(&cloud)?),
        client: client.clone(),
        settings: ActivitySettings {
            dry_run: flags.dry_run,
            max_concurrent_changes: 5,
            wait_for_changes: Duration::from_mins(10),
            price_per_million_actions: Policy::default().threshold.price.dollars(),
            webhook: Some(Webhook::new(slack_notifier::Config::try_new(
                cloud.slack_url().into(),
            )?)),
            installation: Installation::default(),
            change_timeout: CHANGE_TIMEOUT,
        },
        pulse: Pulse::default(),
    };
    let runtime = Runtime::from_current_tokio(RuntimeOptions::default())?;
    let options = worker_options(
        activities,
        WorkerLimits {
            grace: Duration::from_secs(5),
            ..WorkerLimits::default()
        },
    );
    let mut worker = Worker::new(&runtime, client.clone(), options)?;
    let stop = worker.shutdown_handle();
    let every_minute = ScheduleOptions {
        minutes: (0..60).collect(),
        ..ScheduleOptions::hourly(Installation::default())
    };
    create(&client, &every_minute).await?;
    print(&introduction(&server, &cloud))?;
    let (ended, interrupted) = tokio::join!(worker.run(), async {
        let interrupted = tokio::signal::ctrl_c().await;
        tell("stopping");
        stop();
        interrupted
    });
    ended.context("the worker ended")?;
    interrupted?;
    cloud.shutdown().await;
    server.shutdown().await;
    Ok(Exit::Done)
}

/// The server takes connections a moment before it takes requests.
async fn connect(connection: &Connection) -> anyhow::Result<temporalio_client::Client> {
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

fn autopilot(cloud: &RunningSimulator) -> anyhow::Result<Autopilot> {
    let ops = cloud_ops_client::Config::try_new(&cloud.ops_url(), cloud.ops_key().into())?;
    let metrics =
        openmetrics_reader::scrape::Config::try_new(&cloud.metrics_url(), cloud.metrics_key().into())?;
    let settings = AutopilotSettings {
        policy: Policy::default(),
        home: None,
    };
    Ok(Autopilot::new(Client::new(ops), Scraper::new(metrics), settings))
}

/// Where everything is, and what to try.
fn introduction(server: &DevServer, cloud: &RunningSimulator) -> String {
    let ui = server.ui_address().map_or_else(String::new, |ui| {
        format!("http://{ui}/namespaces/{NAMESPACE}/workflows")
    });
    format!(
        "web UI            {ui}\n\
         Temporal server   {address}\n\
         simulated cloud   {cloud}\n\
         \n\
         An evaluation is made every minute. In another terminal:\n\
         \n  export TEMPORAL_ADDRESS={address} TEMPORAL_NAMESPACE={NAMESPACE}\n\
         \n  temporal-capacity status\n  temporal-capacity trigger --wait\n  capacity-schedule show\n\
         \nCtrl-C ends everything.\n",
        address = server.address(),
        cloud = cloud.ops_url(),
    )
}
