//! Carries out a change as release 0.1.0 did. Kept for changes that one of its workers started, whose
//! histories are replayed here.

use std::time::{Duration, SystemTime};

use capacity_autopilot::{CHANGE_TIMEOUT, Next};
use temporalio_sdk::{TimerOptions, WorkflowContext, WorkflowResult, WorkflowTermination};

use crate::activities::CapacityActivities;
use crate::activity::failure;
use crate::failures::{cause_of, type_of};
use crate::messages::{ChangeReport, ChangeRequest, Redecide, StepRequest};
use crate::options;

/// How often a change may be re-evaluated before it is left to the next evaluation.
const MOST_DECISIONS: u32 = 3;

/// Carries out a change as release 0.1.0 did.
pub(crate) async fn run<W>(
    context: &WorkflowContext<W>,
    started: Option<SystemTime>,
    mut request: ChangeRequest,
) -> WorkflowResult<ChangeReport> {
    let mut state = None;
    let mut decisions = 0;
    loop {
        let bound = request
            .timeout_seconds
            .map_or(CHANGE_TIMEOUT, Duration::from_secs);
        if took(context, started) > bound {
            return outlasted(context, &request, bound).await;
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
                    // A canceled timer returns immediately; without this check the loop would spin.
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

/// Announces the change itself, because the evaluation that started it may have ended.
async fn outlasted<W>(
    context: &WorkflowContext<W>,
    request: &ChangeRequest,
    bound: Duration,
) -> WorkflowResult<ChangeReport> {
    let text = format!(
        "not finished after {} s; the operation may still complete",
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

fn took<W>(context: &WorkflowContext<W>, started: Option<SystemTime>) -> Duration {
    match (context.workflow_time(), started) {
        (Some(now), Some(started)) => now.duration_since(started).unwrap_or_default(),
        _ => Duration::ZERO,
    }
}
