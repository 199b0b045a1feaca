//! The workflow of release 0.1, without the last reminder, for a worker in the upgrade tests.

use std::time::Duration;

use approval_flow::Approvals;
use approval_flow::messages::{ApprovalRequest, Decision, End, Outcome, Status, Verdict};
use temporal_worker_kit::Lenient;
use temporalio_common::data_converters::RawValue;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::workflows::select;
use temporalio_sdk::{
    ActivityOptions, CancellableFuture, SyncWorkflowContext, TimerOptions, WorkflowContext,
    WorkflowContextView, WorkflowResult,
};

/// The earlier workflow, under the same type name.
#[workflow]
pub(crate) struct EarlierFlow {
    status: Status,
}

#[workflow_methods]
impl EarlierFlow {
    #[init]
    pub(crate) fn new(_context: &WorkflowContextView, input: Lenient<ApprovalRequest>) -> Self {
        Self {
            status: Status {
                request: input.value,
                ..Status::default()
            },
        }
    }

    #[run(name = "ApprovalFlow")]
    pub(crate) async fn run(context: &mut WorkflowContext<Self>) -> WorkflowResult<Outcome> {
        let request = context.state(|state| state.status.request.clone());
        let options = || ActivityOptions::start_to_close_timeout(Duration::from_secs(30));
        let policy = context
            .execute_activity(Approvals::check_policy, request.text.clone(), options())
            .await?;
        let mut left = Duration::from_secs(request.expires_after_seconds);
        let every = Duration::from_secs(request.remind_every_seconds);
        while context.state(|state| state.status.decision.is_none()) && !left.is_zero() {
            let pause = every.min(left);
            let mut timer = context.timer(TimerOptions::builder(pause).build());
            select! {
                _ = timer => {}
                _ = context.wait_condition(|state| state.status.decision.is_some()) => timer.cancel()
            }
            left = left.saturating_sub(pause);
            if context.state(|state| state.status.decision.is_none()) && !left.is_zero() {
                let status = context.state_mut(|state| {
                    state.status.reminders += 1;
                    state.status.clone()
                });
                context
                    .execute_activity(Approvals::remind, status, options())
                    .await?;
            }
        }
        let decision = context.state(|state| state.status.decision.clone());
        let mut outcome = Outcome {
            id: context.workflow_id().to_owned(),
            request: request.clone(),
            policy,
            sentence: "0.1".to_owned(),
            end: End::Expired,
            reminders: context.state(|state| state.status.reminders),
            ..Outcome::default()
        };
        if decision.as_ref().is_some_and(|decision| decision.approved) {
            outcome.output = Some(
                context
                    .execute_activity(Approvals::execute, request.text, options())
                    .await?,
            );
            outcome.end = End::Executed;
        }
        outcome.decision = decision;
        context
            .execute_activity(Approvals::audit, outcome.clone(), options())
            .await?;
        Ok(outcome)
    }

    #[signal(name = "approve")]
    pub(crate) fn approve(&mut self, _context: &mut SyncWorkflowContext<Self>, _raw: RawValue) {
        self.status.decision = Some(Decision {
            approved: true,
            verdict: Verdict::default(),
        });
    }
}
