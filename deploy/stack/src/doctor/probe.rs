//! Runs a probe workflow through every role, from its start to its visibility record.

use std::time::{Duration, Instant};

use temporalio_client::Client;
use temporalio_client::grpc::WorkflowService;
use temporalio_client::tonic::{IntoRequest, Status};
use temporalio_common::protos::temporal::api::command::v1::{
    Command, CompleteWorkflowExecutionCommandAttributes, command::Attributes,
};
use temporalio_common::protos::temporal::api::common::v1::{WorkflowExecution, WorkflowType};
use temporalio_common::protos::temporal::api::enums::v1::{CommandType, WorkflowExecutionStatus};
use temporalio_common::protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_common::protos::temporal::api::workflowservice::v1::{
    CountWorkflowExecutionsRequest, DescribeWorkflowExecutionRequest, PollWorkflowTaskQueueRequest,
    RespondWorkflowTaskCompletedRequest, StartWorkflowExecutionRequest, TerminateWorkflowExecutionRequest,
};

use crate::client::told;

use super::report::Report;

/// Timeout of one step of the probe. Moving a shard takes a few seconds.
pub(super) const STEP: Duration = Duration::from_secs(15);

/// Task queue of the probe workflows.
const QUEUE: &str = "temporal-stack-doctor";

pub(super) async fn round_trip(client: &Client, namespace: &str, report: &mut Report) {
    let begun = Instant::now();
    let id = format!(
        "stack-doctor/{}/{}",
        std::process::id(),
        jiff::Timestamp::now().as_millisecond()
    );
    let started = bounded(start(client, namespace, &id)).await;
    let run_id = match started {
        Ok(run_id) => run_id,
        Err(problem) => {
            report.fail(
                "round trip: history",
                format!("a workflow cannot be started: {problem}"),
                "no workflow of this namespace can start",
                "`temporal-stack logs history` and `temporal-stack logs frontend` show why",
            );
            return;
        }
    };
    report.good(
        "round trip: history",
        format!("a workflow was started within {} ms", begun.elapsed().as_millis()),
    );
    let completed = completed(client, namespace, &id, &run_id).await;
    match &completed {
        Ok(()) => report.good(
            "round trip: matching",
            format!(
                "the probe's task was dispatched and completed within {} ms",
                begun.elapsed().as_millis()
            ),
        ),
        Err(problem) => {
            report.fail(
                "round trip: matching",
                format!("the probe's task was not dispatched: {problem}"),
                "workers get no work; `temporal operator cluster health` does not detect this",
                "`temporal-stack status` shows whether matching serves; `temporal-stack logs matching` shows why not",
            );
            terminate(client, namespace, &id).await;
        }
    }
    let status = if completed.is_ok() {
        WorkflowExecutionStatus::Completed
    } else {
        WorkflowExecutionStatus::Terminated
    };
    if let Err(problem) = bounded(ended(client, namespace, &id, &run_id, status)).await {
        report.fail(
            "round trip: state",
            problem.to_string(),
            "data that history has accepted cannot be read back",
            "`temporal-stack logs history` shows why",
        );
        return;
    }
    match indexed(client, namespace, &id).await {
        Ok(after) => report.good(
            "visibility",
            format!("the probe was found within {} ms", after.as_millis()),
        ),
        Err(problem) => report.fail(
            "visibility",
            format!("a query does not find the probe: {problem}"),
            "lists, counts and the web UI miss workflows; the autopilot does not find its changes",
            "check the schema of temporal_visibility above, then `temporal-stack logs history`",
        ),
    }
}

/// Completes the probe, and any probe that an earlier doctor left behind.
async fn completed(client: &Client, namespace: &str, id: &str, run_id: &str) -> Result<(), CallError> {
    let begun = Instant::now();
    loop {
        // Not longer, because another doctor may complete this probe while our poll waits for a task.
        let polled = tokio::time::timeout(STEP / 5, complete(client, namespace)).await;
        if matches!(is_completed(client, namespace, id, run_id).await, Ok(true)) {
            return Ok(());
        }
        if begun.elapsed() > STEP {
            return Err(match polled {
                Ok(Err(problem)) => problem,
                _ => CallError::Late,
            });
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

pub(super) async fn bounded<T>(work: impl Future<Output = Result<T, CallError>>) -> Result<T, CallError> {
    tokio::time::timeout(STEP, work)
        .await
        .unwrap_or(Err(CallError::Late))
}

/// A failed call of the probe.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The server rejected the call, or the connection failed.
    #[error("{}", told(.0))]
    Refused(Box<Status>),
    /// The call took too long.
    #[error("timed out after {} s", STEP.as_secs())]
    Late,
    /// The probe has an unexpected status.
    #[error("the probe has the status {found} instead of {expected}")]
    Status {
        /// Status in the history of the probe.
        found: &'static str,
        /// Expected status.
        expected: &'static str,
    },
}

impl From<Status> for CallError {
    fn from(status: Status) -> Self {
        Self::Refused(Box::new(status))
    }
}

pub(super) fn queue(name: &str) -> TaskQueue {
    TaskQueue {
        name: name.to_owned(),
        ..TaskQueue::default()
    }
}

/// Starts a probe workflow and returns its run id.
///
/// # Errors
///
/// If the server rejects a call.
pub async fn start(client: &Client, namespace: &str, id: &str) -> Result<String, CallError> {
    let request = StartWorkflowExecutionRequest {
        namespace: namespace.to_owned(),
        workflow_id: id.to_owned(),
        workflow_type: Some(WorkflowType {
            name: "StackDoctorProbe".to_owned(),
        }),
        task_queue: Some(queue(QUEUE)),
        // The probe times out if the doctor is stopped.
        workflow_execution_timeout: Duration::from_mins(2).try_into().ok(),
        // The client library retries; with the same id, the server starts no second run.
        request_id: id.to_owned(),
        identity: QUEUE.to_owned(),
        ..Default::default()
    };
    let started =
        WorkflowService::start_workflow_execution(&mut client.clone(), request.into_request()).await;
    Ok(started?.into_inner().run_id)
}

/// Polls for the task of a probe and completes it.
///
/// # Errors
///
/// If the server rejects a call.
pub async fn complete(client: &Client, namespace: &str) -> Result<(), CallError> {
    loop {
        let request = PollWorkflowTaskQueueRequest {
            namespace: namespace.to_owned(),
            task_queue: Some(queue(QUEUE)),
            identity: QUEUE.to_owned(),
            ..Default::default()
        };
        let polled =
            WorkflowService::poll_workflow_task_queue(&mut client.clone(), request.into_request()).await;
        let task = polled?.into_inner();
        // A long poll that ends without a task.
        if task.task_token.is_empty() {
            continue;
        }
        let request = RespondWorkflowTaskCompletedRequest {
            namespace: namespace.to_owned(),
            task_token: task.task_token,
            identity: QUEUE.to_owned(),
            commands: vec![Command {
                command_type: CommandType::CompleteWorkflowExecution as i32,
                attributes: Some(Attributes::CompleteWorkflowExecutionCommandAttributes(
                    CompleteWorkflowExecutionCommandAttributes::default(),
                )),
                ..Default::default()
            }],
            ..Default::default()
        };
        let completed =
            WorkflowService::respond_workflow_task_completed(&mut client.clone(), request.into_request())
                .await;
        return Ok(completed.map(drop)?);
    }
}

async fn terminate(client: &Client, namespace: &str, id: &str) {
    let request = TerminateWorkflowExecutionRequest {
        namespace: namespace.to_owned(),
        workflow_execution: Some(WorkflowExecution {
            workflow_id: id.to_owned(),
            run_id: String::new(),
        }),
        reason: "the probe has failed".to_owned(),
        ..Default::default()
    };
    let mut client = client.clone();
    let terminate = WorkflowService::terminate_workflow_execution(&mut client, request.into_request());
    // If this fails, the probe times out by itself.
    let _ = tokio::time::timeout(STEP, terminate).await;
}

/// Returns whether a workflow has completed.
///
/// # Errors
///
/// If the server rejects a call.
pub async fn is_completed(
    client: &Client,
    namespace: &str,
    id: &str,
    run_id: &str,
) -> Result<bool, CallError> {
    let status = status(client, namespace, id, run_id).await?;
    Ok(status == WorkflowExecutionStatus::Completed)
}

async fn status(
    client: &Client,
    namespace: &str,
    id: &str,
    run_id: &str,
) -> Result<WorkflowExecutionStatus, CallError> {
    let request = DescribeWorkflowExecutionRequest {
        namespace: namespace.to_owned(),
        execution: Some(WorkflowExecution {
            workflow_id: id.to_owned(),
            run_id: run_id.to_owned(),
        }),
    };
    let described =
        WorkflowService::describe_workflow_execution(&mut client.clone(), request.into_request()).await;
    let info = described?.into_inner().workflow_execution_info;
    Ok(info.unwrap_or_default().status())
}

async fn ended(
    client: &Client,
    namespace: &str,
    id: &str,
    run_id: &str,
    expected: WorkflowExecutionStatus,
) -> Result<(), CallError> {
    let status = status(client, namespace, id, run_id).await?;
    if status == expected {
        Ok(())
    } else {
        Err(CallError::Status {
            found: status.as_str_name(),
            expected: expected.as_str_name(),
        })
    }
}

async fn indexed(client: &Client, namespace: &str, id: &str) -> Result<Duration, CallError> {
    let begun = Instant::now();
    loop {
        let request = CountWorkflowExecutionsRequest {
            namespace: namespace.to_owned(),
            query: format!("WorkflowId = '{id}'"),
        };
        let counted = bounded(async {
            let counted =
                WorkflowService::count_workflow_executions(&mut client.clone(), request.into_request()).await;
            Ok(counted?.into_inner().count)
        })
        .await?;
        if counted > 0 {
            return Ok(begun.elapsed());
        }
        if begun.elapsed() > STEP {
            return Err(CallError::Late);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
