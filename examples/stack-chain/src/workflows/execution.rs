//! The workflow that runs one stack of a chain: approval, maintenance window, trigger, wait, and retries.
#![allow(missing_docs, reason = "the macros generate public items")]

use std::time::{Duration, SystemTime};

use temporal_worker_kit::Lenient;
use temporalio_common::data_converters::{
    GenericPayloadConverter, RawValue, SerializationContext, SerializationContextData,
};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::workflows::select;
use temporalio_sdk::{
    CancellableFuture, SyncWorkflowContext, TimerOptions, WorkflowCancellationToken, WorkflowContext,
    WorkflowContextView, WorkflowResult,
};

use super::activities::ChainActivities;
use super::messages::{
    Decision, ExecutionRequest, ExecutionStatus, PrepareRequest, Reservation, TriggerRequest,
};
use super::options::{self, cause_of};
use crate::progress::{Outcome, StackResult};
use crate::provider::{Progress, Run, RunRef};

/// Interval between polls, as a fraction (1/20) of the run's age, so that long runs have short histories.
const POLL_SHARE: u32 = 20;
const LONGEST_POLL: Duration = Duration::from_mins(1);

/// The workflow that runs one stack.
#[workflow]
pub struct StackExecution {
    request: ExecutionRequest,
    input_problem: Option<String>,
    status: ExecutionStatus,
    decision: Option<Decision>,
    bad_signals: u32,
    was_poked: bool,
    /// Number of runs triggered.
    attempts: u32,
    started: Option<SystemTime>,
}

/// Why an execution ends before its run has ended.
enum Stop {
    Canceled,
    With(Box<StackResult>),
}

#[workflow_methods]
impl StackExecution {
    #[init]
    pub fn new(context: &WorkflowContextView, input: Lenient<ExecutionRequest>) -> Self {
        let stack = input.value.stack.id.clone();
        Self {
            input_problem: input.problem_if_required(),
            request: input.value,
            status: ExecutionStatus {
                stack,
                phase: "starting".to_owned(),
                ..ExecutionStatus::default()
            },
            decision: None,
            bad_signals: 0,
            was_poked: false,
            attempts: 0,
            started: context.start_time(),
        }
    }

    /// Runs the stack. Never fails; errors are part of the result.
    #[run(name = "StackExecution")]
    pub async fn run(context: &mut WorkflowContext<Self>) -> WorkflowResult<StackResult> {
        let context: &WorkflowContext<Self> = context;
        let mut result = match Self::carry_out(context).await {
            Ok(result) => result,
            Err(Stop::With(result)) => *result,
            Err(Stop::Canceled) => Self::stop_run(context).await,
        };
        context.state_mut(|it| {
            result.stack.clone_from(&it.request.stack.id);
            result.attempts = it.attempts;
            result.started = it.started.and_then(seconds);
            result.approval = it.decision.as_ref().map(|decision| {
                let word = if decision.approved { "approved" } else { "rejected" };
                format!("{word} by {}: {}", decision.who, decision.reason)
            });
            result.outcome.as_str().clone_into(&mut it.status.phase);
            it.status.waits_for_person = false;
        });
        result.ended = context.workflow_time().and_then(seconds);
        Ok(result)
    }

    #[query(name = "status")]
    pub fn status(&self, _context: &WorkflowContextView) -> ExecutionStatus {
        self.status.clone()
    }

    /// Receives a person's decision. An invalid one is counted and ignored.
    #[signal(name = "decide")]
    pub fn decide(&mut self, context: &mut SyncWorkflowContext<Self>, raw: RawValue) {
        let data = SerializationContextData::None;
        let serialization = SerializationContext::new(&data, context.payload_converter());
        match context
            .payload_converter()
            .from_payloads::<Decision>(&serialization, raw.payloads)
        {
            // Only the first decision is accepted.
            Ok(decision) => {
                self.decision.get_or_insert(decision);
            }
            Err(_) => self.bad_signals += 1,
        }
    }

    /// Polls the run now, because a webhook reported its end.
    #[signal(name = "run_event")]
    pub fn run_event(&mut self, _context: &mut SyncWorkflowContext<Self>, _raw: RawValue) {
        self.was_poked = true;
    }
}

impl StackExecution {
    async fn carry_out(context: &WorkflowContext<Self>) -> Result<StackResult, Stop> {
        if let Some(problem) = context.state(|it| it.input_problem.clone()) {
            return Ok(StackResult::without_run(
                "",
                Outcome::Failed,
                format!("the input cannot be decoded: {problem}"),
            ));
        }
        Self::approval(context).await?;
        let retry = context.state(|it| it.request.stack.retry);
        loop {
            // Before each attempt, because the window may have closed since the last one.
            Self::window(context).await?;
            Self::room(context).await?;
            let run = Self::trigger(context).await?;
            let result = Self::wait_for(context, run).await?;
            let attempts = context.state(|it| it.attempts);
            // After a timeout, the run is still active, so a new one would only queue behind it.
            if result.outcome != Outcome::Failed || attempts >= retry.attempts {
                return Ok(result);
            }
            let wait = Duration::from_secs(retry.wait_seconds);
            Self::phase(
                context,
                format!(
                    "run {attempts} of {} failed, next one in {} s",
                    retry.attempts,
                    wait.as_secs()
                ),
            );
            Self::sleep(context, wait, "before the next attempt").await?;
        }
    }

    async fn approval(context: &WorkflowContext<Self>) -> Result<(), Stop> {
        if !context.state(|it| it.request.stack.is_critical) {
            return Ok(());
        }
        let bound = Duration::from_secs(
            context
                .state(|it| it.request.settings.approval_timeout_seconds)
                .max(1),
        );
        Self::phase(context, "waits for approval".to_owned());
        context.state_mut(|it| it.status.waits_for_person = true);
        let mut timer = context.timer(
            TimerOptions::builder(bound)
                .summary("approval".to_owned())
                .build(),
        );
        select! {
            _ = timer => {}
            _ = context.wait_condition(|it| it.decision.is_some()) => timer.cancel(),
        }
        Self::unless_canceled(context)?;
        context.state_mut(|it| it.status.waits_for_person = false);
        let refused = |why: String| {
            Err(Stop::With(Box::new(StackResult::without_run(
                "",
                Outcome::Rejected,
                why,
            ))))
        };
        match context.state(|it| it.decision.clone()) {
            Some(decision) if decision.approved => Ok(()),
            Some(Decision { who, reason, .. }) => refused(format!("rejected by {who}: {reason}")),
            None => refused(format!("no approval within {} s", bound.as_secs())),
        }
    }

    /// Waits for the maintenance window. An activity decides, because time zone rules can change between
    /// versions.
    async fn window(context: &WorkflowContext<Self>) -> Result<(), Stop> {
        let stack = context.state(|it| it.request.stack.clone());
        if stack.windows.is_empty() && stack.blackouts.is_empty() {
            return Ok(());
        }
        loop {
            let asked = context
                .execute_activity(
                    ChainActivities::window_wait,
                    stack.clone(),
                    options::SHORT.options(),
                )
                .await;
            let wait = match asked {
                Ok(Some(seconds)) => Duration::from_secs(seconds),
                Ok(None) => return Ok(()),
                Err(error) => return Err(Self::gave_up(context, cause_of(&error))),
            };
            Self::phase(
                context,
                format!("waits {} s for its maintenance window", wait.as_secs()),
            );
            Self::sleep(context, wait, "maintenance window").await?;
        }
    }

    /// Waits until the limits of runs per hour permit a run.
    async fn room(context: &WorkflowContext<Self>) -> Result<(), Stop> {
        let reservation = context.state(|it| Reservation {
            // The same for each retry of the activity, and different for the next attempt.
            key: format!("{}/{}/{}", it.request.chain, it.request.stack.id, it.attempts),
            stack: it.request.stack.id.clone(),
            most_of_all: it.request.settings.most_runs_per_hour,
            most_of_stack: it.request.stack.max_per_hour,
        });
        if reservation.most_of_all.is_none() && reservation.most_of_stack.is_none() {
            return Ok(());
        }
        loop {
            let asked = context
                .execute_activity(
                    ChainActivities::reserve,
                    reservation.clone(),
                    options::SHORT.options(),
                )
                .await;
            let wait = match asked {
                Ok(0) => return Ok(()),
                Ok(milliseconds) => Duration::from_millis(milliseconds),
                Err(error) => return Err(Self::gave_up(context, cause_of(&error))),
            };
            Self::phase(
                context,
                format!("waits {} s for the limit of runs per hour", wait.as_secs()),
            );
            Self::sleep(context, wait, "runs per hour").await?;
        }
    }

    async fn trigger(context: &WorkflowContext<Self>) -> Result<Run, Stop> {
        Self::phase(context, "triggering a run".to_owned());
        let question = context.state(|it| PrepareRequest {
            chain: it.request.chain.clone(),
            stack: it.request.stack.clone(),
        });
        let prepared = context
            .execute_activity(ChainActivities::prepare, question, options::SHORT.options())
            .await;
        let seen = match prepared {
            Ok(prepared) => match prepared.refusal {
                Some(why) => {
                    return Err(Stop::With(Box::new(StackResult::without_run(
                        "",
                        Outcome::Skipped,
                        why,
                    ))));
                }
                None => prepared.seen,
            },
            Err(error) => return Err(Self::gave_up(context, cause_of(&error))),
        };
        let request = context.state_mut(|it| {
            it.attempts += 1;
            it.status.is_triggering = true;
            TriggerRequest {
                execution: super::messages::execution_id(&it.request.chain, &it.request.stack.id),
                stack: it.request.stack.id.clone(),
                seen,
            }
        });
        // Not canceled with the workflow: the id of a triggered run must be known, or a canceled chain could
        // not stop it.
        let mut detached = options::TRIGGER.options();
        detached.cancellation_token = Some(WorkflowCancellationToken::new());
        let triggered = context
            .execute_activity(ChainActivities::trigger, request, detached)
            .await;
        context.state_mut(|it| it.status.is_triggering = false);
        match triggered {
            Ok(run) => {
                Self::saw(context, &run);
                context.state_mut(|it| it.status.runs.push(run.id.clone()));
                Self::unless_canceled(context)?;
                Ok(run)
            }
            Err(error) => Err(Self::gave_up(context, cause_of(&error))),
        }
    }

    async fn wait_for(context: &WorkflowContext<Self>, triggered: Run) -> Result<StackResult, Stop> {
        let (at, settings, label) = context.state(|it| {
            let at = RunRef {
                stack: it.request.stack.id.clone(),
                run: triggered.id.clone(),
            };
            (at, it.request.settings.clone(), it.request.stack.timeout_seconds)
        });
        let bound = Duration::from_secs(label.unwrap_or(settings.run_timeout_seconds));
        // The workflow's time, because the machine's would differ in a replay.
        let begun = context.workflow_time();
        let took = || match (context.workflow_time(), begun) {
            (Some(now), Some(begun)) => now.duration_since(begun).unwrap_or_default(),
            _ => Duration::ZERO,
        };
        let mut run = triggered;
        loop {
            Self::saw(context, &run);
            if let Some(outcome) = outcome_of(run.progress) {
                return Ok(result_of(run, outcome));
            }
            if took() >= bound {
                let mut result = result_of(run, Outcome::TimedOut);
                result.why = Some(format!(
                    "the run did not end within {} s; it was left running",
                    bound.as_secs()
                ));
                return Ok(result);
            }
            Self::pause(context, poll_interval(took(), settings.poll_ms)).await?;
            let read = context
                .execute_activity(ChainActivities::read_run, at.clone(), options::POLL.options())
                .await;
            match read {
                Ok(Some(fresh)) => run = fresh,
                Ok(None) => {
                    let mut result = result_of(run, Outcome::Failed);
                    result.why = Some("the run no longer exists".to_owned());
                    return Ok(result);
                }
                Err(error) => return Err(Self::gave_up(context, cause_of(&error))),
            }
        }
    }

    /// Waits until the next poll, or less if a webhook reports the end of the run.
    async fn pause(context: &WorkflowContext<Self>, wait: Duration) -> Result<(), Stop> {
        let mut timer = context.timer(
            TimerOptions::builder(wait)
                .summary("until the next poll".to_owned())
                .build(),
        );
        select! {
            _ = timer => {}
            _ = context.wait_condition(|it| it.was_poked) => timer.cancel(),
        }
        context.state_mut(|it| it.was_poked = false);
        Self::unless_canceled(context)
    }

    async fn sleep(context: &WorkflowContext<Self>, wait: Duration, why: &str) -> Result<(), Stop> {
        let _ = context
            .timer(TimerOptions::builder(wait).summary(why.to_owned()).build())
            .await;
        Self::unless_canceled(context)
    }

    /// Stops the run of a canceled chain, and waits until it has stopped if possible.
    async fn stop_run(context: &WorkflowContext<Self>) -> StackResult {
        let at = context.state(|it| {
            let run = it.status.runs.last().cloned()?;
            Some(RunRef {
                stack: it.request.stack.id.clone(),
                run,
            })
        });
        let Some(at) = at else {
            return StackResult::without_run(
                "",
                Outcome::ChainCanceled,
                "canceled before a run was triggered",
            );
        };
        Self::phase(context, "stopping the run".to_owned());
        let mut detached = options::TRIGGER.options();
        detached.cancellation_token = Some(WorkflowCancellationToken::new());
        let stopped = context
            .execute_activity(ChainActivities::stop_run, at.clone(), detached)
            .await;
        let (state, url) = context.state(|it| (it.status.state.clone(), it.status.url.clone()));
        let why = match stopped {
            Ok(()) => "the run was asked to stop".to_owned(),
            Err(error) => format!(
                "the run could not be stopped; stop it in the CI system: {}",
                cause_of(&error)
            ),
        };
        StackResult {
            run: Some(at.run),
            state,
            url,
            ..StackResult::without_run("", Outcome::ChainCanceled, why)
        }
    }

    fn saw(context: &WorkflowContext<Self>, run: &Run) {
        context.state_mut(|it| {
            let waits = run.progress == Progress::Waiting;
            it.status.waits_for_person = waits;
            it.status.phase = if waits {
                format!("waits for a person to confirm {}", run.url)
            } else {
                "running".to_owned()
            };
            it.status.state = Some(run.state.clone());
            it.status.url = Some(run.url.clone());
        });
    }

    fn phase(context: &WorkflowContext<Self>, phase: String) {
        context.state_mut(|it| it.status.phase = phase);
    }

    /// Returns the reason why an activity failed permanently; if the execution was canceled, that is the
    /// reason.
    fn gave_up(context: &WorkflowContext<Self>, why: String) -> Stop {
        if context.cancellation_token().is_cancelled() {
            return Stop::Canceled;
        }
        let run = context.state(|it| it.status.runs.last().cloned());
        Stop::With(Box::new(StackResult {
            run,
            ..StackResult::without_run("", Outcome::Failed, why)
        }))
    }

    fn unless_canceled(context: &WorkflowContext<Self>) -> Result<(), Stop> {
        if context.cancellation_token().is_cancelled() {
            Err(Stop::Canceled)
        } else {
            Ok(())
        }
    }
}

/// Returns the interval until the next poll of a run of this age.
fn poll_interval(age: Duration, least_ms: u64) -> Duration {
    // Not `clamp`, which panics if the configured minimum exceeds the maximum.
    let interval = (age / POLL_SHARE).min(LONGEST_POLL);
    interval.max(Duration::from_millis(least_ms.max(1)))
}

fn outcome_of(progress: Progress) -> Option<Outcome> {
    match progress {
        Progress::Active | Progress::Waiting => None,
        Progress::Succeeded => Some(Outcome::Succeeded),
        Progress::Failed => Some(Outcome::Failed),
        Progress::Canceled => Some(Outcome::Canceled),
        Progress::Skipped => Some(Outcome::Skipped),
    }
}

fn result_of(run: Run, outcome: Outcome) -> StackResult {
    let why = (outcome != Outcome::Succeeded).then(|| format!("the run ended as {}", run.state));
    StackResult {
        outcome,
        run: Some(run.id),
        branch: Some(run.branch),
        state: Some(run.state),
        url: Some(run.url),
        why,
        ..StackResult::default()
    }
}

pub(super) fn seconds(time: SystemTime) -> Option<u64> {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .ok()
        .map(|since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::young(10, 5_000, 5)]
    #[case::older(600, 5_000, 30)]
    #[case::old(36_000, 5_000, 60)]
    #[case::minimum_above_the_maximum(10, 120_000, 120)]
    fn the_poll_interval_grows_with_the_run(#[case] age: u64, #[case] least_ms: u64, #[case] seconds: u64) {
        let interval = poll_interval(Duration::from_secs(age), least_ms);
        assert_eq!(interval, Duration::from_secs(seconds));
    }
}
