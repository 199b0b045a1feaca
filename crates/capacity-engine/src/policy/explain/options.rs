//! Every available size, and why the engine did or did not choose it.

use super::inputs::{Inputs, row_of};
use crate::capacity::Capacity;
use crate::decision::{ConsideredOption, Decision, ReasonCode};
use crate::policy::Threshold;
use crate::policy::trace::{chosen_or_held, meaning, not_larger, options_of};
use crate::rate::thousands;
use crate::snapshot::{CapacityInfo, ReportedUsage};

/// Returns the options that the decision recorded. If there are none, returns on-demand and every size of the
/// ladder, or the current, target and blocked sizes if the ladder is unknown, each with the reason it was not
/// considered.
pub(super) fn options(inputs: &Inputs, decision: &Decision) -> Vec<ConsideredOption> {
    if !decision.options.is_empty() {
        return decision.options.clone();
    }
    let ladder = match &inputs.snapshot.capacity_info {
        CapacityInfo::Known(info) => info.ladder.steps(),
        CapacityInfo::NotRead | CapacityInfo::Unavailable { .. } => &[],
    };
    let sizes = ladder.iter().map(|step| Capacity::Provisioned(*step));
    options_of(&inputs.snapshot, decision, sizes, |capacity| {
        verdict(inputs, decision, capacity)
    })
}

fn verdict(inputs: &Inputs, decision: &Decision, capacity: Capacity) -> String {
    if let Some(verdict) = chosen_or_held(decision, capacity) {
        return verdict;
    }
    let row = row_of(decision.reason_code, decision.blocked.is_some());
    let decided_before = || format!("not considered: row {} ({}) decided first", row.number, row.name);
    if row.number < 11 {
        return if decision.current == Some(capacity) {
            format!("current, kept: {}", meaning(decision))
        } else {
            decided_before()
        };
    }
    if decision.policy != Threshold::NAME {
        let is_current = decision.current == Some(capacity);
        return if is_current {
            "current, kept"
        } else {
            "not compared"
        }
        .to_owned();
    }
    match decision.blocked.or(decision.wanted).zip(decision.current) {
        // A restriction or a guard held the change before any size was considered.
        Some((wish, current)) if wish > current => {
            not_larger(decision, capacity).unwrap_or_else(decided_before)
        }
        Some((wish, current)) if wish < current => when_releasing(inputs, decision, capacity),
        Some((_, current)) => when_keeping(inputs, decision, current, capacity),
        None => "not considered".to_owned(),
    }
}

fn when_releasing(inputs: &Inputs, decision: &Decision, capacity: Capacity) -> String {
    if decision.current == Some(capacity) {
        format!("current: {}", used(inputs, "below"))
    } else {
        "this policy releases all of the capacity or none".to_owned()
    }
}

/// `12 actions in the last hour, below the threshold of 100`.
fn used(inputs: &Inputs, side: &str) -> String {
    let actions = match &inputs.snapshot.usage {
        ReportedUsage::Known(window) => window.actions_of_the_hour().whole(),
        ReportedUsage::Missing | ReportedUsage::Unknown { .. } => 0,
    };
    let settings = inputs.rules.policy.threshold_settings().unwrap_or_default();
    format!(
        "{} actions in the last hour, {side} the threshold of {}",
        thousands(actions),
        thousands(settings.min_actions_per_hour)
    )
}

fn when_keeping(inputs: &Inputs, decision: &Decision, current: Capacity, capacity: Capacity) -> String {
    if capacity == current {
        return format!("current, kept: {}", meaning(decision));
    }
    match decision.reason_code {
        ReasonCode::Quiet | ReasonCode::IdleOnDemand => "not needed: nothing is throttled".to_owned(),
        ReasonCode::ThrottledWhileProvisioned if capacity > current => {
            "this policy does not scale up further".to_owned()
        }
        ReasonCode::ThrottledWhileProvisioned => "not released while throttled".to_owned(),
        ReasonCode::InUse if capacity == Capacity::OnDemand => {
            format!("not released: {}", used(inputs, "not below"))
        }
        _ => "this policy does not change between sizes".to_owned(),
    }
}
