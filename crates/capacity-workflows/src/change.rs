//! Carrying out one change: step by step, with durable timers in between. The workflow id is the mutual exclusion.
#![allow(missing_docs, reason = "the macros make public items of their own")]

use std::time::{Duration, SystemTime};

use capacity_autopilot::{CHANGE_TIMEOUT, Next};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    TimerOptions, WorkflowContext, WorkflowContextView, WorkflowResult, WorkflowTermination,
};

use crate::activities::{CapacityActivities, failure};
use crate::failures::{cause_of, type_of};
use crate::lenient::Lenient;
use crate::messages::{ChangeReport, ChangeRequest, Redecide, StepRequest};
use crate::options;

/// How often a change may be decided again before it is left to the next evaluation.
const MOST_DECISIONS: u32 = 3;

/// One change of one namespace.
#[workflow]
pub struct CapacityChange {
    request: ChangeRequest,
    input_problem: Option<String>,
    started: Option<SystemTime>,
}

#[workflow_methods]
impl CapacityChange {
    #[init]
    pub fn new(context: &WorkflowContextView, input: Lenient<ChangeRequest>) -> Self {
        Self {
            request: input.value,
            input_problem: input.problem,
            started: context.start_time(),
        }
    }

    #[run(name = "CapacityChange")]
    pub async fn run(context: &mut WorkflowContext<Self>) -> WorkflowResult<ChangeReport> {
        let mut request = context.state(|it| it.request.clone());
        if let Some(problem) = context.state(|it| it.input_problem.clone()) {
            return Ok(ChangeReport::of(
                &request,
                "refused",
                Some(format!("it was started with {problem}")),
            ));
        }
        let mut state = None;
        let mut decisions = 0;
        loop {
            let bound = request
                .timeout_seconds
                .map_or(CHANGE_TIMEOUT, Duration::from_secs);
            if Self::took(context) > bound {
                return Self::outlasted(context, &request, bound).await;
            }
            let step = StepRequest {
                request: request.clone(),
                state: state.take(),
            };
            let stepped = context
                .execute_activity(CapacityActivities::change_step, step, options::STEP.options())
                .await;
            let next = match stepped {
                Ok(result) => result.next,
                Err(error) if error.as_cancelled().is_some() => return Err(error.into()),
                Err(error) => {
                    let outcome = if type_of(&error) == Some(failure::DRY_RUN) {
                        "refused"
                    } else {
                        "failed"
                    };
                    return Ok(ChangeReport::of(&request, outcome, Some(cause_of(&error))));
                }
            };
            match next {
                Next::Ended(ending) => {
                    let mut report = ChangeReport::of(&request, ending.outcome.as_str(), ending.error);
                    report.spec_differences = ending.spec_differences;
                    return Ok(report);
                }
                Next::After {
                    delay,
                    state: following,
                } => {
                    state = Some(following);
                    if !delay.is_zero() {
                        let _ = context
                            .timer(
                                TimerOptions::builder(delay)
                                    .summary("until the next step".to_owned())
                                    .build(),
                            )
                            .await;
                        // A cancelled timer returns at once: without this look the loop would spin.
                        if context.cancellation_token().is_cancelled() {
                            return Err(WorkflowTermination::cancelled());
                        }
                    }
                }
                Next::DecideAgain { found } => {
                    decisions += 1;
                    if decisions > MOST_DECISIONS {
                        return Ok(ChangeReport::of(&request, "refused", Some(found)));
                    }
                    let question = Redecide {
                        request: request.clone(),
                        found,
                    };
                    let decided = context
                        .execute_activity(
                            CapacityActivities::decide_again,
                            question,
                            options::OBSERVE.options(),
                        )
                        .await;
                    match decided {
                        Ok(answer) => match answer.request {
                            Some(fresh) => {
                                request = ChangeRequest {
                                    timeout_seconds: request.timeout_seconds,
                                    ..fresh
                                }
                            }
                            None => return Ok(ChangeReport::of(&request, "refused", Some(answer.dropped))),
                        },
                        Err(error) if error.as_cancelled().is_some() => return Err(error.into()),
                        Err(error) => {
                            return Ok(ChangeReport::of(&request, "failed", Some(cause_of(&error))));
                        }
                    }
                }
            }
        }
    }
}

impl CapacityChange {
    /// It tells people itself: the evaluation that began it may be over.
    async fn outlasted(
        context: &WorkflowContext<Self>,
        request: &ChangeRequest,
        bound: Duration,
    ) -> WorkflowResult<ChangeReport> {
        let text = format!(
            "not done after {} s; the operation may yet complete",
            bound.as_secs()
        );
        let mut report = ChangeReport::of(request, "failed", Some(text));
        let told = context
            .execute_activity(
                CapacityActivities::announce_change,
                report.clone(),
                options::ANNOUNCE.options(),
            )
            .await;
        report.announced = told.unwrap_or(false);
        Ok(report)
    }

    fn took(context: &WorkflowContext<Self>) -> Duration {
        match (context.workflow_time(), context.state(|it| it.started)) {
            (Some(now), Some(started)) => now.duration_since(started).unwrap_or_default(),
            _ => Duration::ZERO,
        }
    }
}
