//! Every size that could be chosen, and what the engine made of it.

use super::inputs::{Inputs, row_of};
use crate::capacity::{Capacity, Trus};
use crate::decision::{ConsideredOption, Decision, ReasonCode};
use crate::limit::LimitKind;
use crate::policy::{Threshold, guards, judgement};
use crate::rate::{Rate, thousands};
use crate::snapshot::{CapacityInfo, KnownCapacityInfo, ReportedUsage};

/// Returns the options that the policy compared; if it compared none, on-demand and every size of the ladder, or the current, target
/// and blocked ones if the ladder is not known.
pub(super) fn options(inputs: &Inputs, decision: &Decision) -> Vec<ConsideredOption> {
    if !decision.options.is_empty() {
        return decision.options.clone();
    }
    let mut capacities = vec![Capacity::OnDemand];
    if let Some(info) = known_info(inputs) {
        capacities.extend(
            info.ladder
                .steps()
                .iter()
                .map(|step| Capacity::Provisioned(*step)),
        );
    }
    capacities.extend(
        [decision.current, decision.wanted, decision.blocked]
            .into_iter()
            .flatten(),
    );
    capacities.sort_unstable();
    capacities.dedup();
    let about = |capacity: Capacity| ConsideredOption {
        trus: capacity.trus(),
        limit: limit_of(inputs, decision, capacity).map_or(0, |rate| rate.micros_per_second() / 1_000_000),
        idle_hour: inputs.rules.prices.idle_hour(capacity),
        cost_actions: None,
        cost: None,
        chosen: decision.blocked.or(decision.wanted) == Some(capacity),
        verdict: verdict(inputs, decision, capacity),
    };
    capacities.into_iter().map(about).collect()
}

fn known_info(inputs: &Inputs) -> Option<&KnownCapacityInfo> {
    match &inputs.snapshot.capacity_info {
        CapacityInfo::Known(info) => Some(info),
        CapacityInfo::NotRead | CapacityInfo::Unavailable { .. } => None,
    }
}

/// Actions a second at a size; the limit in effect for the current size.
fn limit_of(inputs: &Inputs, decision: &Decision, capacity: Capacity) -> Option<Rate> {
    let snapshot = &inputs.snapshot;
    let in_force = snapshot.limits[LimitKind::Actions].filter(|_| decision.current == Some(capacity));
    in_force.or_else(|| match capacity {
        Capacity::Provisioned(trus) => Some(LimitKind::Actions.at(trus)),
        Capacity::OnDemand => snapshot.envelopes[LimitKind::Actions]
            .or_else(|| known_info(inputs).and_then(|info| info.on_demand_actions)),
    })
}

fn verdict(inputs: &Inputs, decision: &Decision, capacity: Capacity) -> String {
    let row = row_of(decision.reason_code, decision.blocked.is_some());
    if decision.action.is_change() && decision.wanted == Some(capacity) {
        return format!("chosen: {}", lower(decision.reason_code.meaning()));
    }
    if decision.blocked == Some(capacity) && decision.current != Some(capacity) {
        return format!("wanted, but held: {}", lower(decision.reason_code.meaning()));
    }
    if row.number < 11 {
        return if decision.current == Some(capacity) {
            format!("current, kept: {}", lower(decision.reason_code.meaning()))
        } else {
            format!("not considered: row {} ({}) decided before", row.number, row.name)
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
        Some((wish, current)) if wish > current => when_raising(inputs, decision, capacity),
        Some((wish, current)) if wish < current => when_releasing(inputs, decision, capacity),
        Some((_, current)) => when_keeping(inputs, decision, current, capacity),
        None => "not considered".to_owned(),
    }
}

/// `Its current ...` as the rest of a sentence.
fn lower(meaning: &str) -> String {
    let meaning = meaning.trim_end_matches('.');
    let mut letters = meaning.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => String::new(),
    }
}

fn when_raising(inputs: &Inputs, decision: &Decision, capacity: Capacity) -> String {
    if decision.current == Some(capacity) {
        return "current: throttled at its limit".to_owned();
    }
    let Capacity::Provisioned(step) = capacity else {
        return "smaller than the current size".to_owned();
    };
    let Some(info) = known_info(inputs) else {
        return "not considered: the capacity info is unknown".to_owned();
    };
    if let Some(why) = unavailable(info, step) {
        return why;
    }
    if step > inputs.rules.bounds.max_trus {
        return format!("above MAX_TRU_COUNT ({})", inputs.rules.bounds.max_trus);
    }
    if let Ok(judged) = judgement::judge(
        &inputs.snapshot,
        &inputs.account,
        &inputs.rules,
        &*inputs.rules.policy,
        inputs.now,
    ) && let Some(why) = guards::obstacle(&judged, info, step)
    {
        return why;
    }
    if let Some(default) = inputs.rules.policy.threshold_settings().map(|it| it.default_trus)
        && step < default
    {
        return format!("below DEFAULT_TRU_COUNT ({default})");
    }
    match decision.wanted {
        Some(wanted) if decision.action.is_change() && capacity > wanted => {
            format!("larger than needed: {wanted} is the first size that helps")
        }
        _ => "not chosen".to_owned(),
    }
}

fn unavailable(info: &KnownCapacityInfo, step: Trus) -> Option<String> {
    match info.ceiling {
        Some(ceiling) if step > ceiling => Some(format!("the region can currently provide only {ceiling}")),
        Some(_) => None,
        None => Some("the region does not report what it can provide".to_owned()),
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
        return format!("current, kept: {}", lower(decision.reason_code.meaning()));
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
        _ => "this policy does not change from one size to another".to_owned(),
    }
}
