//! The workflows and their activities.

mod activities;
mod budget;
mod chain;
mod event;
mod execution;
mod lenient;
mod messages;
mod options;

use std::time::Duration;

use temporalio_common::worker::WorkerDeploymentOptions;
use temporalio_sdk::{WorkerOptions, WorkerOptionsBuilder};

pub use activities::{ChainActivities, OPEN_CHAINS};
pub use budget::{BUDGET_ID, RunBudget, Starts};
pub use chain::StackDependencyChain;
pub use event::RunFinished;
pub use execution::StackExecution;
pub use lenient::Lenient;
pub use messages::{
    ChainReport, ChainRequest, ChainSettings, ChainStatus, Decision, ExecutionRequest, ExecutionStatus,
    Offer, PrepareRequest, Prepared, Reservation, RunEvent, RunEventReport, TASK_QUEUE, TriggerRequest,
    chain_id, execution_id, run_workflow_id,
};

/// Returns the options of a worker that runs everything.
///
/// # Panics
///
/// Never: the names of the workflows differ.
pub fn worker_options(activities: ChainActivities, grace: Duration) -> WorkerOptions {
    let mut options = WorkerOptions::new(TASK_QUEUE)
        .register_workflow::<StackDependencyChain>()
        .and_then(WorkerOptionsBuilder::register_workflow::<StackExecution>)
        .and_then(WorkerOptionsBuilder::register_workflow::<RunFinished>)
        .and_then(WorkerOptionsBuilder::register_workflow::<RunBudget>)
        .expect("the names of the workflows differ")
        .register_activities(activities)
        // Without it the SDK hashes the whole executable at each start.
        .deployment_options(WorkerDeploymentOptions::from_build_id(
            concat!("stack-chain/", env!("CARGO_PKG_VERSION")).to_owned(),
        ))
        .build();
    options.graceful_shutdown_period = Some(grace);
    options
}
