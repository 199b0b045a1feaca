//! `demo`: plans, applies and verifies changes on a simulated cloud.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use capacity_autopilot::{Autopilot, ChangeResult, Plan, Scope, Stop};
use capacity_engine::pricing::{in_dollars, per_million};
use capacity_engine::{Rate, Rules};
use capacity_settings::{Inputs, Needs};
use capacity_workflows::Installation;
use capacity_workflows::controller::Controller;
use cloud_simulator::{Account, HourBill, NamespaceView, RunningSimulator, SimulatorOptions};
use comfy_table::{Cell, CellAlignment};
use human_text::{counted, grouped};
use jiff::{SignedDuration, Timestamp};
use rust_decimal::Decimal;

use crate::apply::carry_out;
use crate::arguments::{Demo, Global};
use crate::exit::{Exit, report};
use crate::output::Output;
use crate::plan::show_or_warn;
use crate::render;
use crate::setup;
use crate::simulator::PAST_MINUTES;
use crate::stack;
use crate::stops::Stops;
use crate::tables;
use crate::terminal::Terminal;

/// Simulated seconds per second of real time.
const SPEED: f64 = 60.0;

pub(crate) async fn run(flags: &Demo, global: &Global, terminal: Terminal) -> anyhow::Result<Exit> {
    let stops = Stops::listen(None)?;
    tokio::select! {
        ended = whole(flags, global, terminal) => ended,
        // The simulated cloud and its server end with this process.
        stopped = stops.first() => Ok(stopped.exit()),
    }
}

async fn whole(flags: &Demo, global: &Global, terminal: Terminal) -> anyhow::Result<Exit> {
    let begun = Instant::now();
    let quiet = global.output() != Output::Table;
    let say = |text: String| {
        if !quiet {
            report(&text);
        }
    };
    let mut options = SimulatorOptions::new(Account::demo());
    options.speed = SPEED;
    options.past_minutes = PAST_MINUTES;
    options.seed = flags.seed;
    let cloud = cloud_simulator::start(options).await?;
    // Use the defaults and ignore the settings of this machine, because the demo needs none.
    let settings = capacity_settings::load(&Inputs::default(), Needs::default())?;
    let autopilot = Arc::new(stack::autopilot_with_past(&cloud, SPEED, Rules::default())?);
    let price = settings.rules.prices.dollars();
    let count = cloud.namespaces().len();
    let before = Hour::next(&cloud, price)?;
    say(format!(
        "1. Before: a full hour of a simulated Temporal Cloud with {count} namespaces.\n\n{}",
        before.table(terminal)
    ));

    say(
        "\n2. Decisions, as `temporal-capacity plan` shows them. Metrics arrive three minutes late, so the rates and \
         counts are a little older than those above.\n"
            .to_owned(),
    );
    let evaluation = setup::evaluate(&autopilot, &Scope::All, terminal).await?;
    let mut plan = Plan::of(&evaluation);
    if !quiet {
        show_or_warn(&plan, Output::Table, true, terminal, begun.elapsed());
    }
    // Only a CLI that is installed: the demo needs no network, so it downloads nothing.
    let on_temporal = !flags.in_process && temporal_dev_server::find()?.is_some();
    let results = if on_temporal {
        say(
            "\n3. A worker on its own Temporal server evaluates, waits for each change and verifies it.\n"
                .to_owned(),
        );
        Box::pin(on_a_server(&autopilot, &cloud, terminal)).await?
    } else {
        let why = if flags.in_process {
            "as requested by --in-process"
        } else {
            "because the Temporal CLI is not installed (https://docs.temporal.io/cli)"
        };
        say(format!(
            "\n3. Apply in this process ({why}), as `temporal-capacity apply` does: wait for each change \
             and verify it.\n"
        ));
        let orders = plan.orders();
        carry_out(
            &autopilot,
            &settings,
            orders,
            false,
            &Stop::new(),
            terminal,
            |_, _| (),
        )
        .await
    };
    say(render::changes(&results, terminal));
    let failed = !all_carried_out(&plan, &results);

    // Metrics are three minutes late, so changes become visible only after that.
    cloud.advance(SignedDuration::from_mins(6));
    let again = setup::evaluate(&autopilot, &Scope::All, terminal).await?;
    let left = again
        .decisions
        .iter()
        .filter(|judged| judged.decision.action.is_change())
        .count();
    let after = Hour::next(&cloud, price)?;
    say(format!(
        "\n4. After: the next plan has {}, and this is the first full hour after the changes.\n\n{}",
        counted(left, "change"),
        after.table(terminal)
    ));
    say(saved(&before, &after, begun.elapsed()));
    plan.changes = Some(results);
    if global.output() != Output::Table {
        show_or_warn(&plan, global.output(), true, terminal, begun.elapsed());
    }
    let incidents = cloud.incidents().len();
    cloud.shutdown().await;
    anyhow::ensure!(
        // The simulator records each field that an update changed besides the capacity.
        incidents == 0,
        "the demo changed {incidents} fields other than the capacity; please report this bug"
    );
    // Once every change is done, a second plan has nothing left to change.
    Ok(if failed || left > 0 || again.metrics_unavailable.is_some() {
        Exit::Failed
    } else {
        Exit::Done
    })
}

fn all_carried_out(plan: &Plan, results: &[ChangeResult]) -> bool {
    let done = |namespace: &str| {
        let mut results = results.iter();
        results.any(|result| result.namespace == namespace && result.outcome.is_success())
    };
    let mut planned = plan.decisions.iter().filter(|it| it.action.is_change());
    planned.all(|decision| done(&decision.namespace))
}

/// Evaluates as in production, with a server, a worker, the controller and a child workflow for each change.
async fn on_a_server(
    autopilot: &Arc<Autopilot>,
    cloud: &RunningSimulator,
    terminal: Terminal,
) -> anyhow::Result<Vec<ChangeResult>> {
    let bar = terminal.progress("a Temporal server is starting");
    let server = temporal_dev_server::start(&temporal_dev_server::Options::default(), &|_| ()).await?;
    let client = stack::connect(&server).await?;
    bar.set_message("the controller evaluates");
    let installation = Installation::default();
    let controller = Controller::new(&client, &installation);
    let asked = controller.evaluate("demo", Duration::from_mins(3));
    let worker = stack::with_worker(&server, autopilot.clone(), cloud, false, SPEED, asked);
    let report = Box::pin(worker).await??;
    bar.finish_and_clear();
    server.shutdown().await;
    if let Some(error) = report.error {
        anyhow::bail!("the evaluation failed: {error}");
    }
    Ok(report
        .last_changes()
        .into_iter()
        .map(ChangeResult::from)
        .collect())
}

/// Compares the bills of two hours.
fn saved(before: &Hour, after: &Hour, took: Duration) -> String {
    let price = per_million(before.price);
    let (before, after) = (before.unused(), after.unused());
    format!(
        "\nBilled for unused capacity in a full hour, at {price}: {} before, {} after. Saved: {} an hour. The demo took {:.0} s.",
        in_dollars(before),
        in_dollars(after),
        in_dollars(before - after),
        took.as_secs_f64()
    )
}

/// The bill of one calendar hour.
struct Hour {
    namespaces: Vec<(NamespaceView, HourBill)>,
    price: Decimal,
}

impl Hour {
    /// Advances the simulated cloud by a whole calendar hour.
    fn next(cloud: &RunningSimulator, price: Decimal) -> anyhow::Result<Self> {
        let hour = SignedDuration::from_hours(1);
        let next = cloud.now().as_second().div_euclid(hour.as_secs()) + 1;
        let end = Timestamp::from_second((next + 1) * hour.as_secs())
            .context("the simulated time is out of range")?;
        // Advance by one more minute, because a minute is billed only after it has passed.
        cloud.advance(
            end.duration_since(cloud.now())
                .saturating_add(SignedDuration::from_mins(1)),
        );
        let bills = cloud.bills();
        let bill_of = |namespace: &str| bills.get(namespace)?.get(&next).copied();
        let namespaces = cloud.namespaces().into_iter().map(|namespace| {
            let bill = bill_of(&namespace.id).unwrap_or_default();
            (namespace, bill)
        });
        Ok(Self {
            namespaces: namespaces.collect(),
            price,
        })
    }

    /// Returns what was paid for unused capacity.
    fn unused(&self) -> Decimal {
        let bills = self.namespaces.iter();
        bills.map(|(_, bill)| bill.shortfall_cost(self.price)).sum()
    }

    fn table(&self, terminal: Terminal) -> String {
        let header = [
            "namespace",
            "capacity",
            "actions/h",
            "throttled/s",
            "minimum actions/h",
            "minimum $/h",
            "unused $/h",
        ];
        let mut table = tables::table_with(header, terminal);
        let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
        let minimum = |bill: &HourBill| self.price * Decimal::from(bill.minimum()) / Decimal::from(1_000_000);
        for (namespace, bill) in &self.namespaces {
            let throttled = Rate::from_per_second(namespace.throttled).filter(|rate| !rate.is_zero());
            table.add_row([
                Cell::new(&namespace.id),
                Cell::new(render::trus(Some(namespace.trus))),
                right(grouped(bill.actions())),
                right(throttled.map_or_else(String::new, |rate| rate.measured().to_string())),
                right(grouped(bill.minimum())),
                right(in_dollars(minimum(bill))),
                right(in_dollars(bill.shortfall_cost(self.price))),
            ]);
        }
        let total = self.namespaces.iter().map(|(_, bill)| minimum(bill)).sum();
        table.add_row([
            Cell::new("total"),
            Cell::new(""),
            Cell::new(""),
            Cell::new(""),
            Cell::new(""),
            right(in_dollars(total)),
            right(in_dollars(self.unused())),
        ]);
        tables::lines_of_figures(&table, terminal)
    }
}
