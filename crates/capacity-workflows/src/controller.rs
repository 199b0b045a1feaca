//! The controller: waits for a trigger, evaluates, keeps its state. Always there to be asked.
//!
//! Workflow code holds no rules, no I/O, no settings: it orders steps and waits. Constants here change only behind a patch
//! marker, since a running controller must replay.
#![allow(missing_docs, reason = "the macros make public items of their own")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use futures::FutureExt;
use temporalio_common::data_converters::RawValue;
use temporalio_common::error::{ChildWorkflowStartError, StartChildWorkflowExecutionFailedCause};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::workflows::{join_all, select};
use temporalio_sdk::{
    CancellableFuture, ChildWorkflowOptions, ContinueAsNewOptions, ParentClosePolicy, SyncWorkflowContext,
    TimerOptions, WaitConditionOptions, WorkflowCancellationToken, WorkflowContext, WorkflowContextView,
    WorkflowIdReusePolicy, WorkflowResult, WorkflowTermination,
};

use crate::activities::CapacityActivities;
use crate::change::CapacityChange;
use crate::failures::cause_of;
use crate::lenient::Lenient;
use crate::messages::{
    Announcement, ChangeReport, ChangeRequest, ControllerState, EvaluationReport, ObserveRequest, Status,
};
use crate::names::change_id;
use crate::options;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Evaluations after which a run continues as new, once it is old enough.
const ROTATE_AFTER: u64 = 24;
/// A run that follows its predecessor too quickly is delayed by the server.
const OLD_ENOUGH: Duration = Duration::from_secs(10);
/// Events after which a run continues as new in any case.
const MOST_EVENTS: u32 = 4_000;
/// Evaluations start at least so far apart; triggers in between are one.
const APART: Duration = Duration::from_secs(20);

/// The controller.
#[workflow]
pub struct CapacityManagementWorkflow {
    state: ControllerState,
    input_problem: Option<String>,
    requested: bool,
    /// Whether the evaluation that was asked for, or that is made, may only raise.
    raise_only: bool,
    evaluating_raise_only: bool,
    phase: &'static str,
    in_run: u64,
    started: Option<SystemTime>,
    /// Changes of the present evaluation.
    begun: BTreeSet<String>,
    ended: BTreeMap<String, ChangeReport>,
    running: u32,
    /// Why no other change may begin.
    halt: Option<String>,
}

#[workflow_methods]
impl CapacityManagementWorkflow {
    #[init]
    pub fn new(context: &WorkflowContextView, input: Lenient<ControllerState>) -> Self {
        let (requested, raise_only) = (input.value.pending, input.value.pending_raise_only);
        Self {
            state: ControllerState {
                pending: false,
                pending_raise_only: false,
                ..input.value
            },
            input_problem: input.problem,
            requested,
            raise_only,
            evaluating_raise_only: false,
            phase: "waiting",
            in_run: 0,
            started: context.start_time(),
            begun: BTreeSet::new(),
            ended: BTreeMap::new(),
            running: 0,
            halt: None,
        }
    }

    #[run(name = "CapacityManagementWorkflow")]
    pub async fn run(context: &mut WorkflowContext<Self>) -> WorkflowResult<EvaluationReport> {
        loop {
            if context.wait_condition(|it| it.requested).await.is_err() {
                return Self::cancelled(context).await;
            }
            Self::keep_apart(context).await;
            if context.cancellation_token().is_cancelled() {
                return Self::cancelled(context).await;
            }
            let now = context.workflow_time().and_then(milliseconds);
            context.state_mut(|it| {
                it.requested = false;
                it.evaluating_raise_only = std::mem::take(&mut it.raise_only);
                it.phase = "evaluating";
                it.state.last_start_ms = now;
                it.begun.clear();
                it.ended.clear();
                // Changes that outlasted the last evaluation run on by themselves; their ids keep them apart.
                it.running = 0;
                it.halt = None;
            });
            let report = Self::evaluate_once(context).await;
            let due = context.state_mut(|it| {
                it.state.evaluations += 1;
                it.in_run += 1;
                // A failed evaluation knows no account; the one it had stays.
                it.state.account = it.state.account.take().or_else(|| report.account.clone());
                // What was left undone is looked at again at once.
                if report
                    .changes
                    .iter()
                    .any(|change| change.outcome == "not_started" && it.halt.is_none())
                {
                    it.request_again();
                }
                it.state.last = Some(report);
                it.phase = "waiting";
                it.in_run >= ROTATE_AFTER
            });
            if context.cancellation_token().is_cancelled() {
                return Self::cancelled(context).await;
            }
            let rotate = (due && Self::is_old_enough(context))
                || context.continue_as_new_suggested()
                || context.history_length() > MOST_EVENTS;
            if !rotate {
                continue;
            }
            // From here on callers get the report just made: waiting for a next one would deadlock the drain.
            context.state_mut(|it| it.phase = "draining");
            Self::drain(context).await;
            let next = context.state(|it| ControllerState {
                pending: it.requested,
                pending_raise_only: it.raise_only,
                ..it.state.clone()
            });
            match context.continue_as_new(Lenient::from(next), ContinueAsNewOptions::default())? {}
        }
    }

    /// Zero, one or junk arguments are all the same trigger.
    #[signal(name = "trigger_evaluation")]
    pub fn trigger_evaluation(&mut self, _context: &mut SyncWorkflowContext<Self>, _raw: RawValue) {
        self.request(false);
    }

    /// Something is throttled, or close to it: the same trigger, for an evaluation that may only raise.
    #[signal(name = "capacity_is_short")]
    pub fn capacity_is_short(&mut self, _context: &mut SyncWorkflowContext<Self>, _raw: RawValue) {
        self.request(true);
    }

    /// The decisions of the last evaluation, also of a dry run.
    #[query(name = "preview_actions")]
    pub fn preview_actions(&self, _context: &WorkflowContextView) -> EvaluationReport {
        self.state.last.clone().unwrap_or_default()
    }

    #[query(name = "get_status")]
    pub fn get_status(&self, _context: &WorkflowContextView) -> Status {
        self.status_now()
    }

    /// Joins the evaluation in progress, else asks for one; returns its report.
    #[update(name = "evaluate")]
    pub async fn evaluate(
        context: &mut WorkflowContext<Self>,
        _raw: RawValue,
    ) -> Result<EvaluationReport, BoxError> {
        let target = context.state_mut(|it| match it.phase {
            "waiting" => {
                it.request(false);
                it.state.evaluations + 1
            }
            // One that may only raise does not do what is asked for here.
            "evaluating" if it.evaluating_raise_only => {
                it.request(false);
                it.state.evaluations + 2
            }
            "evaluating" => it.state.evaluations + 1,
            _ => {
                if it.evaluating_raise_only {
                    it.request(false);
                }
                it.state.evaluations
            }
        });
        // A run that ends answers with what it has; what was asked for is made by the next one.
        let waited = context
            .wait_condition(|it| it.state.evaluations >= target || it.phase == "draining")
            .await;
        waited.map_err(|_| "the controller was cancelled")?;
        Ok(context.state(|it| it.state.last.clone()).unwrap_or_default())
    }

    /// Puts the brake on: evaluations run and change nothing. An argument that is text says why.
    #[update(name = "pause")]
    pub fn pause(&mut self, context: &mut SyncWorkflowContext<Self>, raw: RawValue) -> Status {
        let why = text_of(context, raw).unwrap_or_else(|| "no reason given".to_owned());
        self.state.paused = Some(why);
        self.halt
            .get_or_insert_with(|| "the controller was paused".to_owned());
        self.status_now()
    }

    /// Takes the brake off.
    #[update(name = "resume")]
    pub fn resume(&mut self, _context: &mut SyncWorkflowContext<Self>, _raw: RawValue) -> Status {
        self.state.paused = None;
        self.status_now()
    }
}

impl CapacityManagementWorkflow {
    /// Asks for an evaluation. One that may do everything is never turned into one that may only raise.
    fn request(&mut self, raise_only: bool) {
        self.raise_only = raise_only && (self.raise_only || !self.requested);
        self.requested = true;
    }

    /// Asks for another of the kind that is made now.
    fn request_again(&mut self) {
        self.request(self.evaluating_raise_only);
    }

    fn status_now(&self) -> Status {
        let last = self.state.last.as_ref();
        let what = match (&self.state.paused, self.phase) {
            (Some(why), _) => format!("paused ({why}): evaluations run and change nothing"),
            (None, "evaluating") => format!("evaluating, number {}", self.state.evaluations + 1),
            (None, _) => "waiting for the next trigger".to_owned(),
        };
        Status {
            summary: match last {
                Some(report) => format!("{what}; last: {}", report.summary),
                None => format!("{what}; nothing was evaluated yet"),
            },
            phase: self.phase.to_owned(),
            evaluations: self.state.evaluations,
            account: self.state.account.clone(),
            paused: self.state.paused.clone(),
            last_evaluation: last.map(|report| report.evaluated_at.clone()),
            next_tick: self.state.next_tick.clone(),
            counts: last.map(|report| report.counts.clone()).unwrap_or_default(),
            coverage: last
                .map(|report| report.coverage.clone())
                .filter(|it| !it.is_empty()),
            changes_in_progress: self
                .begun
                .iter()
                .filter(|it| !self.ended.contains_key(*it))
                .cloned()
                .collect(),
            input_problem: self.input_problem.clone(),
        }
    }

    async fn cancelled(context: &WorkflowContext<Self>) -> WorkflowResult<EvaluationReport> {
        // Waiting callers hear that they are refused before the run closes.
        Self::drain(context).await;
        Err(WorkflowTermination::cancelled())
    }

    async fn drain(context: &WorkflowContext<Self>) {
        let probe = context.clone();
        let detached = WaitConditionOptions::builder()
            .cancellation_token(WorkflowCancellationToken::new())
            .build();
        let _ = context
            .wait_condition_with_options(move |_| probe.all_handlers_finished(), detached)
            .await;
    }

    fn is_old_enough(context: &WorkflowContext<Self>) -> bool {
        match (context.workflow_time(), context.state(|it| it.started)) {
            (Some(now), Some(started)) => now.duration_since(started).unwrap_or_default() >= OLD_ENOUGH,
            _ => true,
        }
    }

    async fn keep_apart(context: &WorkflowContext<Self>) {
        let now = context.workflow_time().and_then(milliseconds);
        let (Some(now), Some(last)) = (now, context.state(|it| it.state.last_start_ms)) else {
            return;
        };
        let since = Duration::from_millis(now.saturating_sub(last));
        let apart = context
            .state(|it| it.state.apart_ms)
            .map_or(APART, Duration::from_millis);
        if since < apart {
            let pause = TimerOptions::builder(apart.saturating_sub(since))
                .summary("apart".to_owned())
                .build();
            // A cancelled timer is seen by the caller, which looks at the token.
            let _ = context.timer(pause).await;
        }
    }

    /// Never fails: a failure is a report with an error.
    async fn evaluate_once(context: &WorkflowContext<Self>) -> EvaluationReport {
        let request = context.state(|it| ObserveRequest {
            number: it.state.evaluations + 1,
            account: it.state.account.clone(),
            paused: it.state.paused.is_some(),
            raise_only: it.evaluating_raise_only,
            ledgers: it.state.ledgers.clone(),
        });
        let number = request.number;
        let observed = context
            .execute_activity(
                CapacityActivities::observe_and_decide,
                request,
                options::OBSERVE.options(),
            )
            .await;
        let mut report = match observed {
            Err(error) => EvaluationReport {
                number,
                error: Some(cause_of(&error)),
                ..EvaluationReport::default()
            },
            Ok(observation) => {
                let mut report = observation.report;
                context.state_mut(|it| {
                    it.state.next_tick = observation.next_tick;
                    it.state.apart_ms = observation.apart_ms;
                    it.state.ledgers = observation.ledgers;
                    // What one evaluation cannot carry is looked at again at once.
                    if observation.changes_left_out > 0 {
                        it.request_again();
                    }
                });
                if !observation.changes.is_empty() {
                    let (most, wait) = (
                        observation.max_concurrent.max(1),
                        Duration::from_secs(observation.wait_seconds.max(1)),
                    );
                    report.changes = Self::carry_out(context, &observation.changes, most, wait).await;
                }
                report
            }
        };
        report = report.summed_up();
        // People are told in any case; that it fails never fails an evaluation.
        let announcement = Announcement {
            report: report.clone(),
            standing: context.state(|it| it.state.standing.clone()),
        };
        let told = context
            .execute_activity(
                CapacityActivities::announce,
                announcement,
                options::ANNOUNCE.options(),
            )
            .await;
        if let Ok(Some(standing)) = told {
            context.state_mut(|it| it.state.standing = standing);
        }
        report
    }

    /// Changes go alone until one was verified, then a few at a time; all within a bounded time.
    async fn carry_out(
        context: &WorkflowContext<Self>,
        changes: &[ChangeRequest],
        most: u32,
        wait: Duration,
    ) -> Vec<ChangeReport> {
        let mut bound = context.timer(TimerOptions::builder(wait).summary("bound".to_owned()).build());
        let work = async {
            let mut waiting = changes.iter();
            for change in waiting.by_ref() {
                Self::one_change(context, change, 1).await;
                if context.state(|it| {
                    it.ended
                        .get(&change.namespace)
                        .is_some_and(ChangeReport::is_success)
                }) {
                    break;
                }
            }
            let rest: Vec<_> = waiting
                .map(|change| Self::one_change(context, change, most))
                .collect();
            join_all(rest).await;
        };
        let mut work = Box::pin(work.fuse());
        select! {
            () = work => bound.cancel(),
            _ = bound => {}
        }
        drop(work);
        let halt = context.state(|it| it.halt.clone());
        let report = |change: &ChangeRequest| {
            if let Some(ended) = context.state(|it| it.ended.get(&change.namespace).cloned()) {
                return ended;
            }
            let begun = context.state(|it| it.begun.contains(&change.namespace));
            let (outcome, why) = if begun {
                (
                    "in_progress",
                    Some("still under way when the evaluation ended; the next one joins it".to_owned()),
                )
            } else {
                (
                    "not_started",
                    halt.clone()
                        .or_else(|| Some("the time of the evaluation was over".to_owned())),
                )
            };
            ChangeReport::of(change, outcome, why)
        };
        changes.iter().map(report).collect()
    }

    async fn one_change(context: &WorkflowContext<Self>, change: &ChangeRequest, most: u32) {
        if context.wait_condition(move |it| it.running < most).await.is_err() {
            return;
        }
        // Nothing awaits between the condition and here, so no other change has taken the place.
        let may_begin = context.state_mut(|it| {
            if it.halt.is_some() {
                return false;
            }
            it.running += 1;
            it.begun.insert(change.namespace.clone());
            true
        });
        if !may_begin {
            return;
        }
        let report = Self::child(context, change).await;
        context.state_mut(|it| {
            it.running -= 1;
            if !report.spec_differences.is_empty() {
                let fields = report.spec_differences.join(", ");
                it.halt = Some(format!(
                    "after the change of {} its spec differs in {fields}",
                    report.namespace
                ));
            }
            it.ended.insert(change.namespace.clone(), report);
        });
    }

    async fn child(context: &WorkflowContext<Self>, change: &ChangeRequest) -> ChangeReport {
        let id = change_id(&change.namespace);
        let child = ChildWorkflowOptions::builder()
            .workflow_id(id.clone())
            .static_summary(format!("capacity of {}", change.namespace))
            // A change outlives the controller's run and its cancellation: it is seen to its end.
            .parent_close_policy(ParentClosePolicy::Abandon)
            .cancellation_token(WorkflowCancellationToken::new())
            .id_reuse_policy(WorkflowIdReusePolicy::AllowDuplicate)
            .build();
        match context
            .start_child_workflow(CapacityChange::run, Lenient::from(change.clone()), child)
            .await
        {
            Ok(started) => match started.result().await {
                Ok(report) => report,
                Err(error) => ChangeReport::of(change, "failed", Some(error.to_string())),
            },
            // One is running: the id is the mutual exclusion. Join it.
            Err(ChildWorkflowStartError::StartFailed {
                cause: StartChildWorkflowExecutionFailedCause::WorkflowAlreadyExists,
                ..
            }) => match context
                .execute_activity(CapacityActivities::await_change, id, options::WAIT.options())
                .await
            {
                Ok(report) => report,
                Err(error) => ChangeReport::of(change, "failed", Some(cause_of(&error))),
            },
            Err(error) => ChangeReport::of(
                change,
                "failed",
                Some(format!("it could not be started: {error}")),
            ),
        }
    }
}

/// Milliseconds since 1970.
fn milliseconds(time: SystemTime) -> Option<u64> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    u64::try_from(since.as_millis()).ok()
}

/// Reads a text out of whatever was sent.
fn text_of(context: &SyncWorkflowContext<CapacityManagementWorkflow>, raw: RawValue) -> Option<String> {
    use temporalio_common::data_converters::{
        GenericPayloadConverter, SerializationContext, SerializationContextData,
    };
    let data = SerializationContextData::None;
    let serialization = SerializationContext::new(&data, context.payload_converter());
    let text: Option<String> = context
        .payload_converter()
        .from_payloads(&serialization, raw.payloads)
        .ok();
    text.filter(|text| !text.trim().is_empty())
}
