//! The state of a run of the controller, and the operations that every part of its loop uses.
#![allow(missing_docs, reason = "the macros generate public items")]

use std::time::{Duration, SystemTime};

use temporal_worker_kit::Lenient;
use temporalio_macros::workflow;
use temporalio_sdk::{
    WaitConditionOptions, WorkflowCancellationToken, WorkflowContext, WorkflowResult, WorkflowTermination,
};

use super::legacy_state::LegacyLoop;
use crate::messages::{ChangeReport, ControllerPhase, ControllerState, EvaluationReport, Status};
use crate::step_messages::{Incident, PauseOrder};
use crate::time::milliseconds;

/// The version of the loop. Increased with every patch marker, so that workers request a rotation of older
/// runs.
pub const LOOP_VERSION: u32 = 1;
/// Number of evaluations after which a run continues as new, once it is old enough.
pub(crate) const ROTATE_AFTER: u64 = 24;
/// Minimum age of a run: the server delays a run that follows its predecessor too quickly.
const OLD_ENOUGH: Duration = Duration::from_secs(10);
/// Number of events after which a run continues as new in any case.
pub(crate) const MOST_EVENTS: u32 = 4_000;
/// Minimum interval between the starts of full evaluations. Triggers in between are combined.
pub(crate) const APART: Duration = Duration::from_secs(20);

/// The controller: one run of the event loop.
#[workflow]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an event that part of the loop waits for"
)]
pub struct CapacityManagementWorkflow {
    pub(crate) state: ControllerState,
    pub(crate) legacy: LegacyLoop,
    pub(crate) input_problem: Option<String>,
    pub(crate) started: Option<SystemTime>,
    /// The version of the loop that this run is in: 0 if release 0.1.0 started it.
    pub(crate) loop_version: u32,
    pub(crate) phase: ControllerPhase,
    pub(crate) in_run: u64,
    /// Full evaluations started and finished in this run, for the callers that wait for one.
    pub(crate) full_started: u64,
    pub(crate) full_done: u64,
    pub(crate) wants_full: bool,
    pub(crate) wants_scale_up: bool,
    /// Whether the queue is to be re-evaluated under the same number.
    pub(crate) wants_again: bool,
    pub(crate) evaluating_full: bool,
    pub(crate) evaluating_again: bool,
    pub(crate) evaluating_scale_up: bool,
    /// Whether a change ended since the last full evaluation. Without progress, nothing is re-evaluated.
    pub(crate) progressed: bool,
    /// Whether the last re-evaluation had no usable metrics, so that the remaining changes are re-evaluated.
    pub(crate) again_failed: bool,
    /// Whether the run ends as soon as it can, so that nothing new starts.
    pub(crate) rotating: bool,
    pub(crate) rotations_asked: u32,
    pub(crate) rotations_taken: u32,
    /// Number of events, for the part that starts changes.
    pub(crate) events: u64,
    pub(crate) now_ms: u64,
    pub(crate) incidents: Vec<Incident>,
    pub(crate) unheard: Vec<ChangeReport>,
    pub(crate) pause_orders: Vec<PauseOrder>,
}

impl CapacityManagementWorkflow {
    pub(crate) fn begin_at(started: Option<SystemTime>, input: Lenient<ControllerState>) -> Self {
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
            phase: ControllerPhase::Waiting,
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

    /// Returns a controller without any state, at a time in milliseconds since 1970.
    #[cfg(test)]
    pub(crate) fn at(now_ms: u64) -> Self {
        let started = SystemTime::UNIX_EPOCH + Duration::from_millis(now_ms);
        Self::begin_at(Some(started), Lenient::default())
    }

    /// Requests a full evaluation or joins the one in progress, and returns its number.
    pub(crate) fn ask_for_full(&mut self) -> u64 {
        let in_flight = self.full_started > self.full_done;
        match self.phase {
            // The event loop leaves it to the next run.
            ControllerPhase::Draining if self.loop_version > 0 => {
                self.wants_full = true;
                self.full_done + 1
            }
            // The old loop answers callers that arrive while it drains with the evaluation just made, since
            // they cannot wait for another.
            ControllerPhase::Draining => {
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

    /// Returns how often a rotation was requested, if there was a new request.
    pub(crate) fn take_rotation(&mut self) -> Option<u32> {
        let is_new = self.rotation_is_asked();
        self.rotations_taken = self.rotations_asked;
        is_new.then_some(self.rotations_taken)
    }

    pub(crate) fn notice_time(&mut self, now: Option<SystemTime>) {
        // Never backward: times in the queue and the gate are compared with it.
        self.now_ms = now.and_then(milliseconds).unwrap_or(self.now_ms).max(self.now_ms);
    }

    pub(crate) fn status(&self) -> Status {
        let mut status = self.state.status(self.now_ms);
        let in_flight =
            u64::from(self.evaluating_full && !self.evaluating_again) + u64::from(self.evaluating_scale_up);
        // The number is taken when an evaluation begins; `status` counts those that were made.
        status.evaluations = status.evaluations.saturating_sub(in_flight);
        // Evaluations of both kinds may be running.
        let is_evaluating = self.evaluating_full || self.evaluating_scale_up;
        status.phase = match self.phase {
            ControllerPhase::Waiting if is_evaluating => ControllerPhase::Evaluating,
            phase => phase,
        };
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

    pub(crate) async fn canceled(context: &WorkflowContext<Self>) -> WorkflowResult<EvaluationReport> {
        // Waiting callers are refused before the run closes.
        Self::drain(context).await;
        Err(WorkflowTermination::cancelled())
    }

    pub(crate) async fn drain(context: &WorkflowContext<Self>) {
        let probe = context.clone();
        let detached = WaitConditionOptions::builder()
            // Detached: when the workflow is canceled, handlers still have to answer their callers.
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
