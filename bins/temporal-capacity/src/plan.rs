//! `plan`: shows what would change now, and why.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use capacity_autopilot::{LedgerHandle, Plan, Scope};
use capacity_engine::NamespacePatterns;
use capacity_ledger::Location;
use capacity_settings::Needs;

use crate::arguments::{self, Global};
use crate::exit::{Exit, print, tell};
use crate::observe;
use crate::output::Output;
use crate::render;
use crate::setup;
use crate::stops::Stops;
use crate::terminal::Terminal;
use crate::traces::Traces;

pub(crate) async fn run(
    flags: &arguments::Plan,
    global: &Global,
    terminal: Terminal,
) -> anyhow::Result<Exit> {
    let begun = Instant::now();
    let settings = setup::settings(
        global,
        Needs {
            cloud_keys: true,
            ..Needs::default()
        },
    )?;
    let scope = scope(&flags.namespaces)?;
    let traces = Traces::begin(&settings)?;
    let mut autopilot = capacity_wiring::autopilot(&settings)?;
    let mut kept = None;
    if let Some(duration) = flags.observe {
        if autopilot.ledger().is_none() {
            // The folder with the temporary ledger is deleted at the end.
            let folder = tempfile::tempdir().context("cannot create a temporary folder for the minutes")?;
            let location = Location::Sqlite(folder.path().join("minutes.db"));
            autopilot = autopilot.with_ledger(LedgerHandle::at(location));
            kept = Some(folder);
        }
        let stops = Stops::listen(None)?;
        if let Some(stopped) = observe::minutes(&autopilot, duration, &stops, terminal).await? {
            tell(&format!("{}: no plan was made", stopped.why()));
            return Ok(stopped.exit());
        }
    }
    let evaluation = setup::evaluate(&autopilot, &scope, terminal).await?;
    drop(kept);
    let plan = Plan::of(&evaluation);
    traces.planned(&plan, &evaluation, true);
    if let Some(path) = &flags.save {
        save(&plan.clone().with_inputs(&evaluation), path)?;
    }
    show(&plan, global.output(), flags.all, terminal, begun.elapsed())?;
    if let Some(path) = &flags.save {
        tell(&format!(
            "saved to {0}; carry it out within 15 minutes: temporal-capacity apply {0}",
            path.display()
        ));
    }
    traces.finish().await;
    Ok(Exit::of_plan(
        flags.detailed_exitcode,
        &plan,
        plan.summary.changes(),
    ))
}

fn scope(globs: &[String]) -> anyhow::Result<Scope> {
    if globs.is_empty() {
        return Ok(Scope::All);
    }
    Ok(Scope::Matching(NamespacePatterns::try_new(globs)?))
}

/// Writes to a temporary file and renames it, so that a reader never sees an incomplete plan.
fn save(plan: &Plan, path: &Path) -> anyhow::Result<()> {
    let context = || format!("the plan could not be saved to {}", path.display());
    let mut beside = path.as_os_str().to_owned();
    beside.push(".part");
    std::fs::write(&beside, plan.to_saved()).with_context(context)?;
    std::fs::rename(&beside, path).with_context(context)
}

/// Shows a plan, with the result on standard output and warnings on standard error.
pub(crate) fn show(
    plan: &Plan,
    output: Output,
    all: bool,
    terminal: Terminal,
    took: Duration,
) -> anyhow::Result<()> {
    for warning in &plan.warnings {
        tell(&format!("warning: {warning}"));
    }
    for error in &plan.errors {
        tell(&format!("error: {error}"));
    }
    let closing = render::closing_line(plan, took);
    match output {
        Output::Table | Output::Html => {
            let folded = if all { String::new() } else { render::folded(plan) };
            return print(&format!(
                "{}{folded}{closing}\n",
                render::table(plan, all, terminal)
            ));
        }
        Output::Markdown => print(&render::markdown(plan, all))?,
        Output::Csv => print(&render::csv(plan)?)?,
        Output::Json => print(&serde_json::to_string_pretty(plan)?)?,
        Output::Jsonl => print(&lines(plan)?)?,
        Output::None => return Ok(()),
    }
    tell(&closing);
    Ok(())
}

/// Like [`show`], for commands that change something: a failure to print the plan is only a warning.
pub(crate) fn show_or_warn(plan: &Plan, output: Output, all: bool, terminal: Terminal, took: Duration) {
    if let Err(error) = show(plan, output, all, terminal, took) {
        tell(&format!("warning: {error:#}"));
    }
}

/// Returns decisions and then changes, one JSON object per line.
fn lines(plan: &Plan) -> anyhow::Result<String> {
    let mut lines = Vec::new();
    for decision in &plan.decisions {
        lines.push(serde_json::to_string(decision)? + "\n");
    }
    for change in plan.changes.iter().flatten() {
        lines.push(serde_json::to_string(change)? + "\n");
    }
    Ok(lines.concat())
}
