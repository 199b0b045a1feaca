//! Asking the controller, from ticks and from the command line. Every call is bounded in time: without a worker the client library
//! would wait forever.

use std::time::{Duration, Instant};

use temporal_worker_kit::Lenient;
use temporalio_client::grpc::WorkflowService;
use temporalio_client::tonic::IntoRequest;
use temporalio_client::{
    Client, WorkflowDescribeOptions, WorkflowIdConflictPolicy, WorkflowIdReusePolicy, WorkflowQueryOptions,
    WorkflowSignalOptions, WorkflowStartOptions, WorkflowUpdateWithStartOptions,
};
use temporalio_common::data_converters::RawValue;
use temporalio_common::protos::temporal::api::common::v1::WorkflowExecution;
use temporalio_common::protos::temporal::api::enums::v1::PendingWorkflowTaskState;
use temporalio_common::protos::temporal::api::workflowservice::v1::ResetStickyTaskQueueRequest;

use crate::controller::{CONTINUES, CapacityManagementWorkflow};
use crate::messages::{EvaluationQuery, EvaluationReport, Status};
use crate::names::Installation;

/// How long a worker may take to answer a query: less than the service waits for the one that has the run.
const ATTEMPT: Duration = Duration::from_secs(5);

/// A controller that did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ControllerError {
    /// No answer in time.
    #[error("no answer in {} s: no worker polls", .0.as_secs())]
    NoAnswer(Duration),
    /// The service refused, or there is no controller.
    #[error("{0}")]
    Refused(String),
}

/// An evaluation that was asked for and not reported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// No answer in time: no worker polls, or the evaluation takes longer.
    #[error("the controller did not answer in {} s; is a worker polling?", .0.as_secs())]
    NoAnswer(Duration),
    /// The service or the controller refused.
    #[error("cannot query the controller: {0}")]
    Refused(String),
}

/// Asks for a full evaluation, creating the controller if it is lost. Returns its report as soon as its changes are queued.
///
/// # Errors
///
/// If there is no answer in time, or a refusal.
pub async fn ask_for_decisions(
    client: &Client,
    installation: &Installation,
    update_id: &str,
    bound: Duration,
) -> Result<EvaluationReport, AskError> {
    let begun = Instant::now();
    let mut runs = 0;
    loop {
        let options = WorkflowUpdateWithStartOptions::new(
            installation.task_queue(),
            installation.controller_id(),
            WorkflowIdConflictPolicy::UseExisting,
        )
        .id_reuse_policy(WorkflowIdReusePolicy::AllowDuplicate)
        .update_id(format!("{update_id}{}", "+".repeat(runs)))
        .static_summary("Capacity controller")
        .build();
        let call = client.execute_update_with_start_workflow(
            CapacityManagementWorkflow::run,
            Lenient::default(),
            CapacityManagementWorkflow::evaluate,
            RawValue::default(),
            options,
        );
        match tokio::time::timeout(bound.saturating_sub(begun.elapsed()), call).await {
            Err(_) => return Err(AskError::NoAnswer(bound)),
            Ok(Ok(report)) => return Ok(report),
            Ok(Err(error)) => {
                let text = format!("{error:?}");
                if !text.contains(CONTINUES) {
                    return Err(AskError::Refused(text));
                }
            }
        }
        runs += 1;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Asks the controller for its status.
///
/// # Errors
///
/// If there is no answer in time: no worker, or no controller.
pub async fn status(
    client: &Client,
    installation: &Installation,
    bound: Duration,
) -> Result<Status, ControllerError> {
    let handle = client.get_workflow_handle::<CapacityManagementWorkflow>(installation.controller_id());
    let query = || {
        handle.query(
            CapacityManagementWorkflow::get_status,
            (),
            WorkflowQueryOptions::default(),
        )
    };
    bounded(Box::pin(in_time(client, installation, query)), bound).await
}

/// Asks the controller for its last evaluation.
///
/// # Errors
///
/// As [`status`].
pub async fn last_evaluation(
    client: &Client,
    installation: &Installation,
    bound: Duration,
) -> Result<EvaluationReport, ControllerError> {
    let handle = client.get_workflow_handle::<CapacityManagementWorkflow>(installation.controller_id());
    let query = || {
        handle.query(
            CapacityManagementWorkflow::preview_actions,
            (),
            WorkflowQueryOptions::default(),
        )
    };
    bounded(Box::pin(in_time(client, installation, query)), bound).await
}

async fn bounded<T, E: std::fmt::Display>(
    call: impl Future<Output = Result<T, E>>,
    bound: Duration,
) -> Result<T, ControllerError> {
    match tokio::time::timeout(bound, call).await {
        Err(_) => Err(ControllerError::NoAnswer(bound)),
        Ok(answer) => answer.map_err(|error| ControllerError::Refused(error.to_string())),
    }
}

/// Asks for a full evaluation as [`ask_for_decisions`] does, and waits until each of its changes has ended or was replaced, for as
/// long as the bound says: the report then carries their outcomes so far.
///
/// # Errors
///
/// As [`ask_for_decisions`].
pub async fn ask(
    client: &Client,
    installation: &Installation,
    update_id: &str,
    bound: Duration,
) -> Result<EvaluationReport, AskError> {
    let begun = Instant::now();
    let mut report = ask_for_decisions(client, installation, update_id, bound).await?;
    let mut wait = Duration::from_millis(200);
    while !report.is_settled() && begun.elapsed() + wait < bound {
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(2));
        // A worker that restarts answers the next question.
        if let Ok(now) = evaluation(client, installation, report.number, Duration::from_secs(10)).await
            && now.number == report.number
        {
            report = now;
        }
    }
    Ok(report)
}

/// Retries for a short time, and never queries while a step of the controller waits for a worker.
///
/// A query waits for the worker that has the run; if that one was killed, another gets it ten seconds later, perhaps before it gets
/// a step that was scheduled in the meantime. It then hands the newest events to the run with the time of the step before, and what the run
/// does with them cannot be replayed. So callers do not wait that long: the service is asked to forget the worker, then queried
/// again.
async fn in_time<T, E, F: Future<Output = Result<T, E>>>(
    client: &Client,
    installation: &Installation,
    query: impl Fn() -> F,
) -> Result<T, E> {
    loop {
        Box::pin(until_step_is_taken(client, installation)).await;
        if let Ok(answer) = tokio::time::timeout(ATTEMPT, Box::pin(query())).await {
            return answer;
        }
        let request = ResetStickyTaskQueueRequest {
            namespace: client.options().namespace.clone(),
            execution: Some(WorkflowExecution {
                workflow_id: installation.controller_id(),
                run_id: String::new(),
            }),
        };
        let mut service = client.clone();
        // If that fails, the next attempt takes as long.
        let _ = WorkflowService::reset_sticky_task_queue(&mut service, request.into_request()).await;
    }
}

async fn until_step_is_taken(client: &Client, installation: &Installation) {
    let handle = client.get_workflow_handle::<CapacityManagementWorkflow>(installation.controller_id());
    // If describing fails, the query fails too, and reports why.
    while let Ok(described) = handle.describe(WorkflowDescribeOptions::default()).await {
        let pending = described.raw_description.pending_workflow_task.as_ref();
        if pending.is_none_or(|task| task.state() != PendingWorkflowTaskState::Scheduled) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Asks the controller for one evaluation, by its number; an empty report where it does not know it any more.
///
/// # Errors
///
/// As [`status`].
pub async fn evaluation(
    client: &Client,
    installation: &Installation,
    number: u64,
    bound: Duration,
) -> Result<EvaluationReport, ControllerError> {
    let handle = client.get_workflow_handle::<CapacityManagementWorkflow>(installation.controller_id());
    let query = || {
        handle.query(
            CapacityManagementWorkflow::evaluation,
            Lenient::from(EvaluationQuery { number }),
            WorkflowQueryOptions::default(),
        )
    };
    bounded(Box::pin(in_time(client, installation, query)), bound).await
}

/// Asks a controller that an older release began to continue in the loop of this one.
///
/// # Errors
///
/// If the service refuses or does not answer.
pub(crate) async fn rotate(client: &Client, installation: &Installation) -> Result<(), ControllerError> {
    let handle = client.get_workflow_handle::<CapacityManagementWorkflow>(installation.controller_id());
    let call = handle.signal(
        CapacityManagementWorkflow::rotate,
        RawValue::default(),
        WorkflowSignalOptions::default(),
    );
    bounded(call, Duration::from_secs(10)).await
}

/// Why an evaluation is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trigger {
    /// Somebody wants one.
    Evaluation,
    /// Something is throttled, or close to it: it may only raise.
    CapacityIsShort,
}

/// Asks for an evaluation without waiting for it, creating the controller if it is lost.
///
/// # Errors
///
/// If the service refuses or does not answer.
pub async fn signal(
    client: &Client,
    installation: &Installation,
    trigger: Trigger,
) -> Result<(), ControllerError> {
    let options = WorkflowStartOptions::new(installation.task_queue(), installation.controller_id())
        .id_conflict_policy(WorkflowIdConflictPolicy::UseExisting)
        .id_reuse_policy(WorkflowIdReusePolicy::AllowDuplicate)
        .static_summary("Capacity controller")
        .build();
    let bound = Duration::from_secs(15);
    match trigger {
        Trigger::Evaluation => {
            let call = client.signal_with_start_workflow(
                CapacityManagementWorkflow::run,
                Lenient::default(),
                CapacityManagementWorkflow::trigger_evaluation,
                RawValue::default(),
                options,
            );
            bounded(call, bound).await.map(drop)
        }
        Trigger::CapacityIsShort => {
            let call = client.signal_with_start_workflow(
                CapacityManagementWorkflow::run,
                Lenient::default(),
                CapacityManagementWorkflow::capacity_is_short,
                RawValue::default(),
                options,
            );
            bounded(call, bound).await.map(drop)
        }
    }
}
