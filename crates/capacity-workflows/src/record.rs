//! Records and announces the outcome of a change whose own workflow could not. Retried for up to seven days.
#![allow(missing_docs, reason = "the macros generate public items")]

use temporal_worker_kit::Lenient;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{WorkflowContext, WorkflowContextView, WorkflowResult};

use crate::change_steps::ChangeActivities;
use crate::messages::ChangeReport;
use crate::options;
use crate::step_messages::{Concluded, Conclusion};

/// Records and announces one change.
#[workflow]
pub struct CapacityRecord {
    report: ChangeReport,
}

#[workflow_methods]
impl CapacityRecord {
    #[init]
    pub fn new(_context: &WorkflowContextView, input: Lenient<ChangeReport>) -> Self {
        Self { report: input.value }
    }

    #[run(name = "CapacityRecord")]
    pub async fn run(context: &mut WorkflowContext<Self>) -> WorkflowResult<Concluded> {
        let report = context.state(|it| it.report.clone());
        if report.operation_id.is_empty() {
            return Ok(Concluded::default());
        }
        let conclusion = Conclusion {
            report,
            complete: true,
            ..Conclusion::default()
        };
        Ok(context
            .execute_activity(ChangeActivities::change_conclude, conclusion, options::record())
            .await?)
    }
}
