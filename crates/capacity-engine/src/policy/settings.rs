//! Settings that all policies share.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use crate::capacity::Trus;

/// Maximum age of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Freshness {
    /// Maximum age of the newest metrics (`METRICS_MAX_AGE`, 6 minutes). The endpoint is 3 to 4 minutes behind: a lower value
    /// holds every namespace, and a higher one allows decisions on old usage.
    pub metrics_max_age: SignedDuration,
}

impl Default for Freshness {
    fn default() -> Self {
        Self {
            metrics_max_age: SignedDuration::from_mins(6),
        }
    }
}

/// Settings of the guards, which check the target of every policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Guards {
    /// How long to leave a namespace alone after someone else changed it (`RESPECT_FOREIGN_CHANGES`, 4 hours). Zero overrides
    /// recent manual changes.
    pub respect_foreign_changes: SignedDuration,
    /// Whether capacity is released on an estimate of the hour (`DISABLE_ON_ESTIMATE`, `false`). `true` releases on less than an
    /// hour of data, as little as one idle minute.
    pub disable_on_estimate: bool,
}

impl Default for Guards {
    fn default() -> Self {
        Self {
            respect_foreign_changes: SignedDuration::from_hours(4),
            disable_on_estimate: false,
        }
    }
}

/// The allowed sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Bounds {
    /// Maximum TRUs (`MAX_TRU_COUNT`, 12). Each TRU after the first costs 360,000 actions an hour, used or
    /// not. If a throttled namespace needs more, it is held.
    pub max_trus: Trus,
}

impl Bounds {
    /// Returns bounds with a largest size.
    pub const fn up_to(max_trus: Trus) -> Self {
        Self { max_trus }
    }
}

impl Default for Bounds {
    fn default() -> Self {
        // The largest size that a customer can choose without Temporal Support.
        Self::up_to(Trus::try_new(12).expect("a constant above zero"))
    }
}
