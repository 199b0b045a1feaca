//! Usage of a namespace in a minute.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::limit::{LimitKind, PerLimit};
use crate::rate::Rate;

// Exhaustive: a value without one of these fields has no meaning.
/// Usage of one limit in one minute: foreground work of the active replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Served rate.
    pub served: Rate,
    /// Rate that was throttled because of the limit.
    pub throttled: Rate,
}

impl Usage {
    /// Returns served plus throttled. Retries are counted again, so this is an upper bound of the demand.
    pub const fn asked(self) -> Rate {
        self.served.saturating_add(self.throttled)
    }
}

/// One minute of one namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MinuteSample {
    /// Timestamp of the minute, from the metrics endpoint.
    pub minute: Timestamp,
    /// Usage of each limit.
    pub usage: PerLimit<Usage>,
    /// Whether the served rate was read. If not, `served` is zero and meaningless. Throttling is always read.
    pub served_read: PerLimit<bool>,
    /// Whether any rate was reported. A namespace without one is idle.
    pub reported: bool,
}

impl MinuteSample {
    /// Returns a minute in which everything was read and nothing was used.
    pub fn idle(minute: Timestamp) -> Self {
        Self {
            minute,
            usage: PerLimit::default(),
            served_read: PerLimit::from_fn(|_| true),
            reported: true,
        }
    }

    /// Returns a minute with these action rates, in which everything was read.
    pub fn of_actions(minute: Timestamp, served: Rate, throttled: Rate) -> Self {
        Self::idle(minute).with(LimitKind::Actions, Usage { served, throttled })
    }

    /// Sets the usage of one limit.
    #[must_use]
    pub fn with(mut self, kind: LimitKind, usage: Usage) -> Self {
        self.usage[kind] = usage;
        self
    }

    /// Returns the number of minutes since 1970.
    pub fn number(&self) -> i64 {
        self.minute.as_second().div_euclid(60)
    }
}
