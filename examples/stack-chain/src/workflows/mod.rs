//! The workflows and their activities.

mod activities;
mod budget;
mod chain;
mod definitions;
mod event;
mod execution;
mod messages;
mod options;

use temporal_worker_kit::Registry;

pub use activities::{ChainActivities, OPEN_CHAINS};
pub use budget::{BUDGET_ID, RunBudget, Starts};
pub use chain::StackDependencyChain;
pub use event::RunFinished;
pub use execution::StackExecution;
pub use messages::{
    ChainReport, ChainRequest, ChainSettings, ChainStatus, Decision, ExecutionRequest, ExecutionStatus,
    Offer, PrepareRequest, Prepared, Reservation, RunEvent, RunEventReport, TASK_QUEUE, TriggerRequest,
    chain_id, execution_id, run_workflow_id,
};

/// Registers all workflows and activities on the task queue.
#[must_use]
pub fn register(registry: Registry, activities: ChainActivities) -> Registry {
    registry
        .workflow::<StackDependencyChain>(TASK_QUEUE)
        .workflow::<StackExecution>(TASK_QUEUE)
        .workflow::<RunFinished>(TASK_QUEUE)
        .workflow::<RunBudget>(TASK_QUEUE)
        .activities(TASK_QUEUE, activities)
}
