//! The activities, which communicate with the CI system, Temporal and people. All of them are idempotent.

#![allow(missing_docs, reason = "the macros generate public items")]
#![allow(
    clippy::unused_async,
    reason = "a synchronous activity would need a separate thread"
)]

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;
use temporal_worker_kit::{Lenient, SharedClient, chain, update_refusal};
use temporalio_client::errors::WorkflowStartError;
use temporalio_client::{
    WorkflowIdConflictPolicy, WorkflowIdReusePolicy, WorkflowListOptions, WorkflowQueryOptions,
    WorkflowSignalOptions, WorkflowStartOptions, WorkflowUpdateWithStartOptions,
};
use temporalio_common::data_converters::{PayloadConverter, RawValue};
use temporalio_macros::activities;
use temporalio_sdk::ApplicationFailure;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use super::budget::{BUDGET_ID, RunBudget};
use super::definitions::{Chain, ClaimedBy, Event, Execution, ExecutionIs, ExecutionOf, LookNow, Stacks};
use super::messages::{
    ChainReport, ChainRequest, Offer, PrepareRequest, Prepared, Reservation, RunEvent, TASK_QUEUE,
    TriggerRequest, run_workflow_id,
};
use crate::graph::{Graph, Plan, PlannedStack};
use crate::labels::{Dialect, parse};
use crate::metrics::Metrics;
use crate::provider::{Provider, ProviderError, Run, RunRef, Trouble};
use crate::report::Reporter;
use crate::windows::{Window, next_open};

/// Timeout for the response of a workflow.
const ANSWER: Duration = Duration::from_secs(10);
/// Intervals between attempts to start a run, where the activity's own retries cannot be used.
const WAITS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(20)];
/// Longest wait requested by the CI system that these attempts respect.
const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// Interval between heartbeats of an activity that waits for the CI system.
const BEAT: Duration = Duration::from_secs(3);
/// Wait before reading the list of runs, in which a run appears shortly after the request even if its
/// response was lost.
const SETTLE: Duration = Duration::from_secs(1);

/// Visibility query for open chains.
pub const OPEN_CHAINS: &str = "WorkflowType = 'StackDependencyChain' AND ExecutionStatus = 'Running'";

/// Dependencies of the activities.
pub struct ChainActivities {
    /// The CI system.
    pub provider: Arc<dyn Provider>,
    /// Connection to Temporal.
    pub client: SharedClient,
    /// Accepted spelling of dependency labels.
    pub dialect: Dialect,
    /// Destinations of summaries and of the audit log.
    pub reporter: Reporter,
    /// Counters of this process.
    pub metrics: Arc<Metrics>,
}

#[activities]
impl ChainActivities {
    /// Reads all stacks and returns the plan of the chain.
    #[activity(name = "plan_chain")]
    pub async fn plan_chain(
        self: Arc<Self>,
        context: ActivityContext,
        request: ChainRequest,
    ) -> Result<Plan, ActivityError> {
        let stacks = beating(&context, self.provider.stacks())
            .await?
            .map_err(failure)?;
        let graph = Graph::of(stacks, self.dialect);
        let origin = &request.origin.stack;
        let plan = if request.runs_origin {
            graph.plan_with(origin)
        } else {
            graph.plan_from(origin)
        };
        Ok(plan.map_err(|error| permanent(error.to_string()))?)
    }

    /// Reads a stack again before its run is triggered, because it may have changed since the chain was
    /// planned.
    #[activity(name = "prepare")]
    pub async fn prepare(
        self: Arc<Self>,
        context: ActivityContext,
        request: PrepareRequest,
    ) -> Result<Prepared, ActivityError> {
        Ok(beating(&context, self.prepared(request)).await??)
    }

    /// Triggers a run. If a response was lost, reads the runs of the stack before triggering again.
    #[activity(name = "trigger")]
    pub async fn trigger(
        self: Arc<Self>,
        context: ActivityContext,
        request: TriggerRequest,
    ) -> Result<Run, ActivityError> {
        let is_first = context.info().attempt <= 1;
        Ok(beating(&context, self.triggered(&request, is_first)).await??)
    }

    /// Reads the state of a run.
    #[activity(name = "read_run")]
    pub async fn read_run(
        self: Arc<Self>,
        context: ActivityContext,
        at: RunRef,
    ) -> Result<Option<Run>, ActivityError> {
        let read = beating(&context, self.provider.run(&at)).await?;
        Ok(read.map_err(|error| match error.trouble {
            // The run continues without us, so a key that is being rotated must not fail the chain.
            Trouble::Login => transient(error.text),
            _ => failure(error),
        })?)
    }

    /// Requests that a run be stopped.
    #[activity(name = "stop_run")]
    pub async fn stop_run(
        self: Arc<Self>,
        context: ActivityContext,
        at: RunRef,
    ) -> Result<(), ActivityError> {
        Ok(
            beating(&context, self.provider.stop(&at, "the chain was canceled"))
                .await?
                .map_err(failure)?,
        )
    }

    /// Returns the seconds until a stack may run; `None` if it may run now.
    #[activity(name = "window_wait")]
    pub async fn window_wait(
        self: Arc<Self>,
        _context: ActivityContext,
        stack: PlannedStack,
    ) -> Result<Option<u64>, ActivityError> {
        let read = |texts: &[String]| {
            texts
                .iter()
                .map(|text| text.parse::<Window>())
                .collect::<Result<Vec<_>, _>>()
        };
        let windows = read(&stack.windows).map_err(|error| permanent(error.to_string()))?;
        let blackouts = read(&stack.blackouts).map_err(|error| permanent(error.to_string()))?;
        let now = Timestamp::now();
        let never = "its maintenance windows and blackouts leave no time to run within a year; change the \
                     labels";
        let open = next_open(&windows, &blackouts, now).ok_or_else(|| permanent(never.to_owned()))?;
        let wait = open.duration_since(now);
        if wait.is_positive() {
            // Rounded up, or the wait could end just before the window opens.
            Ok(Some(wait.as_secs().unsigned_abs() + 1))
        } else {
            Ok(None)
        }
    }

    /// Reserves a run within the limits per hour. Returns 0, or the milliseconds to wait.
    #[activity(name = "reserve")]
    pub async fn reserve(
        self: Arc<Self>,
        context: ActivityContext,
        wanted: Reservation,
    ) -> Result<u64, ActivityError> {
        let options =
            WorkflowUpdateWithStartOptions::new(TASK_QUEUE, BUDGET_ID, WorkflowIdConflictPolicy::UseExisting)
                // If someone terminates the limit, the next request starts it again.
                .id_reuse_policy(WorkflowIdReusePolicy::AllowDuplicate)
                .static_summary("Limit of runs per hour")
                .build();
        let raw = RawValue::from_value(&wanted, &PayloadConverter::default());
        let client = self.client.get();
        let asked = client.execute_update_with_start_workflow(
            RunBudget::run,
            Lenient::default(),
            RunBudget::reserve,
            raw,
            options,
        );
        let answer = beating(&context, tokio::time::timeout(ANSWER, asked)).await?;
        let answer = answer
            .map_err(|_| transient(format!("no response from {BUDGET_ID} in {} s", ANSWER.as_secs())))?;
        Ok(answer.map_err(|error| {
            transient(format!(
                "{BUDGET_ID} rejected the request: {}",
                update_refusal(&error)
            ))
        })?)
    }

    /// Offers a run to all open chains.
    #[activity(name = "offer_run")]
    pub async fn offer_run(
        self: Arc<Self>,
        context: ActivityContext,
        run: RunRef,
    ) -> Result<Offer, ActivityError> {
        Ok(beating(&context, self.offered(&run)).await??)
    }

    /// Appends the chain to the audit log.
    #[activity(name = "audit_chain")]
    pub async fn audit_chain(
        self: Arc<Self>,
        _context: ActivityContext,
        report: ChainReport,
    ) -> Result<(), ActivityError> {
        let audited = self.reporter.audit(&report);
        Ok(audited.map_err(|error| transient(chain(&error)))?)
    }

    /// Notifies people of the result of the chain.
    #[activity(name = "announce_chain")]
    pub async fn announce_chain(
        self: Arc<Self>,
        context: ActivityContext,
        report: ChainReport,
    ) -> Result<(), ActivityError> {
        // A retry must not count the chain again.
        if context.info().attempt <= 1 {
            let took = report
                .ended
                .unwrap_or_default()
                .saturating_sub(report.started.unwrap_or_default());
            self.metrics.chain_ended(report.is_success(), took);
        }
        // The heartbeat contains the channels notified so far, so that a retry does not notify them again.
        let mut told: Vec<String> = context
            .heartbeat_details()
            .deserialize()
            .ok()
            .flatten()
            .unwrap_or_default();
        let mut problems = Vec::new();
        for channel in self.reporter.channels(&report) {
            if told.iter().any(|name| name == channel.name()) {
                continue;
            }
            let call = self.reporter.announce(&report, channel);
            match temporal_worker_kit::beating(&context, BEAT, told.clone(), call).await? {
                Ok(()) => {
                    told.push(channel.name().to_owned());
                    context.record_heartbeat(told.clone()).await?;
                }
                Err(error) => problems.push(chain(&error)),
            }
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(transient(problems.join("; ")).into())
        }
    }
}

impl ChainActivities {
    async fn prepared(&self, request: PrepareRequest) -> Result<Prepared, ApplicationFailure> {
        let refused = |why: String| Prepared {
            refusal: Some(why),
            seen: Vec::new(),
        };
        let id = &request.stack.id;
        let Some(stack) = self.provider.stack(id).await.map_err(failure)? else {
            return Ok(refused(
                "the stack no longer exists, or the API key has no access to it".to_owned(),
            ));
        };
        if stack.is_disabled {
            return Ok(refused("the stack is disabled".to_owned()));
        }
        if let Some(who) = &stack.locked_by {
            let own = self.provider.identity().await.map_err(failure)?;
            if *who != own.id && *who != own.name {
                return Ok(refused(format!(
                    "the stack is locked by {who}; only they can start runs"
                )));
            }
        }
        let (rules, _) = parse(id, &stack.labels, self.dialect);
        let planned = |parent: &String| {
            request.stack.parents.contains(parent) || request.stack.other_parents.contains(parent)
        };
        let added: Vec<String> = rules
            .depends_on
            .iter()
            .filter(|parent| !planned(parent))
            .cloned()
            .collect();
        // Only the chain knows the whole plan, which may lead from the new dependency back to this stack.
        if !added.is_empty() {
            let handle = self
                .client
                .get()
                .get_workflow_handle::<Chain>(request.chain.clone());
            let asked = handle.query(Stacks, (), WorkflowQueryOptions::default());
            let status = tokio::time::timeout(ANSWER, asked)
                .await
                .map_err(|_| transient("no response from the chain".to_owned()))?;
            let stacks = status
                .map_err(|error| transient(format!("no response from the chain: {error}")))?
                .stacks;
            let plan = Plan {
                stacks,
                ..Plan::default()
            };
            if let Some(cycle) = plan.cycle_with(id, &added) {
                return Ok(refused(format!(
                    "its labels changed during the chain and close the dependency cycle {cycle}"
                )));
            }
        }
        let runs = self.provider.runs(id).await.map_err(failure)?;
        Ok(Prepared {
            refusal: None,
            seen: runs.into_iter().map(|run| run.id).collect(),
        })
    }

    async fn triggered(&self, request: &TriggerRequest, is_first: bool) -> Result<Run, ApplicationFailure> {
        if !self.provider.lists_runs() {
            return self.triggered_once(request, is_first).await;
        }
        // The earlier attempt may have started a run before its worker ended.
        if !is_first && let Some(run) = self.lost_run(request).await? {
            return Ok(run);
        }
        let note = format!("stack-chain: {}", request.execution);
        match self.provider.trigger(&request.stack, &note).await {
            Ok(run) => {
                // If the end of the run was reported before this, its workflow offers the run to this
                // execution.
                self.claim(request, &run.id).await?;
                Ok(run)
            }
            Err(error) if error.trouble == Trouble::Ambiguous => {
                tokio::time::sleep(SETTLE).await;
                self.lost_run(request).await?.ok_or_else(|| failure(error))
            }
            Err(error) => Err(failure(error)),
        }
    }

    /// Triggers a run on a CI system that does not list runs. Retries only requests that had no effect.
    async fn triggered_once(
        &self,
        request: &TriggerRequest,
        is_first: bool,
    ) -> Result<Run, ApplicationFailure> {
        let stack = &request.stack;
        let unknown = |why: &str| {
            permanent(format!(
                "it is unknown whether a run of `{stack}` was started ({why}); check the CI system, then run `stack-chain trigger`"
            ))
        };
        if !is_first {
            return Err(unknown("the worker ended before it had a response"));
        }
        let mut waits = WAITS.iter();
        loop {
            let note = format!("stack-chain: {}", request.execution);
            let error = match self.provider.trigger(stack, &note).await {
                Ok(run) => return Ok(run),
                Err(error) => error,
            };
            match (error.trouble, waits.next()) {
                (Trouble::Ambiguous, _) => return Err(unknown(&error.text)),
                (Trouble::Transient, Some(wait)) => {
                    tokio::time::sleep(error.retry_after.unwrap_or(*wait).min(LONGEST_WAIT)).await;
                }
                // A retry could not know that this attempt had no effect.
                (Trouble::Transient, None) => return Err(permanent(error.text)),
                _ => return Err(failure(error)),
            }
        }
    }

    /// Finds the run that an earlier request started without getting a response: it is new, ours, and not
    /// claimed by another execution.
    async fn lost_run(&self, request: &TriggerRequest) -> Result<Option<Run>, ApplicationFailure> {
        let runs = self.provider.runs(&request.stack).await.map_err(failure)?;
        let fresh: Vec<Run> = runs
            .into_iter()
            .filter(|run| !request.seen.contains(&run.id))
            .collect();
        if fresh.is_empty() {
            return Ok(None);
        }
        let own = self.provider.identity().await.map_err(failure)?;
        // Oldest first: the oldest run is the one whose response was lost.
        for run in fresh.into_iter().rev() {
            let is_ours = run
                .triggered_by
                .as_ref()
                // The API does not always name the user.
                .is_none_or(|who| *who == own.id || *who == own.name);
            if is_ours && self.claim(request, &run.id).await? {
                return Ok(Some(run));
            }
        }
        Ok(None)
    }

    /// Claims the workflow id of a run, so that the end of the run does not start a chain. Returns whether no
    /// other execution has claimed it.
    async fn claim(&self, request: &TriggerRequest, run: &str) -> Result<bool, ApplicationFailure> {
        let id = run_workflow_id(run);
        let event = RunEvent {
            run: RunRef {
                stack: request.stack.clone(),
                run: run.to_owned(),
            },
            claimed_by: Some(request.execution.clone()),
            ..RunEvent::default()
        };
        let options = WorkflowStartOptions::new(TASK_QUEUE, id.clone())
            .id_reuse_policy(WorkflowIdReusePolicy::RejectDuplicate)
            .static_summary(format!("run of {}, claimed by its chain", request.stack))
            .build();
        match self
            .client
            .get()
            .start_workflow(Event, Lenient::from(event), options)
            .await
        {
            Ok(_) => Ok(true),
            Err(WorkflowStartError::AlreadyStarted { .. }) => {
                let handle = self.client.get().get_workflow_handle::<Event>(id);
                let asked = handle.query(ClaimedBy, (), WorkflowQueryOptions::default());
                let answer = tokio::time::timeout(ANSWER, asked)
                    .await
                    .map_err(|_| transient("no response about the run".to_owned()))?;
                let claimed_by =
                    answer.map_err(|error| transient(format!("no response about the run: {error}")))?;
                Ok(claimed_by.is_none_or(|by| by == request.execution))
            }
            Err(error) => Err(transient(format!("run {run} could not be claimed: {error}"))),
        }
    }

    async fn offered(&self, run: &RunRef) -> Result<Offer, ApplicationFailure> {
        let mut offer = Offer::default();
        let client = self.client.get();
        let mut open = client.list_workflows(OPEN_CHAINS, WorkflowListOptions::default());
        while let Some(chain) = open.next().await {
            let chain =
                chain.map_err(|error| transient(format!("the open chains could not be listed: {error}")))?;
            let handle = client.get_workflow_handle::<Chain>(chain.id());
            let asked = handle.query(ExecutionOf, run.stack.clone(), WorkflowQueryOptions::default());
            let answer = tokio::time::timeout(ANSWER, asked).await;
            let answer = answer.map_err(|_| transient(format!("no response from chain {}", chain.id())))?;
            let execution = answer
                .map_err(|error| transient(format!("no response from chain {}: {error}", chain.id())))?;
            let Some(execution) = execution else { continue };
            let handle = client.get_workflow_handle::<Execution>(execution.clone());
            let asked = handle.query(ExecutionIs, (), WorkflowQueryOptions::default());
            match tokio::time::timeout(ANSWER, asked).await {
                Ok(Ok(status)) if status.runs.contains(&run.run) => {
                    // Signal the execution, so that it polls now. If the signal fails, it polls later.
                    let _ = handle
                        .signal(LookNow, RawValue::default(), WorkflowSignalOptions::default())
                        .await;
                    return Ok(Offer {
                        claimed_by: Some(execution),
                        held_by: None,
                    });
                }
                Ok(Ok(status)) if status.is_triggering => offer.held_by = Some(execution),
                Ok(Ok(_)) => {}
                // The execution is starting or its worker is busy, so it may be about to trigger a run.
                Ok(Err(_)) | Err(_) => offer.held_by = Some(execution),
            }
        }
        Ok(offer)
    }
}

fn failure(error: ProviderError) -> ApplicationFailure {
    let builder = ApplicationFailure::builder(std::io::Error::other(error.text))
        .type_name(format!("{:?}", error.trouble))
        .non_retryable(!error.trouble.is_retryable());
    match error.retry_after {
        Some(after) => builder.next_retry_delay(after).build(),
        None => builder.build(),
    }
}

fn permanent(text: String) -> ApplicationFailure {
    failure(ProviderError::new(Trouble::Permanent, text))
}

fn transient(text: String) -> ApplicationFailure {
    failure(ProviderError::new(Trouble::Transient, text))
}

/// Sends heartbeats during a call, so that a dead worker is noticed within seconds and cancellations are
/// received.
async fn beating<T>(context: &ActivityContext, call: impl Future<Output = T>) -> Result<T, ActivityError> {
    temporal_worker_kit::beating(context, BEAT, (), call).await
}
