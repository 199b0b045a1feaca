//! The concurrent parts of the controller's event loop: evaluations of both kinds, starts of changes,
//! notices.

use std::time::Duration;

use temporal_worker_kit::Lenient;
use temporalio_common::error::{ChildWorkflowStartError, StartChildWorkflowExecutionFailedCause};
use temporalio_sdk::workflows::select;
use temporalio_sdk::{
    CancellableFuture, ChildWorkflowOptions, ParentClosePolicy, TimerOptions, WorkflowCancellationToken,
    WorkflowContext, WorkflowIdReusePolicy,
};

use super::state::{APART, CapacityManagementWorkflow, MOST_EVENTS, ROTATE_AFTER};
use crate::activities::CapacityActivities;
use crate::change::CapacityChange;
use crate::change_steps::ChangeActivities;
use crate::failures::{ActivityFailed, cause_of};
use crate::messages::{Announcement, ChangeReport, ChangeRequest, EvaluationReport};
use crate::names::change_id;
use crate::options;
use crate::queue::NextStart;
use crate::step_messages::{Concluded, Conclusion, PauseOrder};
use crate::time::{as_time, milliseconds};

type Context = WorkflowContext<CapacityManagementWorkflow>;

/// Runs until the run has to end, because it was canceled or is due to continue as new.
pub(super) async fn run(context: &Context) {
    open_pause_of_older_release(context).await;
    futures::future::join4(
        evaluations(context, false),
        evaluations(context, true),
        starts(context),
        notices(context),
    )
    .await;
}

/// Opens the pause that a controller of release 0.1.0 kept as a field of its state.
async fn open_pause_of_older_release(context: &Context) {
    let why = context.state(|it| {
        let is_older = it.state.pauses.is_empty() && !it.state.knows_running;
        it.state.paused.clone().filter(|_| is_older)
    });
    let Some(reason) = why else { return };
    let order = PauseOrder {
        kind: "all".to_owned(),
        reason,
        by: "the controller of release 0.1.0".to_owned(),
        ..PauseOrder::default()
    };
    let _ = context
        .execute_activity(ChangeActivities::set_pause, order, options::until_done())
        .await;
}

/// Opens or ends a pause for an update of the controller.
pub(super) async fn set_pause(context: &Context, order: PauseOrder) -> Result<(), ActivityFailed> {
    let set = context.execute_activity(ChangeActivities::set_pause, order, options::CONCLUDE.options());
    Ok(set.await?)
}

/// Evaluates whenever requested, one evaluation of each kind at a time.
async fn evaluations(context: &Context, scale_up_only: bool) {
    loop {
        let woken = context
            .wait_condition(move |it| it.rotating || it.wants(scale_up_only))
            .await;
        // An error means that the workflow was canceled.
        if woken.is_err() || context.state(|it| it.rotating) {
            return;
        }
        if !scale_up_only {
            keep_apart(context).await;
        }
        notice_time(context);
        if context.cancellation_token().is_cancelled() || context.state(|it| it.rotating) {
            return;
        }
        let (request, began_ms, again) = context.state_mut(|it| it.begin(scale_up_only));
        let timeouts = if scale_up_only {
            options::EVALUATE_SCALE_UP.options()
        } else {
            options::OBSERVE.options()
        };
        let number = request.number;
        let evaluated = context
            .execute_activity(CapacityActivities::evaluate_account, request, timeouts)
            .await;
        notice_time(context);
        let unpaused = context.state_mut(|it| match evaluated {
            Ok(result) => it.end_well(result, began_ms, again),
            Err(error) => {
                it.end_failed(number, scale_up_only, again, cause_of(&error));
                false
            }
        });
        announce(context, number, unpaused).await;
    }
}

/// Announces an evaluation. A failed notification never fails the evaluation.
async fn announce(context: &Context, number: u64, unpaused: bool) {
    let announcement = context.state(|it| {
        let report = it.state.report(number).cloned().unwrap_or_default();
        Announcement {
            // Changes announce themselves.
            report: EvaluationReport {
                changes: Vec::new(),
                ..report
            },
            standing: it.state.standing.clone(),
            last_good: it.state.last_good_ms.and_then(as_time),
            unpaused_schedule: it
                .state
                .pauses
                .values()
                .find(|seen| unpaused && seen.open)
                .cloned(),
        }
    });
    let announced = context
        .execute_activity(
            CapacityActivities::announce,
            announcement,
            options::ANNOUNCE.options(),
        )
        .await;
    if let Ok(Some(standing)) = announced {
        // Only if the channel was notified: otherwise the problems stay unannounced and are announced by
        // the next evaluation.
        context.state_mut(|it| it.state.standing = standing);
    }
}

/// Starts changes, and decides when the run ends.
async fn starts(context: &Context) {
    loop {
        notice_time(context);
        if context.cancellation_token().is_cancelled() {
            return;
        }
        if asked_to_rotate(context) || is_due(context) {
            context.state_mut(|it| it.rotating = true);
        }
        if context.state(|it| it.rotating) {
            return;
        }
        let (next, seen) = context.state_mut(|it| (it.consider(), it.events));
        match next {
            NextStart::Start(index) => {
                let request = context.state_mut(|it| it.start(index));
                start(context, request).await;
            }
            NextStart::At(at) => {
                let wait = Duration::from_millis(at.saturating_sub(context.state(|it| it.now_ms)).max(50));
                let timer = TimerOptions::builder(wait)
                    .summary("until the next start".to_owned())
                    .build();
                let mut timer = context.timer(timer);
                let mut changed = context.wait_condition(move |it| it.events != seen);
                select! {
                    // A timer that is left open would wake the workflow and write events for nothing.
                    _ = changed => timer.cancel(),
                    _ = timer => {}
                }
            }
            NextStart::Wait | NextStart::Blocked => {
                if context.wait_condition(move |it| it.events != seen).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Starts the workflow of a change, and waits only until it has started.
async fn start(context: &Context, request: ChangeRequest) {
    let child = ChildWorkflowOptions::builder()
        .workflow_id(change_id(&request.namespace))
        .static_summary(format!("capacity of {}", request.namespace))
        // A change outlives the controller's run and its cancellation: it is followed until it ends.
        .parent_close_policy(ParentClosePolicy::Abandon)
        .cancellation_token(WorkflowCancellationToken::new())
        .id_reuse_policy(WorkflowIdReusePolicy::AllowDuplicate)
        .build();
    let started = context
        .start_child_workflow(CapacityChange::run, Lenient::from(request.clone()), child)
        .await;
    notice_time(context);
    context.state_mut(|it| match started {
        Ok(_) => {}
        // Another change of this namespace is closing, or someone else started one: the id is the lock.
        Err(ChildWorkflowStartError::StartFailed {
            cause: StartChildWorkflowExecutionFailedCause::WorkflowAlreadyExists,
            ..
        }) => it.could_not_start(&request),
        Err(error) => it.failed_to_start(&request, format!("its workflow cannot be started: {error}")),
    });
}

/// Sets pauses, announces incidents, and records changes that ended without a signal.
async fn notices(context: &Context) {
    loop {
        let woken = context.wait_condition(|it| it.rotating || it.has_notices()).await;
        if woken.is_err() {
            return;
        }
        if let Some(order) = context.state_mut(|it| pop(&mut it.pause_orders)) {
            let _ = context
                .execute_activity(ChangeActivities::set_pause, order, options::until_done())
                .await;
        } else if let Some(incident) = context.state_mut(|it| pop(&mut it.incidents)) {
            let _ = context
                .execute_activity(
                    ChangeActivities::announce_incident,
                    incident,
                    options::CONCLUDE.options(),
                )
                .await;
        } else if let Some(report) = context.state_mut(|it| pop(&mut it.unheard)) {
            conclude(context, report).await;
        // Last, so that a run never ends with notices that were not sent.
        } else if context.state(|it| it.rotating) {
            return;
        }
    }
}

fn pop<T>(list: &mut Vec<T>) -> Option<T> {
    (!list.is_empty()).then(|| list.remove(0))
}

async fn conclude(context: &Context, mut report: ChangeReport) {
    let conclusion = Conclusion {
        report: report.clone(),
        ..Conclusion::default()
    };
    let concluded: Concluded = context
        .execute_activity(
            ChangeActivities::change_conclude,
            conclusion,
            options::CONCLUDE.options(),
        )
        .await
        .unwrap_or_default();
    if !(concluded.recorded && concluded.announced) {
        report.recorded = concluded.recorded;
        report.announced = concluded.announced;
        let _ = context
            .execute_activity(ChangeActivities::start_record, report, options::until_done())
            .await;
    }
}

/// Waits until full evaluations are at least this far apart.
pub(super) async fn keep_apart(context: &Context) {
    let now = context.workflow_time().and_then(milliseconds);
    let (Some(now), Some(last)) = (now, context.state(|it| it.state.last_start_ms)) else {
        return;
    };
    let since = Duration::from_millis(now.saturating_sub(last));
    let apart = context
        .state(|it| it.state.apart_ms)
        .map_or(APART, Duration::from_millis);
    if since < apart {
        let pause = TimerOptions::builder(apart.saturating_sub(since))
            .summary("apart".to_owned())
            .build();
        // The caller checks the cancellation token.
        let _ = context.timer(pause).await;
    }
}

fn notice_time(context: &Context) {
    let now = context.workflow_time();
    context.state_mut(|it| it.notice_time(now));
}

/// Returns whether a rotation was requested. The marker's id contains the number of signals seen, so that a
/// signal that an older worker ignored stays ignored in replay.
fn asked_to_rotate(context: &Context) -> bool {
    let asked = context.state_mut(CapacityManagementWorkflow::take_rotation);
    asked.is_some_and(|seen| context.patched(&format!("rotate-{seen}")))
}

fn is_due(context: &Context) -> bool {
    let evaluations = context.state(|it| it.in_run);
    let is_old_enough = CapacityManagementWorkflow::is_old_enough(context);
    (evaluations >= ROTATE_AFTER && is_old_enough)
        // A run that ends before it has evaluated would pass its callers on to the next run, and so on.
        || (context.continue_as_new_suggested() && (evaluations > 0 || is_old_enough))
        || context.history_length() > MOST_EVENTS
}
