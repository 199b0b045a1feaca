//! One generation of workers: one thread each, on shared connections.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use temporalio_client::Client;
use temporalio_common::worker::{VersioningBehavior, WorkerDeploymentOptions, WorkerDeploymentVersion};
use temporalio_sdk::runtime::PollerBehavior;
use temporalio_sdk::runtime::worker_tuner::{FixedSizeSlotSupplier, TunerHolder};
use temporalio_sdk::{Runtime, Worker, WorkerOptions};
use tokio::sync::mpsc::UnboundedSender;

use crate::config::{Deployment, TaskQueue};
use crate::kit_error::KitError;

/// A worker that has ended, with the reason if it was not stopped.
pub(crate) type Ended = Result<(), KitError>;

/// A function that stops a worker, and its thread.
type Started = (Box<dyn Fn() + Send + Sync>, JoinHandle<()>);

/// Workers that were started together.
pub(crate) struct Generation {
    workers: Vec<Started>,
}

impl Generation {
    /// Starts the workers of all queues. The n-th worker of a queue uses the n-th connection.
    pub(crate) fn start(
        runtime: &Runtime,
        clients: &[Client],
        queues: &[(TaskQueue, WorkerOptions)],
        ended: &UnboundedSender<Ended>,
    ) -> Result<Self, KitError> {
        let mut generation = Self { workers: Vec::new() };
        for (queue, options) in queues {
            // Two workers of one queue cannot share a connection, because the SDK rejects that.
            for client in clients.iter().take(queue.workers) {
                let worker =
                    Worker::new(runtime, client.clone(), options.clone()).map_err(|error| KitError::Worker {
                        task_queue: queue.name.clone(),
                        text: human_text::chain(&error),
                    });
                match worker {
                    Ok(worker) => generation
                        .workers
                        .push(on_thread(worker, &queue.name, ended.clone())),
                    Err(error) => {
                        generation.stop();
                        return Err(error);
                    }
                }
            }
        }
        Ok(generation)
    }

    /// Asks the workers to finish running tasks and to accept no new ones.
    pub(crate) fn stop(&self) {
        for (stop, _) in &self.workers {
            stop();
        }
    }

    /// Waits until all workers have ended. Returns how many have not ended in time.
    pub(crate) async fn ended(&self, within: Duration) -> usize {
        let deadline = Instant::now() + within;
        loop {
            let running = self
                .workers
                .iter()
                .filter(|(_, thread)| !thread.is_finished())
                .count();
            if running == 0 || Instant::now() >= deadline {
                return running;
            }
            // A thread cannot be awaited, and joining it would block this task.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Runs a worker on a separate thread, because `Worker::run` is not `Send` and a busy queue must not delay the others.
fn on_thread(mut worker: Worker, task_queue: &str, ended: UnboundedSender<Ended>) -> Started {
    let stop = worker.shutdown_handle();
    let handle = tokio::runtime::Handle::current();
    let task_queue = task_queue.to_owned();
    let thread = std::thread::spawn(move || {
        let run = std::panic::AssertUnwindSafe(|| handle.block_on(worker.run()));
        let failed = |text| Err(KitError::Worker { task_queue, text });
        let outcome = match std::panic::catch_unwind(run) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => failed(human_text::chain(&error)),
            Err(_) => failed("the worker panicked".to_owned()),
        };
        // The receiver is dropped only when the process ends anyway.
        let _ = ended.send(outcome);
    });
    (Box::new(stop), thread)
}

/// Returns a queue's registrations with its limits.
pub(crate) fn options(
    mut options: WorkerOptions,
    queue: &TaskQueue,
    deployment: &Deployment,
    grace: Duration,
) -> WorkerOptions {
    let tuner = TunerHolder::builder()
        .workflow_task_slot_supplier(FixedSizeSlotSupplier::new(queue.max_concurrent_workflow_tasks))
        .activity_task_slot_supplier(FixedSizeSlotSupplier::new(queue.max_concurrent_activities))
        .local_activity_task_slot_supplier(FixedSizeSlotSupplier::new(queue.max_concurrent_activities))
        // The kit registers no Nexus operations.
        .nexus_task_slot_supplier(FixedSizeSlotSupplier::new(1))
        .build();
    options.tuner = tuner.into();
    options.max_cached_workflows = queue.max_cached_workflows;
    options.workflow_task_poller_behavior = Some(PollerBehavior::SimpleMaximum(queue.workflow_pollers));
    options.activity_task_poller_behavior = Some(PollerBehavior::SimpleMaximum(queue.activity_pollers));
    options.max_worker_activities_per_second = queue.activities_per_second_per_worker;
    options.max_task_queue_activities_per_second = queue.activities_per_second;
    options.graceful_shutdown_period = Some(grace);
    let version = WorkerDeploymentVersion::builder()
        .deployment_name(deployment.name.clone())
        .build_id(deployment.build_id.clone())
        .build();
    options.deployment_options = if deployment.versioned {
        WorkerDeploymentOptions::new(version)
            .use_worker_versioning(true)
            .default_versioning_behavior(VersioningBehavior::Pinned)
            .build()
    } else {
        WorkerDeploymentOptions::new(version).build()
    };
    options
}
