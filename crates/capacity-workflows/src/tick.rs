//! The tick: what the schedule starts. It asks the controller to evaluate and returns the report as its own result, so that the
//! schedule's recent runs show what happened, also without a worker.
#![allow(missing_docs, reason = "the macros make public items of their own")]

use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{WorkflowContext, WorkflowContextView, WorkflowResult};

use crate::activities::CapacityActivities;
use crate::lenient::Lenient;
use crate::messages::{EvaluationReport, TickRequest};
use crate::options;

/// The tick.
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
        Ok(context
            .execute_activity(
                CapacityActivities::ask_controller,
                request,
                options::WAIT.options(),
            )
            .await?)
    }
}
