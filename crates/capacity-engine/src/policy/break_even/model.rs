//! The inputs and outputs of the policy.

use super::load::Window;

/// One size of the ladder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Size {
    /// TRUs, at least 1.
    pub trus: u32,
    /// Limit in actions per minute.
    pub limit: i64,
}

impl Size {
    /// Actions per minute for each TRU if neither the API nor the metrics report a limit (500 a second).
    pub const ACTIONS_PER_MINUTE_AND_TRU: i64 = 30_000;

    /// Returns a size with the documented limit of 500 actions per second for each TRU.
    pub const fn documented(trus: u32) -> Self {
        Self {
            trus,
            limit: Self::ACTIONS_PER_MINUTE_AND_TRU * trus as i64,
        }
    }
}

// Exhaustive: the specification of the policy defines its fields.
/// The inputs of one evaluation, in addition to parameters and state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Situation<'a> {
    /// Minute of the evaluation; minute 0 starts an hour.
    pub now: i64,
    /// Minute of the newest sample.
    pub newest: i64,
    /// Current TRUs, or those being provisioned; 0 is on-demand.
    pub current: u32,
    /// Limit that on-demand provides, in actions per minute.
    pub envelope: i64,
    /// Available sizes, smallest first.
    pub ladder: &'a [Size],
    /// The last hour of samples.
    pub window: &'a Window,
    /// How many of every thousand counted units are billed: 1,000 if the window counts actions.
    pub billed_permille: i64,
}

impl Situation<'_> {
    /// Returns on-demand and the sizes of the ladder, each with its limit.
    pub(super) fn options(&self) -> impl Iterator<Item = (u32, i64)> {
        let sizes = self.ladder.iter().map(|size| (size.trus, size.limit));
        std::iter::once((0, self.envelope)).chain(sizes)
    }

    pub(super) fn limit(&self, option: u32) -> i64 {
        let known = self.options().find(|(trus, _)| *trus == option);
        // The current size may be off the ladder, if Support set it or the region ran out.
        known.map_or(Size::documented(option).limit, |(_, limit)| limit)
    }
}

/// The rule that decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// Scaled up now, because waiting is more expensive.
    Raise,
    /// Released at the end of an hour.
    Release,
    /// The planned larger option, at the start of its hour.
    Planned,
    /// The plan is the current size.
    Keep,
    /// The planned size is larger, and its hour has not started.
    Later,
    /// Nothing to do.
    Hold,
    /// The newest samples are missing or stale.
    Blind,
    /// The current size was below `min_trus`.
    Bounds,
}

impl Rule {
    /// Returns the name of the rule.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raise => "raise",
            Self::Release => "release",
            Self::Planned => "planned",
            Self::Keep => "keep",
            Self::Later => "later",
            Self::Hold => "hold",
            Self::Blind => "blind",
            Self::Bounds => "bounds",
        }
    }
}

/// Expected cost of one option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct OptionCost {
    /// TRUs; 0 is on-demand.
    pub trus: u32,
    /// Limit in actions per minute.
    pub limit: i64,
    /// Expected cost in actions; -1 if the option was not a candidate.
    pub cost: i64,
}

// Exhaustive: the specification of the policy defines its fields.
/// The result of one evaluation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// TRUs to request; the current TRUs if nothing changes.
    pub option: u32,
    /// The rule that decided.
    pub rule: Rule,
    /// Expected costs of the options that were compared; empty if none were.
    pub costs: Vec<OptionCost>,
    /// The inputs of the decision.
    pub reason: Reason,
    /// The comparison with waiting, if waiting turned out to be cheaper.
    pub waiting: Option<Waiting>,
}

/// A comparison that found waiting cheaper than every larger option.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Waiting {
    /// Expected costs; -1 if an option was not a candidate.
    pub costs: Vec<OptionCost>,
    /// Inputs of the comparison.
    pub reason: Reason,
}

/// The inputs of a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// No options were compared.
    Nothing,
    /// The newest samples are missing or stale.
    Blind {
        /// Number of missing samples among the two newest.
        missing: usize,
        /// Age of the newest sample in minutes.
        behind: i64,
    },
    /// The cost of the burst at each option.
    Raise {
        /// Recent minutes with throttling.
        throttled_minutes: i64,
        /// Recent minutes that are known.
        of_minutes: i64,
        /// Actions waiting.
        queue: i64,
        /// Current demand in actions per minute.
        demand: i64,
        /// Number of remembered bursts that the cost is based on; 0 if none was similar.
        similar_bursts: usize,
        /// Expected cost of the larger option, in actions.
        expected: i64,
        /// Expected cost of staying, in actions.
        staying: i64,
    },
    /// The cost of the coming hour at each option.
    Plan {
        /// Length of the look-back, in minutes.
        minutes: usize,
        /// Highest demand in the look-back, in actions per minute.
        peak: i64,
        /// Top-up at the current size for an hour like the look-back, in actions.
        kept: i64,
        /// How many of the hours that follow a busy hour at the same distance were busy, and the number of these hours, if
        /// counted.
        similar: Option<(usize, usize)>,
        /// On how many of the compared days this hour of the day was busy, and the number of these days, if this decided.
        same_hour: Option<(usize, usize)>,
    },
    /// The load of the quietest hour of the day covers the minimum of a size.
    Free {
        /// Limit of that size, in actions per minute.
        limit: i64,
    },
    /// The current size was below the smallest allowed one.
    Bounds {
        /// The smallest allowed size, in TRUs.
        least: u32,
    },
}
