//! A shared policy as it is kept in rules. Built-in policies can be stored.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::break_even::{BreakEven, Parameters};
use super::contract::CapacityPolicy;
use super::threshold::{Threshold, ThresholdSettings};

/// A shared policy.
#[derive(Debug, Clone)]
pub struct PolicyRef {
    policy: Arc<dyn CapacityPolicy>,
    /// The stored form; only built-in policies have one.
    stored: Option<BuiltIn>,
}

/// The stored form of a built-in policy.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum BuiltIn {
    /// Form of release 0.1, which stored the settings separately.
    Threshold,
    ThresholdWith(ThresholdSettings),
    BreakEven(Parameters),
}

impl PolicyRef {
    /// Names of the built-in policies.
    pub const BUILT_IN: [&str; 2] = [Threshold::NAME, BreakEven::NAME];

    /// Wraps a policy so that it can be shared.
    pub fn new(policy: impl CapacityPolicy + 'static) -> Self {
        Self {
            policy: Arc::new(policy),
            stored: None,
        }
    }

    /// Returns the `threshold` policy.
    pub fn threshold(settings: ThresholdSettings) -> Self {
        Self {
            stored: Some(BuiltIn::ThresholdWith(settings)),
            ..Self::new(Threshold::new(settings))
        }
    }

    /// Returns the `break-even` policy.
    pub fn break_even(parameters: Parameters) -> Self {
        Self {
            stored: Some(BuiltIn::BreakEven(parameters.clone())),
            ..Self::new(BreakEven::new(parameters))
        }
    }

    /// Returns a built-in policy by its name. `parameters` applies to `break-even`; `threshold` gets its
    /// default settings.
    pub fn named(name: &str, parameters: &Parameters) -> Option<Self> {
        match name {
            Threshold::NAME => Some(Self::default()),
            BreakEven::NAME => Some(Self::break_even(parameters.clone())),
            _ => None,
        }
    }

    /// Returns the settings of `threshold`; `None` for other policies.
    pub fn threshold_settings(&self) -> Option<ThresholdSettings> {
        match &self.stored {
            Some(BuiltIn::ThresholdWith(settings)) => Some(*settings),
            Some(BuiltIn::Threshold) => Some(ThresholdSettings::default()),
            Some(BuiltIn::BreakEven(_)) | None => None,
        }
    }

    /// Replaces the settings of `threshold`; other policies are returned unchanged.
    #[must_use]
    pub fn with_threshold(self, settings: ThresholdSettings) -> Self {
        match self.threshold_settings() {
            Some(_) => Self::threshold(settings),
            None => self,
        }
    }
}

/// Fails for a policy that is not built in, because its contents are unknown.
impl Serialize for PolicyRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let problem = || {
            let name = self.policy.name();
            serde::ser::Error::custom(format!(
                "the policy `{name}` is not built in and cannot be stored"
            ))
        };
        self.stored.as_ref().ok_or_else(problem)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for PolicyRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match BuiltIn::deserialize(deserializer)? {
            BuiltIn::Threshold => Self::default(),
            BuiltIn::ThresholdWith(settings) => Self::threshold(settings),
            BuiltIn::BreakEven(parameters) => Self::break_even(parameters),
        })
    }
}

impl Default for PolicyRef {
    fn default() -> Self {
        Self::threshold(ThresholdSettings::default())
    }
}

impl std::ops::Deref for PolicyRef {
    type Target = dyn CapacityPolicy;

    fn deref(&self) -> &Self::Target {
        &*self.policy
    }
}

/// Policies with the same name, version and settings are equal.
impl PartialEq for PolicyRef {
    fn eq(&self, other: &Self) -> bool {
        let identity = |policy: &Self| {
            (
                policy.name().to_owned(),
                policy.version(),
                // A trait object has no `PartialEq`. The trait requires `Debug`, and the derived one shows
                // every setting.
                format!("{:?}", policy.policy),
            )
        };
        identity(self) == identity(other)
    }
}

impl Eq for PolicyRef {}
