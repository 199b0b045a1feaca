//! One evaluation for the controller: pauses, changes in progress, observe, decide, record. Bounded in what it hands back.

use std::collections::BTreeMap;
use std::time::Duration;

use capacity_autopilot::{
    Evaluation, EvaluationRequest, Plan, Scope, chain, record_evaluation, record_policies,
};
use capacity_engine::{Direction, NamespaceId, ReasonCode, Restriction, RestrictionOrigin};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::activities::{CapacityActivities, recorder};
use crate::last_look::open_records;
use crate::ledgers;
use crate::messages::{
    ChangeReport, ChangeRequest, EvaluationReport, NotPermitted, Observation, ObserveRequest, PauseSeen,
    SpecChanged, StalledChange,
};
use crate::observation::QuietDecisions;
use crate::pauses::{self, Pause, PauseKind};
use crate::running;

/// What the controller asks an evaluation for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EvaluateRequest {
    /// The number of the evaluation.
    pub number: u64,
    /// Whether it may only scale up.
    pub scale_up_only: bool,
    /// Whether it decides again on what the evaluation of that number has read.
    pub again: bool,
    /// The account this controller belongs to, once it knows.
    pub account: Option<String>,
    /// The ledgers of workers that evaluated lately, and when each did (milliseconds since 1970).
    pub ledgers: BTreeMap<String, i64>,
    /// Changes in progress.
    pub running: Vec<ChangeRequest>,
    /// Whether that is all of them; else they are looked for.
    pub knows_running: bool,
    /// Namespaces that the key may not change.
    pub not_permitted: BTreeMap<String, NotPermitted>,
    /// Namespaces whose spec differed after their change.
    pub spec_changed: BTreeMap<String, SpecChanged>,
}

/// What an evaluation found and decided.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EvaluateResult {
    /// The evaluation, without what becomes of its changes.
    pub report: EvaluationReport,
    /// The changes, in the order in which they are carried out.
    pub changes: Vec<ChangeRequest>,
    /// Namespaces that need capacity, changed or not.
    pub needed: Vec<String>,
    /// How many changes may run at a time.
    pub max_concurrent: u32,
    /// The next scheduled evaluation (UTC, RFC 3339), if there is a schedule.
    pub next_tick: Option<String>,
    /// The minimum interval between the starts of evaluations, in milliseconds; `None` for the usual one.
    pub apart_ms: Option<u64>,
    /// The ledgers of workers that evaluated lately, this one's among them.
    pub ledgers: BTreeMap<String, i64>,
    /// The latest pause of each kind; `None` if they could not be read.
    pub pauses: Option<BTreeMap<String, PauseSeen>>,
    /// Changes that ended without a signal.
    pub ended: Vec<ChangeReport>,
    /// Changes in progress that the controller did not know.
    pub found: Vec<ChangeRequest>,
    /// Changes in progress that make no progress.
    pub stalled: Vec<StalledChange>,
    /// Whether the changes in progress could be read.
    pub knows_running: bool,
    /// How long the data behind the changes stays fresh enough, in milliseconds of real time.
    pub data_expires_in_ms: u64,
    /// Whether the schedule runs although changes are paused.
    pub schedule_runs_under_pause: bool,
}

/// An evaluation that could not be made.
pub(crate) enum EvaluateError {
    /// A retry can help.
    Failed(String),
    /// The worker's keys belong to another account.
    WrongAccount(String),
}

/// Recording ten thousand decisions takes a while; a scale-up does not wait for it.
const RECORDING: Duration = Duration::from_secs(45);
const RECORDING_SCALE_UP: Duration = Duration::from_secs(5);

pub(crate) async fn evaluate(
    activities: &CapacityActivities,
    request: &EvaluateRequest,
) -> Result<EvaluateResult, EvaluateError> {
    let (installation, client) = (&activities.settings.installation, activities.client.get());
    let observe = ObserveRequest {
        number: request.number,
        account: request.account.clone(),
        scale_up_only: request.scale_up_only,
        ledgers: request.ledgers.clone(),
        ..ObserveRequest::default()
    };
    let (pauses, running, records, ledgers) = tokio::join!(
        pauses::read_all(&client, installation),
        running::look(
            &client,
            &request.running,
            request.knows_running,
            activities.settings.no_progress_after,
        ),
        open_records(activities),
        activities.ledgers(&observe),
    );
    let mut warnings = Vec::new();
    let pauses = pauses
        .inspect_err(|error| {
            warnings.push(format!(
                "{}; changes check again before each update",
                chain(error)
            ));
        })
        .ok();
    let records = records.unwrap_or_else(|problem| {
        warnings.push(format!(
            "the records of earlier changes cannot be listed: {problem}"
        ));
        Vec::new()
    });

    let mut restrictions: Vec<Restriction> = pauses.iter().flatten().filter_map(pause_restriction).collect();
    restrictions.extend(ledgers::restrictions(&observe, &ledgers));
    restrictions.extend(by_namespace(request, &running.open, &records));
    for (namespace, refused) in &request.not_permitted {
        if let Ok(namespace) = namespace.parse() {
            let why = "the last update of this namespace was refused: the key lacks Namespace Admin on it";
            activities
                .autopilot
                .remember_refusal(&namespace, &refused.resource_version, why.to_owned());
        }
    }
    let asked = EvaluationRequest {
        scope: Scope::All,
        restrictions,
        ledger_is_enough: request.again,
    };
    let evaluation = activities
        .autopilot
        .evaluate_on(&asked, &|_| ())
        .await
        .map_err(|error| {
            activities.health.failed();
            EvaluateError::Failed(chain(&error))
        })?;
    same_account(request, &evaluation)?;
    if evaluation.metrics_unavailable.is_some() {
        activities.health.failed();
    } else {
        activities.health.evaluated();
    }
    let plan = Plan::of(&evaluation);
    let is_paused = pauses.iter().flatten().any(|pause| pause.seen.open);
    let mut ledger_problem = evaluation.ledger_problem.clone();
    let quiet = record(activities, request, &plan, &evaluation, &mut ledger_problem).await;

    let mut observation = Observation::of(&plan, &observe, activities.settings.dry_run, quiet);
    observation.report.paused = is_paused;
    observation.report.ledger_problem = ledger_problem;
    observation.report.warnings.extend(warnings);
    if !activities.settings.dry_run {
        observation = observation.with_changes(requests(activities, request, &plan));
    }
    observation.report.changes_left_out = observation.changes_left_out;
    let shown = activities.schedule().await;
    Ok(EvaluateResult {
        needed: needed(&plan),
        report: observation.report,
        changes: observation.changes,
        max_concurrent: activities.settings.max_concurrent_changes.max(1),
        schedule_runs_under_pause: is_paused && shown.as_ref().is_some_and(|shown| !shown.paused),
        next_tick: shown
            .filter(|shown| !shown.paused)
            .and_then(|shown| shown.next.first().map(ToString::to_string)),
        apart_ms: activities.settings.sampling.evaluations_apart_ms(),
        ledgers: ledgers.lately,
        pauses: pauses.map(|pauses| {
            let seen = |pause: Pause| (pause.kind.as_str().to_owned(), pause.seen);
            pauses.into_iter().map(seen).collect()
        }),
        ended: running.ended,
        stalled: running.stalled,
        found: running.new,
        knows_running: running.known,
        data_expires_in_ms: data_expires_in_ms(activities, &plan),
    })
}

/// When the first of the changes has to be decided again.
fn data_expires_in_ms(activities: &CapacityActivities, plan: &Plan) -> u64 {
    let changes = plan.decisions.iter().filter(|it| it.action.is_change());
    fresh_for_ms(activities, changes.filter_map(|it| it.sample_minute).min())
}

/// A queued change is decided again when its data is too old.
fn fresh_for_ms(activities: &CapacityActivities, sample_minute: Option<Timestamp>) -> u64 {
    let now = activities.autopilot.now();
    let max_age = activities.autopilot.settings().metrics_max_age();
    let left = sample_minute.map_or(max_age, |minute| {
        max_age.saturating_sub(now.duration_since(minute))
    });
    let left = Duration::try_from(left).unwrap_or_default();
    let left = left.div_f64(activities.settings.sampling.speed.max(1.0));
    u64::try_from(left.as_millis()).unwrap_or(u64::MAX)
}

fn same_account(request: &EvaluateRequest, evaluation: &Evaluation) -> Result<(), EvaluateError> {
    match (&request.account, &evaluation.account) {
        (Some(ours), Some(seen)) if ours != seen => Err(EvaluateError::WrongAccount(format!(
            "this controller belongs to account {ours}, but the worker's keys belong to account {seen}: give the other \
             installation an id and a task queue of its own (CAPACITY_INSTALLATION)"
        ))),
        _ => Ok(()),
    }
}

async fn record(
    activities: &CapacityActivities,
    request: &EvaluateRequest,
    plan: &Plan,
    evaluation: &Evaluation,
    problem: &mut Option<String>,
) -> QuietDecisions {
    let Some(ledger) = activities.autopilot.ledger() else {
        return QuietDecisions::InReport;
    };
    let bound = if request.scale_up_only {
        RECORDING_SCALE_UP
    } else {
        RECORDING
    };
    let by = recorder();
    let dry_run = activities.settings.dry_run;
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
    // A failure to record is reported, but stops nothing.
    tracing::warn!(error = why, "cannot record the evaluation in the ledger");
    problem.get_or_insert(why);
    QuietDecisions::InReport
}

fn requests(activities: &CapacityActivities, request: &EvaluateRequest, plan: &Plan) -> Vec<ChangeRequest> {
    let timeout_seconds = Some(activities.settings.change_timeout.as_secs());
    let orders = plan.orders();
    let requests = orders.iter().map(|order| ChangeRequest {
        fresh_for_ms: Some(fresh_for_ms(activities, order.sample_minute)),
        timeout_seconds,
        controller_id: activities.settings.installation.controller_id(),
        evaluation: request.number,
        plan_id: plan.plan_id.clone(),
        ..ChangeRequest::from(order)
    });
    requests
        .filter(|change| !request.scale_up_only || change.scales_up())
        .collect()
}

/// Namespaces for which a queued scale-down would be wrong now.
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

fn pause_restriction(pause: &Pause) -> Option<Restriction> {
    if !pause.seen.open {
        return None;
    }
    let (direction, code) = match pause.kind {
        PauseKind::All | PauseKind::Spec => (Direction::Both, ReasonCode::Paused),
        PauseKind::ScaleUp => (Direction::ScaleUp, ReasonCode::ScaleUpPaused),
        PauseKind::ScaleDown => (Direction::ScaleDown, ReasonCode::ScaleDownPaused),
    };
    let until = pause
        .seen
        .until
        .as_deref()
        .and_then(|until| until.parse::<Timestamp>().ok());
    let restriction = Restriction::new(direction, code, pause.sentence(), RestrictionOrigin::Pause);
    Some(match until {
        Some(until) => restriction.until(until),
        None => restriction,
    })
}

/// What forbids changes of single namespaces.
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
