//! The chain workflow: runs all dependents of a stack, each one after its dependencies in the chain.
#![allow(missing_docs, reason = "the macros generate public items")]
#![allow(clippy::needless_pass_by_value, reason = "handlers own their inputs")]

use std::time::SystemTime;

use temporal_worker_kit::Lenient;
use temporalio_common::data_converters::{
    GenericPayloadConverter as _, PayloadConverter, RawValue, SerializationContext, SerializationContextData,
};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::workflows::{join, join_all};
use temporalio_sdk::{
    ChildWorkflowOptions, ParentClosePolicy, SyncWorkflowContext, WaitConditionOptions,
    WorkflowCancellationToken, WorkflowContext, WorkflowContextView, WorkflowIdReusePolicy, WorkflowResult,
};

use super::activities::ChainActivities;
use super::execution::{StackExecution, seconds};
use super::messages::{ChainReport, ChainRequest, ChainStatus, ExecutionRequest, execution_id};
use super::options::{self, cause_of};
use crate::graph::Plan;
use crate::progress::{Outcome, Progress, StackResult, Step};

/// Runs all dependents of a stack.
#[workflow]
pub struct StackDependencyChain {
    id: String,
    request: ChainRequest,
    input_problem: Option<String>,
    plan: Plan,
    /// `None` until the chain is planned.
    progress: Option<Progress>,
    cancel_requested: Option<String>,
    started: Option<SystemTime>,
}

#[workflow_methods]
impl StackDependencyChain {
    #[init]
    pub fn new(context: &WorkflowContextView, input: Lenient<ChainRequest>) -> Self {
        Self {
            id: context.workflow_id().to_owned(),
            input_problem: input.problem_if_required(),
            request: input.value,
            plan: Plan::default(),
            progress: None,
            cancel_requested: None,
            started: context.start_time(),
        }
    }

    /// Runs the chain. Never fails; errors are part of the report.
    #[run(name = "StackDependencyChain")]
    pub async fn run(context: &mut WorkflowContext<Self>) -> WorkflowResult<ChainReport> {
        let context: &WorkflowContext<Self> = context;
        let error = Self::carry_out(context).await.err();
        let error = error.map(|error| error.to_string());
        let mut report = context.state(Self::report_now);
        report.error = error;
        report.ended = context.workflow_time().and_then(seconds);
        // A canceled chain is reported too.
        let detached = || {
            let mut options = options::REPORT.options();
            options.cancellation_token = Some(WorkflowCancellationToken::new());
            options
        };
        // A summary that cannot be delivered does not fail the chain.
        if let Err(error) = context
            .execute_activity(ChainActivities::audit_chain, report.clone(), detached())
            .await
        {
            report
                .notes
                .push(format!("not in the audit log: {}", cause_of(&error)));
        }
        if let Err(error) = context
            .execute_activity(ChainActivities::announce_chain, report.clone(), detached())
            .await
        {
            report
                .notes
                .push(format!("the summary was not delivered: {}", cause_of(&error)));
        }
        Ok(report)
    }

    #[query(name = "status")]
    pub fn status(&self, _context: &WorkflowContextView) -> ChainStatus {
        let running = self
            .progress
            .iter()
            .flat_map(Progress::running)
            .map(str::to_owned)
            .collect();
        ChainStatus {
            report: self.report_now(),
            stacks: self.plan.stacks.clone(),
            running,
        }
    }

    /// Returns the workflow id of a stack's execution, if this chain has started one.
    #[query(name = "execution_of")]
    pub fn execution_of(&self, _context: &WorkflowContextView, stack: String) -> Option<String> {
        let progress = self.progress.as_ref()?;
        (progress.step(&stack) == Some(Step::Start)).then(|| execution_id(&self.id, &stack))
    }

    /// Cancels the chain: starts no more stacks and stops its runs. The argument contains who canceled it and
    /// why.
    #[signal(name = "cancel")]
    pub fn cancel(&mut self, context: &mut SyncWorkflowContext<Self>, raw: RawValue) {
        let why =
            text_of(context.payload_converter(), raw).unwrap_or_else(|| "canceled by a signal".to_owned());
        self.cancel_requested.get_or_insert(why);
    }
}

/// Why a chain ended before it was planned.
#[derive(Debug, thiserror::Error)]
enum NotPlanned {
    #[error("the input cannot be decoded: {0}")]
    Input(String),
    #[error("{0}")]
    Activity(String),
}

impl StackDependencyChain {
    async fn carry_out(context: &WorkflowContext<Self>) -> Result<(), NotPlanned> {
        if let Some(problem) = context.state(|it| it.input_problem.clone()) {
            return Err(NotPlanned::Input(problem));
        }
        let request = context.state(|it| it.request.clone());
        let planned = context
            .execute_activity(
                ChainActivities::plan_chain,
                request.clone(),
                options::PLAN.options(),
            )
            .await;
        let plan = planned.map_err(|error| NotPlanned::Activity(cause_of(&error)))?;
        let most = usize::try_from(request.settings.most_running).unwrap_or(usize::MAX);
        let ids: Vec<String> = plan.stacks.iter().map(|stack| stack.id.clone()).collect();
        context.state_mut(|it| {
            let mut progress = Progress::new(&plan, request.outcome, most);
            if let Some(why) = &it.cancel_requested {
                progress.cancel(why);
            }
            it.progress = Some(progress);
            it.plan = plan;
        });
        let stacks: Vec<_> = ids.iter().map(|id| Self::one(context, id)).collect();
        join!(join_all(stacks), Self::watch_cancellation(context));
        Ok(())
    }

    /// Waits until a stack may start, runs it, and records its result.
    async fn one(context: &WorkflowContext<Self>, id: &str) {
        let own = id.to_owned();
        // A cancellation must not end this wait: `watch_cancellation` sets a result for every stack.
        let detached = WaitConditionOptions::builder()
            .cancellation_token(WorkflowCancellationToken::new())
            .build();
        let waited = context
            .wait_condition_with_options(
                move |it| it.progress.as_ref().is_some_and(|it| it.step(&own).is_some()),
                detached,
            )
            .await;
        let step = context.state(|it| it.progress.as_ref().and_then(|it| it.step(id)));
        if waited.is_err() || step != Some(Step::Start) {
            return;
        }
        let result = Self::child(context, id).await;
        context.state_mut(|it| it.progress.as_mut().map(|progress| progress.ended(result)));
    }

    async fn child(context: &WorkflowContext<Self>, id: &str) -> StackResult {
        let (request, workflow_id) = context.state(|it| {
            let stack = it
                .plan
                .stacks
                .iter()
                .find(|stack| stack.id == id)
                .cloned()
                .unwrap_or_default();
            let request = ExecutionRequest {
                chain: it.id.clone(),
                stack,
                settings: it.request.settings.clone(),
            };
            (request, execution_id(&it.id, id))
        });
        let options = ChildWorkflowOptions::builder()
            .workflow_id(workflow_id)
            .static_summary(format!("run of {id}"))
            // The execution follows a triggered run to its end, even if the chain's workflow ends.
            .parent_close_policy(ParentClosePolicy::Abandon)
            .cancellation_token(WorkflowCancellationToken::new())
            // A second execution with this id would trigger the stack again.
            .id_reuse_policy(WorkflowIdReusePolicy::RejectDuplicate)
            .build();
        let ended = match context
            .start_child_workflow(StackExecution::run, Lenient::from(request), options)
            .await
        {
            Ok(started) => started.result().await.map_err(|error| error.to_string()),
            Err(error) => Err(format!("it could not be started: {error}")),
        };
        ended.unwrap_or_else(|why| StackResult::without_run(id, Outcome::Failed, why))
    }

    /// Forwards a cancellation to the executions, which stop their runs and return their results.
    async fn watch_cancellation(context: &WorkflowContext<Self>) {
        let over = |it: &Self| it.progress.as_ref().is_none_or(Progress::is_over);
        let waited = context
            .wait_condition(move |it| over(it) || it.cancel_requested.is_some())
            .await;
        // An error means that the workflow itself was canceled.
        if waited.is_ok() && context.state(over) {
            return;
        }
        let running: Vec<String> = context.state_mut(|it| {
            let why = it
                .cancel_requested
                .get_or_insert_with(|| "the workflow was canceled".to_owned())
                .clone();
            let Some(progress) = &mut it.progress else {
                return Vec::new();
            };
            progress.cancel(&why);
            progress
                .running()
                .map(|stack| execution_id(&it.id, stack))
                .collect()
        });
        for execution in running {
            // An execution that has just ended cannot be canceled.
            let _ = context
                .external_workflow(execution, None)
                .cancel(Some("the chain was canceled".to_owned()))
                .await;
        }
    }

    fn report_now(&self) -> ChainReport {
        ChainReport {
            chain: self.id.clone(),
            origin: self.request.origin.clone(),
            started_by: self.request.started_by.clone(),
            results: self.progress.as_ref().map(Progress::results).unwrap_or_default(),
            canceled: self.cancel_requested.clone(),
            notes: self.plan.notes.clone(),
            error: None,
            started: self.started.and_then(seconds),
            ended: None,
        }
    }
}

/// Decodes a text from a signal's arguments.
fn text_of(converter: &PayloadConverter, raw: RawValue) -> Option<String> {
    let data = SerializationContextData::None;
    let context = SerializationContext::new(&data, converter);
    let text = converter.from_payloads::<String>(&context, raw.payloads).ok();
    text.filter(|text| !text.trim().is_empty())
}
