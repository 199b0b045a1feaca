//! Settings of the `threshold` policy and of the guards.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::contract::PolicyRef;
use crate::capacity::Trus;
use crate::namespace::NamespaceFilter;
use crate::pricing::{ActionPrice, PricePerMillion};

/// Sizes that contradict each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the default size of {default} is above the largest allowed size of {max}")]
pub struct InvalidSizes {
    default: Trus,
    max: Trus,
}

/// Settings of the rule and its guards.
///
/// Start from `ThresholdSettings::default()`: 5 TRUs when throttled, never more than 12, released below 100 actions an hour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ThresholdSettings {
    pub(crate) default_trus: Trus,
    pub(crate) max_trus: Trus,
    /// Capacity is released below this number of actions an hour (`MIN_ACTIONS_THRESHOLD`).
    pub min_actions_per_hour: u64,
    /// How old the newest metrics may be (`METRICS_MAX_AGE`); the endpoint is 3 to 4 minutes behind.
    pub metrics_max_age: SignedDuration,
    /// How long to leave a namespace alone after somebody else changed it (`RESPECT_FOREIGN_CHANGES`).
    pub respect_foreign_changes: SignedDuration,
    /// Whether capacity is released on an estimate of the hour (`DISABLE_ON_ESTIMATE`).
    pub disable_on_estimate: bool,
    /// What actions cost (`PRICE_PER_MILLION_ACTIONS`, `ACTIONS_PER_MONTH`, `SUPPORT_PLAN_PERCENTAGE`).
    pub price: ActionPrice,
}

impl Default for ThresholdSettings {
    fn default() -> Self {
        let trus = |count| Trus::try_new(count).expect("a constant above zero");
        Self {
            default_trus: trus(5),
            max_trus: trus(12),
            min_actions_per_hour: 100,
            metrics_max_age: SignedDuration::from_mins(6),
            respect_foreign_changes: SignedDuration::from_hours(4),
            disable_on_estimate: false,
            price: ActionPrice::flat(PricePerMillion::FIRST_TIER),
        }
    }
}

impl ThresholdSettings {
    /// Sets the size to enable, and the largest size.
    ///
    /// # Errors
    ///
    /// If the first is above the second.
    pub fn with_sizes(self, default: Trus, max: Trus) -> Result<Self, InvalidSizes> {
        if default > max {
            return Err(InvalidSizes { default, max });
        }
        Ok(Self {
            default_trus: default,
            max_trus: max,
            ..self
        })
    }

    /// TRUs to enable (`DEFAULT_TRU_COUNT`); if this size is not available, the next one up is used.
    pub const fn default_trus(&self) -> Trus {
        self.default_trus
    }

    /// TRUs never to be exceeded (`MAX_TRU_COUNT`).
    pub const fn max_trus(&self) -> Trus {
        self.max_trus
    }
}

/// What is judged, and how: what is common to all policies, and the policy itself.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Policy {
    /// The rule and its guards.
    pub threshold: ThresholdSettings,
    /// Which namespaces are managed.
    pub filter: NamespaceFilter,
    /// The policy that decides.
    pub acting: PolicyRef,
    /// The policy whose decisions are recorded in addition, and never carried out.
    pub shadow: Option<PolicyRef>,
}

impl Policy {
    /// Sets the rule and its guards.
    #[must_use]
    pub fn with_threshold(self, threshold: ThresholdSettings) -> Self {
        Self { threshold, ..self }
    }

    /// Sets which namespaces are managed.
    #[must_use]
    pub fn with_filter(self, filter: NamespaceFilter) -> Self {
        Self { filter, ..self }
    }

    /// Sets the policy that decides.
    #[must_use]
    pub fn with_acting(self, acting: PolicyRef) -> Self {
        Self { acting, ..self }
    }

    /// Sets the policy whose decisions are recorded as well, and never carried out.
    #[must_use]
    pub fn with_shadow(self, shadow: PolicyRef) -> Self {
        Self {
            shadow: Some(shadow),
            ..self
        }
    }

    /// Returns the same with another policy that decides, and without a shadow.
    #[must_use]
    pub fn acting(&self, policy: PolicyRef) -> Self {
        Self {
            acting: policy,
            shadow: None,
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_size_above_the_largest_is_refused() {
        let trus = |count| Trus::try_new(count).expect("above zero");
        let settings = ThresholdSettings::default();
        assert!(settings.clone().with_sizes(trus(4), trus(4)).is_ok());
        let error = settings.with_sizes(trus(5), trus(4)).expect_err("refused");
        assert_eq!(
            error.to_string(),
            "the default size of 5 TRUs is above the largest allowed size of 4 TRUs"
        );
    }
}
