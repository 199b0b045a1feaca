//! `doctor`: checks keys, roles, clock, endpoints and metrics. Shows the impact of each problem and how to
//! fix it.

mod cloud_ops;
mod findings;
mod metrics;
mod series;
mod stack;
mod surroundings;

use capacity_autopilot::{LedgerHandle, MetricsSource};
use capacity_settings::Needs;
use comfy_table::{Cell, Color};

use crate::arguments::{Doctor, DoctorTarget, Global};
use crate::exit::{Exit, print};
use crate::output::Output;
use crate::setup;
use crate::tables;
use crate::terminal::Terminal;

use findings::{Check, Checks, Verdict};

pub(crate) async fn run(flags: &Doctor, global: &Global, terminal: Terminal) -> anyhow::Result<Exit> {
    let checks = match &flags.what {
        None => account(global, terminal).await?,
        Some(DoctorTarget::Stack { dir }) => stack::examine(dir.as_deref(), terminal).await?,
    };
    show(&checks, global, terminal)
}

async fn account(global: &Global, terminal: Terminal) -> anyhow::Result<Vec<Check>> {
    let settings = setup::settings(
        global,
        Needs {
            cloud_keys: true,
            ..Needs::default()
        },
    )?;
    let mut autopilot = capacity_wiring::autopilot(&settings)?;
    if let Some(location) = &settings.ledger {
        // A check must not create a ledger.
        autopilot = autopilot.with_ledger(LedgerHandle::existing(location.clone()));
    }
    let bar = terminal.progress("examining");
    let mut report = Checks::default();
    let mut provisioned = Vec::new();
    // First, because it also fetches the service's time and the namespaces for the checks below.
    let listed = cloud_ops::key_and_roles(&autopilot, &mut provisioned, &mut report).await;
    cloud_ops::clock(&autopilot, &mut report);
    match autopilot.metrics() {
        MetricsSource::Endpoint(scraper) => metrics::endpoint(&autopilot, scraper, &mut report).await,
        MetricsSource::Prometheus(client) => metrics::prometheus(&autopilot, client, &mut report).await,
    }
    series::unknown_throttling(&autopilot, &mut report).await;
    surroundings::ledger(&autopilot, listed.as_deref(), &provisioned, &mut report).await;
    surroundings::temporal(&settings, &mut report).await;
    surroundings::home(&settings, listed.as_deref(), &mut report);
    surroundings::notifications(&settings, &mut report);
    surroundings::traces(&settings, &mut report).await;
    bar.finish_and_clear();
    Ok(report.0)
}

fn show(checks: &[Check], global: &Global, terminal: Terminal) -> anyhow::Result<Exit> {
    match global.output() {
        Output::None => {}
        Output::Json => print(&serde_json::to_string_pretty(checks)?)?,
        Output::Jsonl => {
            let lines: Result<Vec<String>, _> = checks.iter().map(serde_json::to_string).collect();
            print(&lines?.join("\n"))?;
        }
        _ => print(&table(checks, terminal))?,
    }
    let is_bad = checks.iter().any(|check| check.verdict == Verdict::Bad);
    Ok(if is_bad { Exit::Failed } else { Exit::Done })
}

/// Renders the findings as a table.
fn table(checks: &[Check], terminal: Terminal) -> String {
    let mut table = tables::table_with(["", "check", "found", "what it means"], terminal);
    for check in checks {
        let (mark, color) = match check.verdict {
            Verdict::Good => ("ok", Color::Green),
            Verdict::Odd => ("note", Color::Yellow),
            Verdict::Bad => ("BAD", Color::Red),
        };
        table.add_row([
            Cell::new(mark).fg(color),
            Cell::new(&check.subject),
            Cell::new(tables::printable(&check.finding)),
            Cell::new(tables::printable(&check.remedy)),
        ]);
    }
    tables::lines_with_texts(&table, 3, terminal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checks() -> Vec<Check> {
        let mut checks = Checks::default();
        checks.good(
            "Cloud Ops API",
            "connected as service account capacity-ops, account role read",
        );
        checks.odd(
            "ledger",
            "LEDGER_URL is not set",
            "nothing is recorded: `history` is empty, and throttling between evaluations goes unnoticed; set LEDGER_URL",
        );
        checks.bad(
            "roles",
            "1 of 12 namespaces can be read but not changed: payments.a1b2c",
            "changes to these fail as `not_permitted`: grant Namespace Admin, or add them to NAMESPACE_DENYLIST",
        );
        checks.0
    }

    #[test]
    fn each_problem_is_shown_with_its_remedy() {
        for (name, width) in [("piped", None), ("at_80", Some(80)), ("at_120", Some(120))] {
            insta::assert_snapshot!(name, table(&checks(), Terminal::plain(width)));
        }
    }
}
