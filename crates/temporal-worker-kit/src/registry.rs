//! Workflows and activities per task queue.

use std::collections::{BTreeMap, BTreeSet};

use temporalio_common::WorkflowDefinition;
use temporalio_common::worker::WorkerDeploymentOptions;
use temporalio_sdk::WorkerOptions;
use temporalio_sdk::activities::{ActivityDefinitions, ActivityImplementer};
use temporalio_workflow::workflows::WorkflowImplementation;

use crate::client::SharedClient;
use crate::config::{Config, TaskQueue};
use crate::mistake::Mistake;

/// The place of registration mistakes.
const PLACE: &str = "registry";

/// Workflows and activities, registered per task queue.
#[derive(Default)]
pub struct Registry {
    queues: BTreeMap<String, Queue>,
    mistakes: Vec<Mistake>,
    client: SharedClient,
}

/// One registered name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Registered<'r> {
    /// The task queue.
    pub task_queue: &'r str,
    /// `workflow` or `activity`.
    pub kind: &'static str,
    /// Type name, as sent to the server.
    pub name: &'r str,
}

/// The registrations of one queue.
pub(crate) struct Queue {
    /// Options with the registrations. Limits are set when a worker is created.
    pub(crate) template: WorkerOptions,
    pub(crate) workflows: BTreeSet<String>,
    pub(crate) activities: BTreeSet<String>,
}

impl Queue {
    fn new(name: &str) -> Self {
        // A build id keeps the SDK from hashing the executable. The configured one replaces it.
        let deployment = WorkerDeploymentOptions::from_build_id("template".to_owned());
        Self {
            template: WorkerOptions::new(name).deployment_options(deployment).build(),
            workflows: BTreeSet::new(),
            activities: BTreeSet::new(),
        }
    }
}

impl Registry {
    /// Creates an empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the client of the process that will run this registry, for activities that need one.
    pub fn client(&self) -> SharedClient {
        self.client.clone()
    }

    /// Registers a workflow on a task queue. Registering a name twice on one queue is an error at start.
    #[must_use]
    pub fn workflow<W>(mut self, task_queue: &str) -> Self
    where
        W: WorkflowImplementation,
        <W::Run as WorkflowDefinition>::Input: Send,
    {
        let queue = self.queue(task_queue);
        match queue.template.register_workflow::<W>() {
            Ok(_) => {
                let definitions = queue.template.workflows();
                queue.workflows = definitions
                    .workflow_definitions()
                    .map(|definition| definition.workflow_type.clone())
                    .collect();
            }
            Err(error) => {
                let problem = format!("task queue `{task_queue}`: {error}; register each name once");
                self.mistakes.push(Mistake::new(PLACE, problem));
            }
        }
        self
    }

    /// Registers all activities of an implementer on a task queue. Registering a name twice on one queue is
    /// an error at start.
    #[must_use]
    pub fn activities<A: ActivityImplementer>(mut self, task_queue: &str, activities: A) -> Self {
        let shared = std::sync::Arc::new(activities);
        let mut own = ActivityDefinitions::default();
        std::sync::Arc::clone(&shared).register_all(&mut own);
        let names = names_of(&own);
        let queue = self.queue(task_queue);
        // Checked here, because the SDK replaces an activity of the same name without an error.
        let duplicates: Vec<String> = names.intersection(&queue.activities).cloned().collect();
        queue.activities.extend(names);
        queue.template.register_activities(Shared(shared));
        for name in duplicates {
            let problem = format!(
                "task queue `{task_queue}`: activity `{name}` is registered twice; register each name once"
            );
            self.mistakes.push(Mistake::new(PLACE, problem));
        }
        self
    }

    /// Returns all registrations, sorted by task queue, kind and name.
    pub fn list(&self) -> Vec<Registered<'_>> {
        self.queues
            .iter()
            .flat_map(|(task_queue, queue)| {
                let of = |kind, names| move_names(task_queue, kind, names);
                of("activity", &queue.activities)
                    .into_iter()
                    .chain(of("workflow", &queue.workflows))
            })
            .collect()
    }

    /// Returns the registrations of a name, on every queue.
    pub fn find(&self, name: &str) -> Vec<Registered<'_>> {
        self.list()
            .into_iter()
            .filter(|registered| registered.name == name)
            .collect()
    }

    fn queue(&mut self, name: &str) -> &mut Queue {
        self.queues
            .entry(name.to_owned())
            .or_insert_with(|| Queue::new(name))
    }

    /// Returns each queue to poll with its registrations, or all mistakes.
    pub(crate) fn resolve(
        mut self,
        config: &Config,
        has_workers: bool,
    ) -> Result<Vec<(TaskQueue, Queue)>, Vec<Mistake>> {
        let mut mistakes = std::mem::take(&mut self.mistakes);
        let mut wrong = |problem: String| mistakes.push(Mistake::new(PLACE, problem));
        if has_workers && self.queues.is_empty() {
            wrong("no workflow and no activity is registered".to_owned());
        }
        let known = self.queues.keys().cloned().collect::<Vec<_>>().join(", ");
        let mut resolved = Vec::new();
        for task_queue in &config.task_queues {
            match self.queues.remove(&task_queue.name) {
                Some(queue) => resolved.push((task_queue.clone(), queue)),
                None => wrong(format!(
                    "nothing is registered on the configured task queue `{}`; registered queues: {known}",
                    task_queue.name
                )),
            }
        }
        for (name, queue) in self.queues {
            if config.task_queues.is_empty() {
                resolved.push((TaskQueue::new(name), queue));
            } else {
                wrong(format!(
                    "the task queue `{name}` is registered but not configured; add [[task_queues]] with `name = \"{name}\"`"
                ));
            }
        }
        if mistakes.is_empty() {
            Ok(resolved)
        } else {
            Err(mistakes)
        }
    }
}

fn move_names<'r>(
    task_queue: &'r str,
    kind: &'static str,
    names: &'r BTreeSet<String>,
) -> Vec<Registered<'r>> {
    names
        .iter()
        .map(|name| Registered {
            task_queue,
            kind,
            name,
        })
        .collect()
}

/// Returns the names of activities, which the SDK shows only in its `Debug` output.
fn names_of(definitions: &ActivityDefinitions) -> BTreeSet<String> {
    let text = format!("{definitions:?}");
    let list = text.find('[').zip(text.rfind(']'));
    let list = list
        .and_then(|(start, end)| text.get(start..=end))
        .unwrap_or("[]");
    serde_json::from_str(list).unwrap_or_default()
}

/// An implementer whose instance is shared.
struct Shared<A>(std::sync::Arc<A>);

impl<A: ActivityImplementer> ActivityImplementer for Shared<A> {
    fn register_all(self: std::sync::Arc<Self>, definitions: &mut ActivityDefinitions) {
        std::sync::Arc::clone(&self.0).register_all(definitions);
    }
}
