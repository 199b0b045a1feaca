//! The controller: an event loop that evaluates, queues changes and starts them, and never waits for one.
//!
//! Four parts run concurrently: full evaluations, scale-up-only evaluations, starts of changes, and notices.
//! They share one state (`state`), and each of the other files covers one aspect of it. Changes report their
//! progress by signals. Workflow code has no rules, no I/O and no settings. Constants here change only behind
//! a patch marker, because a running controller must be able to replay.
#![allow(missing_docs, reason = "the macros generate public items")]

mod changes;
mod evaluations;
mod event_loop;
mod legacy;
mod legacy_state;
mod starts;
mod state;
mod status;
#[cfg(test)]
mod tests;

use temporal_worker_kit::Lenient;
use temporalio_common::data_converters::RawValue;
use temporalio_macros::workflow_methods;
use temporalio_sdk::{
    ContinueAsNewOptions, SyncWorkflowContext, WorkflowContext, WorkflowContextView, WorkflowResult,
};

pub use self::state::{CapacityManagementWorkflow, LOOP_VERSION};
use crate::definitions::CONTINUES;
use crate::messages::{
    ChangeEvent, ControllerPhase, ControllerState, EvaluationQuery, EvaluationReport, Status,
};
use crate::pauses::PauseKind;
use crate::step_messages::PauseOrder;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Marks runs in the event loop. Those that release 0.1.0 started have no marker.
const EVENT_LOOP: &str = "event-loop-1";
/// Marks that a pause is a separate workflow.
const PAUSE_WORKFLOWS: &str = "pause-workflows-1";

#[workflow_methods]
impl CapacityManagementWorkflow {
    #[init]
    pub fn new(context: &WorkflowContextView, input: Lenient<ControllerState>) -> Self {
        Self::begin_at(context.start_time(), input)
    }

    #[run(name = "CapacityManagementWorkflow")]
    pub async fn run(context: &mut WorkflowContext<Self>) -> WorkflowResult<EvaluationReport> {
        if !context.patched(EVENT_LOOP) {
            return legacy::run(context).await;
        }
        context.state_mut(|it| it.loop_version = LOOP_VERSION);
        event_loop::run(context).await;
        if context.cancellation_token().is_cancelled() {
            return Self::canceled(context).await;
        }
        context.state_mut(|it| it.phase = ControllerPhase::Draining);
        Self::drain(context).await;
        let next = context.state(|it| ControllerState {
            pending: it.wants_full || it.wants_scale_up,
            pending_scale_up_only: !it.wants_full,
            ..it.state.clone()
        });
        let next = next.bounded();
        match context.continue_as_new(Lenient::from(next), ContinueAsNewOptions::default())? {}
    }

    /// Requests a full evaluation, with any arguments or none.
    #[signal(name = "trigger_evaluation")]
    pub fn trigger_evaluation(&mut self, _context: &mut SyncWorkflowContext<Self>, _raw: RawValue) {
        self.legacy.request(false);
        self.wants_full = true;
        self.events += 1;
    }

    /// Requests an evaluation that may only scale up, because a namespace is throttled or close to its limit.
    #[signal(name = "capacity_is_short")]
    pub fn capacity_is_short(&mut self, _context: &mut SyncWorkflowContext<Self>, _raw: RawValue) {
        self.legacy.request(true);
        self.wants_scale_up = true;
        self.events += 1;
    }

    /// Requests a new run; sent by a worker of a newer release.
    #[signal(name = "rotate")]
    pub fn rotate(&mut self, _context: &mut SyncWorkflowContext<Self>, _raw: RawValue) {
        self.rotations_asked += 1;
        self.events += 1;
    }

    /// Handles the progress that a change reports.
    #[signal(name = "change_progress")]
    pub fn change_progress(&mut self, context: &mut SyncWorkflowContext<Self>, event: Lenient<ChangeEvent>) {
        self.notice_time(context.workflow_time());
        self.take_event(event.value);
        self.events += 1;
    }

    /// Returns the decisions of the last evaluation, including those of a dry run.
    #[query(name = "preview_actions")]
    pub fn preview_actions(&self, _context: &WorkflowContextView) -> EvaluationReport {
        self.state.last.clone().unwrap_or_default()
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "the macro passes the argument by value"
    )]
    /// Returns an evaluation by its number, with the progress of its changes; an empty report if it is no
    /// longer known.
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

    /// Joins the full evaluation in progress or requests one, and returns its report as soon as its changes
    /// are queued.
    #[update(name = "evaluate")]
    pub async fn evaluate(
        context: &mut WorkflowContext<Self>,
        _raw: RawValue,
    ) -> Result<EvaluationReport, BoxError> {
        let target = context.state_mut(Self::ask_for_full);
        // The next run handles requests that have not started.
        let waited = context
            .wait_condition(move |it| it.full_done >= target || it.phase == ControllerPhase::Draining)
            .await;
        waited.map_err(|_| "the controller was canceled")?;
        if context.state(|it| it.loop_version > 0 && it.full_done < target) {
            return Err(CONTINUES.into());
        }
        Ok(context
            .state(|it| it.state.last_full().cloned())
            .unwrap_or_default())
    }

    /// Pauses all changes. A text argument is the reason.
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
            event_loop::set_pause(context, order).await?;
            context.state_mut(Self::empty_queue);
        }
        Ok(context.state(Self::status))
    }

    /// Ends pauses that a person opened, and evaluates. A pause after a spec difference needs the argument
    /// `spec-checked`.
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
            event_loop::set_pause(context, order("")).await?;
            if text.contains("spec-checked") {
                event_loop::set_pause(context, order(PauseKind::Spec.as_str())).await?;
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
