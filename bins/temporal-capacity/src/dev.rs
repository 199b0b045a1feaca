//! `dev`: the whole stack in one terminal, until Ctrl-C.

use std::sync::Arc;

use capacity_workflows::{Installation, ScheduleOptions, create};
use cloud_simulator::{Account, RunningSimulator, SimulatorOptions};
use temporal_dev_server::{DevServer, Options};

use crate::arguments::Dev;
use crate::exit::{Exit, print, tell};
use crate::stack::{self, NAMESPACE};

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
    let client = stack::connect(&server).await?;
    let every_minute = ScheduleOptions {
        minutes: (0..60).collect(),
        ..ScheduleOptions::hourly(Installation::default())
    };
    create(&client, &every_minute).await?;
    print(&introduction(&server, &cloud))?;
    let autopilot = Arc::new(stack::autopilot(&cloud)?);
    let interrupted = async {
        let interrupted = tokio::signal::ctrl_c().await;
        tell("stopping");
        interrupted
    };
    stack::with_worker(&client, autopilot, &cloud, flags.dry_run, interrupted).await??;
    cloud.shutdown().await;
    server.shutdown().await;
    Ok(Exit::Done)
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
