//! The trace of a decision: every size that could have been chosen, with its verdict.
//!
//! It shows what led to the decision: the sizes that guards considered, the options that the policy compared, or the check that
//! ended the evaluation before any size was considered.

use super::contract::PolicyTarget;
use super::options::{Namespace, kept, meaning};
use super::row::row_of;
use super::settings::Bounds;
use super::threshold::Threshold;
use crate::capacity::{Capacity, Trus};
use crate::decision::{ConsideredOption, Decision};
use crate::snapshot::Snapshot;

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
            Some((step, Fit::Fits)) if *step < self.wish => format!("smaller than the {} wanted", self.wish),
            Some((_, Fit::Fits)) | None => match decision.wanted {
                Some(wanted) if decision.action.is_change() && capacity > wanted => {
                    format!("larger than needed: {wanted} is the first size that helps")
                }
                _ => "not chosen".to_owned(),
            },
        }
    }
}

/// Returns the trace of a decision: the options that its policy compared, or the sizes that its guards considered, or why none was
/// considered.
pub(super) fn trace(
    snapshot: &Snapshot,
    decision: &Decision,
    compared: Vec<ConsideredOption>,
    sizes: Option<&Sizes>,
) -> Vec<ConsideredOption> {
    // What the policy compared comes first: the guards only know which sizes fit.
    if !compared.is_empty() {
        return completed(decision, compared);
    }
    let namespace = Namespace {
        snapshot,
        current: decision.current,
        prices: &decision.price.price,
    };
    let others = decision.wanted.into_iter().chain(decision.blocked);
    // For a held change, `wanted` is the current size, and the trace marks what would have been chosen.
    let chosen = decision.blocked.or(decision.wanted);
    namespace.options(others, chosen, |capacity| match sizes {
        Some(sizes) => sizes.verdict(decision, capacity),
        None => not_looked_at(decision, capacity),
    })
}

/// Fills in the verdicts that the policy left empty, which depend on restrictions and guards.
fn completed(decision: &Decision, mut compared: Vec<ConsideredOption>) -> Vec<ConsideredOption> {
    compared.truncate(PolicyTarget::MOST_OPTIONS);
    for option in compared.iter_mut().filter(|option| option.verdict.is_empty()) {
        let capacity = Capacity::from_trus(option.trus);
        option.verdict = chosen_or_held(decision, capacity).unwrap_or_else(|| "not chosen".to_owned());
    }
    compared
}

/// Returns the verdict of a size if neither the policy nor a guard considered any size.
fn not_looked_at(decision: &Decision, capacity: Capacity) -> String {
    if let Some(verdict) = chosen_or_held(decision, capacity) {
        return verdict;
    }
    let row = row_of(decision.reason_code, decision.blocked.is_some());
    let decided_before = || format!("not considered: row {} ({}) decided first", row.number, row.name);
    let is_current = decision.current == Some(capacity);
    // Rows 1 to 10 come before the policy, so no size was considered.
    if row.number < 11 {
        return if is_current {
            kept(decision.reason_code)
        } else {
            decided_before()
        };
    }
    // A restriction or a guard held a scale-up before any size was considered.
    if decision.blocked > decision.current && decision.current.is_some() {
        return not_larger(decision, capacity).unwrap_or_else(decided_before);
    }
    if is_current {
        "current, kept"
    } else {
        "not compared"
    }
    .to_owned()
}

/// Returns the verdict of the size that was chosen, or that would have been chosen.
fn chosen_or_held(decision: &Decision, capacity: Capacity) -> Option<String> {
    let meaning = || meaning(decision.reason_code);
    if decision.action.is_change() && decision.wanted == Some(capacity) {
        return Some(format!("chosen: {}", meaning()));
    }
    if decision.blocked == Some(capacity) && decision.current != Some(capacity) {
        return Some(format!("wanted, but held: {}", meaning()));
    }
    None
}

/// Returns the verdict of the sizes below the one that a scale-up chose.
fn not_larger(decision: &Decision, capacity: Capacity) -> Option<String> {
    if decision.current == Some(capacity) {
        return Some(match decision.throttled_share {
            Some(_) => "current: throttled at its limit".to_owned(),
            None => "current: smaller than wanted".to_owned(),
        });
    }
    (capacity == Capacity::OnDemand).then(|| "smaller than the current size".to_owned())
}
