//! Registers the workflows and activities in a worker, and sets the limits of its task queue.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use capacity_autopilot::Autopilot;
use slack_notifier::Webhook;
use temporal_worker_kit::{Config, ConnectionSettings, Deployment, Registry, SharedClient, TaskQueue};
use temporalio_sdk::WorkerOptions;
use temporalio_sdk::workflows::WorkflowRegistrationError;

use crate::activities::CapacityActivities;
use crate::change::CapacityChange;
use crate::change_steps::ChangeActivities;
use crate::health::EvaluationHealth;
use crate::management::CapacityManagementWorkflow;
use crate::names::Installation;
use crate::record::CapacityRecord;
use crate::sampler::{UsageSampler, keep_sampling};
use crate::settings::ActivitySettings;
use crate::shutdown::Shutdown;
use crate::tick::EvaluationTick;
use crate::watch::watch_controller;

/// The limits of a worker. Start from the defaults and set the fields that differ.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct WorkerLimits {
    /// Concurrent activities besides the sampler, at least 3.
    pub activities: usize,
    /// Concurrent workflow tasks, at least 2.
    pub workflow_tasks: usize,
    /// Activities started per second; `None` for no limit.
    pub activities_per_second: Option<f64>,
    /// Time that running activities may take to finish at shutdown.
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

/// The autopilot's workflows and activities, ready to be registered in a worker. Clones share health and shutdown;
/// settings are copied.
///
/// Without further calls, it changes capacity, notifies no channel, and uses the default installation.
#[derive(Debug, Clone)]
pub struct CapacityWorker {
    activities: CapacityActivities,
}

impl CapacityWorker {
    /// Creates the workflows of an autopilot. `client` belongs to the worker that will run them:
    /// [`Registry::client`], or the client of an existing worker.
    pub fn new(autopilot: impl Into<Arc<Autopilot>>, client: impl Into<SharedClient>) -> Self {
        Self::with_settings(autopilot, client, ActivitySettings::new(Installation::default()))
    }

    /// Creates the workflows of an autopilot with these settings.
    pub fn with_settings(
        autopilot: impl Into<Arc<Autopilot>>,
        client: impl Into<SharedClient>,
        settings: ActivitySettings,
    ) -> Self {
        Self {
            activities: CapacityActivities {
                autopilot: autopilot.into(),
                client: client.into(),
                settings,
                health: EvaluationHealth::default(),
                shutdown: Shutdown::default(),
            },
        }
    }

    /// Sets whether to run dry: decide and log, but change nothing and send nothing.
    #[must_use]
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.activities.settings.dry_run = dry_run;
        self
    }

    /// Sets the task queue. The workflow ids stay the same.
    #[must_use]
    pub fn task_queue(mut self, task_queue: impl Into<String>) -> Self {
        let settings = &mut self.activities.settings;
        settings.installation = settings.installation.clone().on_task_queue(task_queue);
        self
    }

    /// Sets the webhook for notifications.
    #[must_use]
    pub fn webhook(mut self, webhook: Webhook) -> Self {
        self.activities.settings.webhook = Some(webhook);
        self
    }

    /// Returns the installation: its task queue and workflow ids.
    pub fn installation(&self) -> &Installation {
        &self.activities.settings.installation
    }

    /// Returns the outcomes of this worker's evaluations.
    pub fn health(&self) -> &EvaluationHealth {
        &self.activities.health
    }

    /// Registers every workflow and activity on the task queue of the installation.
    #[must_use]
    pub fn register(&self, registry: Registry) -> Registry {
        let queue = self.installation().task_queue();
        registry
            .workflow::<CapacityManagementWorkflow>(queue)
            .workflow::<CapacityChange>(queue)
            .workflow::<EvaluationTick>(queue)
            .workflow::<UsageSampler>(queue)
            .workflow::<CapacityRecord>(queue)
            .activities(queue, self.activities.clone())
            .activities(queue, self.changes())
    }

    /// Registers every workflow and activity in the options of an existing worker, in addition to what is
    /// already registered.
    ///
    /// The worker needs at least 4 activity slots and 2 workflow task slots. Run
    /// [`background`](Self::background) beside it, and call [`stop`](Self::stop) before it shuts down.
    ///
    /// # Errors
    ///
    /// If the worker polls a task queue other than the installation's, or if a workflow of the same name is already registered.
    /// In the second case, some workflows may have been registered.
    pub fn register_into(&self, worker: &mut WorkerOptions) -> Result<(), RegisterError> {
        let expected = self.installation().task_queue();
        if worker.task_queue != expected {
            return Err(RegisterError::TaskQueue {
                worker: worker.task_queue.clone(),
                expected: expected.to_owned(),
            });
        }
        worker
            .register_workflow::<CapacityManagementWorkflow>()?
            .register_workflow::<CapacityChange>()?
            .register_workflow::<EvaluationTick>()?
            .register_workflow::<UsageSampler>()?
            .register_workflow::<CapacityRecord>()?
            .register_activities(self.activities.clone())
            .register_activities(self.changes());
        Ok(())
    }

    /// Runs the background work of a worker: starts the usage sampler whenever it is not running, if there is
    /// a ledger, and keeps [`health`](Self::health) up to date with the controller. Never returns.
    pub async fn background(&self) -> Infallible {
        let client = &self.activities.client;
        client.connected().await;
        let installation = self.installation();
        let sampling = async {
            if self.activities.autopilot.ledger().is_none() {
                return std::future::pending().await;
            }
            keep_sampling(client, installation).await
        };
        tokio::select! {
            never = sampling => never,
            never = watch_controller(client, installation, self.health()) => never,
        }
    }

    /// Stops work that would otherwise run forever, so that another worker takes over immediately. Call it
    /// when the worker begins to drain.
    pub fn stop(&self) {
        self.activities.shutdown.begin();
    }

    fn changes(&self) -> ChangeActivities {
        ChangeActivities {
            shared: Arc::new(self.activities.clone()),
        }
    }
}

/// Why the workflows cannot be registered in a worker.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// The worker polls another task queue.
    #[error(
        "the worker polls task queue `{worker}`, and the installation uses `{expected}`: use the same for both"
    )]
    TaskQueue {
        /// The task queue of the worker.
        worker: String,
        /// The task queue of the installation.
        expected: String,
    },
    /// The worker has a workflow of the same name.
    #[error(transparent)]
    Workflow(#[from] WorkflowRegistrationError),
}

/// Returns the configuration of a worker that serves no metrics.
pub fn worker_config(
    connection: ConnectionSettings,
    installation: &Installation,
    limits: WorkerLimits,
) -> Config {
    let queue = TaskQueue {
        max_concurrent_workflow_tasks: limits.workflow_tasks.max(2),
        // The sampler permanently takes one slot. A tick in a second slot waits for the evaluation, which
        // needs a third.
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
