//! The result of a fold: the newest minute of each namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::{Limit, Part};

/// Highest valid rate per second.
const LARGEST: f64 = 1e12;

/// A rate in whole millionths per second, so that sums are exact.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate {
    millionths: u64,
}

impl Rate {
    /// Returns a reported rate, rounded to a millionth; `None` if it is `NaN`, infinite, negative or above 10^12.
    pub fn from_per_second(reported: f64) -> Option<Self> {
        // NaN is in no range.
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

    /// Returns the rate in millionths per second.
    pub const fn millionths(self) -> u64 {
        self.millionths
    }

    /// Returns the rate per second, rounded to the nearest float.
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

/// Why a point of a series is ignored.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Unreadable {
    /// Its value is not a rate: `NaN`, infinite, negative, or above 10^12.
    NotARate(String),
    /// It has no timestamp, or one outside the years -9999 to 9999.
    WithoutTime,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotARate(value) => write!(f, "a rate of {value}"),
            Self::WithoutTime => f.write_str("a sample without a timestamp"),
        }
    }
}

/// The total of the series of one rate. Without any series, both fields are empty: absent, not zero.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reported {
    /// The sum of the series that can be read; `None` if there are none.
    pub readable: Option<Rate>,
    /// The problems of series that cannot be read. If there are any, the sum is incomplete.
    pub unreadable: BTreeSet<Unreadable>,
}

impl Reported {
    /// Returns whether there are no series at all.
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

/// Usage of one limit of a namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitUsage {
    /// Served rate of foreground work on the active replica.
    pub served: Reported,
    /// Rate that was throttled because of the limit.
    pub throttled: Reported,
    /// Rate served by standby replicas, as far as it can be read. It does not count toward the limit.
    pub standby: Rate,
    /// The limit in effect: the newest one, or the largest of equally new ones; `None` if no series of it can
    /// be read.
    pub limit: Option<Rate>,
    /// The limit that on-demand would provide, chosen the same way.
    pub on_demand_limit: Option<Rate>,
}

/// The newest minute of a namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NamespaceMinute {
    /// Time of the measurement, in milliseconds since 1970: the oldest timestamp of the active rates and
    /// the limits in effect, so that stale data is not hidden by fresh data. An idle namespace has limits only.
    /// `None` if there are none.
    pub timestamp_ms: Option<i64>,
    /// Usage of the limit on actions.
    pub actions: LimitUsage,
    /// Usage of the limit on requests.
    pub requests: LimitUsage,
    /// Usage of the limit on operations.
    pub operations: LimitUsage,
    /// Whether a standby replica has reported a rate.
    pub has_standby: bool,
}

impl NamespaceMinute {
    /// Returns the usage of a limit.
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

    /// Returns whether the active replica reported any readable rate. If it did not, and the limits are
    /// there, the namespace is idle.
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
    /// Namespaces, by full id if the account is known. A namespace with only background work is included,
    /// without rates.
    pub namespaces: BTreeMap<Arc<str>, NamespaceMinute>,
    /// Number of samples without the namespace label.
    pub unlabeled: usize,
    /// Number of samples whose namespace label was overwritten by a scrape job.
    pub overwritten: usize,
    /// Namespaces that were reported but not requested.
    pub unlisted: BTreeSet<String>,
    pub(super) declared: [bool; 3],
}

impl AccountMinute {
    /// Returns whether the family for the served rate of a limit was declared, with or without samples.
    pub const fn is_served_declared(&self, limit: Limit) -> bool {
        self.declared[limit as usize]
    }
}
