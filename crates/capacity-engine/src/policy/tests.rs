//! Tests of every check and guard, and properties that hold for all inputs.

mod break_even;
mod guards;
mod properties;
mod restrictions;
mod rows;
mod sentences;
mod trace;

use jiff::{SignedDuration, Timestamp};

use crate::*;

pub(crate) const NOW: &str = "2026-11-20T10:45:00Z";

pub(crate) fn now() -> Timestamp {
    NOW.parse().expect("a time")
}

pub(crate) fn ago(duration: SignedDuration) -> Timestamp {
    now().checked_sub(duration).expect("in range")
}

pub(crate) fn minutes_ago(minutes: i64) -> Timestamp {
    ago(SignedDuration::from_mins(minutes))
}

pub(crate) fn rate(per_second: f64) -> Rate {
    Rate::from_per_second(per_second).expect("a rate")
}

pub(crate) fn trus(count: u32) -> Trus {
    Trus::try_new(count).expect("positive")
}

pub(crate) fn account() -> AccountView {
    AccountView {
        metrics: MetricsHealth::Complete,
        home: None,
        restrictions: Vec::new(),
    }
}

pub(crate) fn sample(minute: Timestamp, usage: PerLimit<Usage>) -> MinuteSample {
    MinuteSample {
        minute,
        usage,
        served_read: PerLimit::from_fn(|_| true),
        reported: true,
    }
}

pub(crate) fn used(kind: LimitKind, served: f64, throttled: f64) -> PerLimit<Usage> {
    let mut usage = PerLimit::<Usage>::default();
    usage[kind] = Usage {
        served: rate(served),
        throttled: rate(throttled),
    };
    usage
}

pub(crate) fn known_info(present: u32, ceiling: u32) -> KnownCapacityInfo {
    KnownCapacityInfo {
        ladder: Ladder::from_wire(&[2.0, 3.0, 4.0, 6.0, 8.0, 10.0, 12.0]),
        ceiling: Trus::try_new(ceiling),
        on_demand_actions: Some(rate(500.0)),
        has_legacy_limits: false,
        current: ReportedMode::from(Capacity::from_trus(present)),
    }
}

/// Returns a healthy, quiet namespace with this many TRUs and complete data.
pub(crate) fn snapshot(name: &str, present: u32) -> Snapshot {
    let capacity = Capacity::from_trus(present);
    let limits = match capacity {
        Capacity::OnDemand => on_demand_limits(),
        Capacity::Provisioned(trus) => PerLimit::from_fn(|kind| Some(kind.at(trus))),
    };
    Snapshot {
        namespace: format!("{name}.a1b2c").parse().expect("an id"),
        inactive_state: None,
        moving_replica: None,
        running_operation: None,
        status: capacity.into(),
        spec: capacity.into(),
        latest_request: None,
        limits,
        envelopes: on_demand_limits(),
        usage: ReportedUsage::Known(UsageWindow::of_one(sample(
            minutes_ago(4),
            used(LimitKind::Actions, 3.0, 0.0),
        ))),
        usage_gaps: PerLimit::default(),
        standby: PerLimit::default(),
        capacity_info: CapacityInfo::Known(known_info(present, 12)),
        change_refused: None,
    }
}

pub(crate) fn on_demand_limits() -> PerLimit<Option<Rate>> {
    PerLimit::from_fn(|kind| {
        Some(match kind {
            LimitKind::Actions => rate(500.0),
            LimitKind::Requests => rate(2_000.0),
            LimitKind::Operations => rate(4_000.0),
        })
    })
}

/// Like `snapshot`, but on-demand and with throttled actions.
pub(crate) fn throttled(name: &str) -> Snapshot {
    let usage = used(LimitKind::Actions, 490.0, 70.0);
    Snapshot {
        usage: one(usage),
        ..snapshot(name, 0)
    }
}

/// Like `snapshot`, but provisioned and with 45 actions in the last hour, for which all data is known.
pub(crate) fn idle(name: &str, present: u32) -> Snapshot {
    Snapshot {
        usage: hour(used(LimitKind::Actions, 0.0125, 0.0)),
        ..snapshot(name, present)
    }
}

pub(crate) fn one(usage: PerLimit<Usage>) -> ReportedUsage {
    ReportedUsage::Known(UsageWindow::of_one(sample(minutes_ago(4), usage)))
}

/// Returns an hour in which all 60 minutes have the same usage.
pub(crate) fn hour(usage: PerLimit<Usage>) -> ReportedUsage {
    let samples = (4..64).map(|minutes| sample(minutes_ago(minutes), usage));
    ReportedUsage::Known(UsageWindow::from_samples(samples).expect("not empty"))
}

pub(crate) fn request(state: RequestState, ended_minutes_ago: i64, ours: bool) -> CapacityRequest {
    CapacityRequest {
        state,
        started_at: Some(minutes_ago(ended_minutes_ago + 2)),
        ended_at: Some(minutes_ago(ended_minutes_ago)),
        operation_id: Some("op-1".to_owned()),
        ours,
        from: None,
        to: None,
    }
}

pub(crate) fn moving(since: Option<Since>) -> MovingReplica {
    MovingReplica {
        what: "replica aws-us-west-2 is being added".to_owned(),
        since,
    }
}

pub(crate) fn decided(snapshot: &Snapshot) -> Decision {
    decide(snapshot, &account(), &Rules::default(), now())
}

pub(crate) use crate::decide as decide_with_state;

/// Makes the decision for a namespace without stored state.
pub(crate) fn decide(snapshot: &Snapshot, account: &AccountView, rules: &Rules, now: Timestamp) -> Decision {
    decide_with_state(snapshot, account, rules, None, now).0
}

pub(crate) fn wants_capacity_info(
    snapshot: &Snapshot,
    account: &AccountView,
    rules: &Rules,
    now: Timestamp,
) -> bool {
    crate::wants_capacity_info(snapshot, account, rules, None, now)
}

/// Returns action and reason code as one text.
pub(crate) fn outcome(decision: &Decision) -> String {
    format!("{} {}", decision.action, decision.reason_code)
}
