//! Measures simulated hours: the sampler reads the metrics after each jump of the clock, evaluations run once
//! per real minute, and changes follow the loads.
//!
//! The clock runs in real time during a reading, so that all of its requests return the same minute, and jumps
//! to the next reading as soon as the worker is idle.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use capacity_workflows::schedule::{Schedule, ScheduleOptions};
use cloud_simulator::{Account, Load, NamespaceSetup, SimulatorOptions, Trace};
use futures::StreamExt;
use jiff::SignedDuration;
use temporalio_client::{UntypedWorkflow, WorkflowDescribeOptions, WorkflowListOptions};

use crate::Arguments;
use crate::figures::Figures;
use crate::ledger::{Taken, compacted};
use crate::process::Worker;
use crate::world::{World, megabytes};

/// One in every `SHIFTS` namespaces has a busy shift and is idle for the rest of the day.
const SHIFTS: usize = 200;
/// Minutes of a busy shift, and between two shifts.
const BUSY: usize = 120;
const IDLE: usize = 360;
const MEMORY: f64 = 60.0;
/// Target for the ledger in bytes per namespace and hour.
const LEDGER: f64 = 1_000.0;
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Speed of the worker's own waits: it takes the next reading after about two real seconds.
const PACE: f64 = 60.0;
/// If there was no request for this long, no reading is in progress.
const QUIET: Duration = Duration::from_millis(400);
/// After this time without a reading, for example if the hourly requests are used up, the clock advances.
const NO_READING: Duration = Duration::from_secs(3);
/// Maximum time to wait until all requests have ended.
const STUCK: Duration = Duration::from_secs(30);

/// Runs the simulation and measures it.
pub(crate) async fn measure(
    arguments: &Arguments,
    folder: &Path,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let cloud = cloud_simulator::start(SimulatorOptions {
        seed: arguments.seed,
        past_minutes: 8,
        ..SimulatorOptions::new(account(arguments)?)
    })
    .await?;
    let database = folder.join("temporal.db");
    let world = World::start(cloud, Some(database.clone())).await?;
    let ledger = folder.join("day.db");
    let environment = world.environment(&[
        ("LEDGER_URL", ledger.display().to_string()),
        ("LEDGER_KEEP_MINUTES", "2h".to_owned()),
    ]);
    let worker = Worker::start(folder, "day", &environment, &["--cloud-speed", &PACE.to_string()])?;
    // In real minutes. The higher the speed, the fewer evaluations a simulated hour has.
    let every_minute = ScheduleOptions::hourly().with_minutes(0..60);
    Schedule::new(&world.client, &world.installation)
        .create(&every_minute)
        .await?;
    let begun = world.cloud.now();
    let lasts = SignedDuration::from_hours(i64::from(arguments.hours));
    let step = SignedDuration::from_mins(arguments.step_minutes);
    let mut resident = Vec::new();
    let mut noted = 0;
    while world.cloud.now().duration_since(begun) < lasts {
        read(&world).await;
        resident.push(worker.resident()?);
        world.cloud.advance(step);
        let hour = world.cloud.now().duration_since(begun).as_hours();
        if hour > noted {
            noted = hour;
            crate::say(&format!(
                "hour {hour}: {:.1} MB, {:.1} s of CPU, {} scrapes, {} changes, ledger {:.1} MB",
                worker.resident()?,
                worker.cpu()?,
                world.scrapes(),
                world.cloud.accepted().len(),
                megabytes(&ledger),
            ));
        }
    }
    let status = world.status().await.unwrap_or_default();
    let mut lived = Lived {
        resident,
        cpu: worker.cpu()?,
        peak: worker.peak()?,
        evaluations: status.evaluations,
        scrapes: world.scrapes(),
        changes: world.cloud.accepted().len(),
        histories: histories(&world).await?,
        ..Lived::default()
    };
    worker.stop().await?;
    lived.ledger = compacted(&ledger, world.cloud.now()).await?;
    lived.database = megabytes(&database);
    world.shutdown().await;
    lived.report(arguments, figures);
    Ok(())
}

/// Waits until the worker has taken a reading and no reading is in progress.
async fn read(world: &World) {
    let (begun, before) = (Instant::now(), world.scrapes());
    let (mut seen, mut since) = (0, Instant::now());
    while begun.elapsed() < STUCK {
        tokio::time::sleep(LOOK_EVERY).await;
        let (scrapes, ops) = (world.scrapes(), world.ops_requests());
        if scrapes + ops != seen {
            (seen, since) = (scrapes + ops, Instant::now());
        } else if since.elapsed() >= QUIET && (scrapes > before || begun.elapsed() >= NO_READING) {
            return;
        }
    }
}

/// The measurements of a simulated run.
#[derive(Debug, Default)]
struct Lived {
    /// Resident memory after each reading, in MB.
    resident: Vec<f64>,
    cpu: f64,
    peak: f64,
    evaluations: u64,
    scrapes: u64,
    changes: usize,
    histories: BTreeMap<String, Histories>,
    ledger: Taken,
    /// Size of the Temporal server's database in MB.
    database: f64,
}

impl Lived {
    #[expect(clippy::cast_precision_loss, reason = "numbers of a run fit 53 bits")]
    fn report(mut self, arguments: &Arguments, figures: &mut Figures) {
        let (namespaces, hours) = (arguments.namespaces as f64, f64::from(arguments.hours));
        let days = hours / 24.0;
        figures.add("simulated hours", format!("{hours}"));
        figures.add("evaluations", self.evaluations.to_string());
        let scrapes = self.scrapes as f64 / hours;
        figures.add(
            "requests to the metrics endpoint, an hour",
            format!("{scrapes:.1}"),
        );
        figures.add("changes of capacity", self.changes.to_string());
        figures.add(
            "CPU of the worker, a simulated hour",
            format!("{:.2} s", self.cpu / hours),
        );
        self.resident.sort_by(f64::total_cmp);
        let median = self.resident.get(self.resident.len() / 2);
        let median = median.copied().unwrap_or_default();
        figures.add("worker, median of resident memory", format!("{median:.1} MB"));
        figures.at_most("worker, highest resident memory", self.peak, MEMORY, "MB");
        figures.add(
            "ledger as the worker left it, with 2 h of minutes",
            format!("{:.1} MB", self.ledger.before as f64 / 1e6),
        );
        for (name, bytes) in &self.ledger.by_table {
            let each = *bytes as f64 / namespaces / hours;
            figures.add(
                format!("  {name}, a namespace and hour"),
                format!("{each:.1} bytes"),
            );
        }
        let each = self.ledger.compact as f64 / namespaces / hours;
        figures.at_most(
            "ledger after compaction, a namespace and hour",
            each,
            LEDGER,
            "bytes",
        );
        for (kind, Histories { runs, events, bytes }) in &self.histories {
            let (runs, events) = (*runs as f64 / days, *events as f64 / days);
            let kilobytes = *bytes as f64 / 1e3 / days;
            figures.add(
                format!("{kind}: runs, events, kB of history a day"),
                format!("{runs:.0}, {events:.0}, {kilobytes:.0}"),
            );
        }
        let bytes: i64 = self.histories.values().map(|it| it.bytes).sum();
        figures.add(
            "histories, a namespace and day",
            format!("{:.1} bytes", bytes as f64 / namespaces / days),
        );
        figures.add(
            "database of the Temporal server",
            format!("{:.1} MB", self.database),
        );
    }
}

/// Runs of one workflow type.
#[derive(Debug, Default)]
struct Histories {
    runs: u64,
    events: i64,
    bytes: i64,
}

async fn histories(world: &World) -> anyhow::Result<BTreeMap<String, Histories>> {
    let mut found: BTreeMap<String, Histories> = BTreeMap::new();
    let mut list = world
        .client
        .list_workflows("", WorkflowListOptions::builder().build());
    while let Some(workflow) = list.next().await {
        let workflow = workflow?;
        let (mut events, mut bytes) = (workflow.history_length(), workflow.raw().history_size_bytes);
        if workflow.close_time().is_none() {
            // The list contains the sizes of closed runs only.
            let handle = world.client.get_workflow_handle::<UntypedWorkflow>(workflow.id());
            let described = handle.describe(WorkflowDescribeOptions::default()).await?;
            let info = described.raw_description.workflow_execution_info;
            (events, bytes) = info.map_or((0, 0), |info| (info.history_length, info.history_size_bytes));
        }
        let kind = found.entry(workflow.workflow_type().to_owned()).or_default();
        kind.runs += 1;
        kind.events += events;
        kind.bytes += bytes;
    }
    Ok(found)
}

/// Returns mostly quiet namespaces, and some with busy shifts at different hours.
fn account(arguments: &Arguments) -> anyhow::Result<Account> {
    let mut account = Account::generate(arguments.namespaces, 0.0, arguments.seed);
    let period = BUSY + IDLE;
    for (number, namespace) in account.namespaces.iter_mut().enumerate() {
        if number % SHIFTS != 0 {
            continue;
        }
        let at = number / SHIFTS * 37 % period;
        let rows = (0..period).map(|minute| {
            if (minute + at) % period < BUSY {
                "700,750"
            } else {
                "0,0"
            }
        });
        let rows: Vec<&str> = std::iter::once("aps,peak10s").chain(rows).collect();
        let trace = Trace::read(rows.join("\n").as_bytes())?;
        let mut setup = NamespaceSetup::new(namespace.name.clone(), Load::Replay(trace.into()));
        // On-demand provides the published limit, regardless of the load in the past week.
        setup.usual = Some(20.0);
        *namespace = setup;
    }
    Ok(account)
}
