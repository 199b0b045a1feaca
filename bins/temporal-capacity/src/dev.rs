//! `dev`: runs the whole stack in one terminal, until Ctrl-C, SIGTERM or SIGHUP.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use capacity_autopilot::LedgerHandle;
use capacity_engine::Rules;
use capacity_ledger::Location;
use capacity_workflows::Installation;
use capacity_workflows::controller::{Controller, Trigger};
use capacity_workflows::schedule::{Schedule, ScheduleOptions};
use cloud_simulator::{Account, RunningSimulator, SimulatorOptions};
use human_text::noun;
use process_edge::Signals;
use temporal_dev_server::{DevServer, Options};
use temporalio_client::Client;

use crate::arguments::Dev;
use crate::exit::{Exit, report, tell};
use crate::simulator::PAST_MINUTES;
use crate::stack::{self, NAMESPACE};

/// At a higher speed, a simulated minute is shorter than the steps that happen in it.
const FASTEST: f64 = 600.0;

pub(crate) async fn run(flags: &Dev) -> anyhow::Result<Exit> {
    anyhow::ensure!(
        flags.speed > 0.0 && flags.speed <= FASTEST,
        "--speed {}: specify a factor above 0 and at most {FASTEST}",
        flags.speed
    );
    let signals = Signals::listen().context("cannot listen for signals")?;
    let started = tokio::select! {
        started = Started::start(flags) => started?,
        // A server started by this command ends when its handle is dropped.
        _ = signals.first() => return Ok(Exit::Done),
    };
    let Started {
        server,
        cloud,
        client,
        ledger,
        temporary: _temporary,
    } = started;
    let is_fast = flags.speed > 1.0;
    let rules = Rules::default().with_policy(flags.policy.named());
    let minutes = rules.policy.evaluation_minutes().to_vec();
    report(&introduction(
        &server,
        &cloud,
        &ledger,
        is_fast.then_some(&minutes),
    ));
    let ledger = LedgerHandle::at(Location::Sqlite(ledger));
    // At high speed, an hour is sampled within minutes. At speed 1, read the past hour from the simulated
    // cloud instead.
    let autopilot = if is_fast {
        stack::autopilot(&cloud, flags.speed, rules)?
    } else {
        stack::autopilot_with_past(&cloud, flags.speed, rules)?
    };
    let autopilot = Arc::new(autopilot.with_ledger(ledger));
    let stopped = async {
        tokio::select! {
            _ = signals.first() => {}
            // Temporal schedules run in real time. At a higher speed, the clock of the simulated cloud
            // triggers evaluations.
            () = simulated_schedule(&cloud, &client, flags.speed, &minutes), if is_fast => {}
        }
        tell("stopping");
    };
    Box::pin(stack::with_worker(
        &server,
        autopilot,
        &cloud,
        flags.dry_run,
        flags.speed,
        stopped,
    ))
    .await?;
    cloud.shutdown().await;
    server.shutdown().await;
    Ok(Exit::Done)
}

/// Everything that is started before the worker.
struct Started {
    server: DevServer,
    cloud: RunningSimulator,
    client: Client,
    ledger: PathBuf,
    /// Folder of the ledger if no file was specified; deleted when dropped.
    temporary: tempfile::TempDir,
}

impl Started {
    async fn start(flags: &Dev) -> anyhow::Result<Self> {
        let options = Options {
            database_file: flags.database.clone(),
            port: None,
            with_ui: true,
            dynamic_config: Vec::new(),
        };
        let server = temporal_dev_server::start(&options, &tell).await?;
        let cloud = cloud_simulator::start(SimulatorOptions {
            speed: flags.speed,
            past_minutes: PAST_MINUTES,
            ..SimulatorOptions::new(Account::demo())
        })
        .await?;
        let client = stack::connect(&server).await?;
        let temporary = tempfile::tempdir().context("cannot create a temporary folder")?;
        let ledger = flags
            .ledger
            .clone()
            .unwrap_or_else(|| temporary.path().join("ledger.db"));
        if flags.speed <= 1.0 {
            let every_minute = ScheduleOptions::hourly().with_minutes(0..60);
            Schedule::new(&client, &Installation::default())
                .create(&every_minute)
                .await?;
        }
        Ok(Self {
            server,
            cloud,
            client,
            ledger,
            temporary,
        })
    }
}

/// Triggers an evaluation at these minutes of every simulated hour. Never returns.
async fn simulated_schedule(cloud: &RunningSimulator, client: &Client, speed: f64, minutes: &[u8]) {
    loop {
        let past = cloud.now().as_second().rem_euclid(3_600);
        let until = |minute: &u8| (i64::from(*minute) * 60 - past).rem_euclid(3_600);
        // At least a second: at the minute itself, the rest of the hour is 0.
        let left = minutes.iter().map(until).min().unwrap_or(3_600).max(1);
        #[expect(clippy::cast_precision_loss, reason = "at most an hour of seconds")]
        let left = Duration::from_secs_f64(left as f64 / speed);
        tokio::time::sleep(left).await;
        if let Err(error) = Controller::new(client, &Installation::default())
            .trigger(Trigger::Evaluation)
            .await
        {
            tell(&format!("warning: cannot query the controller: {error}"));
        }
        // Wait for a simulated minute, so as not to trigger twice in the same minute.
        tokio::time::sleep(Duration::from_secs_f64(60.0 / speed)).await;
    }
}

/// Returns the text that shows the addresses and some commands to try.
fn introduction(
    server: &DevServer,
    cloud: &RunningSimulator,
    ledger: &Path,
    simulated_minutes: Option<&Vec<u8>>,
) -> String {
    let ui = server.ui_address().map_or_else(String::new, |ui| {
        format!("http://{ui}/namespaces/{NAMESPACE}/workflows")
    });
    format!(
        "web UI            {ui}\n\
         Temporal server   {address}\n\
         simulated cloud   {cloud}\n\
         \n\
         An evaluation is made {when}; usage is sampled every minute. In another terminal:\n\
         \n  export TEMPORAL_ADDRESS={address} TEMPORAL_NAMESPACE={NAMESPACE} LEDGER_URL={ledger}\n\
         \n  temporal-capacity status\n  temporal-capacity history\n  temporal-capacity trigger --wait\n{schedule}\
         \nPress Ctrl-C to stop everything.\n",
        address = server.address(),
        cloud = cloud.ops_url(),
        ledger = ledger.display(),
        // At a higher speed the cloud's clock triggers evaluations, and there is no schedule.
        schedule = if simulated_minutes.is_none() {
            "  capacity-schedule show\n"
        } else {
            ""
        },
        when = simulated_minutes.map_or_else(
            || "every minute".to_owned(),
            |minutes| {
                let minutes: Vec<String> = minutes.iter().map(ToString::to_string).collect();
                let noun = noun(minutes.len(), "minute");
                format!("at {noun} {} of every simulated hour", minutes.join(" and "))
            }
        ),
    )
}
