//! Asking the controller, from ticks and from the command line. Every call is bounded in time: without a worker the client
//! library would wait for ever.

use std::time::Duration;

use temporalio_client::{
    Client, WorkflowExecuteUpdateOptions, WorkflowIdConflictPolicy, WorkflowIdReusePolicy,
    WorkflowQueryOptions, WorkflowStartOptions, WorkflowUpdateWithStartOptions,
};
use temporalio_common::data_converters::{PayloadConverter, RawValue};

use crate::controller::CapacityManagementWorkflow;
use crate::lenient::Lenient;
use crate::messages::{EvaluationReport, Status};
use crate::names::Installation;

/// An evaluation that was asked for and not reported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// No answer in time: no worker polls, or the evaluation takes longer.
    #[error("the controller did not answer in {} s; is a worker polling?", .0.as_secs())]
    NoAnswer(Duration),
    /// The service or the controller refused.
    #[error("the controller could not be asked: {0}")]
    Refused(String),
}

/// Asks for an evaluation, creating the controller if it is lost, and waits for the report.
///
/// # Errors
///
/// If there is no answer in time, or a refusal.
pub async fn ask(
    client: &Client,
    installation: &Installation,
    update_id: &str,
    bound: Duration,
) -> Result<EvaluationReport, AskError> {
    let options = WorkflowUpdateWithStartOptions::new(
        installation.task_queue(),
        installation.controller_id(),
        WorkflowIdConflictPolicy::UseExisting,
    )
    .id_reuse_policy(WorkflowIdReusePolicy::AllowDuplicate)
    .update_id(update_id)
    .static_summary("Capacity controller")
    .build();
    let call = client.execute_update_with_start_workflow(
        CapacityManagementWorkflow::run,
        Lenient::default(),
        CapacityManagementWorkflow::evaluate,
        RawValue::default(),
        options,
    );
    match tokio::time::timeout(bound, call).await {
        Err(_) => Err(AskError::NoAnswer(bound)),
        Ok(Ok(report)) => Ok(report),
        Ok(Err(error)) => Err(AskError::Refused(format!("{error:?}"))),
    }
}

/// Asks the controller how it stands.
///
/// # Errors
///
/// In words, if there is no answer in time: no worker, or no controller.
pub async fn status(client: &Client, installation: &Installation, bound: Duration) -> Result<Status, String> {
    let handle = client.get_workflow_handle::<CapacityManagementWorkflow>(installation.controller_id());
    let call = handle.query(
        CapacityManagementWorkflow::get_status,
        (),
        WorkflowQueryOptions::default(),
    );
    bounded(call, bound).await
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
) -> Result<EvaluationReport, String> {
    let handle = client.get_workflow_handle::<CapacityManagementWorkflow>(installation.controller_id());
    let call = handle.query(
        CapacityManagementWorkflow::preview_actions,
        (),
        WorkflowQueryOptions::default(),
    );
    bounded(call, bound).await
}

async fn bounded<T, E: std::fmt::Display>(
    call: impl Future<Output = Result<T, E>>,
    bound: Duration,
) -> Result<T, String> {
    match tokio::time::timeout(bound, call).await {
        Err(_) => Err(format!("no answer in {} s: no worker polls", bound.as_secs())),
        Ok(answer) => answer.map_err(|error| error.to_string()),
    }
}

/// Puts the controller's brake on.
///
/// # Errors
///
/// As [`status`].
pub async fn pause_controller(
    client: &Client,
    installation: &Installation,
    reason: &str,
    bound: Duration,
) -> Result<(), String> {
    let handle = client.get_workflow_handle::<CapacityManagementWorkflow>(installation.controller_id());
    let why = RawValue::from_value(&reason.to_owned(), &PayloadConverter::default());
    let options = WorkflowExecuteUpdateOptions::default();
    bounded(
        handle.execute_update(CapacityManagementWorkflow::pause, why, options),
        bound,
    )
    .await
    .map(drop)
}

/// Takes the controller's brake off.
///
/// # Errors
///
/// As [`status`].
pub async fn resume_controller(
    client: &Client,
    installation: &Installation,
    bound: Duration,
) -> Result<(), String> {
    let handle = client.get_workflow_handle::<CapacityManagementWorkflow>(installation.controller_id());
    let options = WorkflowExecuteUpdateOptions::default();
    bounded(
        handle.execute_update(CapacityManagementWorkflow::resume, RawValue::default(), options),
        bound,
    )
    .await
    .map(drop)
}

/// Why an evaluation is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
/// In words, if the service refuses or does not answer.
pub async fn signal(client: &Client, installation: &Installation, trigger: Trigger) -> Result<(), String> {
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
