//! The worker's options: every workflow and activity, registered.

use std::sync::Arc;
use std::time::Duration;

use temporalio_common::worker::WorkerDeploymentOptions;
use temporalio_sdk::runtime::worker_tuner::{FixedSizeSlotSupplier, TunerHolder};
use temporalio_sdk::{WorkerOptions, WorkerOptionsBuilder};

use crate::activities::CapacityActivities;
use crate::change::CapacityChange;
use crate::change_steps::ChangeActivities;
use crate::controller::CapacityManagementWorkflow;
use crate::record::CapacityRecord;
use crate::sampling::UsageSampler;
use crate::tick::EvaluationTick;

/// How much a worker takes on, and how it ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WorkerLimits {
    /// Activities at a time beside the sampler, at least 3.
    pub activities: usize,
    /// Workflow tasks at a time, at least 2.
    pub workflow_tasks: usize,
    /// Activities begun a second; `None` for no limit.
    pub activities_per_second: Option<f64>,
    /// How long running activities may take to end at a shutdown.
    pub grace: Duration,
}

impl Default for WorkerLimits {
    fn default() -> Self {
        Self {
            activities: 50,
            workflow_tasks: 50,
            activities_per_second: None,
            grace: Duration::from_secs(30),
        }
    }
}

/// Returns the options of a worker that runs everything, on the task queue of its activities' installation.
///
/// # Panics
///
/// Never: the names of the workflows differ.
pub fn worker_options(activities: CapacityActivities, limits: WorkerLimits) -> WorkerOptions {
    let slots = |at_least: usize, slots: usize| FixedSizeSlotSupplier::new(slots.max(at_least));
    let tuner = TunerHolder::builder()
        .workflow_task_slot_supplier(slots(2, limits.workflow_tasks))
        // The sampler keeps one for ever, and a tick waits in another for the evaluation that needs a third.
        .activity_task_slot_supplier(slots(4, limits.activities + 1))
        .local_activity_task_slot_supplier(slots(1, 1))
        .nexus_task_slot_supplier(slots(1, 1))
        .build();
    let changes = ChangeActivities {
        shared: Arc::new(activities.clone()),
    };
    let mut options = WorkerOptions::new(activities.settings.installation.task_queue())
        .register_workflow::<CapacityManagementWorkflow>()
        .and_then(WorkerOptionsBuilder::register_workflow::<CapacityChange>)
        .and_then(WorkerOptionsBuilder::register_workflow::<EvaluationTick>)
        .and_then(WorkerOptionsBuilder::register_workflow::<UsageSampler>)
        .and_then(WorkerOptionsBuilder::register_workflow::<CapacityRecord>)
        .expect("the names of the workflows differ")
        .register_activities(activities)
        .register_activities(changes)
        .tuner(tuner)
        // Without it the library hashes the whole executable at each start.
        .deployment_options(WorkerDeploymentOptions::from_build_id(
            concat!("temporal-capacity/", env!("CARGO_PKG_VERSION")).to_owned(),
        ))
        .build();
    options.max_worker_activities_per_second = limits.activities_per_second;
    options.graceful_shutdown_period = Some(limits.grace);
    options
}
