//! Counters that the SDK does not have: executions by type and status, and workflows in memory.
//!
//! Labels are bounded: only registered types have their own label, and all others are counted as `other`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use temporalio_sdk::activities::ActivityError;
use temporalio_sdk::interceptors::{
    ActivityInboundInterceptor, ExecuteActivityInput, ExecuteActivityOutput, Next,
};
use temporalio_sdk::workflow_interceptors::{
    ExecuteWorkflowInput, ExecuteWorkflowResult, WorkflowInterceptor, WorkflowInterceptorConstructor,
    WorkflowInterceptorContext, WorkflowInterceptorFuture, WorkflowNext,
};
use temporalio_sdk::{WorkflowContextView, WorkflowTermination};
use tracing::Instrument;

use crate::registry::Queue;

/// The label for types that are not registered.
const OTHER: &str = "other";

const ACTIVITY_STATUSES: [&str; 4] = ["completed", "failed", "canceled", "deferred"];
const WORKFLOW_STATUSES: [&str; 4] = ["completed", "failed", "canceled", "continued_as_new"];

/// Counts of one type.
#[derive(Debug, Default)]
struct Counts {
    by_status: [AtomicU64; 4],
    active: AtomicI64,
}

/// The counters of one task queue.
#[derive(Debug)]
pub(crate) struct QueueMetrics {
    task_queue: String,
    activities: BTreeMap<String, Counts>,
    workflows: BTreeMap<String, Counts>,
}

impl QueueMetrics {
    pub(crate) fn new(task_queue: &str, queue: &Queue) -> Arc<Self> {
        let counts = |names: &BTreeSet<String>| {
            // All series are created at the start, so that counting takes no lock.
            let names = names.iter().cloned().chain([OTHER.to_owned()]);
            names.map(|name| (name, Counts::default())).collect()
        };
        Arc::new(Self {
            task_queue: task_queue.to_owned(),
            activities: counts(&queue.activities),
            workflows: counts(&queue.workflows),
        })
    }

    /// Returns the interceptor that counts activities.
    pub(crate) fn activities(self: &Arc<Self>) -> ActivityCounter {
        ActivityCounter(Arc::clone(self))
    }

    /// Returns the interceptor that counts workflows and adds their ids to the log.
    pub(crate) fn workflows(self: &Arc<Self>) -> WorkflowInterceptorConstructor {
        let metrics = Arc::clone(self);
        WorkflowInterceptorConstructor::new(move |_: &WorkflowContextView| {
            WorkflowCounter(Arc::clone(&metrics))
        })
    }
}

fn counts<'c>(counts: &'c BTreeMap<String, Counts>, name: &str) -> Option<&'c Counts> {
    counts.get(name).or_else(|| counts.get(OTHER))
}

/// Counts as one running execution while it exists.
struct Active<'c>(&'c AtomicI64);

impl<'c> Active<'c> {
    fn count(gauge: &'c AtomicI64) -> Self {
        gauge.fetch_add(1, Ordering::Relaxed);
        Self(gauge)
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts activities.
pub(crate) struct ActivityCounter(Arc<QueueMetrics>);

impl ActivityInboundInterceptor for ActivityCounter {
    fn execute_activity<'a>(
        &'a self,
        input: ExecuteActivityInput,
        next: Next<'a, ExecuteActivityInput, ExecuteActivityOutput<'a>>,
    ) -> ExecuteActivityOutput<'a> {
        let Some(counts) = counts(&self.0.activities, &input.activity_info().activity_type) else {
            return next.run(input);
        };
        Box::pin(async move {
            let _active = Active::count(&counts.active);
            // The SDK reports a panic as a failure, so it must be counted as one.
            let mut outcome = Outcome { counts, status: 1 };
            let result = next.run(input).await;
            outcome.status = match &result {
                Ok(_) => 0,
                Err(ActivityError::Cancelled { .. }) => 2,
                Err(ActivityError::WillCompleteAsync) => 3,
                Err(_) => 1,
            };
            result
        })
    }
}

/// Counts one outcome when it goes out of scope.
struct Outcome<'c> {
    counts: &'c Counts,
    status: usize,
}

impl Drop for Outcome<'_> {
    fn drop(&mut self) {
        if let Some(count) = self.counts.by_status.get(self.status) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Counts workflows.
struct WorkflowCounter(Arc<QueueMetrics>);

impl WorkflowInterceptor for WorkflowCounter {
    fn execute<'a>(
        &'a self,
        context: WorkflowInterceptorContext,
        input: ExecuteWorkflowInput,
        next: WorkflowNext<'a, ExecuteWorkflowInput, WorkflowInterceptorFuture<'a, ExecuteWorkflowResult>>,
    ) -> WorkflowInterceptorFuture<'a, ExecuteWorkflowResult> {
        let span = tracing::info_span!(
            "workflow",
            workflow_type = context.workflow_type(),
            workflow_id = context.workflow_id(),
            run_id = context.run_id()
        );
        let Some(counts) = counts(&self.0.workflows, context.workflow_type()) else {
            return next.run(input);
        };
        let counted = async move {
            let _active = Active::count(&counts.active);
            let result = next.run(input).await;
            let status = match &result {
                Ok(_) => Some(0),
                Err(WorkflowTermination::Failed(_)) => Some(1),
                Err(WorkflowTermination::Cancelled { .. }) => Some(2),
                Err(WorkflowTermination::ContinueAsNew(_)) => Some(3),
                // Only removed from memory.
                Err(_) => None,
            };
            if let Some(status) = status
                // A replayed run was counted by the process in which it ended.
                && !context.is_replaying()
            {
                drop(Outcome { counts, status });
            }
            result
        };
        WorkflowInterceptorFuture::new(counted.instrument(span))
    }
}

/// Writes the counters of all queues in the Prometheus text format.
pub(crate) fn write(text: &mut String, queues: &[Arc<QueueMetrics>]) {
    header(
        text,
        "activity_executions_total",
        "counter",
        "Activity attempts that ended, by type and status.",
    );
    for (queue, name, counts) in each(queues, |queue| &queue.activities) {
        statuses(
            text,
            "activity_executions_total",
            "activity_type",
            (queue, name),
            counts,
            ACTIVITY_STATUSES,
        );
    }
    header(
        text,
        "activities_active",
        "gauge",
        "Activities running in this process.",
    );
    for (queue, name, counts) in each(queues, |queue| &queue.activities) {
        gauge(text, "activities_active", "activity_type", (queue, name), counts);
    }
    header(
        text,
        "workflow_executions_total",
        "counter",
        "Workflow runs that ended in this process, by type and status.",
    );
    for (queue, name, counts) in each(queues, |queue| &queue.workflows) {
        statuses(
            text,
            "workflow_executions_total",
            "workflow_type",
            (queue, name),
            counts,
            WORKFLOW_STATUSES,
        );
    }
    header(
        text,
        "workflows_active",
        "gauge",
        "Open workflow runs cached in this process.",
    );
    for (queue, name, counts) in each(queues, |queue| &queue.workflows) {
        gauge(text, "workflows_active", "workflow_type", (queue, name), counts);
    }
}

fn each<'q>(
    queues: &'q [Arc<QueueMetrics>],
    of: impl Fn(&'q QueueMetrics) -> &'q BTreeMap<String, Counts> + Copy,
) -> impl Iterator<Item = (&'q str, &'q str, &'q Counts)> {
    queues.iter().flat_map(move |queue| {
        of(queue)
            .iter()
            .map(|(name, counts)| (queue.task_queue.as_str(), name.as_str(), counts))
    })
}

/// The prefix of every metric of this crate.
pub(crate) const PREFIX: &str = "temporal_worker_kit_";

pub(crate) fn header(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP {PREFIX}{name} {help}");
    let _ = writeln!(text, "# TYPE {PREFIX}{name} {kind}");
}

fn statuses(
    text: &mut String,
    metric: &str,
    label: &str,
    (queue, name): (&str, &str),
    counts: &Counts,
    statuses: [&str; 4],
) {
    for (status, count) in statuses.iter().zip(&counts.by_status) {
        let count = count.load(Ordering::Relaxed);
        // No series for events that never happened.
        if count > 0 {
            let _ = writeln!(
                text,
                "{PREFIX}{metric}{{task_queue=\"{}\",{label}=\"{}\",status=\"{status}\"}} {count}",
                escaped(queue),
                escaped(name)
            );
        }
    }
}

fn gauge(text: &mut String, metric: &str, label: &str, (queue, name): (&str, &str), counts: &Counts) {
    let _ = writeln!(
        text,
        "{PREFIX}{metric}{{task_queue=\"{}\",{label}=\"{}\"}} {}",
        escaped(queue),
        escaped(name),
        counts.active.load(Ordering::Relaxed)
    );
}

/// Escapes a label value.
pub(crate) fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}
