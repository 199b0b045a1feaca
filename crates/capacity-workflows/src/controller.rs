//! The controller as its clients see it: ticks, the sampler, the command line, other programs. Every call has
//! a time limit, because the client library would wait forever without a worker.

use std::time::{Duration, Instant};

use temporal_worker_kit::{Lenient, update_refusal};
use temporalio_client::grpc::WorkflowService;
use temporalio_client::tonic::IntoRequest;
use temporalio_client::{
    Client, WorkflowDescribeOptions, WorkflowHandle, WorkflowIdConflictPolicy, WorkflowIdReusePolicy,
    WorkflowQueryOptions, WorkflowSignalOptions, WorkflowStartOptions, WorkflowUpdateWithStartOptions,
};
use temporalio_common::SignalDefinition;
use temporalio_common::data_converters::RawValue;
use temporalio_common::protos::temporal::api::common::v1::WorkflowExecution;
use temporalio_common::protos::temporal::api::enums::v1::PendingWorkflowTaskState;
use temporalio_common::protos::temporal::api::workflowservice::v1::ResetStickyTaskQueueRequest;

use crate::definitions::{
    CONTINUES, CapacityIsShort, ControllerWorkflow, Evaluate, Evaluation, GetStatus, PreviewActions, Rotate,
    TriggerEvaluation,
};
use crate::messages::{EvaluationQuery, EvaluationReport, Status};
use crate::names::Installation;

/// Maximum time for a worker to answer a query. Shorter than the time that the service waits for the worker
/// that has the run.
const ATTEMPT: Duration = Duration::from_secs(5);

/// Why a request to the controller failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ControllerError {
    /// There was no response in time.
    #[error("no response in {} s: no worker is polling", .0.as_secs())]
    NoAnswer(Duration),
    /// The Temporal service did not confirm a signal in time, which needs no worker.
    #[error("the Temporal service did not respond in {} s", .0.as_secs())]
    ServiceSilent(Duration),
    /// The service refused the request, or there is no controller.
    #[error("{0}")]
    Refused(String),
}

/// Why a requested evaluation returned no report.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// There was no response in time: no worker is polling, or the evaluation takes longer.
    #[error("the controller did not respond in {} s; is a worker polling?", .0.as_secs())]
    NoAnswer(Duration),
    /// The service or the controller refused the request.
    #[error("cannot query the controller: {0}")]
    Refused(String),
}

/// The reason for an evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trigger {
    /// Someone requested one.
    Evaluation,
    /// A namespace is throttled or close to its limit, so the evaluation may only scale up.
    CapacityIsShort,
}

/// A handle to the controller of an installation.
#[derive(Clone)]
pub struct Controller {
    client: Client,
    installation: Installation,
}

impl std::fmt::Debug for Controller {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Controller")
            .field("installation", &self.installation)
            .finish_non_exhaustive()
    }
}

impl Controller {
    /// Creates a handle. Nothing is sent until a method is called.
    pub fn new(client: &Client, installation: &Installation) -> Self {
        Self {
            client: client.clone(),
            installation: installation.clone(),
        }
    }

    /// Requests a full evaluation, and creates the controller if there is none. Returns the report as soon as
    /// the changes are queued.
    ///
    /// # Errors
    ///
    /// If there is no response in time, or if the request is refused.
    pub async fn decide(&self, update_id: &str, bound: Duration) -> Result<EvaluationReport, AskError> {
        let begun = Instant::now();
        let mut runs = 0;
        loop {
            let options = WorkflowUpdateWithStartOptions::new(
                self.installation.task_queue(),
                self.installation.controller_id(),
                WorkflowIdConflictPolicy::UseExisting,
            )
            .id_reuse_policy(WorkflowIdReusePolicy::AllowDuplicate)
            // While the run is closing, the same id would return the same refusal. The id stays derived, so
            // that a caller that repeats the whole request still joins.
            .update_id(format!("{update_id}{}", "+".repeat(runs)))
            .static_summary("Capacity controller")
            .build();
            let call = self.client.execute_update_with_start_workflow(
                ControllerWorkflow,
                Lenient::default(),
                Evaluate,
                RawValue::default(),
                options,
            );
            match tokio::time::timeout(bound.saturating_sub(begun.elapsed()), call).await {
                Err(_) => return Err(AskError::NoAnswer(bound)),
                Ok(Ok(report)) => return Ok(report),
                Ok(Err(error)) => {
                    let text = update_refusal(&error);
                    if !text.contains(CONTINUES) {
                        return Err(AskError::Refused(text));
                    }
                }
            }
            runs += 1;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Requests a full evaluation like [`decide`](Self::decide), and waits until each of its changes has
    /// ended or was replaced, for at most `bound`. The report contains their outcomes so far.
    ///
    /// # Errors
    ///
    /// As [`decide`](Self::decide).
    pub async fn evaluate(&self, update_id: &str, bound: Duration) -> Result<EvaluationReport, AskError> {
        let begun = Instant::now();
        let mut report = self.decide(update_id, bound).await?;
        let mut wait = Duration::from_millis(200);
        while !report.is_settled() && begun.elapsed() + wait < bound {
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(Duration::from_secs(2));
            // A worker that is restarting answers the next query.
            let left = bound.saturating_sub(begun.elapsed()).min(Duration::from_secs(10));
            if let Ok(now) = self.evaluation(report.number, left).await
                // A controller that no longer has the evaluation answers with an empty report.
                && now.number == report.number
            {
                report = now;
            }
        }
        Ok(report)
    }

    /// Requests an evaluation without waiting for it, and creates the controller if there is none.
    ///
    /// # Errors
    ///
    /// If the service refuses or does not respond.
    pub async fn trigger(&self, trigger: Trigger) -> Result<(), ControllerError> {
        match trigger {
            Trigger::Evaluation => self.signal_with_start(TriggerEvaluation).await,
            Trigger::CapacityIsShort => self.signal_with_start(CapacityIsShort).await,
        }
    }

    async fn signal_with_start<S>(&self, signal: S) -> Result<(), ControllerError>
    where
        S: SignalDefinition<Workflow = ControllerWorkflow, Input = RawValue>,
    {
        let (task_queue, id) = (self.installation.task_queue(), self.installation.controller_id());
        let options = WorkflowStartOptions::new(task_queue, id)
            .id_conflict_policy(WorkflowIdConflictPolicy::UseExisting)
            .id_reuse_policy(WorkflowIdReusePolicy::AllowDuplicate)
            .static_summary("Capacity controller")
            .build();
        let call = self.client.signal_with_start_workflow(
            ControllerWorkflow,
            Lenient::default(),
            signal,
            RawValue::default(),
            options,
        );
        signaled(call, Duration::from_secs(15)).await
    }

    /// Returns the status of the controller.
    ///
    /// # Errors
    ///
    /// If no worker responds in time, or if the service refuses, for example because there is no controller.
    pub async fn status(&self, bound: Duration) -> Result<Status, ControllerError> {
        let handle = self.handle();
        let query = || handle.query(GetStatus, (), WorkflowQueryOptions::default());
        self.answer(query, bound).await
    }

    /// Returns the last evaluation.
    ///
    /// # Errors
    ///
    /// As [`status`](Self::status).
    pub async fn last_evaluation(&self, bound: Duration) -> Result<EvaluationReport, ControllerError> {
        let handle = self.handle();
        let query = || handle.query(PreviewActions, (), WorkflowQueryOptions::default());
        self.answer(query, bound).await
    }

    /// Returns the evaluation with this number; an empty report if the controller no longer has it.
    ///
    /// # Errors
    ///
    /// As [`status`](Self::status).
    pub async fn evaluation(
        &self,
        number: u64,
        bound: Duration,
    ) -> Result<EvaluationReport, ControllerError> {
        let handle = self.handle();
        let query = || {
            let number = Lenient::from(EvaluationQuery { number });
            handle.query(Evaluation, number, WorkflowQueryOptions::default())
        };
        self.answer(query, bound).await
    }

    /// Signals a controller that an older release started to continue in the event loop of this release.
    pub(crate) async fn rotate(&self) -> Result<(), ControllerError> {
        let handle = self.handle();
        let call = handle.signal(Rotate, RawValue::default(), WorkflowSignalOptions::default());
        signaled(call, Duration::from_secs(10)).await
    }

    fn handle(&self) -> WorkflowHandle<Client, ControllerWorkflow> {
        self.client
            .get_workflow_handle::<ControllerWorkflow>(self.installation.controller_id())
    }

    async fn answer<T, E, F>(&self, query: impl Fn() -> F, bound: Duration) -> Result<T, ControllerError>
    where
        E: std::fmt::Display,
        F: Future<Output = Result<T, E>>,
    {
        match tokio::time::timeout(bound, Box::pin(self.in_time(query))).await {
            Err(_) => Err(ControllerError::NoAnswer(bound)),
            Ok(answer) => answer.map_err(|error| ControllerError::Refused(error.to_string())),
        }
    }

    /// Retries a query for a short time, but never sends it while a workflow task of the controller waits for
    /// a worker.
    ///
    /// A query waits for the worker that has the run. If that worker was killed, another one gets the query
    /// ten seconds later, perhaps before a workflow task that was scheduled in the meantime. The run then
    /// processes the newest events at the time of the previous task, and what it does with them cannot be
    /// replayed. To avoid this, the client makes the service forget the worker early, and sends the query again.
    async fn in_time<T, E, F: Future<Output = Result<T, E>>>(&self, query: impl Fn() -> F) -> Result<T, E> {
        loop {
            Box::pin(self.until_step_is_taken()).await;
            if let Ok(answer) = tokio::time::timeout(ATTEMPT, Box::pin(query())).await {
                return answer;
            }
            let request = ResetStickyTaskQueueRequest {
                namespace: self.client.options().namespace.clone(),
                execution: Some(WorkflowExecution {
                    workflow_id: self.installation.controller_id(),
                    run_id: String::new(),
                }),
            };
            let mut service = self.client.clone();
            // If that fails, the next attempt takes as long as this one.
            let _ = WorkflowService::reset_sticky_task_queue(&mut service, request.into_request()).await;
        }
    }

    async fn until_step_is_taken(&self) {
        let handle = self.handle();
        // If describing fails, the query fails too and reports the reason.
        while let Ok(described) = handle.describe(WorkflowDescribeOptions::default()).await {
            let pending = described.raw_description.pending_workflow_task.as_ref();
            if pending.is_none_or(|task| task.state() != PendingWorkflowTaskState::Scheduled) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn signaled<T, E: std::fmt::Display>(
    call: impl Future<Output = Result<T, E>>,
    bound: Duration,
) -> Result<(), ControllerError> {
    match tokio::time::timeout(bound, call).await {
        Err(_) => Err(ControllerError::ServiceSilent(bound)),
        Ok(Err(error)) => Err(ControllerError::Refused(error.to_string())),
        Ok(Ok(_)) => Ok(()),
    }
}
