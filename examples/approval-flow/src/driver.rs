//! The driver workflow, which interprets a definition. It runs steps in parallel once the steps that they
//! need have ended.
#![allow(missing_docs, reason = "the macros generate public items")]

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use temporal_worker_kit::Lenient;
use temporalio_client::RetryPolicy;
use temporalio_common::data_converters::{
    GenericPayloadConverter, RawValue, SerializationContext, SerializationContextData,
};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::workflows::{join_all, select};
use temporalio_sdk::{
    ActivityCloseTimeouts, ActivityOptions, ApplicationFailure, CancellableFuture, SyncWorkflowContext,
    TimerOptions, WorkflowContext, WorkflowContextView, WorkflowResult, WorkflowTermination,
};

use crate::definition::{Definition, Step};
use crate::messages::{Answer, Decision, Verdict};
use crate::reference::Values;
use crate::steps::{Call, Steps};

/// Input of the driver workflow.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DriverInput {
    /// Definition to run.
    pub definition: Definition,
    /// Values for `${input.NAME}`.
    pub input: BTreeMap<String, Value>,
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum StepEnd {
    /// The step succeeded.
    Done {
        /// Value that the activity returned.
        output: Value,
    },
    /// Its condition was false, or a step that it needs was skipped.
    Skipped,
    /// It failed, was rejected, or its approval expired.
    Failed {
        /// Reason for the failure.
        reason: String,
    },
    /// A step that this one needs has failed.
    Blocked,
}

/// The result of a definition.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DriverOutcome {
    /// Whether all steps ended without a failure.
    pub ok: bool,
    /// Result of each step, by id.
    pub steps: BTreeMap<String, StepEnd>,
}

/// A decision about a step.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StepVerdict {
    /// Id of the step; optional if exactly one step is waiting.
    pub step: Option<String>,
    /// Person who decided.
    pub who: String,
    /// Reason for the decision.
    pub reason: String,
}

/// The driver workflow.
#[workflow]
pub struct Driver {
    input: DriverInput,
    problem: Option<String>,
    ends: BTreeMap<String, StepEnd>,
    waiting: BTreeMap<String, Option<Decision>>,
}

/// A rejected input.
#[derive(Debug, thiserror::Error)]
#[error("invalid input: {0}")]
struct InvalidInput(String);

#[workflow_methods]
impl Driver {
    /// Stores the input. Cannot fail to decode.
    #[init]
    pub fn new(_context: &WorkflowContextView, input: Lenient<DriverInput>) -> Self {
        Self {
            input: input.value,
            problem: input.problem,
            ends: BTreeMap::new(),
            waiting: BTreeMap::new(),
        }
    }

    /// Runs all steps.
    #[run(name = "Driver")]
    pub async fn run(context: &mut WorkflowContext<Self>) -> WorkflowResult<DriverOutcome> {
        // Shared, because all steps use it at the same time.
        let context = &*context;
        let (definition, problem) =
            context.state(|state| (state.input.definition.clone(), state.problem.clone()));
        if let Some(problem) = problem.or_else(|| definition.steps.is_empty().then(|| "no steps".to_owned()))
        {
            let failure = ApplicationFailure::builder(InvalidInput(problem));
            return Err(failure
                .type_name("InvalidInput".to_owned())
                .non_retryable(true)
                .build()
                .into());
        }
        let steps: Vec<_> = definition
            .steps
            .iter()
            .map(|step| Self::step(context, step.clone()))
            .collect();
        for ended in join_all(steps).await {
            // Only a cancellation is an error here; a step that fails is a result.
            ended?;
        }
        let steps = context.state(|state| state.ends.clone());
        let ok = steps
            .values()
            .all(|end| matches!(end, StepEnd::Done { .. } | StepEnd::Skipped));
        Ok(DriverOutcome { ok, steps })
    }

    /// Approves a waiting step.
    #[signal(name = "approve")]
    pub fn approve(&mut self, context: &mut SyncWorkflowContext<Self>, raw: RawValue) {
        let verdict = verdict(context, raw);
        self.decide(true, verdict);
    }

    /// Rejects a waiting step.
    #[signal(name = "reject")]
    pub fn reject(&mut self, context: &mut SyncWorkflowContext<Self>, raw: RawValue) {
        let verdict = verdict(context, raw);
        self.decide(false, verdict);
    }

    /// Approves a waiting step and returns whether the decision was accepted.
    #[update(name = "approve")]
    pub fn approve_and_answer(&mut self, context: &mut SyncWorkflowContext<Self>, raw: RawValue) -> Answer {
        let verdict = verdict(context, raw);
        self.decide(true, verdict)
    }

    /// Rejects a waiting step and returns whether the decision was accepted.
    #[update(name = "reject")]
    pub fn reject_and_answer(&mut self, context: &mut SyncWorkflowContext<Self>, raw: RawValue) -> Answer {
        let verdict = verdict(context, raw);
        self.decide(false, verdict)
    }

    /// Returns the results of the steps that have ended.
    #[query(name = "steps")]
    pub fn steps(&self, _context: &WorkflowContextView) -> BTreeMap<String, StepEnd> {
        self.ends.clone()
    }
}

impl Driver {
    fn decide(&mut self, approved: bool, verdict: StepVerdict) -> Answer {
        let refused = |sentence: String| Answer {
            accepted: false,
            sentence,
        };
        let open: Vec<String> = self
            .waiting
            .iter()
            .filter(|(_, decision)| decision.is_none())
            .map(|(id, _)| id.clone())
            .collect();
        let step = match (verdict.step, open.as_slice()) {
            (Some(step), _) if open.contains(&step) => step,
            (Some(step), _) => return refused(format!("the step `{step}` is not waiting for approval")),
            (None, [step]) => step.clone(),
            (None, []) => return refused("no step is waiting for approval".to_owned()),
            (None, several) => {
                return refused(format!(
                    "several steps are waiting; specify one of: {}",
                    several.join(", ")
                ));
            }
        };
        let decision = Decision {
            approved,
            verdict: Verdict {
                who: verdict.who,
                reason: verdict.reason,
            },
        };
        let sentence = format!("{step}: {}", decision.sentence());
        self.waiting.insert(step, Some(decision));
        Answer {
            accepted: true,
            sentence,
        }
    }

    async fn step(context: &WorkflowContext<Self>, step: Step) -> Result<(), WorkflowTermination> {
        let needs = step.needs.clone();
        let ready =
            context.wait_condition(move |state| needs.iter().all(|need| state.ends.contains_key(need)));
        ready.await.map_err(|_| WorkflowTermination::cancelled())?;
        let id = step.id.clone();
        let end = match context.state(|state| state.before(&step)) {
            Some(end) => end,
            None => Self::perform(context, step).await?,
        };
        context.state_mut(|state| state.ends.insert(id, end));
        Ok(())
    }

    /// Returns the result of a step that cannot run.
    fn before(&self, step: &Step) -> Option<StepEnd> {
        let ends: Vec<&StepEnd> = step.needs.iter().filter_map(|need| self.ends.get(need)).collect();
        if ends
            .iter()
            .any(|end| matches!(end, StepEnd::Failed { .. } | StepEnd::Blocked))
        {
            return Some(StepEnd::Blocked);
        }
        let skipped = ends.iter().any(|end| **end == StepEnd::Skipped)
            || step
                .when
                .as_ref()
                .is_some_and(|condition| !condition.holds(&self.values()));
        skipped.then_some(StepEnd::Skipped)
    }

    fn values(&self) -> Values {
        let outputs = self.ends.iter().filter_map(|(id, end)| match end {
            StepEnd::Done { output } => Some((id.clone(), output.clone())),
            StepEnd::Skipped | StepEnd::Failed { .. } | StepEnd::Blocked => None,
        });
        Values {
            input: self.input.input.clone(),
            outputs: outputs.collect(),
        }
    }

    async fn perform(context: &WorkflowContext<Self>, step: Step) -> Result<StepEnd, WorkflowTermination> {
        let mut output = Value::Null;
        if let Some(expires) = step.approval {
            let decision = Self::wait_for_approval(context, &step.id, expires).await?;
            match decision {
                Some(decision) if decision.approved => output = Value::String(decision.sentence()),
                Some(decision) => {
                    return Ok(StepEnd::Failed {
                        reason: decision.sentence(),
                    });
                }
                None => {
                    return Ok(StepEnd::Failed {
                        reason: format!("no approval within {expires} s"),
                    });
                }
            }
        }
        let Some(activity) = step.activity.clone() else {
            return Ok(StepEnd::Done { output });
        };
        let input = context.state(|state| state.values().fill(&step.input));
        let call = Call { activity, input };
        match context.execute_activity(Steps::step, call, options(&step)).await {
            Ok(output) => Ok(StepEnd::Done { output }),
            Err(error) if error.as_cancelled().is_some() => Err(WorkflowTermination::cancelled()),
            Err(error) => {
                let reason = error
                    .cause()
                    .map_or_else(|| error.to_string(), ToString::to_string);
                Ok(StepEnd::Failed { reason })
            }
        }
    }

    async fn wait_for_approval(
        context: &WorkflowContext<Self>,
        id: &str,
        expires: u64,
    ) -> Result<Option<Decision>, WorkflowTermination> {
        context.state_mut(|state| state.waiting.insert(id.to_owned(), None));
        let options = TimerOptions::builder(Duration::from_secs(expires))
            .summary(format!("approval of {id}"))
            .build();
        let mut timer = context.timer(options);
        select! {
            _ = timer => {}
            decided = context.wait_condition(|state| state.waiting.get(id).is_some_and(Option::is_some)) => {
                timer.cancel();
                if decided.is_err() {
                    return Err(WorkflowTermination::cancelled());
                }
            }
        }
        if context.cancellation_token().is_cancelled() {
            return Err(WorkflowTermination::cancelled());
        }
        // Removed after an expiry too: later decisions are refused, and one at the same moment still counts.
        Ok(context.state_mut(|state| state.waiting.remove(id).flatten()))
    }
}

fn options(step: &Step) -> ActivityOptions {
    // Other clients may start unvalidated definitions, and 0 attempts would mean no limit.
    let retry = RetryPolicy::builder()
        .initial_interval(Duration::from_secs(step.retry_after_seconds.max(1)))
        .maximum_interval(Duration::from_mins(1))
        .maximum_attempts(step.attempts.max(1))
        .build();
    let timeouts = ActivityCloseTimeouts::StartToClose(Duration::from_secs(step.timeout_seconds.max(1)));
    ActivityOptions::with_close_timeouts(timeouts)
        .retry_policy(retry)
        .summary(step.id.clone())
        .build()
}

fn verdict(context: &SyncWorkflowContext<Driver>, raw: RawValue) -> StepVerdict {
    let none = SerializationContextData::None;
    let converter = context.payload_converter();
    let serialization = SerializationContext::new(&none, converter);
    match converter.from_payloads::<Value>(&serialization, raw.payloads) {
        Ok(Value::String(reason)) => StepVerdict {
            reason,
            ..StepVerdict::default()
        },
        Ok(value) => serde_json::from_value(value).unwrap_or_default(),
        Err(_) => StepVerdict::default(),
    }
}
