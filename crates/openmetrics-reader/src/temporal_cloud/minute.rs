//! What a fold comes to: the newest minute of each namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::{Limit, Part};

/// What is above this, per second, is no rate.
const LARGEST: f64 = 1e12;

/// A rate: whole millionths per second, so that sums are exact.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate {
    millionths: u64,
}

impl Rate {
    /// Returns a reported rate, rounded to a millionth; `None` if it is `NaN`, infinite, negative or above 10^12.
    pub fn from_per_second(reported: f64) -> Option<Self> {
        if !(0.0..=LARGEST).contains(&reported) {
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the range was just checked: at most 10^18"
        )]
        let millionths = (reported * 1e6).round() as u64;
        Some(Self { millionths })
    }

    /// Returns the number of millionths per second.
    pub const fn millionths(self) -> u64 {
        self.millionths
    }

    /// Returns the rate per second, as near as a float is.
    #[expect(clippy::cast_precision_loss, reason = "exact up to nine billion per second")]
    pub fn per_second(self) -> f64 {
        self.millionths as f64 / 1e6
    }

    /// Returns whether this is exactly zero.
    pub const fn is_zero(self) -> bool {
        self.millionths == 0
    }

    pub(super) const fn saturating_add(self, other: Self) -> Self {
        Self {
            millionths: self.millionths.saturating_add(other.millionths),
        }
    }
}

/// Why a point of a series counts for nothing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Unreadable {
    /// Its value is not a rate: `NaN`, infinite or negative.
    NotARate(String),
    /// It has no time.
    WithoutTime,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotARate(value) => write!(f, "a rate of {value}"),
            Self::WithoutTime => f.write_str("a sample without a time"),
        }
    }
}

/// What the series of one rate add up to. Without any series, both are empty: absent, not zero.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reported {
    /// The sum of the series that can be read; `None` if there is none.
    pub readable: Option<Rate>,
    /// What is wrong with series that cannot be read: if there are any, the sum is not all.
    pub unreadable: BTreeSet<Unreadable>,
}

impl Reported {
    /// Returns whether there is no series at all.
    pub fn is_absent(&self) -> bool {
        self.readable.is_none() && self.unreadable.is_empty()
    }

    /// Returns the rate, if every series can be read.
    pub fn rate(&self) -> Option<Rate> {
        self.readable.filter(|_| self.unreadable.is_empty())
    }

    /// Returns the rate per second, if every series can be read.
    pub fn per_second(&self) -> Option<f64> {
        self.rate().map(Rate::per_second)
    }
}

/// What was reported of one limit of a namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitUsage {
    /// Served per second: foreground, active replica.
    pub served: Reported,
    /// Refused per second because of the limit.
    pub throttled: Reported,
    /// Served per second by replicas on standby, as far as it can be read: it does not count against the limit.
    pub standby: Rate,
    /// The limit in effect: the newest, and of equally new ones, the largest; `None` if no series of it can be read.
    pub limit: Option<Rate>,
    /// What on-demand would provide, likewise.
    pub on_demand_limit: Option<Rate>,
}

/// The newest minute of a namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NamespaceMinute {
    /// When it was measured, in milliseconds since 1970: the oldest of all rates and limits, so that nothing stale hides behind
    /// something fresh. An idle namespace has limits only. `None` if nothing that can be read has a time.
    pub timestamp_ms: Option<i64>,
    /// Actions.
    pub actions: LimitUsage,
    /// Requests.
    pub requests: LimitUsage,
    /// Operations.
    pub operations: LimitUsage,
    /// Whether a replica on standby has reported a rate.
    pub has_standby: bool,
}

impl NamespaceMinute {
    /// Returns what was reported of a limit.
    pub const fn of(&self, limit: Limit) -> &LimitUsage {
        match limit {
            Limit::Actions => &self.actions,
            Limit::Requests => &self.requests,
            Limit::Operations => &self.operations,
        }
    }

    pub(super) const fn of_mut(&mut self, limit: Limit) -> &mut LimitUsage {
        match limit {
            Limit::Actions => &mut self.actions,
            Limit::Requests => &mut self.requests,
            Limit::Operations => &mut self.operations,
        }
    }

    /// Returns whether any rate of the active replica was reported that can be read: if not, and the limits are there, it is idle.
    pub fn has_rates(&self) -> bool {
        let mut limits = Limit::ALL.into_iter().map(|limit| self.of(limit));
        limits.any(|usage| usage.served.readable.is_some() || usage.throttled.readable.is_some())
    }
}

impl LimitUsage {
    pub(super) const fn rate_mut(&mut self, part: Part) -> Option<&mut Reported> {
        match part {
            Part::Served => Some(&mut self.served),
            Part::Throttled => Some(&mut self.throttled),
            Part::Limit | Part::OnDemandLimit => None,
        }
    }
}

/// The newest minute of each namespace of an account, and what was left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AccountMinute {
    /// By full id where an account is known. A namespace of which only background work was reported is among them, without rates.
    pub namespaces: BTreeMap<Arc<str>, NamespaceMinute>,
    /// Samples without the label of the namespace.
    pub unlabelled: usize,
    /// Samples whose label of the namespace was overwritten by a scrape job.
    pub overwritten: usize,
    /// Namespaces that were reported and not asked for.
    pub unlisted: BTreeSet<String>,
    pub(super) declared: [bool; 3],
}

impl AccountMinute {
    /// Returns whether the family of what was served of a limit was declared, with or without samples.
    pub const fn is_served_declared(&self, limit: Limit) -> bool {
        self.declared[limit as usize]
    }
}
