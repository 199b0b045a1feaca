//! Rows 1 to 10 of the order of judgement: whether a namespace can be judged at all.

use jiff::{SignedDuration, Timestamp};

use super::settings::Policy;
use super::{Verdict, span};
use crate::capacity::{Capacity, CapacityRequest, RequestState, present_capacity};
use crate::decision::{Action, ReasonCode};
use crate::limit::{LimitKind, PerLimit};
use crate::rate::Rate;
use crate::snapshot::{AccountView, MetricsHealth, ReportedUsage, Snapshot};
use crate::usage::UsageWindow;

/// A namespace that can be judged: what was optional is known.
pub(super) struct Judged<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) present: Capacity,
    pub(super) window: &'a UsageWindow,
    pub(super) limits: PerLimit<Rate>,
}

/// How far in the future a sample may lie: clocks are not that exact.
const FUTURE_TOLERANCE: SignedDuration = SignedDuration::from_secs(60);

pub(super) fn judge<'a>(
    snapshot: &'a Snapshot,
    account: &AccountView,
    policy: &Policy,
    now: Timestamp,
) -> Result<Judged<'a>, Verdict> {
    ours(snapshot, policy)?;
    active(snapshot)?;
    replicas_at_rest(snapshot)?;
    no_change_in_progress(snapshot)?;
    let present = present(snapshot).map_err(|why| {
        Verdict::hold(
            ReasonCode::CapacityUnknown,
            format!("the current capacity is unknown: {why}"),
        )
    })?;
    metrics_complete(account)?;
    let window = metrics_present(snapshot)?;
    metrics_fresh(window, policy, now)?;
    change_took_effect(snapshot, window)?;
    let limits = limits_known(snapshot)?;
    Ok(Judged {
        snapshot,
        present,
        window,
        limits,
    })
}

pub(super) fn present(snapshot: &Snapshot) -> Result<Capacity, String> {
    present_capacity(&snapshot.status, &snapshot.spec, snapshot.latest_request.as_ref())
}

/// Row 1.
fn ours(snapshot: &Snapshot, policy: &Policy) -> Result<(), Verdict> {
    let filter = &policy.filter;
    if filter.deny.matches(&snapshot.namespace) {
        let reason = "on the deny list".to_owned();
        return Err(Verdict::new(Action::Skip, ReasonCode::Denied, reason));
    }
    if !filter.allow.is_empty() && !filter.allow.matches(&snapshot.namespace) {
        let reason = "not on the allow list".to_owned();
        return Err(Verdict::new(Action::Skip, ReasonCode::NotAllowed, reason));
    }
    Ok(())
}

/// Row 2.
fn active(snapshot: &Snapshot) -> Result<(), Verdict> {
    match &snapshot.inactive_state {
        None => Ok(()),
        Some(state) => Err(Verdict::hold(
            ReasonCode::NamespaceNotActive,
            format!("the namespace is {state}; will re-evaluate when it is active"),
        )),
    }
}

/// Row 3.
fn replicas_at_rest(snapshot: &Snapshot) -> Result<(), Verdict> {
    match &snapshot.moving_replica {
        None => Ok(()),
        Some(replica) => Err(Verdict::hold(
            ReasonCode::ReplicaMoving,
            format!("{replica}; will re-evaluate when all replicas are active"),
        )),
    }
}

/// Row 4.
fn no_change_in_progress(snapshot: &Snapshot) -> Result<(), Verdict> {
    let hold = |what: String| {
        Err(Verdict::hold(
            ReasonCode::ChangeInProgress,
            format!("{what}; will re-evaluate when it finishes"),
        ))
    };
    if let Some(operation) = &snapshot.running_operation {
        return hold(format!("operation {operation} is running on it"));
    }
    match &snapshot.latest_request {
        Some(request) if request.state == RequestState::InProgress => match &request.operation_id {
            Some(operation) => hold(format!(
                "its last capacity request is in progress (operation {operation})"
            )),
            None => hold("its last capacity request is in progress".to_owned()),
        },
        Some(_) | None => Ok(()),
    }
}

/// Row 6.
fn metrics_complete(account: &AccountView) -> Result<(), Verdict> {
    match &account.metrics {
        MetricsHealth::Complete => Ok(()),
        // Why is said once for the account, not in every row.
        MetricsHealth::Incomplete { .. } => Err(Verdict::hold(
            ReasonCode::MetricsIncomplete,
            "metrics unavailable".to_owned(),
        )),
    }
}

/// Row 7.
fn metrics_present(snapshot: &Snapshot) -> Result<&UsageWindow, Verdict> {
    let why = match &snapshot.usage {
        ReportedUsage::Known(window) => return Ok(window),
        ReportedUsage::Missing => "no metrics for it, although the metrics of the account are complete",
        ReportedUsage::Unknown { why } => why,
    };
    Err(Verdict::hold(
        ReasonCode::MetricsMissing,
        format!("{why}; will re-evaluate when metrics arrive"),
    ))
}

/// Row 8.
fn metrics_fresh(window: &UsageWindow, policy: &Policy, now: Timestamp) -> Result<(), Verdict> {
    let age = now.duration_since(window.newest().minute);
    let max_age = policy.threshold.metrics_max_age;
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
                "newest metrics are {} in the future (limit {}); check the clock of whoever wrote them",
                span(age),
                span(FUTURE_TOLERANCE)
            ),
        ));
    }
    Ok(())
}

/// Row 9.
fn change_took_effect(snapshot: &Snapshot, window: &UsageWindow) -> Result<(), Verdict> {
    let effect = snapshot
        .latest_request
        .as_ref()
        .and_then(CapacityRequest::took_effect_at);
    match effect {
        Some(effect) if window.newest().minute < effect => Err(Verdict::hold(
            ReasonCode::WaitingForEffect,
            format!(
                "latest metrics ({}) predate the last change, which took effect at {}; waiting for newer data",
                clock_time(window.newest().minute),
                clock_time(effect)
            ),
        )),
        Some(_) | None => Ok(()),
    }
}

/// Row 10.
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
            "its limit of {} is missing from the metrics; will re-evaluate when it is reported",
            unknown.join(" and ")
        ),
    ))
}

fn clock_time(time: Timestamp) -> impl std::fmt::Display {
    time.strftime("%H:%M:%S")
}
