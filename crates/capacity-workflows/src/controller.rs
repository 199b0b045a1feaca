//! The controller: an event loop that evaluates, queues changes and starts them, and never waits for one.
//!
//! Four parts run concurrently: full evaluations, scale-up-only evaluations, starts of changes, and notices. They share the
//! state; what a change becomes arrives as a signal. Workflow code holds no rules, no I/O, no settings. Constants here change
//! only behind a patch marker, since a running controller must replay.
#![allow(missing_docs, reason = "the macros make public items of their own")]

use std::time::{Duration, SystemTime};

use temporal_worker_kit::Lenient;
use temporalio_common::data_converters::RawValue;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ContinueAsNewOptions, SyncWorkflowContext, WaitConditionOptions, WorkflowCancellationToken,
    WorkflowContext, WorkflowContextView, WorkflowResult, WorkflowTermination,
};

use crate::change_steps::{Incident, PauseOrder};
use crate::controller_loop;
use crate::legacy_controller::{self, LegacyLoop};
use crate::messages::{
    ChangeEvent, ChangeReport, ControllerState, EvaluationQuery, EvaluationReport, Status,
};
use crate::pauses::PauseKind;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The version of the loop. Raised with every patch marker, so that workers ask an older run to rotate.
pub const LOOP_VERSION: u32 = 1;
/// What callers receive from a run that ends before it made their evaluation: the next run makes it, and answers them.
pub(crate) const CONTINUES: &str = "the controller continues in a new run, which evaluates: ask again";
/// Marks runs in the event loop; those that release 0.1.0 began have no marker.
const EVENT_LOOP: &str = "event-loop-1";
/// Marks that a pause is its own workflow.
const PAUSE_WORKFLOWS: &str = "pause-workflows-1";
/// Evaluations after which a run continues as new, once it is old enough.
pub(crate) const ROTATE_AFTER: u64 = 24;
/// A run that follows its predecessor too quickly is delayed by the server.
const OLD_ENOUGH: Duration = Duration::from_secs(10);
/// Events after which a run continues as new in any case.
pub(crate) const MOST_EVENTS: u32 = 4_000;
/// Full evaluations start at least so far apart; triggers in between are one.
pub(crate) const APART: Duration = Duration::from_secs(20);

/// The controller.
#[workflow]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an event that a part of the loop waits for"
)]
pub struct CapacityManagementWorkflow {
    pub(crate) state: ControllerState,
    pub(crate) legacy: LegacyLoop,
    input_problem: Option<String>,
    started: Option<SystemTime>,
    /// The loop that this run is in: 0 where release 0.1.0 began it.
    loop_version: u32,
    pub(crate) phase: &'static str,
    pub(crate) in_run: u64,
    /// Full evaluations started and done in this run, for the callers that wait for one.
    pub(crate) full_started: u64,
    pub(crate) full_done: u64,
    pub(crate) wants_full: bool,
    pub(crate) wants_scale_up: bool,
    /// Whether what is queued is decided again, under the same number.
    pub(crate) wants_again: bool,
    pub(crate) evaluating_full: bool,
    pub(crate) evaluating_again: bool,
    pub(crate) evaluating_scale_up: bool,
    /// Whether a change had its end since the last full evaluation: without progress nothing is decided again.
    pub(crate) progressed: bool,
    /// Whether the last one that decided again had no usable metrics: its remaining changes are decided once more.
    pub(crate) again_failed: bool,
    /// Nothing new is begun: the run ends as soon as it can.
    pub(crate) rotating: bool,
    rotations_asked: u32,
    rotations_taken: u32,
    /// Counts what happened, for the part that starts changes.
    pub(crate) events: u64,
    pub(crate) now_ms: u64,
    pub(crate) incidents: Vec<Incident>,
    pub(crate) unheard: Vec<ChangeReport>,
    pub(crate) pause_orders: Vec<PauseOrder>,
}

#[workflow_methods]
impl CapacityManagementWorkflow {
    #[init]
    pub fn new(context: &WorkflowContextView, input: Lenient<ControllerState>) -> Self {
        Self::begin_at(context.start_time(), input)
    }

    #[run(name = "CapacityManagementWorkflow")]
    pub async fn run(context: &mut WorkflowContext<Self>) -> WorkflowResult<EvaluationReport> {
        if !context.patched(EVENT_LOOP) {
            return legacy_controller::run(context).await;
        }
        context.state_mut(|it| it.loop_version = LOOP_VERSION);
        controller_loop::run(context).await;
        if context.cancellation_token().is_cancelled() {
            return Self::cancelled(context).await;
        }
        context.state_mut(|it| it.phase = "draining");
        Self::drain(context).await;
        let next = context.state(|it| ControllerState {
            pending: it.wants_full || it.wants_scale_up,
            pending_scale_up_only: !it.wants_full,
            ..it.state.clone()
        });
        let next = next.bounded();
        match context.continue_as_new(Lenient::from(next), ContinueAsNewOptions::default())? {}
    }

    /// Zero, one or junk arguments all count as a trigger.
    #[signal(name = "trigger_evaluation")]
    pub fn trigger_evaluation(&mut self, _context: &mut SyncWorkflowContext<Self>, _raw: RawValue) {
        self.legacy.request(false);
        self.wants_full = true;
        self.events += 1;
    }

    /// Something is throttled, or close to it: an evaluation that may only scale up.
    #[signal(name = "capacity_is_short")]
    pub fn capacity_is_short(&mut self, _context: &mut SyncWorkflowContext<Self>, _raw: RawValue) {
        self.legacy.request(true);
        self.wants_scale_up = true;
        self.events += 1;
    }

    /// A worker of a newer release asks for a new run.
    #[signal(name = "rotate")]
    pub fn rotate(&mut self, _context: &mut SyncWorkflowContext<Self>, _raw: RawValue) {
        self.rotations_asked += 1;
        self.events += 1;
    }

    /// A change says how far it is.
    #[signal(name = "change_progress")]
    pub fn change_progress(&mut self, context: &mut SyncWorkflowContext<Self>, event: Lenient<ChangeEvent>) {
        self.notice_time(context.workflow_time());
        self.take_event(event.value);
        self.events += 1;
    }

    /// The decisions of the last evaluation, also of a dry run.
    #[query(name = "preview_actions")]
    pub fn preview_actions(&self, _context: &WorkflowContextView) -> EvaluationReport {
        self.state.last.clone().unwrap_or_default()
    }

    #[expect(clippy::needless_pass_by_value, reason = "the macro hands the argument over")]
    /// An evaluation by its number, and how far along its changes are; an empty report if it is no longer known.
    #[query(name = "evaluation")]
    pub fn evaluation(
        &self,
        _context: &WorkflowContextView,
        query: Lenient<EvaluationQuery>,
    ) -> EvaluationReport {
        self.state.report(query.value.number).cloned().unwrap_or_default()
    }

    #[query(name = "get_status")]
    pub fn get_status(&self, _context: &WorkflowContextView) -> Status {
        self.status()
    }

    /// Joins the full evaluation in progress, else asks for one; returns its report as soon as its changes are queued.
    #[update(name = "evaluate")]
    pub async fn evaluate(
        context: &mut WorkflowContext<Self>,
        _raw: RawValue,
    ) -> Result<EvaluationReport, BoxError> {
        let target = context.state_mut(Self::ask_for_full);
        // The next run handles requests that have not started.
        let waited = context
            .wait_condition(move |it| it.full_done >= target || it.phase == "draining")
            .await;
        waited.map_err(|_| "the controller was cancelled")?;
        if context.state(|it| it.loop_version > 0 && it.full_done < target) {
            return Err(CONTINUES.into());
        }
        Ok(context
            .state(|it| it.state.last_full().cloned())
            .unwrap_or_default())
    }

    /// Pauses all changes. An argument that is text says why.
    #[update(name = "pause")]
    pub async fn pause(context: &mut WorkflowContext<Self>, raw: RawValue) -> Result<Status, BoxError> {
        let why = text_of(context, raw).unwrap_or_else(|| "no reason given".to_owned());
        context.state_mut(|it| {
            it.state.paused = Some(why.clone());
            it.legacy
                .halt
                .get_or_insert_with(|| "the controller was paused".to_owned());
        });
        if context.patched(PAUSE_WORKFLOWS) {
            let order = PauseOrder {
                kind: PauseKind::All.as_str().to_owned(),
                reason: why,
                by: "an update of the controller".to_owned(),
                ..PauseOrder::default()
            };
            controller_loop::set_pause(context, order).await?;
            context.state_mut(Self::empty_queue);
        }
        Ok(context.state(Self::status))
    }

    /// Ends what a person paused, and evaluates. A pause after a spec difference needs the argument `spec-checked`.
    #[update(name = "resume")]
    pub async fn resume(context: &mut WorkflowContext<Self>, raw: RawValue) -> Result<Status, BoxError> {
        let text = text_of(context, raw).unwrap_or_default();
        context.state_mut(|it| it.state.paused = None);
        if context.patched(PAUSE_WORKFLOWS) {
            let order = |kind: &str| PauseOrder {
                kind: kind.to_owned(),
                resume: true,
                by: "an update of the controller".to_owned(),
                ..PauseOrder::default()
            };
            controller_loop::set_pause(context, order("")).await?;
            if text.contains("spec-checked") {
                controller_loop::set_pause(context, order(PauseKind::Spec.as_str())).await?;
                context.state_mut(|it| it.state.spec_changed.clear());
            }
            context.state_mut(|it| {
                it.state.gate.reset();
                it.wants_full = true;
                it.events += 1;
            });
        }
        Ok(context.state(Self::status))
    }
}

impl CapacityManagementWorkflow {
    fn begin_at(started: Option<SystemTime>, input: Lenient<ControllerState>) -> Self {
        let (pending, pending_scale_up_only) = (input.value.pending, input.value.pending_scale_up_only);
        let mut legacy = LegacyLoop::default();
        if pending {
            legacy.request(pending_scale_up_only);
        }
        Self {
            state: ControllerState {
                pending: false,
                pending_scale_up_only: false,
                ..input.value
            },
            legacy,
            input_problem: input.problem,
            started,
            loop_version: 0,
            phase: "waiting",
            in_run: 0,
            full_started: 0,
            full_done: 0,
            wants_full: pending && !pending_scale_up_only,
            wants_scale_up: pending && pending_scale_up_only,
            wants_again: false,
            evaluating_full: false,
            evaluating_again: false,
            evaluating_scale_up: false,
            progressed: false,
            again_failed: false,
            rotating: false,
            rotations_asked: 0,
            rotations_taken: 0,
            events: 0,
            now_ms: started.and_then(milliseconds).unwrap_or_default(),
            incidents: Vec::new(),
            unheard: Vec::new(),
            pause_orders: Vec::new(),
        }
    }

    /// A controller without any state, at a time in milliseconds since 1970.
    #[cfg(test)]
    pub(crate) fn at(now_ms: u64) -> Self {
        let started = SystemTime::UNIX_EPOCH + Duration::from_millis(now_ms);
        Self::begin_at(Some(started), Lenient::default())
    }

    /// Asks for a full evaluation, or joins the one in flight; returns the number of the one that answers.
    fn ask_for_full(&mut self) -> u64 {
        let in_flight = self.full_started > self.full_done;
        match self.phase {
            // The event loop leaves it to the next run.
            "draining" if self.loop_version > 0 => {
                self.wants_full = true;
                self.full_done + 1
            }
            "draining" => {
                if self.legacy.evaluating_raise_only {
                    self.legacy.request(false);
                }
                self.full_done
            }
            _ if in_flight => self.full_started,
            _ => {
                self.legacy.request(false);
                self.wants_full = true;
                self.events += 1;
                self.full_started + 1
            }
        }
    }

    pub(crate) fn rotation_is_asked(&self) -> bool {
        self.rotations_asked > self.rotations_taken
    }

    /// Returns how often rotation was asked for, if that is new.
    pub(crate) fn take_rotation(&mut self) -> Option<u32> {
        let is_new = self.rotation_is_asked();
        self.rotations_taken = self.rotations_asked;
        is_new.then_some(self.rotations_taken)
    }

    pub(crate) fn notice_time(&mut self, now: Option<SystemTime>) {
        self.now_ms = now.and_then(milliseconds).unwrap_or(self.now_ms).max(self.now_ms);
    }

    pub(crate) fn status(&self) -> Status {
        let mut status = self.state.status(self.now_ms);
        let in_flight =
            u64::from(self.evaluating_full && !self.evaluating_again) + u64::from(self.evaluating_scale_up);
        status.evaluations = status.evaluations.saturating_sub(in_flight);
        // Both kinds of evaluation may run.
        let is_evaluating = self.phase == "waiting" && (self.evaluating_full || self.evaluating_scale_up);
        let phase = if is_evaluating { "evaluating" } else { self.phase };
        phase.clone_into(&mut status.phase);
        let begun = self
            .legacy
            .begun
            .iter()
            .filter(|it| !self.legacy.ended.contains_key(*it));
        status.changes_in_progress.extend(begun.cloned());
        status.input_problem.clone_from(&self.input_problem);
        status.loop_version = self.loop_version;
        status.summed_up(self.state.last.as_ref())
    }

    pub(crate) async fn cancelled(context: &WorkflowContext<Self>) -> WorkflowResult<EvaluationReport> {
        // Waiting callers get a refusal before the run closes.
        Self::drain(context).await;
        Err(WorkflowTermination::cancelled())
    }

    pub(crate) async fn drain(context: &WorkflowContext<Self>) {
        let probe = context.clone();
        let detached = WaitConditionOptions::builder()
            .cancellation_token(WorkflowCancellationToken::new())
            .build();
        let _ = context
            .wait_condition_with_options(move |_| probe.all_handlers_finished(), detached)
            .await;
    }

    pub(crate) fn is_old_enough(context: &WorkflowContext<Self>) -> bool {
        match (context.workflow_time(), context.state(|it| it.started)) {
            (Some(now), Some(started)) => now.duration_since(started).unwrap_or_default() >= OLD_ENOUGH,
            _ => true,
        }
    }
}

/// Milliseconds since 1970.
pub(crate) fn milliseconds(time: SystemTime) -> Option<u64> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    u64::try_from(since.as_millis()).ok()
}

/// Reads a text from any payload.
fn text_of(context: &WorkflowContext<CapacityManagementWorkflow>, raw: RawValue) -> Option<String> {
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
