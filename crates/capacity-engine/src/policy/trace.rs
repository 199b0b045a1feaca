//! Records the sizes that the guards of a decision considered, so that `explain` prints what the engine did.

use super::contract::PolicyTarget;
use super::settings::Bounds;
use super::threshold::Threshold;
use crate::capacity::{Capacity, Trus};
use crate::decision::{ConsideredOption, Decision};
use crate::limit::LimitKind;
use crate::rate::Rate;
use crate::snapshot::{CapacityInfo, Snapshot};

/// The sizes of the ladder, each with the result of the guards. The chosen size is one of them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sizes {
    /// The size that the policy wanted.
    pub(super) wish: Trus,
    pub(super) ceiling: Trus,
    pub(super) bounds: Bounds,
    /// Smallest first.
    pub(super) fits: Vec<(Trus, Fit)>,
}

/// Whether a size is allowed and helps.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Fit {
    AboveCeiling,
    AboveBounds,
    /// The size would not help, with the reason.
    Obstacle(String),
    Fits,
}

impl Sizes {
    /// Returns the sizes that the region and the bounds allow.
    pub(super) fn allowed(&self) -> impl DoubleEndedIterator<Item = &(Trus, Fit)> {
        let is_allowed = |fit: &Fit| matches!(fit, Fit::Obstacle(_) | Fit::Fits);
        self.fits.iter().filter(move |(_, fit)| is_allowed(fit))
    }

    /// Returns why a size would not help.
    pub(super) fn obstacle(&self, size: Trus) -> Option<&str> {
        let (_, fit) = self.fits.iter().find(|(step, _)| *step == size)?;
        match fit {
            Fit::Obstacle(why) => Some(why),
            Fit::AboveCeiling | Fit::AboveBounds | Fit::Fits => None,
        }
    }

    /// Returns the options of a decision that chose from these sizes, or was held after considering them.
    pub(super) fn options(&self, snapshot: &Snapshot, decision: &Decision) -> Vec<ConsideredOption> {
        let steps = self.fits.iter().map(|(step, _)| Capacity::Provisioned(*step));
        let mut options = options_of(snapshot, decision, steps, |capacity| {
            self.verdict(decision, capacity)
        });
        options.truncate(PolicyTarget::MOST_OPTIONS);
        options
    }

    fn verdict(&self, decision: &Decision, capacity: Capacity) -> String {
        if let Some(verdict) = chosen_or_held(decision, capacity) {
            return verdict;
        }
        if let Some(verdict) = not_larger(decision, capacity) {
            return verdict;
        }
        let fit = self
            .fits
            .iter()
            .find(|(step, _)| Capacity::Provisioned(*step) == capacity);
        match fit {
            Some((_, Fit::AboveCeiling)) => format!("the region can currently provide only {}", self.ceiling),
            Some((_, Fit::AboveBounds)) => format!("above MAX_TRU_COUNT ({})", self.bounds.max_trus),
            Some((_, Fit::Obstacle(why))) => why.clone(),
            Some((step, Fit::Fits)) if *step < self.wish && decision.policy == Threshold::NAME => {
                format!("below DEFAULT_TRU_COUNT ({})", self.wish)
            }
            Some((step, Fit::Fits)) if *step < self.wish => format!("smaller than the wanted {}", self.wish),
            Some((_, Fit::Fits)) | None => match decision.wanted {
                Some(wanted) if decision.action.is_change() && capacity > wanted => {
                    format!("larger than needed: {wanted} is the first size that helps")
                }
                _ => "not chosen".to_owned(),
            },
        }
    }
}

/// Lists on-demand, the given sizes, and the current, wanted and blocked sizes, smallest first, each with its
/// verdict.
pub(super) fn options_of(
    snapshot: &Snapshot,
    decision: &Decision,
    sizes: impl Iterator<Item = Capacity>,
    verdict: impl Fn(Capacity) -> String,
) -> Vec<ConsideredOption> {
    let known = [decision.current, decision.wanted, decision.blocked];
    let mut capacities: Vec<Capacity> = std::iter::once(Capacity::OnDemand)
        .chain(sizes)
        .chain(known.into_iter().flatten())
        .collect();
    capacities.sort_unstable();
    capacities.dedup();
    let about = |capacity: Capacity| ConsideredOption {
        trus: capacity.trus(),
        limit: limit_of(snapshot, decision, capacity).map_or(0, |rate| rate.micros_per_second() / 1_000_000),
        idle_hour: decision.price.price.idle_hour(capacity),
        cost_actions: None,
        cost: None,
        chosen: decision.blocked.or(decision.wanted) == Some(capacity),
        verdict: verdict(capacity),
    };
    capacities.into_iter().map(about).collect()
}

/// Limit at a size in actions per second; for the current size, the limit in effect.
fn limit_of(snapshot: &Snapshot, decision: &Decision, capacity: Capacity) -> Option<Rate> {
    let in_force = snapshot.limits[LimitKind::Actions].filter(|_| decision.current == Some(capacity));
    in_force.or_else(|| match capacity {
        Capacity::Provisioned(trus) => Some(LimitKind::Actions.at(trus)),
        Capacity::OnDemand => snapshot.envelopes[LimitKind::Actions].or(match &snapshot.capacity_info {
            CapacityInfo::Known(info) => info.on_demand_actions,
            CapacityInfo::NotRead | CapacityInfo::Unavailable { .. } => None,
        }),
    })
}

/// Verdict of the size that was chosen, or that would have been chosen.
pub(super) fn chosen_or_held(decision: &Decision, capacity: Capacity) -> Option<String> {
    let meaning = || meaning(decision);
    if decision.action.is_change() && decision.wanted == Some(capacity) {
        return Some(format!("chosen: {}", meaning()));
    }
    if decision.blocked == Some(capacity) && decision.current != Some(capacity) {
        return Some(format!("wanted, but held: {}", meaning()));
    }
    None
}

/// Verdict of the sizes below the one that a scale-up chose.
pub(super) fn not_larger(decision: &Decision, capacity: Capacity) -> Option<String> {
    if decision.current == Some(capacity) {
        return Some(match decision.throttled_share {
            Some(_) => "current: throttled at its limit".to_owned(),
            None => "current: smaller than wanted".to_owned(),
        });
    }
    (capacity == Capacity::OnDemand).then(|| "smaller than the current size".to_owned())
}

/// Returns the meaning of the decision's code, as the rest of a sentence.
pub(super) fn meaning(decision: &Decision) -> String {
    let meaning = decision.reason_code.meaning().trim_end_matches('.');
    let mut letters = meaning.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => String::new(),
    }
}
