//! Settings of a backtest: which policies, when, and at which price.

use std::fmt;
use std::str::FromStr;

use capacity_engine::PricePerMillion;
use capacity_engine::break_even::{Parameters, Size};

use crate::trace::Trace;

/// Minutes of an hour.
pub(crate) const HOUR: i64 = 60;

/// The times at which evaluations run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cadence {
    /// At minutes 55 and 0, and when a fresh sample shows throttling or high usage.
    HourEndAndAlerts,
    /// Every five minutes, and when a fresh sample shows throttling or high usage.
    FiveMinutesAndAlerts,
    /// At minutes 55 and 0 only.
    HourEnd,
    /// Evaluations run only at minute 0.
    FullHour,
}

impl Cadence {
    pub(crate) fn is_due(self, minute: i64) -> bool {
        match self {
            Self::HourEndAndAlerts | Self::HourEnd => matches!(minute % HOUR, 0 | 55),
            Self::FullHour => minute % HOUR == 0,
            Self::FiveMinutesAndAlerts => minute % 5 == 0,
        }
    }

    pub(crate) fn alerts(self) -> bool {
        matches!(self, Self::HourEndAndAlerts | Self::FiveMinutesAndAlerts)
    }
}

/// An unknown name. The error text lists the known ones.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {kind} `{name}`; choose from {choices}")]
pub struct UnknownName {
    kind: &'static str,
    name: String,
    choices: String,
}

impl FromStr for Cadence {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "55+alerts" => Ok(Self::HourEndAndAlerts),
            "5min+alerts" => Ok(Self::FiveMinutesAndAlerts),
            "hourly" => Ok(Self::HourEnd),
            "full-hour" => Ok(Self::FullHour),
            _ => Err(UnknownName {
                kind: "cadence",
                name: name.to_owned(),
                choices: "55+alerts, 5min+alerts, hourly, full-hour".to_owned(),
            }),
        }
    }
}

/// The contenders. Their names are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Contender {
    /// No provisioned capacity.
    OnDemand,
    /// The size that carries the busiest ten seconds, for the whole series.
    StaticPeak,
    /// The `threshold` policy at every full hour.
    Threshold,
    /// A target utilization of 70%, every five minutes.
    TargetUtilization,
    /// One step at 70% with cooldowns, every five minutes.
    OneStep,
    /// The `break-even` policy.
    BreakEven,
    /// One option per hour with full knowledge of the future.
    Oracle,
    /// Scale-ups only after observable throttling; releases and holds with hindsight.
    ReactiveOptimum,
}

impl Contender {
    /// All contenders, in report order.
    pub const ALL: [Self; 8] = [
        Self::OnDemand,
        Self::StaticPeak,
        Self::Threshold,
        Self::TargetUtilization,
        Self::OneStep,
        Self::BreakEven,
        Self::Oracle,
        Self::ReactiveOptimum,
    ];

    /// Returns the stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OnDemand => "on-demand",
            Self::StaticPeak => "static-peak",
            Self::Threshold => "threshold",
            Self::TargetUtilization => "target-utilization",
            Self::OneStep => "one-step",
            Self::BreakEven => "break-even",
            Self::Oracle => "oracle",
            Self::ReactiveOptimum => "reactive-optimum",
        }
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Settings of a backtest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Evaluation times of `break-even`.
    pub cadence: Cadence,
    /// Parameters of `break-even`. The optima also use its delay value to price waiting.
    pub parameters: Parameters,
    /// Available sizes, smallest first.
    pub ladder: Vec<Size>,
    /// Warm-up days, which establish the envelope and the history and do not count in the results.
    pub warmup_days: usize,
    /// Price of a million actions. The optima use it to weigh a change (one dollar).
    pub price: PricePerMillion,
}

impl Settings {
    /// Returns the default settings for a trace, with the documented ladder.
    pub fn for_trace(trace: &Trace) -> Self {
        Self {
            cadence: Cadence::HourEndAndAlerts,
            parameters: Parameters::default(),
            ladder: [2, 3, 4, 6, 8, 10, 12].map(Size::documented).to_vec(),
            warmup_days: trace.usual_warmup_days(),
            price: PricePerMillion::FIRST_TIER,
        }
    }

    pub(crate) fn warmup_minutes(&self) -> i64 {
        i64::try_from(self.warmup_days).unwrap_or(0) * 24 * HOUR
    }
}

/// Returns the actions billed in addition to those used, in an hour whose highest option had this many TRUs.
pub(crate) fn topup(trus: u32, used: i64) -> i64 {
    (360_000 * i64::from(trus.saturating_sub(1)) - used).max(0)
}
