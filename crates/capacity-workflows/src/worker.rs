//! What a worker runs, and how much of it: the registrations and the limits of its task queue.

use std::sync::Arc;
use std::time::Duration;

use temporal_worker_kit::{Config, ConnectionSettings, Deployment, Registry, TaskQueue};

use crate::activities::CapacityActivities;
use crate::change::CapacityChange;
use crate::change_steps::ChangeActivities;
use crate::controller::CapacityManagementWorkflow;
use crate::names::Installation;
use crate::record::CapacityRecord;
use crate::sampling::UsageSampler;
use crate::tick::EvaluationTick;

/// How much a worker takes on, and how it ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WorkerLimits {
    /// Concurrent activities in addition to the sampler, at least 3.
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

/// Registers every workflow and activity on the task queue of the activities' installation.
#[must_use]
pub fn register(registry: Registry, activities: CapacityActivities) -> Registry {
    let queue = activities.settings.installation.task_queue().to_owned();
    let changes = ChangeActivities {
        shared: Arc::new(activities.clone()),
    };
    registry
        .workflow::<CapacityManagementWorkflow>(&queue)
        .workflow::<CapacityChange>(&queue)
        .workflow::<EvaluationTick>(&queue)
        .workflow::<UsageSampler>(&queue)
        .workflow::<CapacityRecord>(&queue)
        .activities(&queue, activities)
        .activities(&queue, changes)
}

/// Returns the configuration of a worker that serves no metrics.
pub fn worker_config(
    connection: ConnectionSettings,
    installation: &Installation,
    limits: WorkerLimits,
) -> Config {
    let queue = TaskQueue {
        max_concurrent_workflow_tasks: limits.workflow_tasks.max(2),
        // The sampler permanently takes one, and a tick in a second waits for the evaluation that needs a third.
        max_concurrent_activities: (limits.activities + 1).max(4),
        activities_per_second_per_worker: limits.activities_per_second,
        ..TaskQueue::new(installation.task_queue())
    };
    Config {
        connection,
        task_queues: vec![queue],
        listen: None,
        grace: limits.grace,
        deployment: Deployment {
            build_id: concat!("temporal-capacity/", env!("CARGO_PKG_VERSION")).to_owned(),
            ..Deployment::default()
        },
        ..Config::default()
    }
}
