//! Everything that a decision is based on, besides what is known about the namespace.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::built_in::PolicyRef;
use super::settings::{Bounds, Freshness, Guards};
use super::threshold::ThresholdSettings;
use crate::capacity::Trus;
use crate::namespace::NamespaceFilter;
use crate::pricing::{ActionPrice, PricePerMillion};

/// The rules of a decision: settings that all policies share, and the policy itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "StoredRules")]
#[non_exhaustive]
pub struct Rules {
    /// Which namespaces are managed. Empty lists manage every namespace of the account.
    pub filter: NamespaceFilter,
    /// Maximum age of the data.
    pub freshness: Freshness,
    /// Settings of the guards.
    pub guards: Guards,
    /// Price of actions (`PRICE_PER_MILLION_ACTIONS`, `ACTIONS_PER_MONTH`, `SUPPORT_PLAN_PERCENTAGE`).
    /// Default: $50 per million. Every cost in a decision is based on it, and `break-even` chooses by it.
    pub prices: ActionPrice,
    /// The allowed sizes.
    pub bounds: Bounds,
    /// The policy that decides.
    pub policy: PolicyRef,
    /// A second policy whose decisions are recorded and never carried out.
    pub shadow: Option<PolicyRef>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            filter: NamespaceFilter::default(),
            freshness: Freshness::default(),
            guards: Guards::default(),
            prices: ActionPrice::flat(PricePerMillion::FIRST_TIER),
            bounds: Bounds::default(),
            policy: PolicyRef::default(),
            shadow: None,
        }
    }
}

impl Rules {
    /// Sets which namespaces are managed.
    #[must_use]
    pub fn with_filter(self, filter: NamespaceFilter) -> Self {
        Self { filter, ..self }
    }

    /// Sets the price of actions.
    #[must_use]
    pub fn with_prices(self, prices: ActionPrice) -> Self {
        Self { prices, ..self }
    }

    /// Sets the allowed sizes.
    #[must_use]
    pub fn with_bounds(self, bounds: Bounds) -> Self {
        Self { bounds, ..self }
    }

    /// Sets the policy that decides.
    #[must_use]
    pub fn with_policy(self, policy: PolicyRef) -> Self {
        Self { policy, ..self }
    }

    /// Sets a second policy whose decisions are recorded and never carried out.
    #[must_use]
    pub fn with_shadow(self, shadow: impl Into<Option<PolicyRef>>) -> Self {
        Self {
            shadow: shadow.into(),
            ..self
        }
    }

    /// Changes the settings of the `threshold` policy, whether it is active or in shadow.
    #[must_use]
    pub fn with_threshold(self, settings: ThresholdSettings) -> Self {
        Self {
            policy: self.policy.with_threshold(settings),
            shadow: self.shadow.map(|shadow| shadow.with_threshold(settings)),
            ..self
        }
    }
}

/// Rules as this version stores them, or as release 0.1 did, with everything except the filter and the
/// policies in `threshold`.
#[derive(Deserialize)]
struct StoredRules {
    #[serde(default)]
    filter: NamespaceFilter,
    #[serde(default)]
    freshness: Freshness,
    #[serde(default)]
    guards: Guards,
    prices: Option<ActionPrice>,
    #[serde(default)]
    bounds: Bounds,
    #[serde(default, alias = "acting")]
    policy: PolicyRef,
    shadow: Option<PolicyRef>,
    threshold: Option<StoredThreshold>,
}

#[derive(Deserialize)]
struct StoredThreshold {
    default_trus: Trus,
    max_trus: Trus,
    min_actions_per_hour: u64,
    metrics_max_age: SignedDuration,
    respect_foreign_changes: SignedDuration,
    disable_on_estimate: bool,
    price: ActionPrice,
}

impl From<StoredRules> for Rules {
    fn from(stored: StoredRules) -> Self {
        let StoredRules {
            filter,
            freshness,
            guards,
            prices,
            bounds,
            policy,
            shadow,
            threshold,
        } = stored;
        let rules = Self {
            filter,
            freshness,
            guards,
            bounds,
            policy,
            shadow,
            ..Self::default()
        };
        let rules = match prices {
            Some(prices) => rules.with_prices(prices),
            None => rules,
        };
        let Some(old) = threshold else {
            return rules;
        };
        let settings = ThresholdSettings {
            default_trus: old.default_trus,
            min_actions_per_hour: old.min_actions_per_hour,
        };
        Self {
            freshness: Freshness {
                metrics_max_age: old.metrics_max_age,
            },
            guards: Guards {
                respect_foreign_changes: old.respect_foreign_changes,
                disable_on_estimate: old.disable_on_estimate,
            },
            prices: old.price,
            bounds: Bounds::up_to(old.max_trus),
            ..rules
        }
        .with_threshold(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::break_even::Parameters;

    #[test]
    fn a_default_size_above_the_largest_is_refused() {
        let trus = |count| Trus::try_new(count).expect("above zero");
        let settings = |default, max| {
            ThresholdSettings::default().with_default_trus(trus(default), Bounds::up_to(trus(max)))
        };
        assert!(settings(4, 4).is_ok());
        assert_eq!(
            settings(5, 4).expect_err("refused").to_string(),
            "the default size of 5 TRUs is above the largest allowed size of 4 TRUs"
        );
    }

    /// Written by release 0.1.
    const STORED: &str = r#"{
        "threshold": {
            "default_trus": 3, "max_trus": 8, "min_actions_per_hour": 7, "metrics_max_age": "PT9M",
            "respect_foreign_changes": "PT1H", "disable_on_estimate": true, "price": PRICE
        },
        "filter": {"allow": [], "deny": ["bulk"]},
        "acting": "threshold",
        "shadow": {"break-even": PARAMETERS}
    }"#;

    #[test]
    fn rules_that_an_older_release_stored_are_read() {
        let price = serde_json::to_string(&ActionPrice::flat(PricePerMillion::FIRST_TIER)).expect("JSON");
        let parameters = serde_json::to_string(&Parameters::default()).expect("JSON");
        let text = STORED.replace("PRICE", &price).replace("PARAMETERS", &parameters);
        let rules: Rules = serde_json::from_str(&text).expect("reads");
        let settings = rules.policy.threshold_settings().expect("threshold");
        assert_eq!(
            (settings.default_trus.get(), settings.min_actions_per_hour),
            (3, 7)
        );
        assert_eq!(rules.bounds.max_trus.get(), 8);
        assert_eq!(rules.freshness.metrics_max_age, SignedDuration::from_mins(9));
        assert_eq!(
            rules.guards.respect_foreign_changes,
            SignedDuration::from_hours(1)
        );
        assert!(rules.guards.disable_on_estimate);
        assert!(rules.filter.deny.matches(&"bulk.a1b2c".parse().expect("an id")));
        assert_eq!(
            rules.shadow.as_ref().map(|it| it.name().to_owned()).as_deref(),
            Some("break-even")
        );

        let again: Rules =
            serde_json::from_str(&serde_json::to_string(&rules).expect("JSON")).expect("reads");
        assert_eq!(format!("{again:?}"), format!("{rules:?}"));
    }
}
