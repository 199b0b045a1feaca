//! Checks 1 to 10: whether a namespace can be evaluated at all.

use jiff::{SignedDuration, Timestamp};

use super::contract::CapacityPolicy;
use super::rules::Rules;
use super::verdict::Verdict;
use super::words::minutes;
use crate::capacity::{Capacity, CapacityRequest, RequestState, UnknownCapacity, present_capacity};
use crate::decision::{Action, ReasonCode};
use crate::limit::{LimitKind, PerLimit};
use crate::rate::Rate;
use crate::snapshot::{AccountView, MetricsHealth, MovingReplica, ReportedUsage, Since, Snapshot};
use crate::window::UsageWindow;
use human_text::{at_minute, at_second, span};

/// A namespace that can be evaluated: its optional values are known.
pub(super) struct Judged<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) present: Capacity,
    pub(super) window: &'a UsageWindow,
    pub(super) limits: PerLimit<Rate>,
    /// The policy that needs a target.
    pub(super) policy: &'a dyn CapacityPolicy,
}

/// Maximum time by which a sample may be in the future, because clocks are not exact.
const FUTURE_TOLERANCE: SignedDuration = SignedDuration::from_secs(60);

pub(super) fn judge<'a>(
    snapshot: &'a Snapshot,
    account: &AccountView,
    rules: &Rules,
    policy: &'a dyn CapacityPolicy,
    now: Timestamp,
) -> Result<Judged<'a>, Verdict> {
    ours(snapshot, rules)?;
    active(snapshot, now)?;
    replicas_at_rest(snapshot, now)?;
    no_change_in_progress(snapshot)?;
    let present = present(snapshot).map_err(|why| {
        Verdict::hold(
            ReasonCode::CapacityUnknown,
            format!("the current capacity is unknown: {why}"),
        )
    })?;
    metrics_complete(account)?;
    let window = metrics_present(snapshot)?;
    metrics_fresh(window, rules, now)?;
    change_took_effect(snapshot, window)?;
    let limits = limits_known(snapshot)?;
    Ok(Judged {
        snapshot,
        present,
        window,
        limits,
        policy,
    })
}

pub(super) fn present(snapshot: &Snapshot) -> Result<Capacity, UnknownCapacity> {
    present_capacity(&snapshot.status, &snapshot.spec, snapshot.latest_request.as_ref())
}

/// Checks row 1: the allowlist and the denylist.
fn ours(snapshot: &Snapshot, rules: &Rules) -> Result<(), Verdict> {
    let filter = &rules.filter;
    // The denylist first: it wins over the allowlist.
    if filter.deny.matches(&snapshot.namespace) {
        let reason = "on the denylist".to_owned();
        return Err(Verdict::new(Action::Skip, ReasonCode::Denied, reason));
    }
    if !filter.allow.is_empty() && !filter.allow.matches(&snapshot.namespace) {
        let reason = "not on the allowlist".to_owned();
        return Err(Verdict::new(Action::Skip, ReasonCode::NotAllowed, reason));
    }
    Ok(())
}

/// Checks row 2: the namespace must be active. If known, the reason includes why it is not.
fn active(snapshot: &Snapshot, now: Timestamp) -> Result<(), Verdict> {
    let Some(state) = &snapshot.inactive_state else {
        return Ok(());
    };
    let moving = moving_replica(snapshot, now);
    let is_long = moving.as_ref().is_some_and(|(_, is_long)| *is_long);
    let why = moving
        .map(|(what, _)| what)
        .or_else(|| request_in_progress(snapshot).map(in_progress))
        .map_or_else(String::new, |why| format!(": {why}"));
    let reason = format!("the namespace is {state}{why}; will re-evaluate when it is active");
    let held = Verdict::hold(ReasonCode::NamespaceNotActive, reason);
    Err(if is_long { held.announced() } else { held })
}

/// Time after which a moving replica is announced. Adding a region may take days, and the namespace is not scaled in the
/// meantime.
const LONG_MOVE: SignedDuration = SignedDuration::from_hours(3);

/// Checks row 3: all replicas must be active.
fn replicas_at_rest(snapshot: &Snapshot, now: Timestamp) -> Result<(), Verdict> {
    let Some((what, is_long)) = moving_replica(snapshot, now) else {
        return Ok(());
    };
    let reason = format!("{what}; will re-evaluate when all replicas are active");
    let held = Verdict::hold(ReasonCode::ReplicaMoving, reason);
    Err(if is_long { held.announced() } else { held })
}

/// Returns a replica that is being changed, since when, and whether that has been taking long.
fn moving_replica(snapshot: &Snapshot, now: Timestamp) -> Option<(String, bool)> {
    let MovingReplica { what, since } = snapshot.moving_replica.as_ref()?;
    let (word, began) = match since {
        None => return Some((what.clone(), false)),
        Some(Since::Exactly(began)) => ("since", *began),
        Some(Since::AtLeast(began)) => ("since at least", *began),
    };
    let lasted = now.duration_since(began);
    let text = format!("{what} ({word} {}, {})", at_minute(began), minutes(lasted));
    Some((text, lasted >= LONG_MOVE))
}

/// Checks row 4: no operation or capacity request may be in progress.
fn no_change_in_progress(snapshot: &Snapshot) -> Result<(), Verdict> {
    let hold = |what: String| {
        Err(Verdict::hold(
            ReasonCode::ChangeInProgress,
            format!("{what}; will re-evaluate when it finishes"),
        ))
    };
    match (&snapshot.running_operation, request_in_progress(snapshot)) {
        // The running operation is not the capacity request, for example a new replica or a certificate. It
        // is the one that has to end.
        (Some(operation), Some(request)) if request.operation_id.as_ref() != Some(operation) => {
            hold(format!("operation {operation} is running on it"))
        }
        (_, Some(request)) => hold(in_progress(request)),
        (Some(operation), None) => hold(format!("operation {operation} is running on it")),
        (None, None) => Ok(()),
    }
}

fn request_in_progress(snapshot: &Snapshot) -> Option<&CapacityRequest> {
    let latest = snapshot.latest_request.as_ref();
    latest.filter(|request| request.state == RequestState::InProgress)
}

/// Describes a capacity change in progress: who requested it, from what to what, since when, and its
/// operation.
fn in_progress(request: &CapacityRequest) -> String {
    let operation = request
        .operation_id
        .as_ref()
        .map(|operation| format!("operation {operation}"));
    let since = request
        .started_at
        .map(|started| format!("since {}", at_minute(started)));
    let details: Vec<String> = operation.into_iter().chain(since).collect();
    let details = if details.is_empty() {
        String::new()
    } else {
        format!(" ({})", details.join(", "))
    };
    if request.ours {
        format!("its last capacity request is in progress{details}")
    } else {
        format!(
            "someone else is changing its capacity{}{details}",
            request.from_to()
        )
    }
}

/// Checks row 6: the metrics of the account must be complete.
fn metrics_complete(account: &AccountView) -> Result<(), Verdict> {
    match &account.metrics {
        MetricsHealth::Complete => Ok(()),
        // The reason is shown once for the account, not in every row.
        MetricsHealth::Incomplete { .. } => Err(Verdict::hold(
            ReasonCode::MetricsIncomplete,
            "metrics unavailable".to_owned(),
        )),
    }
}

/// Checks row 7: there must be metrics for the namespace.
fn metrics_present(snapshot: &Snapshot) -> Result<&UsageWindow, Verdict> {
    let why = match &snapshot.usage {
        ReportedUsage::Known(window) => return Ok(window),
        ReportedUsage::Missing => {
            "no metrics for this namespace, although the metrics of the account are complete"
        }
        ReportedUsage::Unknown { why } => why,
    };
    Err(Verdict::hold(
        ReasonCode::MetricsMissing,
        format!("{why}; will re-evaluate when metrics arrive"),
    ))
}

/// Checks row 8: the newest sample must be neither stale nor from the future.
fn metrics_fresh(window: &UsageWindow, rules: &Rules, now: Timestamp) -> Result<(), Verdict> {
    let age = now.duration_since(window.newest().minute);
    let max_age = rules.freshness.metrics_max_age;
    if age > max_age {
        return Err(Verdict::hold(
            ReasonCode::MetricsStale,
            format!(
                "newest metrics are {} old (limit {}); will re-evaluate when fresh metrics arrive",
                span(age),
                span(max_age)
            ),
        ));
    }
    if age < -FUTURE_TOLERANCE {
        return Err(Verdict::hold(
            ReasonCode::MetricsStale,
            format!(
                "newest metrics are {} in the future (limit {}); check the clock of the machine that wrote them",
                span(age),
                span(FUTURE_TOLERANCE)
            ),
        ));
    }
    Ok(())
}

/// Checks row 9: the newest sample must have been measured after the last change took effect.
fn change_took_effect(snapshot: &Snapshot, window: &UsageWindow) -> Result<(), Verdict> {
    let effect = snapshot
        .latest_request
        .as_ref()
        .and_then(CapacityRequest::took_effect_at);
    match effect {
        // `minute` is the start of the minute, so the minute in which the change took effect counts as
        // before it.
        Some(effect) if window.newest().minute < effect => Err(Verdict::hold(
            ReasonCode::WaitingForEffect,
            format!(
                "latest metrics ({}) predate the last change, which took effect at {}; waiting for newer data",
                at_second(window.newest().minute),
                at_second(effect)
            ),
        )),
        Some(_) | None => Ok(()),
    }
}

/// Checks row 10: all limits must be known.
fn limits_known(snapshot: &Snapshot) -> Result<PerLimit<Rate>, Verdict> {
    let unknown: Vec<&str> = LimitKind::ALL
        .into_iter()
        .filter(|kind| snapshot.limits[*kind].is_none())
        .map(LimitKind::noun)
        .collect();
    if unknown.is_empty() {
        return Ok(PerLimit::from_fn(|kind| {
            snapshot.limits[kind].unwrap_or_default()
        }));
    }
    Err(Verdict::hold(
        ReasonCode::LimitsUnknown,
        format!(
            "its limit on {} is missing from the metrics; will re-evaluate when it is reported",
            unknown.join(" and ")
        ),
    ))
}
