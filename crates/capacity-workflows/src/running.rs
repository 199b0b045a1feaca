//! The changes in progress according to the server. The controller's own list is only a cache.

use std::time::Duration;

use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use temporalio_client::errors::{ClientError, WorkflowInteractionError};
use temporalio_client::grpc::WorkflowService;
use temporalio_client::tonic::IntoRequest;
use temporalio_client::{
    Client, WorkflowDescribeOptions, WorkflowExecutionStatus, WorkflowGetResultOptions, WorkflowListOptions,
};
use temporalio_common::protos::temporal::api::common::v1::WorkflowExecution;
use temporalio_common::protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_common::protos::temporal::api::workflowservice::v1::{
    GetWorkflowExecutionHistoryRequest, GetWorkflowExecutionHistoryReverseRequest,
};

use crate::definitions::ChangeWorkflow;
use crate::messages::{ChangeReport, ChangeRequest, StalledChange};
use crate::names::change_id;

/// Maximum time for one request.
const BOUND: Duration = Duration::from_secs(5);
/// How far back a controller without known changes looks for changes whose outcome it missed.
const LOOK_BACK: SignedDuration = SignedDuration::from_hours(25);
/// Time within which an evaluation of an older release is assumed to announce the end of its changes in its digest.
const ANNOUNCED_BY_EVALUATION: SignedDuration = SignedDuration::from_mins(15);
/// Maximum number of changes that are checked.
const MOST: usize = 500;

/// The changes that were found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Changes in progress.
    pub(crate) open: Vec<ChangeRequest>,
    /// Changes in progress that the controller did not know about.
    pub(crate) new: Vec<ChangeRequest>,
    /// Changes that ended without a signal to the controller.
    pub(crate) ended: Vec<ChangeReport>,
    /// Changes in progress that have made no progress for too long.
    pub(crate) stalled: Vec<StalledChange>,
    /// Whether everything could be read.
    pub(crate) known: bool,
}

/// Describes the changes that the controller knows, or looks for all of them if it knows none. `stalled` in the
/// result contains those that have made no progress for `no_progress_after`.
pub(crate) async fn look(
    client: &Client,
    known: &[ChangeRequest],
    knows_running: bool,
    no_progress_after: Duration,
) -> Found {
    let mut found = Found {
        known: true,
        ..Found::default()
    };
    let looked = known
        .iter()
        .map(|change| async move { (change, state_of(client, change).await) });
    for (change, state) in futures::future::join_all(looked).await {
        match state {
            // Changes that cannot be read count as in progress.
            None | Some(State::Open) => found.open.push(change.clone()),
            Some(State::Ended(report)) => found.ended.push(*report),
        }
    }
    if !knows_running {
        let listed = tokio::time::timeout(BOUND * 4, list(client, &mut found)).await;
        found.known = matches!(listed, Ok(Ok(())));
        if !found.known {
            tracing::warn!("the changes in progress cannot be listed; the next evaluation tries again");
        }
    }
    let progress = found.open.iter().map(|change| progress_of(client, change));
    let now = Timestamp::now();
    let is_stalled = |progress: &StalledChange| {
        let now_ms = u64::try_from(now.as_millisecond()).unwrap_or_default();
        Duration::from_millis(now_ms.saturating_sub(progress.since_ms)) > no_progress_after
    };
    let progress = futures::future::join_all(progress).await;
    found.stalled = progress.into_iter().flatten().filter(is_stalled).collect();
    found
}

/// The activity that polls a slow change. Its polls are retries, which write no events.
const POLLS: &str = "change_follow";

/// Returns when an open change last made progress: its last event, or the last poll of a slow one. `None` if
/// that cannot be read now.
async fn progress_of(client: &Client, change: &ChangeRequest) -> Option<StalledChange> {
    let id = change_id(&change.namespace);
    let handle = client.get_workflow_handle::<ChangeWorkflow>(id.clone());
    let described = tokio::time::timeout(BOUND, handle.describe(WorkflowDescribeOptions::default()));
    let described = described.await.ok()?.ok()?;
    let polls = described.raw().pending_activities.iter().filter(|activity| {
        let kind = activity.activity_type.as_ref();
        kind.is_some_and(|kind| kind.name == POLLS)
    });
    // Between two polls, the service reports when the next one is due.
    let last_poll = polls
        .flat_map(|activity| [&activity.last_started_time, &activity.scheduled_time])
        .filter_map(|time| time.as_ref())
        .filter_map(|time| milliseconds(time.seconds, time.nanos))
        .max();
    let request = GetWorkflowExecutionHistoryReverseRequest {
        namespace: client.options().namespace.clone(),
        execution: Some(WorkflowExecution {
            workflow_id: id,
            run_id: described.run_id().to_owned(),
        }),
        maximum_page_size: 1,
        ..Default::default()
    };
    let mut service = client.clone();
    let call = WorkflowService::get_workflow_execution_history_reverse(&mut service, request.into_request());
    let answer = tokio::time::timeout(BOUND, call).await.ok()?.ok()?.into_inner();
    let last_event = answer.history?.events.into_iter().next()?;
    let last_event = last_event.event_time?;
    let last_event = milliseconds(last_event.seconds, last_event.nanos)?;
    Some(StalledChange {
        change: change.clone(),
        since_ms: last_poll.unwrap_or_default().max(last_event),
        started_ms: described.start_time().and_then(crate::time::milliseconds),
    })
}

fn milliseconds(seconds: i64, nanoseconds: i32) -> Option<u64> {
    let nanoseconds = u64::try_from(nanoseconds).ok()?;
    Some(u64::try_from(seconds).ok()? * 1_000 + nanoseconds / 1_000_000)
}

enum State {
    Open,
    Ended(Box<ChangeReport>),
}

async fn state_of(client: &Client, change: &ChangeRequest) -> Option<State> {
    let handle = client.get_workflow_handle::<ChangeWorkflow>(change_id(&change.namespace));
    let described = tokio::time::timeout(BOUND, handle.describe(WorkflowDescribeOptions::default()))
        .await
        .ok()?;
    let described = match described {
        Ok(described) => described,
        Err(WorkflowInteractionError::NotFound(_)) => {
            let gone = "its workflow no longer exists in the Temporal service";
            return Some(ended(change, "unknown", gone));
        }
        Err(_) => return None,
    };
    match described.status() {
        WorkflowExecutionStatus::Running => Some(State::Open),
        WorkflowExecutionStatus::Completed => {
            let result = handle.get_result(WorkflowGetResultOptions::default());
            let report: ChangeReport = tokio::time::timeout(BOUND, result).await.ok()?.ok()?;
            // A later change of the same namespace sends its own signals.
            let report = if report.operation_id == change.operation_id {
                report
            } else {
                ChangeReport::of(
                    change,
                    "unknown",
                    Some("a later change took its place".to_owned()),
                )
            };
            Some(State::Ended(Box::new(report)))
        }
        status => {
            let why = without_outcome(status);
            Some(ended(change, "terminated", &why))
        }
    }
}

fn without_outcome(status: WorkflowExecutionStatus) -> String {
    let how = match status {
        WorkflowExecutionStatus::Failed => "failed",
        WorkflowExecutionStatus::Canceled => "was canceled",
        WorkflowExecutionStatus::Terminated => "was terminated",
        WorkflowExecutionStatus::TimedOut => "timed out",
        _ => "ended",
    };
    format!("its workflow {how} without an outcome")
}

fn ended(change: &ChangeRequest, outcome: &str, why: &str) -> State {
    let mut report = ChangeReport::of(change, outcome, Some(why.to_owned()));
    // It may have posted: without an outcome, the gate has to assume the worst.
    report.posted = true;
    State::Ended(Box::new(report))
}

/// Lists open changes, and those that ended within about the last day without a signal to the controller.
async fn list(client: &Client, found: &mut Found) -> Result<(), ClientError> {
    let now = Timestamp::now();
    let since = now.saturating_sub(LOOK_BACK).unwrap_or(now);
    let query = format!(
        "WorkflowType = 'CapacityChange' AND (ExecutionStatus = 'Running' OR CloseTime > '{}')",
        since.strftime("%Y-%m-%dT%H:%M:%SZ")
    );
    let options = WorkflowListOptions::builder().limit(MOST).build();
    let mut listed = client.list_workflows(query, options);
    while let Some(execution) = listed.next().await {
        let execution = execution?;
        let is_known = |list: &[ChangeRequest]| {
            list.iter()
                .any(|change| change_id(&change.namespace) == execution.id())
        };
        if is_known(&found.open) {
            continue;
        }
        let Some(change) = input_of(client, execution.id(), execution.run_id()).await else {
            continue;
        };
        match execution.status() {
            WorkflowExecutionStatus::Running => {
                found.open.push(change.clone());
                found.new.push(change);
            }
            WorkflowExecutionStatus::Completed => {
                let closed = execution
                    .close_time()
                    .and_then(|time| Timestamp::try_from(time).ok());
                if let Some(report) = unheard(client, &execution, &change, closed, now).await {
                    found.ended.push(report);
                }
            }
            status => {
                let why = without_outcome(status);
                let mut report = ChangeReport::of(&change, "terminated", Some(why));
                report.posted = true;
                found.ended.push(report);
            }
        }
    }
    Ok(())
}

/// Returns the report of a completed change without a signal to the controller, unless it is certain that it
/// was recorded.
async fn unheard(
    client: &Client,
    execution: &temporalio_client::WorkflowExecution,
    change: &ChangeRequest,
    closed: Option<Timestamp>,
    now: Timestamp,
) -> Option<ChangeReport> {
    let handle = client.get_workflow_handle::<ChangeWorkflow>(execution.id().to_owned());
    let result = handle.get_result(WorkflowGetResultOptions::default());
    let mut report: ChangeReport = tokio::time::timeout(BOUND, result).await.ok()?.ok()?;
    if report.operation_id != change.operation_id || report.signaled || report.recorded || !report.has_ended()
    {
        return None;
    }
    // Changes of this release announce themselves; in older releases, their evaluation did.
    let is_older_release = report.plan_id.is_empty();
    let is_recent = closed.is_some_and(|closed| now.duration_since(closed) < ANNOUNCED_BY_EVALUATION);
    report.announced = report.announced || !is_older_release || !is_recent;
    Some(report)
}

/// Reads the input of a change from the first event of its history.
async fn input_of(client: &Client, id: &str, run_id: &str) -> Option<ChangeRequest> {
    let request = GetWorkflowExecutionHistoryRequest {
        namespace: client.options().namespace.clone(),
        execution: Some(WorkflowExecution {
            workflow_id: id.to_owned(),
            run_id: run_id.to_owned(),
        }),
        maximum_page_size: 1,
        ..Default::default()
    };
    let mut service = client.clone();
    let call = WorkflowService::get_workflow_execution_history(&mut service, request.into_request());
    let answer = tokio::time::timeout(BOUND, call).await.ok()?.ok()?.into_inner();
    let event = answer.history?.events.into_iter().next()?;
    let Some(Attributes::WorkflowExecutionStartedEventAttributes(started)) = event.attributes else {
        return None;
    };
    let payload = started.input?.payloads.into_iter().next()?;
    serde_json::from_slice(&payload.data).ok()
}
