//! The workflow: validates the input, checks the policy, waits for approval, executes the task and records
//! the outcome.
#![allow(missing_docs, reason = "the macros generate public items")]

use std::time::Duration;

use temporal_worker_kit::Lenient;
use temporalio_common::data_converters::{
    GenericPayloadConverter, RawValue, SerializationContext, SerializationContextData,
};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::workflows::select;
use temporalio_sdk::{
    ApplicationFailure, CancellableFuture, SyncWorkflowContext, TimerOptions, WorkflowContext,
    WorkflowContextView, WorkflowResult, WorkflowTermination,
};

use crate::activities::{Approvals, patient};
use crate::messages::{Answer, ApprovalRequest, Decision, End, Outcome, Phase, Status, Verdict};

/// Patch id. Since 0.2, a last reminder is sent halfway between the last regular reminder and the expiry.
pub const PATCH_LAST_REMINDER: &str = "last-reminder-before-expiry";

/// A request for approval.
#[workflow]
pub struct ApprovalFlow {
    status: Status,
    input_problem: Option<String>,
}

/// A rejected input, with every reason.
#[derive(Debug, thiserror::Error)]
#[error("invalid input: {}", .0.join("; "))]
struct InvalidInput(Vec<String>);

#[workflow_methods]
impl ApprovalFlow {
    /// Stores the input. Cannot fail to decode.
    #[init]
    pub fn new(_context: &WorkflowContextView, input: Lenient<ApprovalRequest>) -> Self {
        let status = Status {
            request: input.value,
            ..Status::default()
        };
        Self {
            status,
            input_problem: input.problem,
        }
    }

    /// Runs one request from start to end.
    #[run(name = "ApprovalFlow")]
    pub async fn run(context: &mut WorkflowContext<Self>) -> WorkflowResult<Outcome> {
        let request = Self::validated(context)?;
        let check = context.execute_activity(Approvals::check_policy, request.text.clone(), patient());
        let policy = check.await?;
        context.state_mut(|state| state.status.policy = Some(policy.clone()));
        let mut outcome = Outcome {
            id: context.workflow_id().to_owned(),
            request: request.clone(),
            policy: policy.clone(),
            ..Outcome::default()
        };
        if policy.allowed {
            Self::wait_for_decision(context, &request).await?;
            let decision = context.state(|state| state.status.decision.clone());
            outcome.reminders = context.state(|state| state.status.reminders);
            match &decision {
                Some(decision) if decision.approved => {
                    context.state_mut(|state| state.status.phase = Phase::Executing);
                    let execute =
                        context.execute_activity(Approvals::execute, request.text.clone(), patient());
                    outcome.output = Some(execute.await?);
                    outcome.end = End::Executed;
                    outcome.sentence = decision.sentence();
                }
                Some(decision) => {
                    outcome.end = End::Rejected;
                    outcome.sentence = decision.sentence();
                }
                None => {
                    outcome.end = End::Expired;
                    outcome.sentence = format!(
                        "expired after {} s without a decision",
                        request.expires_after_seconds
                    );
                }
            }
            outcome.decision = decision;
        } else {
            outcome.end = End::Denied;
            outcome.sentence = policy.reason;
        }
        // Before the audit record, so that a decision that arrives now is refused instead of ignored.
        context.state_mut(|state| state.status.phase = Phase::Closed);
        context
            .execute_activity(Approvals::audit, outcome.clone(), patient())
            .await?;
        Ok(outcome)
    }

    /// Approves the request. As a signal, it returns no result: `temporal workflow signal --name approve`.
    #[signal(name = "approve")]
    pub fn approve(&mut self, context: &mut SyncWorkflowContext<Self>, raw: RawValue) {
        let verdict = verdict(context, raw);
        self.decide(true, verdict);
    }

    /// Rejects the request. As a signal, it returns no result.
    #[signal(name = "reject")]
    pub fn reject(&mut self, context: &mut SyncWorkflowContext<Self>, raw: RawValue) {
        let verdict = verdict(context, raw);
        self.decide(false, verdict);
    }

    /// Approves the request and returns whether the decision was accepted.
    #[update(name = "approve")]
    pub fn approve_and_answer(&mut self, context: &mut SyncWorkflowContext<Self>, raw: RawValue) -> Answer {
        let verdict = verdict(context, raw);
        self.decide(true, verdict)
    }

    /// Rejects the request and returns whether the decision was accepted.
    #[update(name = "reject")]
    pub fn reject_and_answer(&mut self, context: &mut SyncWorkflowContext<Self>, raw: RawValue) -> Answer {
        let verdict = verdict(context, raw);
        self.decide(false, verdict)
    }

    /// Returns the current status.
    #[query(name = "status")]
    pub fn status(&self, _context: &WorkflowContextView) -> Status {
        self.status.clone()
    }
}

impl ApprovalFlow {
    /// Accepts only the first decision. A decision that arrives during the policy check is kept.
    fn decide(&mut self, approved: bool, verdict: Verdict) -> Answer {
        if let Some(earlier) = &self.status.decision {
            return Answer {
                accepted: false,
                sentence: format!("already {}", earlier.sentence()),
            };
        }
        if self.status.phase == Phase::Closed {
            return Answer {
                accepted: false,
                sentence: "the request is closed".to_owned(),
            };
        }
        let decision = Decision { approved, verdict };
        let sentence = decision.sentence();
        self.status.decision = Some(decision);
        Answer {
            accepted: true,
            sentence,
        }
    }

    fn validated(context: &WorkflowContext<Self>) -> Result<ApprovalRequest, WorkflowTermination> {
        let (request, mut problems) = context.state(|state| {
            (
                state.status.request.clone(),
                Vec::from_iter(state.input_problem.clone()),
            )
        });
        // An input that does not decode is replaced by an empty one, whose problems would mislead.
        if problems.is_empty() {
            problems = request.problems();
        }
        if problems.is_empty() {
            return Ok(request);
        }
        let failure = ApplicationFailure::builder(InvalidInput(problems));
        Err(failure
            .type_name("InvalidInput".to_owned())
            .non_retryable(true)
            .build()
            .into())
    }

    /// Waits until a person decides or the request expires. Sends reminders while waiting.
    async fn wait_for_decision(
        context: &WorkflowContext<Self>,
        request: &ApprovalRequest,
    ) -> Result<(), WorkflowTermination> {
        context.state_mut(|state| state.status.phase = Phase::Waiting);
        let mut left = Duration::from_secs(request.expires_after_seconds);
        let every = Duration::from_secs(request.remind_every_seconds);
        let mut reminded_halfway = false;
        while context.state(|state| state.status.decision.is_none()) && !left.is_zero() {
            let mut pause = every.min(left);
            let is_last = pause == left && every < Duration::from_secs(request.expires_after_seconds);
            // `patched` is last, because it writes a marker to the history even if there is nothing to
            // change.
            if is_last && !reminded_halfway && context.patched(PATCH_LAST_REMINDER) {
                reminded_halfway = true;
                pause = left / 2;
            }
            let options = TimerOptions::builder(pause)
                .summary("reminder or expiry".to_owned())
                .build();
            let mut timer = context.timer(options);
            select! {
                _ = timer => {}
                decided = context.wait_condition(|state| state.status.decision.is_some()) => {
                    timer.cancel();
                    if decided.is_err() {
                        return Err(WorkflowTermination::cancelled());
                    }
                }
            }
            // The wait for a canceled timer ends at once.
            if context.cancellation_token().is_cancelled() {
                return Err(WorkflowTermination::cancelled());
            }
            left = left.saturating_sub(pause);
            if context.state(|state| state.status.decision.is_none()) && !left.is_zero() {
                let status = context.state_mut(|state| {
                    // Before the activity, which shows the number.
                    state.status.reminders += 1;
                    state.status.clone()
                });
                context
                    .execute_activity(Approvals::remind, status, patient())
                    .await?;
            }
        }
        Ok(())
    }
}

/// Reads the person and the reason from a payload: nothing, a reason as text, or `{"who": ..., "reason":
/// ...}`. Never fails, because a signal that cannot be decoded would block the workflow.
fn verdict(context: &SyncWorkflowContext<ApprovalFlow>, raw: RawValue) -> Verdict {
    let none = SerializationContextData::None;
    let converter = context.payload_converter();
    let serialization = SerializationContext::new(&none, converter);
    match converter.from_payloads::<serde_json::Value>(&serialization, raw.payloads) {
        Ok(serde_json::Value::String(reason)) => Verdict {
            reason,
            ..Verdict::default()
        },
        Ok(value) => serde_json::from_value(value).unwrap_or_default(),
        Err(_) => Verdict::default(),
    }
}
