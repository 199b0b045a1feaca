//! The sizes of a namespace, each with its verdict.

use super::contract::PolicyTarget;
use crate::capacity::{Capacity, CapacityRequest};
use crate::decision::{ConsideredOption, ReasonCode};
use crate::limit::LimitKind;
use crate::pricing::ActionPrice;
use crate::rate::Rate;
use crate::snapshot::{CapacityInfo, ReportedUsage, Snapshot};

/// Everything known about the sizes of a namespace.
#[derive(Clone, Copy)]
pub(super) struct Namespace<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) current: Option<Capacity>,
    pub(super) prices: &'a ActionPrice,
}

impl Namespace<'_> {
    /// Lists on-demand, the sizes of the ladder if known, and additional ones, smallest first, each with its verdict.
    pub(super) fn options(
        &self,
        others: impl IntoIterator<Item = Capacity>,
        chosen: Option<Capacity>,
        verdict: impl Fn(Capacity) -> String,
    ) -> Vec<ConsideredOption> {
        let ladder = match &self.snapshot.capacity_info {
            CapacityInfo::Known(info) => info.ladder.steps(),
            CapacityInfo::NotRead | CapacityInfo::Unavailable { .. } => &[],
        };
        let mut capacities: Vec<Capacity> = std::iter::once(Capacity::OnDemand)
            .chain(ladder.iter().map(|step| Capacity::Provisioned(*step)))
            .chain(self.current)
            .chain(others)
            .collect();
        // The current size may be off the ladder, and the wanted one on it: each appears once, in its
        // place.
        capacities.sort_unstable();
        capacities.dedup();
        capacities.truncate(PolicyTarget::MOST_OPTIONS);
        let about = |capacity: Capacity| {
            let limit = self.limit(capacity);
            let limit = limit.map_or(0, |rate| rate.micros_per_second() / 1_000_000);
            ConsideredOption::new(
                capacity,
                limit,
                self.prices.idle_hour(capacity),
                verdict(capacity),
            )
            .with_chosen(chosen == Some(capacity))
        };
        capacities.into_iter().map(about).collect()
    }

    /// Returns the limit at a size, in actions per second; for the current size, the limit in effect, unless the metrics predate
    /// the last change and still report the limit of the size before it.
    fn limit(&self, capacity: Capacity) -> Option<Rate> {
        let snapshot = self.snapshot;
        let request = snapshot.latest_request.as_ref();
        let is_reported = match (&snapshot.usage, request.and_then(CapacityRequest::took_effect_at)) {
            (ReportedUsage::Known(window), Some(effect)) => window.newest().minute >= effect,
            _ => true,
        };
        let is_in_force = is_reported && self.current == Some(capacity);
        let in_force = snapshot.limits[LimitKind::Actions].filter(|_| is_in_force);
        in_force.or_else(|| match capacity {
            Capacity::Provisioned(trus) => Some(LimitKind::Actions.at(trus)),
            Capacity::OnDemand => snapshot.envelopes[LimitKind::Actions].or(match &snapshot.capacity_info {
                CapacityInfo::Known(info) => info.on_demand_actions,
                CapacityInfo::NotRead | CapacityInfo::Unavailable { .. } => None,
            }),
        })
    }
}

/// Returns the verdict of the current size if it is kept.
pub(super) fn kept(code: ReasonCode) -> String {
    format!("current, kept: {}", meaning(code))
}

/// Returns the meaning of a code, as the rest of a sentence.
pub(super) fn meaning(code: ReasonCode) -> String {
    let meaning = code.meaning().trim_end_matches('.');
    let mut letters = meaning.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => String::new(),
    }
}
