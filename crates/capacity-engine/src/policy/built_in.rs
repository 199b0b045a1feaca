//! A policy as rules hold it: shared, and stored if it is built in.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::break_even::{BreakEven, Parameters};
use super::contract::CapacityPolicy;
use super::threshold::{Threshold, ThresholdSettings};

/// A policy, shared.
#[derive(Debug, Clone)]
pub struct PolicyRef {
    policy: Arc<dyn CapacityPolicy>,
    /// What it is stored as; only built-ins can be stored.
    stored: Option<BuiltIn>,
}

/// A built-in policy, as it is stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum BuiltIn {
    /// As release 0.1 stored it: the settings were beside it.
    Threshold,
    ThresholdWith(ThresholdSettings),
    BreakEven(Parameters),
}

impl PolicyRef {
    /// Names of the built-ins.
    pub const BUILT_IN: [&str; 2] = [Threshold::NAME, BreakEven::NAME];

    /// Shares a policy.
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

    /// Returns a built-in by its name; the parameters are those of `break-even`, and `threshold` has its default settings.
    pub fn named(name: &str, parameters: &Parameters) -> Option<Self> {
        match name {
            Threshold::NAME => Some(Self::default()),
            BreakEven::NAME => Some(Self::break_even(parameters.clone())),
            _ => None,
        }
    }

    /// Returns the settings, if this is `threshold`.
    pub fn threshold_settings(&self) -> Option<ThresholdSettings> {
        match &self.stored {
            Some(BuiltIn::ThresholdWith(settings)) => Some(*settings),
            Some(BuiltIn::Threshold) => Some(ThresholdSettings::default()),
            Some(BuiltIn::BreakEven(_)) | None => None,
        }
    }

    /// Replaces the settings, if this is `threshold`; other policies are unchanged.
    #[must_use]
    pub fn with_threshold(self, settings: ThresholdSettings) -> Self {
        match self.threshold_settings() {
            Some(_) => Self::threshold(settings),
            None => self,
        }
    }
}

/// Fails for a policy that is not built in: its contents are its own.
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

/// Policies of the same name, version and settings are the same.
impl PartialEq for PolicyRef {
    fn eq(&self, other: &Self) -> bool {
        let identity = |policy: &Self| {
            (
                policy.name().to_owned(),
                policy.version(),
                format!("{:?}", policy.policy),
            )
        };
        identity(self) == identity(other)
    }
}

impl Eq for PolicyRef {}
