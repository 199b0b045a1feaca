//! Fire and forget: a parent starts a child and completes; the child continues to run.
//!
//! With `ParentClosePolicy::Abandon`, the child stays open when its parent closes. A cancellation of the
//! parent would still be forwarded, so the child has its own cancellation token. The parent must wait until
//! the child has started; if it completes earlier, the child is never started.
#![allow(missing_docs, reason = "the macros generate public items")]
#![expect(
    clippy::needless_pass_by_value,
    reason = "the SDK's macros require this signature"
)]

use std::time::Duration;

use serde::{Deserialize, Serialize};
use temporal_worker_kit::Lenient;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ChildWorkflowOptions, ParentClosePolicy, TimerResult, WorkflowCancellationToken, WorkflowContext,
    WorkflowContextView, WorkflowResult, WorkflowTermination,
};

/// Input of the child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Work {
    /// Duration of the work in milliseconds.
    pub millis: u64,
}

impl Default for Work {
    fn default() -> Self {
        Self { millis: 3_000 }
    }
}

/// The parent, which completes before its child.
#[workflow]
pub struct FireAndForget {
    work: Work,
}

#[workflow_methods]
impl FireAndForget {
    /// Stores the input. Cannot fail to decode.
    #[init]
    pub fn new(_context: &WorkflowContextView, input: Lenient<Work>) -> Self {
        Self { work: input.value }
    }

    /// Starts the child and returns its id without waiting for its result.
    #[run(name = "FireAndForget")]
    pub async fn run(context: &mut WorkflowContext<Self>) -> WorkflowResult<String> {
        let id = format!("{}/background", context.workflow_id());
        let options = ChildWorkflowOptions::builder()
            .workflow_id(id.clone())
            .parent_close_policy(ParentClosePolicy::Abandon)
            .cancellation_token(WorkflowCancellationToken::new())
            .build();
        let work = context.state(|state| state.work);
        context
            .start_child_workflow(Background::run, work, options)
            .await?;
        Ok(id)
    }
}

/// The child, which outlives its parent.
#[workflow]
#[derive(Default)]
pub struct Background;

#[workflow_methods]
impl Background {
    /// Simulates work with a timer.
    #[run(name = "Background")]
    pub async fn run(context: &mut WorkflowContext<Self>, work: Work) -> WorkflowResult<String> {
        let timer = context.timer(Duration::from_millis(work.millis)).await;
        match timer {
            TimerResult::Fired => Ok(format!("worked for {} ms", work.millis)),
            // The wait for a canceled timer ends at once. Without this check, the work would be reported as
            // done.
            TimerResult::Cancelled => Err(WorkflowTermination::cancelled()),
        }
    }
}
