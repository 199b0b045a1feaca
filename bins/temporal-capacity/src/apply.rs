//! `apply`: makes a plan, shows it, asks for confirmation, carries it out and verifies the changes.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::IsTerminal;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use capacity_autopilot::{
    Autopilot, CarryOut, ChangeOrder, ChangeResult, ChangeTiming, Digest, Evaluation, EvaluationRequest,
    LedgerHandle, Plan, PlanNews, Problem, Scope, Stop, plan_news, recall_problems, record_changes,
    record_evaluation, record_policies, store_problems,
};
use capacity_settings::{Needs, Settings};
use capacity_workflows::Pause;
use human_text::{chain, counted};
use slack_notifier::{Message, Webhook};

use crate::arguments::{self, Global};
use crate::exit::{Exit, report, tell};
use crate::output::Output;
use crate::pauses::{Pauses, held, refuse};
use crate::plan::show_or_warn;
use crate::render;
use crate::setup;
use crate::stops::{Stopped, Stops};
use crate::terminal::{Terminal, confirmed};
use crate::traces::Traces;
use crate::unfinished::{finish_changes, warn_once};

pub(crate) async fn run(
    flags: &arguments::Apply,
    global: &Global,
    terminal: Terminal,
    limit: Option<Duration>,
) -> anyhow::Result<Exit> {
    let begun = Instant::now();
    let settings = setup::settings(
        global,
        Needs {
            cloud_keys: true,
            ..Needs::default()
        },
    )?;
    let stops = Stops::listen(limit)?;
    let apply = Apply {
        autopilot: autopilot(&settings)?,
        traces: Traces::begin(&settings)?,
        settings,
        flags,
        terminal,
        output: global.output(),
        begun,
    };
    let agreed = tokio::select! {
        agreed = apply.plan_and_ask() => agreed?,
        stopped = stops.first() => {
            tell(&format!("{}: nothing was changed", stopped.why()));
            return Ok(stopped.exit());
        }
    };
    let exit = apply.to_its_end(agreed, &stops).await;
    apply.traces.finish().await;
    exit
}

/// Builds the autopilot. Its ledger is waited for once.
fn autopilot(settings: &Settings) -> anyhow::Result<Autopilot> {
    let autopilot = capacity_wiring::autopilot(settings)?;
    Ok(match &settings.ledger {
        Some(location) => autopilot.with_ledger(LedgerHandle::at(location.clone()).waiting_once()),
        None => autopilot,
    })
}

/// One run of `apply`.
struct Apply<'a> {
    autopilot: Autopilot,
    traces: Traces,
    settings: Settings,
    flags: &'a arguments::Apply,
    terminal: Terminal,
    output: Output,
    begun: Instant,
}

/// A plan, newly made or read from a file, and whether to carry it out.
struct Agreed {
    plan: Plan,
    /// The evaluation that the plan was made from; `None` for a saved plan.
    evaluation: Option<Evaluation>,
    orders: Vec<ChangeOrder>,
    /// Whether to carry out the planned changes.
    go: bool,
    /// Whether the table of the plan has already been printed.
    is_shown: bool,
    pauses: Pauses,
}

impl Apply<'_> {
    /// Makes the plan and asks for confirmation if needed. Changes nothing.
    async fn plan_and_ask(&self) -> anyhow::Result<Agreed> {
        let problem = finish_changes(&self.autopilot, self.terminal).await;
        let pauses = Pauses::of(&self.settings).await;
        let open = pauses.open().await;
        // A dry run shows its plan during a pause as well, because it changes nothing.
        if !self.settings.dry_run {
            refuse(&open)?;
        }
        let (plan, orders, evaluation) = if let Some(path) = &self.flags.file {
            let (plan, orders) = saved(&self.autopilot, path).await?;
            (plan, orders, None)
        } else {
            // Only pauses of one direction are left. As restrictions, they show in the plan.
            let restrictions = open.iter().filter_map(Pause::restriction);
            let request = EvaluationRequest::of(Scope::All).with_restrictions(restrictions);
            let evaluation = setup::evaluate_on(&self.autopilot, request, self.terminal).await?;
            let plan = Plan::of(&evaluation);
            self.traces.planned(&plan, &evaluation, self.settings.dry_run);
            let orders = plan.orders();
            (plan, orders, Some(evaluation))
        };
        warn_once(problem.as_deref(), &plan.warnings);
        let asks = !self.settings.dry_run && !self.flags.yes && !orders.is_empty();
        // Show the plan at once on a terminal. A pipe gets all output at the end.
        let is_shown = self.is_table() && (asks || std::io::stdout().is_terminal());
        if is_shown {
            self.show(&plan);
        }
        // The question goes to standard error, so that standard output can be a file.
        if asks && !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
            if !is_shown {
                self.show(&plan);
            }
            bail!(
                "nothing was changed: there is no terminal to ask for confirmation. Run `temporal-capacity apply --yes` to carry out this plan"
            );
        }
        let go = !self.settings.dry_run && (!asks || agreed(orders.len()).await);
        Ok(Agreed {
            plan,
            evaluation,
            orders,
            go,
            is_shown,
            pauses,
        })
    }

    /// Carries out the plan, records it and notifies. Prints the output last, so that a blocked pipe cannot
    /// delay the rest.
    async fn to_its_end(&self, agreed: Agreed, stops: &Stops) -> anyhow::Result<Exit> {
        let Agreed {
            mut plan,
            evaluation,
            mut orders,
            go,
            is_shown,
            pauses,
        } = agreed;
        let (dry_run, planned) = (self.settings.dry_run, orders.len());
        let mut stopped = None;
        if go {
            // Someone may have paused changes since the plan was made or saved.
            let open = pauses.open().await;
            refuse(&open)?;
            let refused = held(&mut orders, &open);
            let (mut results, stop) = self.carry_out(&plan.plan_id, orders, stops).await;
            results.extend(refused);
            (plan.changes, stopped) = (Some(results), stop);
        }
        if go || dry_run {
            // At the same time: a slow channel must not delay the record of what was changed.
            let bar = self.terminal.progress("recording and notifying");
            tokio::join!(self.record(&plan, evaluation.as_ref()), self.notify(&plan));
            bar.finish_and_clear();
        }
        stops.work_is_done();
        if dry_run {
            tell("DRY_RUN_MODE is true: no capacity is changed, and no notification is sent");
        } else if !go {
            tell("nothing was changed");
        }
        self.print(&plan, is_shown);
        let why = stopped.map(Stopped::why);
        let left = left(plan.changes.as_deref().unwrap_or_default(), why.as_deref());
        if let Some(left) = &left {
            tell(&format!(
                "{left}; run `temporal-capacity plan` to see what remains"
            ));
        }
        Ok(match (left, stopped) {
            (Some(_), Some(stopped)) => stopped.exit(),
            (Some(_), None) => Exit::Failed,
            // After a successful apply, no planned changes remain.
            (None, _) => Exit::of_plan(self.flags.detailed_exitcode, &plan, if go { 0 } else { planned }),
        })
    }

    /// Carries out the changes. The first signal or the time limit stops the run between two steps.
    async fn carry_out(
        &self,
        plan_id: &str,
        orders: Vec<ChangeOrder>,
        stops: &Stops,
    ) -> (Vec<ChangeResult>, Option<Stopped>) {
        let stop = Stop::new();
        let stopped = std::cell::Cell::new(None);
        let listen = async {
            let by = stops.first().await;
            stopped.set(Some(by));
            tell(&format!(
                "{}: finishing the current steps; a second signal ends the process at once",
                by.why()
            ));
            stop.now(by.why());
            // Waits forever: the steps in progress end the select once they see the request to stop.
            std::future::pending::<Infallible>().await
        };
        // A saved plan is up to 15 minutes old. A namespace that has changed since then is refused.
        let refuse_moved = self.flags.file.is_some();
        let traced =
            |change: &ChangeResult, timing: &ChangeTiming| self.traces.changed(plan_id, change, timing);
        let results = tokio::select! {
            results = carry_out(&self.autopilot, &self.settings, orders, refuse_moved, &stop, self.terminal, traced) => results,
            never = listen => match never {},
        };
        (results, stopped.get())
    }

    fn is_table(&self) -> bool {
        self.output == Output::Table
    }

    fn show(&self, plan: &Plan) {
        show_or_warn(plan, self.output, false, self.terminal, self.begun.elapsed());
    }

    /// Prints decisions and outcomes. A failed write does not fail the command.
    fn print(&self, plan: &Plan, is_shown: bool) {
        if !is_shown {
            self.show(plan);
        }
        let results = plan.changes.as_deref().unwrap_or_default();
        if self.is_table() && !results.is_empty() {
            report(&render::changes(results, self.terminal));
        }
    }

    /// Records decisions and outcomes in the ledger. A failure to record does not fail the command.
    async fn record(&self, plan: &Plan, evaluation: Option<&Evaluation>) {
        let Some(ledger) = self.autopilot.ledger() else {
            return;
        };
        let named = |name| std::env::var(name).ok().filter(|name: &String| !name.is_empty());
        let user = ["USER", "LOGNAME", "USERNAME"].into_iter().find_map(named);
        let user = user.unwrap_or_else(|| "unknown user".to_owned());
        let by = format!("{user}@{} (CLI)", gethostname::gethostname().display());
        let changes = plan.changes.as_deref().unwrap_or_default();
        if !changes.is_empty() {
            // The ledger may be back, and what was changed must be recorded.
            ledger.retry_now().await;
        }
        let recorded = async {
            record_evaluation(ledger, plan, self.settings.dry_run, &by).await?;
            if let Some(evaluation) = evaluation {
                record_policies(ledger, plan, evaluation, !self.settings.dry_run).await?;
            }
            record_changes(
                ledger,
                plan.account.as_deref(),
                &plan.plan_id,
                changes,
                self.autopilot.now(),
                &by,
            )
            .await
        };
        if let Err(error) = recorded.await {
            let error = error.to_string();
            // The plan is shown with the reason.
            let why = if plan.warnings.contains(&error) {
                "the ledger failed"
            } else {
                &error
            };
            tell(&format!("warning: this run was not recorded: {why}"));
        }
    }

    /// Sends one digest to the channel. It contains only new problems if there is a ledger, and all
    /// problems otherwise. A failed delivery does not fail the command.
    async fn notify(&self, plan: &Plan) {
        let Some(config) = &self.settings.slack else {
            return;
        };
        let known = self.known_problems(plan).await;
        let news = known
            .as_ref()
            .map(|known| plan_news(plan, known, self.autopilot.now()));
        let message = match &news {
            Some(news) => Digest::from(&news.plan).with(news.more.clone()).message(),
            None => Digest::from(plan).message(),
        };
        let is_told = match message {
            Some(message) => self.post(config, &message).await,
            // Without news there is nothing to post, but problems that ended have to be forgotten.
            None => !self.settings.dry_run,
        };
        // Only after the channel accepted the message, so that a failed post is repeated by the next run.
        if let (Some(known), Some(news), true) = (known, news, is_told) {
            self.keep_problems(plan, &known, &news).await;
        }
    }

    /// Returns the problems that earlier runs announced, or `None` without a ledger.
    async fn known_problems(&self, plan: &Plan) -> Option<BTreeMap<String, Problem>> {
        let (ledger, account) = (self.autopilot.ledger()?, plan.account.as_deref()?);
        match recall_problems(ledger, account).await {
            Ok(known) => Some(known),
            Err(error) => {
                // Recording the run fails too, and says why.
                tracing::warn!(%error, "cannot read what was announced before");
                None
            }
        }
    }

    async fn keep_problems(&self, plan: &Plan, known: &BTreeMap<String, Problem>, news: &PlanNews) {
        let (Some(ledger), Some(account)) = (self.autopilot.ledger(), plan.account.as_deref()) else {
            return;
        };
        let now = self.autopilot.now();
        if let Err(error) = store_problems(ledger, account, known, &news.standing, now).await {
            tell(&format!("warning: cannot record the announcement: {error}"));
        }
    }

    /// Posts the message and returns whether the channel accepted it.
    async fn post(&self, config: &slack_notifier::Config, message: &Message) -> bool {
        let webhook = Webhook::new(config.clone());
        if self.settings.dry_run {
            let lines: Vec<&str> = message
                .sections
                .iter()
                .flat_map(|it| &it.lines)
                .map(String::as_str)
                .collect();
            tell(&format!(
                "would notify {}: {}\n  {}",
                webhook.host(),
                message.title,
                lines.join("\n  ")
            ));
            return false;
        }
        let problem = match tokio::time::timeout(NOTIFY_TIMEOUT, webhook.post(message)).await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => chain(&error),
            Err(_) => format!(
                "no response from {} within {} s",
                webhook.host(),
                NOTIFY_TIMEOUT.as_secs()
            ),
        };
        tell(&format!("warning: the channel was not notified: {problem}"));
        false
    }
}

/// Timeout for the webhook at the end of `apply`.
const NOTIFY_TIMEOUT: Duration = Duration::from_secs(10);

/// Describes how many changes were not carried out, by outcome, and why the run was stopped; `None` if all were.
fn left(results: &[ChangeResult], stopped: Option<&str>) -> Option<String> {
    let mut counts = BTreeMap::new();
    for result in results.iter().filter(|result| !result.outcome.is_success()) {
        *counts.entry(result.outcome.as_str()).or_insert(0_usize) += 1;
    }
    if counts.is_empty() {
        return None;
    }
    let total: usize = counts.values().sum();
    let counts: Vec<String> = counts
        .into_iter()
        .map(|(outcome, count)| match outcome {
            "in_progress" => format!("{count} in progress in Temporal Cloud"),
            outcome => format!("{count} {}", outcome.replace('_', " ")),
        })
        .collect();
    let (changes, counts) = (counted(total, "change"), counts.join(", "));
    let (is, was) = if total == 1 {
        ("is", "was")
    } else {
        ("are", "were")
    };
    Some(match stopped {
        Some(why) => format!("{why}: {changes} {is} unfinished ({counts})"),
        None => format!("{changes} {was} not carried out ({counts})"),
    })
}

/// Reads a saved plan and checks its age against the service's clock.
async fn saved(autopilot: &Autopilot, path: &Path) -> anyhow::Result<(Plan, Vec<ChangeOrder>)> {
    let context = || format!("the plan {} cannot be carried out", path.display());
    let text = std::fs::read_to_string(path).with_context(context)?;
    let plan = Plan {
        // The inputs are only for `explain`; do not print them again.
        inputs: None,
        ..Plan::from_saved(&text).with_context(context)?
    };
    // Any call would do: its response has the service's time, by which the plan's age is judged.
    autopilot.ops().current_identity().await?;
    if let Some(time) = autopilot.ops().server_time() {
        autopilot.clock().correct(time);
    }
    let orders = plan.saved_orders(autopilot.now()).with_context(context)?;
    Ok((plan, orders))
}

/// Asks for confirmation on the terminal. Waits on a separate thread, so that signals are still handled.
async fn agreed(changes: usize) -> bool {
    let what = match changes {
        1 => "this change".to_owned(),
        changes => format!("these {changes} changes"),
    };
    confirmed(&format!("Apply {what}?")).await
}

/// Carries out the changes and shows progress on standard error. `ended` is called for each change.
pub(crate) async fn carry_out(
    autopilot: &Autopilot,
    settings: &Settings,
    orders: Vec<ChangeOrder>,
    refuse_moved: bool,
    stop: &Stop,
    terminal: Terminal,
    ended: impl Fn(&ChangeResult, &ChangeTiming),
) -> Vec<ChangeResult> {
    if orders.is_empty() {
        return Vec::new();
    }
    let count = orders.len();
    let bar = terminal.progress(format!("0 of {count} changes"));
    let done = std::cell::Cell::new(0);
    let progress = |result: &ChangeResult, timing: &ChangeTiming| {
        ended(result, timing);
        done.set(done.get() + 1);
        let line = format!("{}: {}", result.namespace, result.outcome.as_str());
        bar.set_message(format!("{} of {count} changes; {line}", done.get()));
        tracing::info!(
            namespace = result.namespace,
            outcome = result.outcome.as_str(),
            "a change has ended"
        );
    };
    let how = CarryOut::new()
        .with_max_concurrent(settings.max_concurrent_changes)
        .with_refuse_moved(refuse_moved);
    let results = autopilot.carry_out_timed(orders, how, stop, progress).await;
    bar.finish_and_clear();
    results
}
