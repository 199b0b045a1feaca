//! The worker's options: every workflow and activity, registered.

use std::time::Duration;

use temporalio_common::worker::WorkerDeploymentOptions;
use temporalio_sdk::{WorkerOptions, WorkerOptionsBuilder};

use crate::activities::CapacityActivities;
use crate::change::CapacityChange;
use crate::controller::CapacityManagementWorkflow;
use crate::tick::EvaluationTick;

/// Returns the options of a worker that runs everything.
///
/// # Panics
///
/// Never: the names of the workflows differ.
pub fn worker_options(task_queue: &str, activities: CapacityActivities, grace: Duration) -> WorkerOptions {
    let mut options = WorkerOptions::new(task_queue)
        .register_workflow::<CapacityManagementWorkflow>()
        .and_then(WorkerOptionsBuilder::register_workflow::<CapacityChange>)
        .and_then(WorkerOptionsBuilder::register_workflow::<EvaluationTick>)
        .expect("the names of the workflows differ")
        .register_activities(activities)
        // Without it the library hashes the whole executable at each start.
        .deployment_options(WorkerDeploymentOptions::from_build_id(
            concat!("temporal-capacity/", env!("CARGO_PKG_VERSION")).to_owned(),
        ))
        .build();
    options.graceful_shutdown_period = Some(grace);
    options
}
