//! Settings of the `threshold` policy and of the guards.

use jiff::SignedDuration;

use super::contract::PolicyRef;
use crate::capacity::Trus;
use crate::namespace::NamespaceFilter;
use crate::pricing::{ActionPrice, PricePerMillion};

/// Settings of the rule and its guards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThresholdSettings {
    /// TRUs to enable (`DEFAULT_TRU_COUNT`); if this size is not available, the next one up is used.
    pub default_trus: Trus,
    /// Capacity is released below this number of actions an hour (`MIN_ACTIONS_THRESHOLD`).
    pub min_actions_per_hour: u64,
    /// TRUs never to be exceeded (`MAX_TRU_COUNT`).
    pub max_trus: Trus,
    /// How old the newest metrics may be (`METRICS_MAX_AGE`); the endpoint is 3 to 4 minutes behind.
    pub metrics_max_age: SignedDuration,
    /// How long another's change is left alone (`RESPECT_FOREIGN_CHANGES`).
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
            min_actions_per_hour: 100,
            max_trus: trus(12),
            metrics_max_age: SignedDuration::from_mins(6),
            respect_foreign_changes: SignedDuration::from_hours(4),
            disable_on_estimate: false,
            price: ActionPrice::flat(PricePerMillion::FIRST_TIER),
        }
    }
}

/// What is judged, and how: what is common to all policies, and the policy itself.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// The rule and its guards.
    pub threshold: ThresholdSettings,
    /// Which namespaces are ours.
    pub filter: NamespaceFilter,
    /// The policy that decides.
    pub acting: PolicyRef,
    /// The policy whose decisions are recorded beside, and never carried out.
    pub shadow: Option<PolicyRef>,
}

impl Policy {
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
