//! The workflow for the end of a run. There is only one per run, so a second delivery has no effect. A chain
//! claims a run that it triggered by starting this workflow first.
#![allow(missing_docs, reason = "the macros generate public items")]

use std::time::Duration;

use temporal_worker_kit::Lenient;
use temporalio_common::error::{ChildWorkflowStartError, StartChildWorkflowExecutionFailedCause};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ApplicationFailure, ChildWorkflowOptions, ParentClosePolicy, TimerOptions, WorkflowCancellationToken,
    WorkflowContext, WorkflowContextView, WorkflowIdReusePolicy, WorkflowResult, WorkflowTermination,
};

use super::activities::ChainActivities;
use super::chain::StackDependencyChain;
use super::messages::{ChainRequest, RunEvent, RunEventReport, chain_id};
use super::options;

/// Interval between two offers to a chain that does not know its run yet.
const HELD: Duration = Duration::from_secs(1);
/// Maximum number of offers. A trigger succeeds or fails for good within 10 minutes.
const MOST_OFFERS: u32 = 900;

/// Handles the end of a run. A chain starts this workflow earlier to claim a run that it triggered.
#[workflow]
pub struct RunFinished {
    event: RunEvent,
    problem: Option<String>,
}

#[workflow_methods]
impl RunFinished {
    #[init]
    pub fn new(_context: &WorkflowContextView, input: Lenient<RunEvent>) -> Self {
        Self {
            problem: input.problem_if_required(),
            event: input.value,
        }
    }

    #[run(name = "RunFinished")]
    pub async fn run(context: &mut WorkflowContext<Self>) -> WorkflowResult<RunEventReport> {
        let event = context.state(|it| it.event.clone());
        let problem = context.state(|it| it.problem.clone());
        // A claim can end at once, because its id is never used again.
        if event.claimed_by.is_some() || problem.is_some() {
            return Ok(RunEventReport {
                claimed_by: event.claimed_by,
                chain: None,
                problem,
            });
        }
        let mut was_offered = false;
        for _ in 0..MOST_OFFERS {
            let offer = context
                .execute_activity(
                    ChainActivities::offer_run,
                    event.run.clone(),
                    options::OFFER.options(),
                )
                .await?;
            if offer.claimed_by.is_some() {
                return Ok(RunEventReport {
                    claimed_by: offer.claimed_by,
                    ..RunEventReport::default()
                });
            }
            let wait = match offer.held_by {
                Some(_) => HELD,
                None if was_offered => break,
                None => Duration::from_millis(event.settings.second_look_ms),
            };
            // A hold starts the count again: the execution that held the run may claim it next.
            was_offered = offer.held_by.is_none();
            let _ = context
                .timer(
                    TimerOptions::builder(wait)
                        .summary("until the next offer".to_owned())
                        .build(),
                )
                .await;
            if context.cancellation_token().is_cancelled() {
                return Err(WorkflowTermination::cancelled());
            }
        }
        Self::start_chain(context, event).await
    }

    #[query(name = "claimed_by")]
    pub fn claimed_by(&self, _context: &WorkflowContextView) -> Option<String> {
        self.event.claimed_by.clone()
    }
}

impl RunFinished {
    async fn start_chain(context: &WorkflowContext<Self>, event: RunEvent) -> WorkflowResult<RunEventReport> {
        let id = chain_id(&event.run);
        let options = ChildWorkflowOptions::builder()
            .workflow_id(id.clone())
            .static_summary(format!("stacks that depend on {}", event.run.stack))
            .parent_close_policy(ParentClosePolicy::Abandon)
            .cancellation_token(WorkflowCancellationToken::new())
            .id_reuse_policy(WorkflowIdReusePolicy::RejectDuplicate)
            .build();
        let request = ChainRequest {
            started_by: format!("run {}", event.run.run),
            origin: event.run,
            outcome: event.outcome,
            runs_origin: false,
            settings: event.settings,
        };
        let started = context
            .start_child_workflow(StackDependencyChain::run, Lenient::from(request), options)
            .await;
        match started {
            Ok(_)
            | Err(ChildWorkflowStartError::StartFailed {
                cause: StartChildWorkflowExecutionFailedCause::WorkflowAlreadyExists,
                ..
            }) => Ok(RunEventReport {
                chain: Some(id),
                ..RunEventReport::default()
            }),
            Err(error) => Err(ApplicationFailure::builder(std::io::Error::other(format!(
                "chain {id}: {error}"
            )))
            .build()
            .into()),
        }
    }
}
