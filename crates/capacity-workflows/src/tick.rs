//! The tick, which the schedule starts. It requests an evaluation from the controller and returns the report
//! as its own result, so that the schedule's recent runs show what happened even without a worker.
#![allow(missing_docs, reason = "the macros generate public items")]

use temporal_worker_kit::{Lenient, failure_text};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{ApplicationFailure, WorkflowContext, WorkflowContextView, WorkflowResult};

use crate::activities::CapacityActivities;
use crate::activity::{TOLD_AT, failure};
use crate::failures::cause_of;
use crate::messages::{EvaluationReport, Silence, TickRequest};
use crate::options;

/// Requests an evaluation for one scheduled run.
#[workflow]
pub struct EvaluationTick {
    request: TickRequest,
}

#[workflow_methods]
impl EvaluationTick {
    #[init]
    pub fn new(_context: &WorkflowContextView, input: Lenient<TickRequest>) -> Self {
        Self { request: input.value }
    }

    #[run(name = "EvaluationTick")]
    pub async fn run(context: &mut WorkflowContext<Self>) -> WorkflowResult<EvaluationReport> {
        let request = context.state(|it| it.request.clone());
        // The failure of the previous tick, if it failed: silence is announced once, then daily, and once
        // more when it ends.
        let before = context.info().raw().continued_failure.as_ref().map(failure_text);
        let asked = context
            .execute_activity(
                CapacityActivities::ask_controller,
                request,
                options::ASK.options(),
            )
            .await;
        let problem = match &asked {
            Err(error) if error.as_cancelled().is_some() => return Ok(asked?),
            Err(error) => Some(cause_of(error)),
            Ok(_) => None,
        };
        if problem.is_none() && before.is_none() {
            return Ok(asked?);
        }
        let silence = Silence {
            problem: problem.clone(),
            before,
        };
        let told = context
            .execute_activity(
                CapacityActivities::announce_silence,
                silence,
                options::ANNOUNCE.options(),
            )
            .await;
        let (Some(problem), Ok(Some(told))) = (problem, told) else {
            return Ok(asked?);
        };
        let text = format!("{problem} ({TOLD_AT}{told})");
        Err(ApplicationFailure::builder(std::io::Error::other(text))
            .type_name(failure::SILENT.to_owned())
            .non_retryable(true)
            .build()
            .into())
    }
}
