//! The policies of a plan, with their settings.

use std::collections::BTreeMap;

use capacity_engine::{PolicyRef, Rules, Threshold};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The policies of a plan.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct PlannedPolicies {
    /// The active policy.
    pub acting: PlannedPolicy,
    /// The shadow policy, whose decisions are only recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<PlannedPolicy>,
}

/// A policy and its settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct PlannedPolicy {
    /// Name of the policy, as in `POLICY`.
    pub name: String,
    /// Version of the policy's rules.
    pub version: i64,
    /// The policy's parameters by name, as in `POLICY_PARAMS`; for `threshold`, the settings of its rule.
    pub parameters: BTreeMap<String, String>,
}

impl PlannedPolicy {
    fn of(policy: &PolicyRef, rules: &Rules) -> Self {
        let (name, version) = (policy.name().to_owned(), policy.version());
        let mut parameters = policy.parameters();
        if name == Threshold::NAME {
            let settings = [
                ("max_tru_count", rules.bounds.max_trus.get().to_string()),
                (
                    "disable_on_estimate",
                    rules.guards.disable_on_estimate.to_string(),
                ),
            ];
            parameters.extend(settings.map(|(name, value)| (name.to_owned(), value)));
        }
        Self {
            name,
            version,
            parameters,
        }
    }
}

impl From<&Rules> for PlannedPolicies {
    fn from(rules: &Rules) -> Self {
        let of = |it: &PolicyRef| PlannedPolicy::of(it, rules);
        Self {
            acting: of(&rules.policy),
            shadow: rules.shadow.as_ref().map(of),
        }
    }
}
