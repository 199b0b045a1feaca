//! The controller of release 0.1.0: it evaluated, carried out the changes of the evaluation, and only then
//! handled new events. Kept for controllers that started under that release. Their histories are replayed
//! here until a worker of this release asks them to rotate into the event loop.

use std::time::Duration;

use futures::FutureExt;
use temporal_worker_kit::Lenient;
use temporalio_common::error::{ChildWorkflowStartError, StartChildWorkflowExecutionFailedCause};
use temporalio_sdk::workflows::{join_all, select};
use temporalio_sdk::{
    CancellableFuture, ChildWorkflowOptions, ContinueAsNewOptions, ParentClosePolicy, TimerOptions,
    WorkflowCancellationToken, WorkflowContext, WorkflowIdReusePolicy, WorkflowResult,
};

use super::event_loop::keep_apart;
use super::state::{CapacityManagementWorkflow, MOST_EVENTS, ROTATE_AFTER};
use crate::activities::CapacityActivities;
use crate::change::CapacityChange;
use crate::failures::cause_of;
use crate::messages::{
    Announcement, ChangeReport, ChangeRequest, ControllerPhase, ControllerState, EvaluationReport,
    ObserveRequest,
};
use crate::names::change_id;
use crate::options;
use crate::time::milliseconds;

type Context = WorkflowContext<CapacityManagementWorkflow>;

/// Runs the controller loop of release 0.1.0.
pub(super) async fn run(context: &Context) -> WorkflowResult<EvaluationReport> {
    loop {
        if context
            .wait_condition(|it| it.legacy.requested || it.rotation_is_asked())
            .await
            .is_err()
        {
            return CapacityManagementWorkflow::canceled(context).await;
        }
        if rotates(context) {
            return hand_on(context).await;
        }
        if !context.state(|it| it.legacy.requested) {
            continue;
        }
        keep_apart(context).await;
        if context.cancellation_token().is_cancelled() {
            return CapacityManagementWorkflow::canceled(context).await;
        }
        let now = context.workflow_time().and_then(milliseconds);
        context.state_mut(|it| {
            it.legacy.requested = false;
            it.legacy.evaluating_raise_only = std::mem::take(&mut it.legacy.raise_only);
            it.phase = ControllerPhase::Evaluating;
            it.full_started += u64::from(!it.legacy.evaluating_raise_only);
            it.state.last_start_ms = now;
            it.legacy.begun.clear();
            it.legacy.ended.clear();
            // Changes that outlived the last evaluation keep running; their ids prevent collisions.
            it.legacy.running = 0;
            it.legacy.halt = None;
        });
        let report = evaluate_once(context).await;
        let due = context.state_mut(|it| {
            it.state.evaluations += 1;
            it.full_done = it.full_started;
            it.in_run += 1;
            // A failed evaluation does not know the account, so the earlier one is kept.
            it.state.account = it.state.account.take().or_else(|| report.account.clone());
            // Re-evaluate immediately for the changes that were left out.
            if report
                .changes
                .iter()
                .any(|change| change.outcome == "not_started" && it.legacy.halt.is_none())
            {
                it.legacy.request_again();
            }
            it.state.last = Some(report);
            it.phase = ControllerPhase::Waiting;
            it.in_run >= ROTATE_AFTER
        });
        if context.cancellation_token().is_cancelled() {
            return CapacityManagementWorkflow::canceled(context).await;
        }
        let rotate = rotates(context)
            || (due && CapacityManagementWorkflow::is_old_enough(context))
            || context.continue_as_new_suggested()
            || context.history_length() > MOST_EVENTS;
        if !rotate {
            continue;
        }
        return hand_on(context).await;
    }
}

/// Returns whether a worker of a newer release requested the event loop. The marker's id contains the number of
/// signals seen, so that a signal that a worker of release 0.1.0 ignored stays ignored in replay.
fn rotates(context: &Context) -> bool {
    let seen = context.state_mut(CapacityManagementWorkflow::take_rotation);
    seen.is_some_and(|seen| context.patched(&format!("rotate-{seen}")))
}

/// Passes the state on to a new run, which starts in the event loop of the release that runs it first.
async fn hand_on(context: &Context) -> WorkflowResult<EvaluationReport> {
    // From here on, callers get the report that was just made: waiting for the next one would deadlock the
    // drain.
    context.state_mut(|it| it.phase = ControllerPhase::Draining);
    CapacityManagementWorkflow::drain(context).await;
    let next = context.state(|it| ControllerState {
        pending: it.legacy.requested,
        pending_scale_up_only: it.legacy.raise_only,
        ..it.state.clone()
    });
    match context.continue_as_new(Lenient::from(next), ContinueAsNewOptions::default())? {}
}

/// Evaluates once. Never fails: a failure is a report with an error.
async fn evaluate_once(context: &Context) -> EvaluationReport {
    let request = context.state(|it| ObserveRequest {
        number: it.state.evaluations + 1,
        account: it.state.account.clone(),
        paused: it.state.paused.is_some(),
        scale_up_only: it.legacy.evaluating_raise_only,
        ledgers: it.state.ledgers.clone(),
    });
    let number = request.number;
    let observed = context
        .execute_activity(
            CapacityActivities::observe_and_decide,
            request,
            options::OBSERVE.options(),
        )
        .await;
    let mut report = match observed {
        Err(error) => EvaluationReport {
            number,
            error: Some(cause_of(&error)),
            ..EvaluationReport::default()
        },
        Ok(observation) => {
            let mut report = observation.report;
            context.state_mut(|it| {
                it.state.next_tick = observation.next_tick;
                it.state.apart_ms = observation.apart_ms;
                it.state.ledgers = observation.ledgers;
                // Re-evaluate immediately for the changes that did not fit into one evaluation.
                if observation.changes_left_out > 0 {
                    it.legacy.request_again();
                }
            });
            if !observation.changes.is_empty() {
                let (most, wait) = (
                    observation.max_concurrent.max(1),
                    Duration::from_secs(observation.wait_seconds.max(1)),
                );
                report.changes = carry_out(context, &observation.changes, most, wait).await;
            }
            report
        }
    };
    report = report.summed_up();
    // Always notify; a failed notification never fails an evaluation.
    let announcement = Announcement {
        report: report.clone(),
        standing: context.state(|it| it.state.standing.clone()),
        ..Announcement::default()
    };
    let told = context
        .execute_activity(
            CapacityActivities::announce,
            announcement,
            options::ANNOUNCE.options(),
        )
        .await;
    if let Ok(Some(standing)) = told {
        context.state_mut(|it| it.state.standing = standing);
    }
    report
}
/// Carries out changes within a time limit, one at a time until one has been verified, then several at a time.
async fn carry_out(
    context: &Context,
    changes: &[ChangeRequest],
    most: u32,
    wait: Duration,
) -> Vec<ChangeReport> {
    let mut bound = context.timer(TimerOptions::builder(wait).summary("bound".to_owned()).build());
    let work = async {
        let mut waiting = changes.iter();
        for change in waiting.by_ref() {
            one_change(context, change, 1).await;
            if context.state(|it| {
                it.legacy
                    .ended
                    .get(&change.namespace)
                    .is_some_and(ChangeReport::is_success)
            }) {
                break;
            }
        }
        let rest: Vec<_> = waiting.map(|change| one_change(context, change, most)).collect();
        join_all(rest).await;
    };
    let mut work = Box::pin(work.fuse());
    select! {
        () = work => bound.cancel(),
        _ = bound => {}
    }
    drop(work);
    let halt = context.state(|it| it.legacy.halt.clone());
    let report = |change: &ChangeRequest| {
        if let Some(ended) = context.state(|it| it.legacy.ended.get(&change.namespace).cloned()) {
            return ended;
        }
        let begun = context.state(|it| it.legacy.begun.contains(&change.namespace));
        let (outcome, why) = if begun {
            (
                "in_progress",
                Some("still in progress when the evaluation ended; the next one joins it".to_owned()),
            )
        } else {
            (
                "not_started",
                halt.clone()
                    .or_else(|| Some("the evaluation ran out of time".to_owned())),
            )
        };
        ChangeReport::of(change, outcome, why)
    };
    changes.iter().map(report).collect()
}
async fn one_change(context: &Context, change: &ChangeRequest, most: u32) {
    if context
        .wait_condition(move |it| it.legacy.running < most)
        .await
        .is_err()
    {
        return;
    }
    // Nothing awaits between the condition and this point, so no other change has taken the slot.
    let may_begin = context.state_mut(|it| {
        if it.legacy.halt.is_some() {
            return false;
        }
        it.legacy.running += 1;
        it.legacy.begun.insert(change.namespace.clone());
        true
    });
    if !may_begin {
        return;
    }
    let report = child(context, change).await;
    context.state_mut(|it| {
        it.legacy.running -= 1;
        if !report.spec_differences.is_empty() {
            let fields = report.spec_differences.join(", ");
            it.legacy.halt = Some(format!(
                "after the change of {}, its spec differs in {fields}",
                report.namespace
            ));
        }
        it.legacy.ended.insert(change.namespace.clone(), report);
    });
}
async fn child(context: &Context, change: &ChangeRequest) -> ChangeReport {
    let id = change_id(&change.namespace);
    let child = ChildWorkflowOptions::builder()
        .workflow_id(id.clone())
        .static_summary(format!("capacity of {}", change.namespace))
        // A change outlives the controller's run and its cancellation: it is followed until it ends.
        .parent_close_policy(ParentClosePolicy::Abandon)
        .cancellation_token(WorkflowCancellationToken::new())
        .id_reuse_policy(WorkflowIdReusePolicy::AllowDuplicate)
        .build();
    match context
        .start_child_workflow(CapacityChange::run, Lenient::from(change.clone()), child)
        .await
    {
        Ok(started) => match started.result().await {
            Ok(report) => report,
            Err(error) => ChangeReport::of(change, "failed", Some(error.to_string())),
        },
        // One is running, and the id is the lock: join it.
        Err(ChildWorkflowStartError::StartFailed {
            cause: StartChildWorkflowExecutionFailedCause::WorkflowAlreadyExists,
            ..
        }) => match context
            .execute_activity(CapacityActivities::await_change, id, options::WAIT.options())
            .await
        {
            Ok(report) => report,
            Err(error) => ChangeReport::of(change, "failed", Some(cause_of(&error))),
        },
        Err(error) => ChangeReport::of(
            change,
            "failed",
            Some(format!("it could not be started: {error}")),
        ),
    }
}
