//! Commands for requests: start, decide, list, show and audit.

use std::time::Duration;

use anyhow::{Context, bail};
use futures::StreamExt;
use temporalio_client::errors::WorkflowUpdateError;
use temporalio_client::{
    Client, WorkflowDescribeOptions, WorkflowExecuteUpdateOptions, WorkflowExecutionDescription,
    WorkflowExecutionStatus, WorkflowFetchHistoryOptions, WorkflowGetResultOptions, WorkflowHandle,
    WorkflowListOptions, WorkflowStartOptions,
};
use temporalio_common::data_converters::{PayloadConverter, RawValue};

use crate::driver::{Driver, DriverInput, DriverOutcome, StepVerdict};
use crate::messages::{Answer, ApprovalRequest};
use crate::trail::{Entry, trail};
use crate::{ApprovalFlow, ID_PREFIX, TASK_QUEUE};

/// Timeout for a worker to process a decision.
const PATIENCE: Duration = Duration::from_secs(10);

/// Maximum number of requests that `list` shows.
const MAX_LISTED: usize = 100;

/// Starts a request and returns its workflow id. If the id already exists, it is the same request and nothing
/// is started.
///
/// # Errors
///
/// If the request is invalid, in which case nothing is started, or if the server rejects it.
pub async fn start(client: &Client, request: ApprovalRequest, id: Option<String>) -> anyhow::Result<String> {
    let problems = request.problems();
    if !problems.is_empty() {
        bail!("cannot start: {}", problems.join("; "));
    }
    let id = id.unwrap_or_else(new_id);
    let options = WorkflowStartOptions::new(TASK_QUEUE, id.clone())
        // Together, these make a repeated start return the same request, whether it is open or closed.
        .id_conflict_policy(temporalio_client::WorkflowIdConflictPolicy::UseExisting)
        .id_reuse_policy(temporalio_client::WorkflowIdReusePolicy::RejectDuplicate)
        .build();
    match client
        .start_workflow(ApprovalFlow::run, request.into(), options)
        .await
    {
        Ok(_) | Err(temporalio_client::errors::WorkflowStartError::AlreadyStarted { .. }) => Ok(id),
        Err(error) => Err(anyhow::Error::new(error).context("cannot start the workflow")),
    }
}

fn new_id() -> String {
    // With the process id, so that two commands at the same time do not choose the same one.
    let nanos = jiff::Timestamp::now().as_nanosecond();
    format!("{ID_PREFIX}-{nanos:x}-{:x}", std::process::id())
}

/// Approves or rejects a request or a step of a definition.
///
/// # Errors
///
/// If the request does not exist, is closed or has been decided, or if no worker responds.
pub async fn decide(
    client: &Client,
    id: &str,
    approved: bool,
    verdict: &StepVerdict,
) -> anyhow::Result<Answer> {
    let verb = if approved { "approve" } else { "reject" };
    let handle = client.get_workflow_handle::<ApprovalFlow>(id);
    // First, because the error of an update does not say how the request ended.
    let described = describe(&handle, id).await?;
    if described.status() != WorkflowExecutionStatus::Running {
        bail!(
            "cannot {verb} `{id}`: it is closed ({})",
            last(&handle, id).await?
        );
    }
    // Both workflows use the same name for the update.
    let input = RawValue::from_value(verdict, &PayloadConverter::default());
    let options = WorkflowExecuteUpdateOptions::default();
    let call = async {
        if approved {
            handle
                .execute_update(ApprovalFlow::approve_and_answer, input, options)
                .await
        } else {
            handle
                .execute_update(ApprovalFlow::reject_and_answer, input, options)
                .await
        }
    };
    let answer = tokio::time::timeout(PATIENCE, call).await.with_context(|| {
        format!(
            "no worker responded within {} s; the decision is queued and takes effect when a worker polls \
             `{TASK_QUEUE}` (approval-flow worker)",
            PATIENCE.as_secs()
        )
    })?;
    match answer {
        Ok(answer) if answer.accepted => Ok(answer),
        Ok(answer) => bail!("cannot {verb} `{id}`: {}", answer.sentence),
        // The workflow was closed between the two calls.
        Err(WorkflowUpdateError::NotFound(_)) => {
            bail!(
                "cannot {verb} `{id}`: it is closed ({})",
                last(&handle, id).await?
            )
        }
        Err(error) => Err(anyhow::Error::new(error).context(format!("cannot {verb} `{id}`"))),
    }
}

/// Starts a definition and returns its workflow id.
///
/// # Errors
///
/// If the server rejects it.
pub async fn start_definition(client: &Client, input: DriverInput) -> anyhow::Result<String> {
    let id = new_id();
    let options = WorkflowStartOptions::new(TASK_QUEUE, id.clone()).build();
    client
        .start_workflow(Driver::run, input.into(), options)
        .await
        .context("cannot start the workflow")?;
    Ok(id)
}

/// Waits until a definition has ended.
///
/// # Errors
///
/// If its workflow fails or is canceled.
pub async fn definition_outcome(client: &Client, id: &str) -> anyhow::Result<DriverOutcome> {
    let handle = client.get_workflow_handle::<Driver>(id);
    let outcome = handle.get_result(WorkflowGetResultOptions::default()).await;
    outcome.map_err(|error| anyhow::anyhow!("`{id}`: {}", temporal_worker_kit::chain(&error)))
}

type Handle = WorkflowHandle<Client, ApprovalFlow>;

async fn describe(handle: &Handle, id: &str) -> anyhow::Result<WorkflowExecutionDescription> {
    let described = handle.describe(WorkflowDescribeOptions::default()).await;
    described.with_context(|| format!("cannot find `{id}`; `approval-flow list` shows the requests"))
}

async fn last(handle: &Handle, id: &str) -> anyhow::Result<String> {
    let entries = history(handle, id).await?;
    Ok(entries
        .last()
        .map_or_else(|| "no history".to_owned(), |entry| entry.what.clone()))
}

async fn history(handle: &Handle, id: &str) -> anyhow::Result<Vec<Entry>> {
    let events = handle
        .fetch_history(WorkflowFetchHistoryOptions::builder().build())
        .into_events()
        .await;
    let events = events.with_context(|| format!("cannot read the history of `{id}`"))?;
    Ok(trail(&events))
}

/// Returns the status of a request and its audit trail so far.
///
/// # Errors
///
/// If the request does not exist.
pub async fn audit(client: &Client, id: &str) -> anyhow::Result<(String, Vec<Entry>)> {
    let handle = client.get_workflow_handle::<ApprovalFlow>(id);
    let status = describe(&handle, id).await?.status();
    Ok((name(status).to_owned(), history(&handle, id).await?))
}

/// One request in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Workflow id.
    pub id: String,
    /// Status of the workflow.
    pub status: String,
    /// Start time.
    pub started: String,
}

/// Returns the newest requests.
///
/// # Errors
///
/// If the server cannot list them.
pub async fn list(client: &Client, open_only: bool) -> anyhow::Result<Vec<Listed>> {
    let open = if open_only {
        " AND ExecutionStatus = 'Running'"
    } else {
        ""
    };
    let query = format!("WorkflowType IN ('ApprovalFlow', 'Driver'){open}");
    let mut stream = client.list_workflows(query, WorkflowListOptions::default());
    let mut listed = Vec::new();
    while let Some(execution) = stream.next().await {
        let execution = execution.context("cannot list the requests")?;
        let started = execution
            .start_time()
            .and_then(|time| jiff::Timestamp::try_from(time).ok());
        listed.push(Listed {
            id: execution.id().to_owned(),
            status: name(execution.status()).to_owned(),
            started: started.map_or_else(String::new, |time| time.strftime("%Y-%m-%d %H:%M:%S").to_string()),
        });
        if listed.len() >= MAX_LISTED {
            break;
        }
    }
    Ok(listed)
}

/// Returns the status as it appears in `--output json`, for scripts.
fn name(status: WorkflowExecutionStatus) -> &'static str {
    match status {
        WorkflowExecutionStatus::Running => "open",
        WorkflowExecutionStatus::Completed => "completed",
        WorkflowExecutionStatus::Failed => "failed",
        WorkflowExecutionStatus::Canceled => "canceled",
        WorkflowExecutionStatus::Terminated => "terminated",
        WorkflowExecutionStatus::ContinuedAsNew => "continuedasnew",
        WorkflowExecutionStatus::TimedOut => "timedout",
        WorkflowExecutionStatus::Paused => "paused",
        _ => "unknown",
    }
}
