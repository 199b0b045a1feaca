//! `apply`: plan, show, ask, carry out, verify.

use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, bail};
use capacity_autopilot::{
    Autopilot, CarryOut, ChangeOrder, ChangeResult, Plan, Scope, Stop, chain, digest, record_changes,
    record_evaluation,
};
use capacity_settings::{Needs, Settings};
use slack_notifier::Webhook;

use crate::arguments::{self, Global, PlanFormat};
use crate::exit::{Exit, print, tell};
use crate::plan::{Shown, show};
use crate::render;
use crate::setup;
use crate::terminal::Terminal;

pub(crate) async fn run(
    flags: &arguments::Apply,
    global: &Global,
    terminal: Terminal,
) -> anyhow::Result<Exit> {
    let begun = Instant::now();
    let settings = setup::settings(
        global,
        Needs {
            cloud_keys: true,
            estimate_is_enough: true,
            ..Needs::default()
        },
    )?;
    let may_ask = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    if !flags.yes && !may_ask && !settings.dry_run {
        bail!("there is no terminal to ask on: look at `temporal-capacity plan`, then say `apply --yes`");
    }
    let autopilot = capacity_workflows::autopilot(&settings)?;
    let (mut plan, orders) = if let Some(path) = &flags.file {
        saved(&autopilot, path).await?
    } else {
        let evaluation = setup::evaluate(&autopilot, &Scope::All, terminal).await?;
        let plan = Plan::of(&evaluation, settings.policy.threshold.price.dollars());
        let orders = plan.orders(&evaluation);
        (plan, orders)
    };
    let refuse_moved = flags.file.is_some();
    let shown = Shown::choose(None, global.output);
    let is_table = shown == Shown::As(PlanFormat::Table);
    if is_table {
        show(&plan, shown, false, terminal, begun.elapsed())?;
    }
    if settings.dry_run {
        tell("DRY_RUN_MODE is true: nothing is changed and nothing sent");
        record(&plan, &autopilot, true).await;
        notify(&plan, &settings).await;
        if !is_table {
            show(&plan, shown, false, terminal, begun.elapsed())?;
        }
        return Ok(Exit::of_plan(
            flags.detailed_exitcode,
            plan.metrics_unavailable,
            orders.len(),
        ));
    }
    if !orders.is_empty() && !flags.yes && !agreed(orders.len())? {
        tell("nothing was changed");
        return Ok(Exit::of_plan(
            flags.detailed_exitcode,
            plan.metrics_unavailable,
            orders.len(),
        ));
    }
    let results = carry_out(&autopilot, &settings, orders, refuse_moved, terminal).await;
    let failed = results
        .iter()
        .filter(|result| !result.outcome.is_success())
        .count();
    if is_table && !results.is_empty() {
        print(&render::changes(&results, terminal))?;
    }
    plan.changes = Some(results);
    record(&plan, &autopilot, false).await;
    notify(&plan, &settings).await;
    if !is_table {
        show(&plan, shown, false, terminal, begun.elapsed())?;
    }
    if failed > 0 {
        tell(&format!(
            "{failed} changes were not carried out; `temporal-capacity plan` shows what is left"
        ));
        return Ok(Exit::Failed);
    }
    // A successful apply leaves nothing planned.
    Ok(Exit::of_plan(
        flags.detailed_exitcode,
        plan.metrics_unavailable,
        0,
    ))
}

/// Reads a saved plan, and judges its age by the service's clock.
async fn saved(autopilot: &Autopilot, path: &Path) -> anyhow::Result<(Plan, Vec<ChangeOrder>)> {
    let context = || format!("the plan {} cannot be carried out", path.display());
    let text = std::fs::read_to_string(path).with_context(context)?;
    let plan = Plan::from_saved(&text).with_context(context)?;
    autopilot.ops().current_identity().await?;
    if let Some(time) = autopilot.ops().server_time() {
        autopilot.clock().correct(time);
    }
    let orders = plan.saved_orders(autopilot.now()).with_context(context)?;
    Ok((plan, orders))
}

fn agreed(changes: usize) -> anyhow::Result<bool> {
    let noun = if changes == 1 {
        "this change"
    } else {
        "these changes"
    };
    let mut error_stream = std::io::stderr();
    write!(error_stream, "Carry out {noun} ({changes})? [y/N] ")?;
    error_stream.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// Carries changes out; Ctrl-C stops between steps, a second one at once.
pub(crate) async fn carry_out(
    autopilot: &Autopilot,
    settings: &Settings,
    orders: Vec<ChangeOrder>,
    refuse_moved: bool,
    terminal: Terminal,
) -> Vec<ChangeResult> {
    if orders.is_empty() {
        return Vec::new();
    }
    let stop = Stop::new();
    let listener = tokio::spawn({
        let stop = stop.clone();
        async move {
            while tokio::signal::ctrl_c().await.is_ok() {
                if stop.is_stopped() {
                    std::process::exit(130);
                }
                tell("interrupted: finishing the present steps (once more to leave at once)");
                stop.now("interrupted");
            }
        }
    });
    let count = orders.len();
    let bar = terminal.progress(format!("0 of {count} changes"));
    let done = std::cell::Cell::new(0);
    let progress = |result: &ChangeResult| {
        done.set(done.get() + 1);
        let line = format!("{}: {}", result.namespace, result.outcome.as_str());
        bar.set_message(format!("{} of {count} changes; {line}", done.get()));
        tracing::info!(
            namespace = result.namespace,
            outcome = result.outcome.as_str(),
            "a change has ended"
        );
    };
    let how = CarryOut {
        max_concurrent: settings.max_concurrent_changes,
        refuse_moved,
    };
    let results = autopilot.carry_out(orders, how, &stop, progress).await;
    bar.finish_and_clear();
    listener.abort();
    results
}

/// Records what was decided and done. That it cannot be recorded never fails what was done.
async fn record(plan: &Plan, autopilot: &Autopilot, dry_run: bool) {
    let Some(memory) = autopilot.memory() else { return };
    let user = std::env::var("USER").or_else(|_| std::env::var("USERNAME"));
    let by = user.map_or_else(
        |_| format!("temporal-capacity {}", std::process::id()),
        |user| format!("temporal-capacity of {user}"),
    );
    let changes = plan.changes.as_deref().unwrap_or_default();
    let recorded = async {
        record_evaluation(memory, plan, dry_run, &by).await?;
        record_changes(memory, plan, changes, autopilot.now(), &by).await
    };
    if let Err(error) = recorded.await {
        tell(&format!("warning: not recorded: {error}"));
    }
}

/// Tells people, in one digest. That it cannot be delivered never fails what was done.
async fn notify(plan: &Plan, settings: &Settings) {
    let (Some(config), Some(message)) = (&settings.slack, digest(plan, Vec::new())) else {
        return;
    };
    let webhook = Webhook::new(config.clone());
    if settings.dry_run {
        let lines: Vec<&str> = message
            .sections
            .iter()
            .flat_map(|it| &it.lines)
            .map(String::as_str)
            .collect();
        tell(&format!(
            "would tell {}: {}\n  {}",
            webhook.host(),
            message.title,
            lines.join("\n  ")
        ));
    } else if let Err(error) = webhook.post(&message).await {
        tell(&format!("warning: people were not told: {}", chain(&error)));
    }
}
