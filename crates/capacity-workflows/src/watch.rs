//! How each worker supervises the controller once a minute: it reads the status. If an older release started
//! the controller, it asks it to switch to this release's event loop. If the controller's history repeatedly
//! fails to replay, it terminates the controller.

use std::convert::Infallible;
use std::time::Duration;

use temporal_worker_kit::SharedClient;
use temporalio_client::grpc::WorkflowService;
use temporalio_client::tonic::IntoRequest;
use temporalio_client::{Client, UntypedWorkflow, WorkflowDescribeOptions};
use temporalio_common::protos::temporal::api::common::v1::WorkflowExecution;
use temporalio_common::protos::temporal::api::enums::v1::WorkflowTaskFailedCause;
use temporalio_common::protos::temporal::api::history::v1::HistoryEvent;
use temporalio_common::protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_common::protos::temporal::api::workflowservice::v1::{
    GetWorkflowExecutionHistoryReverseRequest, TerminateWorkflowExecutionRequest,
};

use crate::controller::{Controller, Trigger};
use crate::health::EvaluationHealth;
use crate::management::LOOP_VERSION;
use crate::names::Installation;

/// Interval at which the controller is queried.
const EVERY: Duration = Duration::from_mins(1);
/// Maximum time for its response.
const BOUND: Duration = Duration::from_secs(20);
/// Time until a controller whose history could not be replayed is checked again, because a worker of another
/// release may be able to replay it.
const LOOK_AGAIN: Duration = Duration::from_secs(15);
/// How many of the newest events are read: a few are enough to see whether replay failed after the last
/// completed task.
const NEWEST_EVENTS: i32 = 100;

/// Keeps a worker's health up to date with the controller's, and keeps controllers running. Never returns.
pub(crate) async fn watch_controller(
    client: &SharedClient,
    installation: &Installation,
    health: &EvaluationHealth,
) -> Infallible {
    let mut stuck: Option<Stuck> = None;
    loop {
        // Reloaded certificates come with a new client.
        let client = &client.get();
        let controller = Controller::new(client, installation);
        match controller.status(BOUND).await {
            Ok(status) => {
                stuck = None;
                health.learn(&status);
                if status.loop_version < LOOP_VERSION {
                    tracing::info!(
                        loop_version = status.loop_version,
                        "asking the controller to continue in the event loop of this release"
                    );
                    if let Err(error) = controller.rotate().await {
                        tracing::warn!(%error, "cannot signal the controller; trying again in a minute");
                    }
                }
            }
            // There is no controller yet, or it does not respond: the age of the last evaluation shows that.
            Err(problem) => {
                tracing::debug!(%problem, "the controller did not respond");
                let now = look_at_history(client, installation).await;
                if let Some(now) = &now
                    // Twice in a row: after one failed replay, a worker of another release may still take
                    // the task.
                    && stuck.as_ref() == Some(now)
                {
                    replace(client, installation, now).await;
                }
                stuck = now;
            }
        }
        tokio::time::sleep(if stuck.is_some() { LOOK_AGAIN } else { EVERY }).await;
    }
}

/// A controller whose history no worker could replay since its last completed task.
#[derive(Debug, PartialEq, Eq)]
struct Stuck {
    run_id: String,
    /// Event id of that task. It stays the same while no worker can replay the history.
    last_step: i64,
    why: String,
}

/// Returns what blocks the controller, if its history cannot be replayed.
async fn look_at_history(client: &Client, installation: &Installation) -> Option<Stuck> {
    let handle = client.get_workflow_handle::<UntypedWorkflow>(installation.controller_id());
    let described = handle.describe(WorkflowDescribeOptions::default());
    let described = tokio::time::timeout(BOUND, described).await.ok()?.ok()?;
    let run_id = described.run_id().to_owned();
    let request = GetWorkflowExecutionHistoryReverseRequest {
        namespace: client.options().namespace.clone(),
        execution: Some(WorkflowExecution {
            workflow_id: installation.controller_id(),
            run_id: run_id.clone(),
        }),
        maximum_page_size: NEWEST_EVENTS,
        ..Default::default()
    };
    let mut service = client.clone();
    let call = WorkflowService::get_workflow_execution_history_reverse(&mut service, request.into_request());
    let answer = tokio::time::timeout(BOUND, call).await.ok()?.ok()?.into_inner();
    stuck_since(&answer.history?.events).map(|(last_step, why)| Stuck {
        run_id,
        last_step,
        why,
    })
}

/// Searches the newest events, newest first, for a failed replay after the last completed task. Returns that
/// task's event id and the error.
fn stuck_since(newest_first: &[HistoryEvent]) -> Option<(i64, String)> {
    let mut why = None;
    for event in newest_first {
        match &event.attributes {
            Some(Attributes::WorkflowTaskCompletedEventAttributes(_)) => {
                return why.map(|why| (event.event_id, why));
            }
            Some(Attributes::WorkflowTaskFailedEventAttributes(failed))
                if failed.cause() == WorkflowTaskFailedCause::NonDeterministicError =>
            {
                let message = failed.failure.as_ref().map(|failure| failure.message.clone());
                why = why.or(message).or(Some(String::new()));
            }
            _ => {}
        }
    }
    None
}

/// Terminates a controller that cannot continue, and triggers an evaluation by a new one. Only its queue is
/// lost: pauses and changes in progress are separate workflows, and a new controller looks for them.
async fn replace(client: &Client, installation: &Installation, stuck: &Stuck) {
    tracing::error!(
        run_id = stuck.run_id,
        why = stuck.why,
        "no worker can replay the controller's history; it is terminated, and a new one takes over"
    );
    let request = TerminateWorkflowExecutionRequest {
        namespace: client.options().namespace.clone(),
        // Only this run: another worker may have been first.
        workflow_execution: Some(WorkflowExecution {
            workflow_id: installation.controller_id(),
            run_id: stuck.run_id.clone(),
        }),
        reason: "its history cannot be replayed; a new controller takes over".to_owned(),
        ..Default::default()
    };
    let mut service = client.clone();
    let call = WorkflowService::terminate_workflow_execution(&mut service, request.into_request());
    match tokio::time::timeout(BOUND, call).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => return tracing::warn!(%error, "the controller could not be terminated"),
        Err(_) => return tracing::warn!("the controller could not be terminated in time"),
    }
    if let Err(error) = Controller::new(client, installation)
        .trigger(Trigger::Evaluation)
        .await
    {
        tracing::warn!(%error, "the new controller could not be asked to evaluate");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use temporalio_common::protos::temporal::api::history::v1::{
        WorkflowTaskCompletedEventAttributes, WorkflowTaskFailedEventAttributes,
    };

    fn event(event_id: i64, attributes: Attributes) -> HistoryEvent {
        HistoryEvent {
            event_id,
            attributes: Some(attributes),
            ..HistoryEvent::default()
        }
    }

    fn completed(event_id: i64) -> HistoryEvent {
        let attributes = WorkflowTaskCompletedEventAttributes::default();
        event(
            event_id,
            Attributes::WorkflowTaskCompletedEventAttributes(attributes),
        )
    }

    fn failed(event_id: i64, cause: WorkflowTaskFailedCause) -> HistoryEvent {
        let mut attributes = WorkflowTaskFailedEventAttributes::default();
        attributes.set_cause(cause);
        event(
            event_id,
            Attributes::WorkflowTaskFailedEventAttributes(attributes),
        )
    }

    #[test]
    fn only_a_failed_replay_after_the_last_step_is_stuck() {
        use WorkflowTaskFailedCause::{NonDeterministicError, WorkflowWorkerUnhandledFailure};
        let since = |events: &[HistoryEvent]| stuck_since(events).map(|(step, _)| step);
        assert_eq!(since(&[completed(9)]), None);
        assert_eq!(since(&[failed(12, NonDeterministicError), completed(9)]), Some(9));
        assert_eq!(
            since(&[completed(15), failed(12, NonDeterministicError), completed(9)]),
            None
        );
        assert_eq!(
            since(&[failed(12, WorkflowWorkerUnhandledFailure), completed(9)]),
            None
        );
    }
}
