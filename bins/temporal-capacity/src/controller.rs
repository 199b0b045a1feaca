//! `status`, `preview` and `trigger`: commands that query the controller, with timeouts.

use std::time::Duration;

use anyhow::bail;
use capacity_autopilot::ActionName;
use capacity_settings::Needs;
use capacity_workflows::controller::{self, Controller};
use capacity_workflows::schedule::{Schedule, Shown};
use capacity_workflows::{EvaluationReport, Installation, Pause, Status};
use comfy_table::Cell;
use human_text::{at_minute, chain};
use serde::Serialize;
use temporalio_client::Client;

use crate::arguments::{Global, Trigger};
use crate::exit::{Exit, print, tell};
use crate::output::Output;
use crate::pauses;
use crate::setup;
use crate::stops::Stops;
use crate::tables;
use crate::terminal::Terminal;

/// Timeout for queries that the controller answers from its state.
const BOUND: Duration = Duration::from_secs(8);

async fn connect(global: &Global) -> anyhow::Result<(Client, Installation)> {
    let settings = setup::settings(
        global,
        Needs {
            home: true,
            ..Needs::default()
        },
    )?;
    pauses::connect(&settings).await
}

/// Prints a value as JSON if requested. Returns whether it did.
fn as_json(value: &impl Serialize, global: &Global) -> anyhow::Result<bool> {
    match global.output() {
        Output::None => {}
        Output::Json => print(&serde_json::to_string_pretty(value)?)?,
        Output::Jsonl => print(&serde_json::to_string(value)?)?,
        _ => return Ok(false),
    }
    Ok(true)
}

pub(crate) async fn status(global: &Global, terminal: Terminal) -> anyhow::Result<Exit> {
    let (client, installation) = connect(global).await?;
    let bar = terminal.progress("querying the controller");
    let answer = Controller::new(&client, &installation).status(BOUND).await;
    let schedule = Schedule::new(&client, &installation).show().await;
    // The controller learns about a pause only at its next evaluation.
    let paused = capacity_workflows::pauses::read_all(&client, &installation).await;
    bar.finish_and_clear();
    let paused: Option<Vec<String>> = match paused {
        Ok(read) => {
            let open = read.iter().filter(|pause| pause.seen.open);
            Some(open.map(Pause::sentence).collect())
        }
        Err(error) => {
            tell(&format!("warning: pauses could not be read: {}", chain(&error)));
            None
        }
    };
    let mut status = match answer {
        Ok(status) => status,
        Err(problem) => {
            // Reading past schedule runs needs no worker.
            tell(&format!(
                "no response from the controller ({problem}); start `capacity-worker`"
            ));
            for pause in paused.iter().flatten() {
                print(pause)?;
            }
            for tick in Schedule::new(&client, &installation)
                .last_ticks(Duration::from_secs(3))
                .await?
            {
                print(&tick)?;
            }
            // A controller that does not respond is a failure, so that scripts can use `status` as a check.
            return Ok(Exit::Failed);
        }
    };
    let was_paused = status.paused.is_some();
    if let Some(paused) = &paused {
        status.paused = (!paused.is_empty()).then(|| paused.join("; "));
    }
    if as_json(&status, global)? {
        return Ok(Exit::Done);
    }
    if let Err(error) = &schedule {
        tell(&format!("warning: {error}"));
    }
    print(&status.summary)?;
    match (was_paused, &status.paused) {
        (false, Some(paused)) => print(paused)?,
        (true, None) => print("the pause has ended; changes resume with the next evaluation")?,
        _ => {}
    }
    if let Some(coverage) = &status.coverage {
        print(&format!("usage: {coverage}"))?;
    }
    for line in details(&status, jiff::Timestamp::now()) {
        print(&line)?;
    }
    if let Ok(shown) = &schedule {
        print(&ticks(&client, &installation, shown, &status).await)?;
    }
    match schedule {
        Ok(Shown {
            paused: true, note, ..
        }) => print(&format!("the schedule is paused: {note}"))?,
        Ok(shown) => {
            if let Some(next) = shown.next.first() {
                print(&format!("next scheduled evaluation: {}", at_minute(*next)))?;
            }
        }
        Err(_) => {}
    }
    Ok(Exit::Done)
}

/// Describes the outcomes of scheduled runs since the last good evaluation, or in the last day if there
/// was none.
async fn ticks(client: &Client, installation: &Installation, shown: &Shown, status: &Status) -> String {
    let now = jiff::Timestamp::now();
    let last_good = status.last_good_evaluation.as_deref();
    let a_day_ago = now
        .saturating_sub(jiff::SignedDuration::from_hours(24))
        .unwrap_or(now);
    let since = last_good.and_then(|time| time.parse().ok()).unwrap_or(a_day_ago);
    let counted = tokio::time::timeout(
        BOUND,
        Schedule::new(client, installation).ticks_since(shown, since, now),
    )
    .await;
    let when = if last_good.is_some() {
        "since then"
    } else {
        "in the last 24 h"
    };
    match counted {
        Ok(Ok(ticks)) => format!("ticks {when}: {} skipped, {} failed", ticks.skipped, ticks.failed),
        Ok(Err(error)) => format!("ticks {when}: unknown ({error})"),
        Err(_) => format!("ticks {when}: unknown (no response in {} s)", BOUND.as_secs()),
    }
}

/// Returns what the summary leaves out: the age of the last good evaluation, changes, and namespaces on
/// hold with the reason.
fn details(status: &Status, now: jiff::Timestamp) -> Vec<String> {
    let age = |time: &str| {
        let time: jiff::Timestamp = time.parse().ok()?;
        // The worker's clock may be ahead of this one.
        let minutes = now.duration_since(time).as_mins().max(0);
        Some(match minutes {
            0 => "less than a minute".to_owned(),
            minutes if minutes < 120 => format!("{minutes} min"),
            minutes => format!("{} h", minutes / 60),
        })
    };
    let mut lines = Vec::new();
    lines.push(match status.last_good_evaluation.as_deref().and_then(age) {
        Some(age) => format!("last evaluation with usable metrics: {age} ago"),
        None => "no evaluation with usable metrics yet".to_owned(),
    });
    if let Some(age) = status.metrics_unavailable_since.as_deref().and_then(age) {
        lines.push(format!("metrics unavailable for {age}"));
    }
    if !status.changes_in_progress.is_empty() {
        lines.push(format!(
            "changes in progress: {}",
            status.changes_in_progress.join(", ")
        ));
    }
    if status.changes_queued > 0 {
        let next = if status.gate_open {
            ""
        } else {
            "; they start one at a time until one has been verified"
        };
        lines.push(format!("changes waiting: {}{next}", status.changes_queued));
    }
    for held in &status.held {
        lines.push(format!("[{}] on hold: {}", held.namespace, held.reason));
    }
    lines
}

pub(crate) async fn preview(global: &Global, terminal: Terminal) -> anyhow::Result<Exit> {
    let (client, installation) = connect(global).await?;
    match Controller::new(&client, &installation)
        .last_evaluation(BOUND)
        .await
    {
        Ok(report) => show_report(&report, global, terminal),
        Err(problem) => bail!("no response from the controller ({problem}); start `capacity-worker`"),
    }
}

pub(crate) async fn trigger(flags: &Trigger, global: &Global, terminal: Terminal) -> anyhow::Result<Exit> {
    let (client, installation) = connect(global).await?;
    if !flags.wait {
        Controller::new(&client, &installation)
            .trigger(controller::Trigger::Evaluation)
            .await
            .map_err(anyhow::Error::msg)?;
        tell("triggered; run `temporal-capacity status` to see its progress");
        return Ok(Exit::Done);
    }
    // New for each command: the server answers a known id with the result of the earlier update.
    let update_id = format!(
        "temporal-capacity-{}-{}",
        std::process::id(),
        jiff::Timestamp::now().as_millisecond()
    );
    let stops = Stops::listen(None)?;
    let bar = terminal.progress("evaluating");
    let bound = flags.timeout;
    let controller = Controller::new(&client, &installation);
    let answer = tokio::select! {
        answer = controller.evaluate(&update_id, bound) => Ok(answer),
        stopped = stops.first() => Err(stopped),
    };
    bar.finish_and_clear();
    let report = match answer {
        Ok(answer) => answer?,
        Err(stopped) => {
            tell(&format!(
                "{}: the evaluation continues on the worker; run `temporal-capacity status` to see its result",
                stopped.why()
            ));
            return Ok(stopped.exit());
        }
    };
    stops.work_is_done();
    let failed = report.has_failed();
    // The evaluation has ended, so the exit code reports its outcome even if it cannot be printed.
    if let Err(error) = show_report(&report, global, terminal) {
        tell(&format!("warning: {error:#}"));
    }
    Ok(if failed { Exit::Failed } else { Exit::Done })
}

fn show_report(report: &EvaluationReport, global: &Global, terminal: Terminal) -> anyhow::Result<Exit> {
    if as_json(report, global)? {
        return Ok(Exit::Done);
    }
    if report.number == 0 {
        print("nothing has been evaluated yet")?;
        return Ok(Exit::Done);
    }
    for warning in &report.warnings {
        tell(&format!("warning: {warning}"));
    }
    let mut table = tables::table_with(["namespace", "action", "outcome", "reason"], terminal);
    for decision in report
        .decisions
        .iter()
        .filter(|it| !matches!(it.action, ActionName::Keep | ActionName::Skip))
    {
        let change = report
            .changes
            .iter()
            // The last one, because a change that was superseded can be followed by another of the same
            // namespace.
            .rfind(|change| change.namespace == decision.namespace);
        let outcome = change.map_or_else(String::new, |change| change.outcome.clone());
        let why = change
            .and_then(|change| change.error.as_deref())
            .unwrap_or(&decision.reason);
        let cells = [
            decision.namespace.as_str(),
            decision.action.as_str(),
            &outcome,
            why,
        ];
        table.add_row(cells.map(|cell| Cell::new(tables::printable(cell))));
    }
    print(&format!(
        "{}{}",
        tables::lines_with_texts(&table, 3, terminal),
        report.summary
    ))?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use capacity_workflows::{HeldNamespace, Status};

    use super::details;

    #[test]
    fn status_shows_what_is_on_hold_and_the_age_of_the_last_good_evaluation() {
        let now = "2026-11-25T10:45:00Z".parse().expect("a time");
        let status = Status {
            last_good_evaluation: Some("2026-11-25T08:45:00Z".to_owned()),
            changes_queued: 3,
            held: vec![HeldNamespace {
                namespace: "pay.a1b2c".to_owned(),
                reason_code: "changed_by_others".to_owned(),
                reason: "someone else changed it; automatic changes resume in 3 h".to_owned(),
            }],
            ..Status::default()
        };
        assert_eq!(
            details(&status, now),
            [
                "last evaluation with usable metrics: 2 h ago",
                "changes waiting: 3; they start one at a time until one has been verified",
                "[pay.a1b2c] on hold: someone else changed it; automatic changes resume in 3 h",
            ]
        );
        assert_eq!(
            details(&Status::default(), now),
            ["no evaluation with usable metrics yet"]
        );
    }
}
