//! Decisions of a plan, and their totals.

use capacity_engine::{Action, Capacity, Decision};
use jiff::Timestamp;
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::evaluation::Judged;

// Saved plans, reports of workflows, digests, the ledger, tables and CSV all use this type. It is
// deserialized leniently, because a workflow history may contain one from another release. Additional fields
// in an edited plan are ignored; the digest covers the fields that are read.
// Exhaustive: callers use struct update syntax (`..`), so a new field gets its default.
/// One decision of a plan.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(!default, deny_unknown_fields)]
pub struct PlannedDecision {
    /// Full id of the namespace, `name.account`.
    pub namespace: String,
    /// What to do with the capacity of the namespace.
    pub action: ActionName,
    /// Current TRUs; 0 means on-demand, null if unknown.
    pub current_trus: Option<u32>,
    /// TRUs after the plan is executed; 0 means on-demand, null if unknown.
    pub wanted_trus: Option<u32>,
    /// Target that a restriction or guard blocked; 0 means on-demand, null if there is none.
    pub blocked_trus: Option<u32>,
    /// Stable code of the reason, in snake case.
    pub reason_code: String,
    /// The reason, in one sentence with its numbers.
    pub reason: String,
    /// Whether the decision is announced.
    pub announce: bool,
    /// Cost of the capacity.
    pub price: PlannedPrice,
    /// The throttled share of the limit that throttles most, in percent; null if nothing is throttled.
    #[schemars(with = "Option<f64>")]
    pub throttled_percent: Option<Percent>,
    /// The minute of the newest metrics used (UTC); null if there were none.
    #[schemars(with = "Option<String>")]
    pub sample_minute: Option<Timestamp>,
    /// How many of the last 60 minutes are known; null if there were no metrics.
    #[schemars(default)]
    pub known_minutes: Option<u32>,
    /// The version of the namespace that was decided on.
    pub resource_version: String,
}

/// A share in percent, rounded to a tenth; a number in JSON.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "f64", into = "f64")]
pub struct Percent {
    tenths: u16,
}

impl Percent {
    /// Returns whether the share rounds to zero.
    pub const fn is_zero(self) -> bool {
        self.tenths == 0
    }
}

impl From<f64> for Percent {
    fn from(percent: f64) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and 1,000"
        )]
        let tenths = (percent * 10.0).round().clamp(0.0, 1_000.0) as u16;
        Self { tenths }
    }
}

impl From<Percent> for f64 {
    fn from(percent: Percent) -> Self {
        Self::from(percent.tenths) / 10.0
    }
}

/// The action of a decision.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub enum ActionName {
    /// From on-demand to provisioned capacity.
    Enable,
    /// From one number of TRUs to another.
    Resize,
    /// From provisioned capacity to on-demand.
    Disable,
    /// Evaluated; nothing to change.
    Keep,
    /// Not evaluated, or the change is not allowed; the reason states what would end the hold.
    Hold,
    /// Excluded by the allowlist or denylist.
    Skip,
    /// An action of another release that this one does not know.
    #[default]
    #[serde(other)]
    #[schemars(skip)]
    Unknown,
}

impl ActionName {
    /// Returns whether this action changes the capacity.
    pub fn is_change(self) -> bool {
        match self {
            Self::Enable | Self::Resize | Self::Disable => true,
            Self::Keep | Self::Hold | Self::Skip | Self::Unknown => false,
        }
    }

    /// Returns the action's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enable => "Enable",
            Self::Resize => "Resize",
            Self::Disable => "Disable",
            Self::Keep => "Keep",
            Self::Hold => "Hold",
            Self::Skip => "Skip",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<Action> for ActionName {
    fn from(action: Action) -> Self {
        match action {
            Action::Enable(_) => Self::Enable,
            Action::Resize(_) => Self::Resize,
            Action::Disable => Self::Disable,
            Action::Keep => Self::Keep,
            Action::Hold => Self::Hold,
            Action::Skip => Self::Skip,
            _ => Self::Unknown,
        }
    }
}

/// Cost of capacity per hour when idle: the billed minimum, an upper bound. Exact decimals, as strings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(!default, deny_unknown_fields)]
#[non_exhaustive]
pub struct PlannedPrice {
    /// US dollars per hour before the change.
    pub per_hour_before: Option<Decimal>,
    /// US dollars per hour after the change.
    pub per_hour_after: Option<Decimal>,
    /// US dollars per hour at the size in `blocked_trus`; null if there is none.
    #[schemars(default)]
    pub per_hour_blocked: Option<Decimal>,
}

/// Counts and costs of a plan.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct PlanSummary {
    /// Namespaces decided on.
    pub namespaces: usize,
    /// Decisions to enable.
    pub enable: usize,
    /// Decisions to resize.
    pub resize: usize,
    /// Decisions to disable.
    pub disable: usize,
    /// Decisions to keep.
    pub keep: usize,
    /// Decisions to hold.
    pub hold: usize,
    /// Namespaces excluded by the allowlist or denylist.
    pub skip: usize,
    /// Idle minimum of all namespaces in US dollars per hour, before the changes.
    pub per_hour_before: Decimal,
    /// Idle minimum of all namespaces in US dollars per hour, after the changes.
    pub per_hour_after: Decimal,
    /// Requests made to the Cloud Ops API.
    pub ops_requests: u64,
    /// Requests made to the metrics endpoint, which allows 180 an hour per account.
    pub metrics_requests: u64,
}

impl PlanSummary {
    /// Returns how many decisions change capacity.
    pub fn changes(&self) -> usize {
        self.enable + self.resize + self.disable
    }

    fn count(&mut self, decision: &PlannedDecision) {
        self.namespaces += 1;
        let of_action = match decision.action {
            ActionName::Enable => Some(&mut self.enable),
            ActionName::Resize => Some(&mut self.resize),
            ActionName::Disable => Some(&mut self.disable),
            ActionName::Keep => Some(&mut self.keep),
            ActionName::Hold => Some(&mut self.hold),
            ActionName::Skip => Some(&mut self.skip),
            ActionName::Unknown => None,
        };
        if let Some(count) = of_action {
            *count += 1;
        }
        self.per_hour_before += decision.price.per_hour_before.unwrap_or_default();
        self.per_hour_after += decision.price.per_hour_after.unwrap_or_default();
    }

    /// Counts decisions; the request counts stay zero.
    pub(crate) fn of(decisions: &[PlannedDecision]) -> Self {
        let mut summary = Self::default();
        for decision in decisions {
            summary.count(decision);
        }
        summary
    }
}

impl From<&Judged> for PlannedDecision {
    fn from(judged: &Judged) -> Self {
        Self {
            resource_version: judged.observed.resource_version.clone(),
            ..Self::from(&judged.decision)
        }
    }
}

/// A decision without a namespace version, which cannot be carried out.
impl From<&Decision> for PlannedDecision {
    fn from(decision: &Decision) -> Self {
        let trus = |capacity: Option<Capacity>| capacity.map(Capacity::trus);
        Self {
            namespace: decision.namespace.to_string(),
            action: decision.action.into(),
            current_trus: trus(decision.current),
            wanted_trus: trus(decision.wanted),
            blocked_trus: trus(decision.blocked),
            reason_code: decision.reason_code.as_str().to_owned(),
            reason: decision.reason.clone(),
            announce: decision.announce,
            price: PlannedPrice {
                per_hour_before: decision.price.per_hour_before,
                per_hour_after: decision.price.per_hour_after,
                per_hour_blocked: decision
                    .blocked
                    .map(|blocked| decision.price.price.idle_hour(blocked)),
            },
            throttled_percent: decision.throttled_share.map(|share| share.percent().into()),
            sample_minute: decision.sample_minute,
            known_minutes: decision.known_minutes.and_then(|known| u32::try_from(known).ok()),
            resource_version: String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_of_another_release_is_read() {
        let newer = r#"{"namespace": "pay.a1b2c", "action": "Split", "wanted_trus": 6, "shape": "round"}"#;
        let decision: PlannedDecision = serde_json::from_str(newer).expect("reads");
        assert_eq!(
            (decision.action, decision.wanted_trus, decision.price),
            (ActionName::Unknown, Some(6), PlannedPrice::default())
        );
        // Reports of release 0.1 had fewer fields.
        let older =
            r#"{"namespace": "pay.a1b2c", "action": "Hold", "reason_code": "raise_only", "announce": true}"#;
        let decision: PlannedDecision = serde_json::from_str(older).expect("reads");
        assert_eq!((decision.action, decision.announce), (ActionName::Hold, true));
    }

    #[test]
    fn a_percentage_is_written_as_it_is_shown() {
        let of = |percent: f64| serde_json::to_string(&Percent::from(percent)).expect("JSON");
        assert_eq!(
            [of(12.3), of(0.04), of(100.0), of(f64::NAN)],
            ["12.3", "0.0", "100.0", "0.0"]
        );
        let read: Percent = serde_json::from_str("12").expect("a number");
        assert_eq!(read, Percent::from(12.0));
    }
}
