//! One evaluation for the controller: read pauses and changes in progress, observe, decide, record. The size
//! of its result is bounded.

use std::time::Duration;

use capacity_autopilot::{
    Autopilot, Evaluation, EvaluationRequest, Plan, Scope, evaluation_spans, finish_changes, machine_time,
    record_evaluation, record_policies,
};
use capacity_engine::{Direction, NamespaceId, ReasonCode, Restriction, RestrictionOrigin};
use human_text::chain;
use jiff::Timestamp;
use temporal_worker_kit::SharedClient;
use temporalio_client::Client;

use crate::activity::recorder;
use crate::evaluation_messages::{EvaluateRequest, EvaluateResult};
use crate::health::EvaluationHealth;
use crate::last_look::open_records;
use crate::ledgers;
use crate::messages::{ChangeRequest, ObserveRequest, ObserveResult};
use crate::names::Installation;
use crate::observe_result::QuietDecisions;
use crate::pauses::{self, Pause};
use crate::running;
use crate::schedule::{Schedule, Shown};
use crate::settings::ActivitySettings;
use crate::traces::EvaluationTrace;

/// Why an evaluation failed.
pub(crate) enum EvaluateError {
    /// A retry can help.
    Failed(String),
    /// The worker's keys belong to another account.
    WrongAccount(String),
}

impl EvaluateError {
    fn why(&self) -> &str {
        match self {
            Self::Failed(why) | Self::WrongAccount(why) => why,
        }
    }
}

/// Maximum time to record decisions. Ten thousand of them take a while, and scale-ups should not wait longer.
const RECORDING: Duration = Duration::from_secs(45);
const RECORDING_SCALE_UP: Duration = Duration::from_secs(5);
/// How long reading the changes may take that were left in progress.
const FINISHING: Duration = Duration::from_secs(20);

/// The dependencies of an evaluation.
#[derive(Clone, Copy)]
pub(crate) struct Evaluator<'a> {
    pub(crate) autopilot: &'a Autopilot,
    pub(crate) client: &'a SharedClient,
    pub(crate) settings: &'a ActivitySettings,
    pub(crate) health: &'a EvaluationHealth,
}

pub(crate) async fn evaluate(
    worker: Evaluator<'_>,
    request: &EvaluateRequest,
    mut trace: EvaluationTrace<'_>,
) -> Result<EvaluateResult, EvaluateError> {
    let looking = machine_time();
    let (installation, client) = (&worker.settings.installation, &worker.client.get());
    let observe = ObserveRequest {
        number: request.number,
        account: request.account.clone(),
        scale_up_only: request.scale_up_only,
        ledgers: request.ledgers.clone(),
        ..ObserveRequest::default()
    };
    let (pauses, running, records, ledgers) = tokio::join!(
        pauses::read_all(client, installation),
        running::look(
            client,
            &request.running,
            request.knows_running,
            worker.settings.no_progress_after,
        ),
        open_records(client),
        ledgers::lately(worker.autopilot, &observe),
    );
    trace.part("read pauses and running changes", looking, None);
    let mut warnings = Vec::new();
    let pauses = or_warning(pauses, &mut warnings, |why| {
        format!("{why}; each change reads them again before its update")
    });
    // Without the list a namespace may be scaled down here, but the last look before the POST asks again
    // and fails closed.
    let records = or_warning(records, &mut warnings, |why| {
        format!("the records of earlier changes cannot be listed: {why}")
    });
    let records = records.unwrap_or_default();

    let mut restrictions: Vec<Restriction> = pauses.iter().flatten().filter_map(Pause::restriction).collect();
    restrictions.extend(ledgers::restrictions(&observe, &ledgers));
    // Pauses first: the first restriction that applies gives the reason, and a pause is the one that a
    // person wants to see.
    restrictions.extend(by_namespace(request, &running.open, &records));
    remember_refusals(worker.autopilot, request);
    let evaluation = match decided(worker, request, restrictions).await {
        Ok(evaluation) => evaluation,
        Err(error) => {
            trace.failed(error.why());
            return Err(error);
        }
    };
    let plan = Plan::of(&evaluation);
    let is_paused = pauses.iter().flatten().any(|pause| pause.seen.open);
    let mut ledger_problem = evaluation.account.ledger_problem.clone();
    trace.observed(|from, until| evaluation_spans(&plan, &evaluation, from, until));
    let recording = machine_time();
    let quiet = record(worker, request, &plan, &evaluation, &mut ledger_problem).await;
    if ledger_problem.is_none() && !request.scale_up_only {
        finish_left(worker.autopilot).await;
    }
    if worker.autopilot.ledger().is_some() {
        trace.part("record", recording, ledger_problem.clone());
    }
    // The inputs of a large account are large, and only the plan is needed from here on.
    drop(evaluation);

    let mut observation = ObserveResult::of(&plan, &observe, worker.settings.dry_run, quiet);
    observation.report.paused = is_paused;
    observation.report.ledger_problem = ledger_problem;
    observation.report.warnings.extend(warnings);
    if !worker.settings.dry_run {
        observation = observation.with_changes(requests(worker, request, &plan));
    }
    observation.report.changes_left_out = observation.changes_left_out;
    // Observing takes minutes in a large account; certificates may have been reloaded since.
    let shown = schedule(&worker.client.get(), installation).await;
    trace.decided(&plan.plan_id, observation.changes.len());
    Ok(EvaluateResult {
        needed: needed(&plan),
        report: observation.report,
        changes: observation.changes,
        max_concurrent: worker.settings.max_concurrent_changes.max(1),
        schedule_runs_under_pause: is_paused && shown.as_ref().is_some_and(|shown| !shown.paused),
        next_tick: shown
            .filter(|shown| !shown.paused)
            .and_then(|shown| shown.next.first().map(ToString::to_string)),
        apart_ms: worker.settings.sampling.evaluations_apart_ms(),
        ledgers: ledgers.lately,
        pauses: pauses.map(|pauses| {
            let seen = |pause: Pause| (pause.kind.as_str().to_owned(), pause.seen);
            pauses.into_iter().map(seen).collect()
        }),
        ended: running.ended,
        stalled: running.stalled,
        found: running.new,
        knows_running: running.known,
        data_expires_in_ms: data_expires_in_ms(worker, &plan),
    })
}

/// Returns what was read; a failure becomes a warning.
fn or_warning<T, E: std::error::Error>(
    read: Result<T, E>,
    warnings: &mut Vec<String>,
    text: impl Fn(String) -> String,
) -> Option<T> {
    read.inspect_err(|error| warnings.push(text(chain(error)))).ok()
}

/// Observes and decides, but only for the account that the controller belongs to.
async fn decided(
    worker: Evaluator<'_>,
    request: &EvaluateRequest,
    restrictions: Vec<Restriction>,
) -> Result<Evaluation, EvaluateError> {
    let asked = EvaluationRequest::of(Scope::All)
        .with_restrictions(restrictions)
        .with_ledger_is_enough(request.again);
    let evaluated = worker.autopilot.evaluate_on(&asked, &|_| ()).await;
    let evaluation = evaluated.map_err(|error| {
        worker.health.failed();
        EvaluateError::Failed(chain(&error))
    })?;
    same_account(request, &evaluation)?;
    if evaluation.metrics_unavailable.is_some() {
        worker.health.failed();
    } else {
        worker.health.evaluated();
    }
    Ok(evaluation)
}

/// Remembers refusals, so that namespaces that the key is not allowed to change are held until their resource version changes.
fn remember_refusals(autopilot: &Autopilot, request: &EvaluateRequest) {
    for (namespace, refused) in &request.not_permitted {
        if let Ok(namespace) = namespace.parse() {
            let why = "the last update of this namespace was refused: the key lacks Namespace Admin on it";
            autopilot.remember_refusal(&namespace, &refused.resource_version, why.to_owned());
        }
    }
}

/// Returns the schedule, if there is one and it can be read within a few seconds.
async fn schedule(client: &Client, installation: &Installation) -> Option<Shown> {
    let schedule = Schedule::new(client, installation);
    tokio::time::timeout(Duration::from_secs(5), schedule.show())
        .await
        .ok()?
        .ok()
}

/// Returns when the first of the changes has to be re-evaluated.
fn data_expires_in_ms(worker: Evaluator<'_>, plan: &Plan) -> u64 {
    let changes = plan.decisions.iter().filter(|it| it.action.is_change());
    fresh_for_ms(worker, changes.filter_map(|it| it.sample_minute).min())
}

/// Returns how long the data of a change stays fresh. A queued change is re-evaluated when its data is too
/// old.
fn fresh_for_ms(worker: Evaluator<'_>, sample_minute: Option<Timestamp>) -> u64 {
    let now = worker.autopilot.now();
    let max_age = worker.autopilot.settings().metrics_max_age();
    let left = sample_minute.map_or(max_age, |minute| {
        max_age.saturating_sub(now.duration_since(minute))
    });
    let left = Duration::try_from(left).unwrap_or_default();
    let left = left.div_f64(worker.settings.sampling.speed.max(1.0));
    u64::try_from(left.as_millis()).unwrap_or(u64::MAX)
}

fn same_account(request: &EvaluateRequest, evaluation: &Evaluation) -> Result<(), EvaluateError> {
    match (&request.account, &evaluation.account.id) {
        (Some(ours), Some(seen)) if ours != seen => Err(EvaluateError::WrongAccount(format!(
            "this controller belongs to account {ours}, but the worker's keys belong to account {seen}: give the other installation its own id and task queue (CAPACITY_INSTALLATION)"
        ))),
        _ => Ok(()),
    }
}

async fn record(
    worker: Evaluator<'_>,
    request: &EvaluateRequest,
    plan: &Plan,
    evaluation: &Evaluation,
    problem: &mut Option<String>,
) -> QuietDecisions {
    let Some(ledger) = worker.autopilot.ledger() else {
        return QuietDecisions::InReport;
    };
    let bound = if request.scale_up_only {
        RECORDING_SCALE_UP
    } else {
        RECORDING
    };
    let by = recorder();
    let dry_run = worker.settings.dry_run;
    let recorded = async {
        record_evaluation(ledger, plan, dry_run, &by).await?;
        // A scale-up-only evaluation leaves the hourly plan and its policy state to the next full one.
        let acts = !dry_run && !request.scale_up_only;
        record_policies(ledger, plan, evaluation, acts).await
    };
    let why = match tokio::time::timeout(bound, recorded).await {
        Ok(Ok(())) => return QuietDecisions::InLedger,
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!(
            "the ledger did not store the decisions within {} s",
            bound.as_secs()
        ),
    };
    // A failure to record is reported but does not stop the evaluation.
    tracing::warn!(error = why, "cannot record the evaluation in the ledger");
    problem.get_or_insert(why);
    QuietDecisions::InReport
}

/// Records how changes ended that a run of `temporal-capacity apply` left in progress. A failure only delays it.
async fn finish_left(autopilot: &Autopilot) {
    match tokio::time::timeout(FINISHING, finish_changes(autopilot)).await {
        Ok(Ok(ended)) => {
            for change in ended {
                tracing::info!(
                    namespace = change.namespace,
                    operation_id = change.operation_id,
                    outcome = change.outcome,
                    error = change.error,
                    "a change that was left in progress has ended"
                );
            }
        }
        Ok(Err(error)) => {
            tracing::warn!(%error, "cannot record how changes ended that were left in progress");
        }
        Err(_) => tracing::warn!("changes that were left in progress cannot be read in time"),
    }
}

fn requests(worker: Evaluator<'_>, request: &EvaluateRequest, plan: &Plan) -> Vec<ChangeRequest> {
    let timeout_seconds = Some(worker.settings.change_timeout.as_secs());
    let orders = plan.orders();
    let requests = orders.iter().map(|order| ChangeRequest {
        fresh_for_ms: Some(fresh_for_ms(worker, order.sample_minute)),
        timeout_seconds,
        controller_id: worker.settings.installation.controller_id(),
        evaluation: request.number,
        plan_id: plan.plan_id.clone(),
        ..ChangeRequest::from(order)
    });
    requests
        .filter(|change| !request.scale_up_only || change.scales_up())
        .collect()
}

/// Returns the namespaces for which a queued scale-down is no longer right.
fn needed(plan: &Plan) -> Vec<String> {
    let needs = plan.decisions.iter().filter(|decision| {
        let grows = decision.wanted_trus > decision.current_trus;
        grows
            || matches!(
                decision.reason_code.as_str(),
                "throttled" | "throttled_while_provisioned" | "cheaper_to_wait"
            )
    });
    needs
        .map(|decision| decision.namespace.clone())
        .take(1_000)
        .collect()
}

/// Returns the restrictions on single namespaces.
fn by_namespace(request: &EvaluateRequest, open: &[ChangeRequest], records: &[String]) -> Vec<Restriction> {
    let on = |namespace: &str, direction, code, reason: String| {
        let namespace: NamespaceId = namespace.parse().ok()?;
        Some(Restriction::new(direction, code, reason, RestrictionOrigin::Change).on(namespace))
    };
    let running = open.iter().filter_map(|change| {
        let reason = format!("its change {} is in progress", change.operation_id);
        on(
            &change.namespace,
            Direction::Both,
            ReasonCode::ChangeInProgress,
            reason,
        )
    });
    let unrecorded = records.iter().filter_map(|namespace| {
        let reason = "the outcome of its last change is not recorded yet".to_owned();
        on(
            namespace,
            Direction::ScaleDown,
            ReasonCode::OutcomeNotRecorded,
            reason,
        )
    });
    let changed = request.spec_changed.iter().filter_map(|(namespace, seen)| {
        let reason = format!(
            "its spec changed while an update was running (fields: {}); check it, then run `capacity-schedule resume --spec-checked`",
            seen.fields.join(", ")
        );
        on(namespace, Direction::Both, ReasonCode::SpecChanged, reason)
    });
    running.chain(unrecorded).chain(changed).collect()
}
