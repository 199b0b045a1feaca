//! The backlog of each task queue, read from the server.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use temporalio_client::grpc::WorkflowService;
use temporalio_client::tonic::IntoRequest;
use temporalio_client::{Client, NamespacedClient};
use temporalio_common::protos::temporal::api::enums::v1::TaskQueueType;
use temporalio_common::protos::temporal::api::taskqueue::v1::TaskQueue as TaskQueueName;
use temporalio_common::protos::temporal::api::workflowservice::v1::DescribeTaskQueueRequest;

use crate::client::SharedClient;
use crate::metrics::{PREFIX, escaped, header};

/// Interval between reads of the backlog.
const EVERY: Duration = Duration::from_secs(15);

/// Maximum time for one reading.
const TIMEOUT: Duration = Duration::from_secs(5);

const KINDS: [(&str, TaskQueueType); 2] = [
    ("workflow", TaskQueueType::Workflow),
    ("activity", TaskQueueType::Activity),
];

/// The last reading of one queue and task type.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Reading {
    tasks: i64,
    oldest_seconds: f64,
    added_per_second: f32,
    dispatched_per_second: f32,
}

/// A metric: its name, its help text, and how to get its value.
type Column = (&'static str, &'static str, fn(&Reading) -> f64);

/// The backlog of all queues. A queue that could not be read has no series, which is not zero.
#[derive(Debug, Clone, Default)]
pub(crate) struct Backlog(Arc<Mutex<BTreeMap<(String, &'static str), Reading>>>);

impl Backlog {
    /// Reads the backlog periodically.
    pub(crate) async fn follow(self, client: SharedClient, queues: Vec<String>) {
        loop {
            for queue in &queues {
                for (kind, code) in KINDS {
                    let reading = tokio::time::timeout(TIMEOUT, read(&client.get(), queue, code)).await;
                    // The lock is taken after the call, so that `/metrics` never waits for the server.
                    let key = (queue.clone(), kind);
                    let mut readings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                    match reading.ok().flatten() {
                        Some(reading) => readings.insert(key, reading),
                        // An old backlog would look current. Servers without statistics never get a series.
                        None => readings.remove(&key),
                    };
                }
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Writes the readings in the Prometheus text format.
    pub(crate) fn write(&self, text: &mut String) {
        let readings = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        #[expect(clippy::cast_precision_loss, reason = "a count of tasks is far below 2^52")]
        let columns: [Column; 4] = [
            (
                "task_queue_backlog",
                "Tasks waiting on the server, by kind.",
                |reading| reading.tasks as f64,
            ),
            (
                "task_queue_backlog_age_seconds",
                "Age of the oldest waiting task.",
                |reading| reading.oldest_seconds,
            ),
            (
                "task_queue_added_per_second",
                "Tasks added per second, over 30 s.",
                |reading| reading.added_per_second.into(),
            ),
            (
                "task_queue_dispatched_per_second",
                "Tasks dispatched per second, over 30 s.",
                |reading| reading.dispatched_per_second.into(),
            ),
        ];
        for (name, help, value) in columns {
            header(text, name, "gauge", help);
            for ((queue, kind), reading) in &readings {
                let queue = escaped(queue);
                let _ = writeln!(
                    text,
                    "{PREFIX}{name}{{task_queue=\"{queue}\",kind=\"{kind}\"}} {}",
                    value(reading)
                );
            }
        }
    }
}

async fn read(client: &Client, queue: &str, kind: TaskQueueType) -> Option<Reading> {
    let request = DescribeTaskQueueRequest {
        namespace: client.namespace(),
        task_queue: Some(TaskQueueName {
            name: queue.to_owned(),
            ..Default::default()
        }),
        task_queue_type: kind.into(),
        report_stats: true,
        ..Default::default()
    };
    let mut service = client.clone();
    let answer = WorkflowService::describe_task_queue(&mut service, request.into_request()).await;
    let stats = answer.ok()?.into_inner().stats?;
    let age = stats.approximate_backlog_age.unwrap_or_default();
    #[expect(clippy::cast_precision_loss, reason = "an age in seconds is far below 2^52")]
    let oldest_seconds = age.seconds as f64 + f64::from(age.nanos) / 1e9;
    Some(Reading {
        tasks: stats.approximate_backlog_count,
        oldest_seconds,
        added_per_second: stats.tasks_add_rate,
        dispatched_per_second: stats.tasks_dispatch_rate,
    })
}
