//! The plan document: every decision of one evaluation, as people save it and scripts read it.
//!
//! One document serves three readers: `plan --output json`, `plan --save` with `apply FILE`, and `apply`
//! itself, which adds `changes`. Its JSON schema lies in `docs/plan.schema.json`. A saved plan carries a
//! digest, so that one edited by hand is noticed; the digest notices accidents, it is no signature.

use capacity_engine::{Action, Capacity, Decision, NamespaceId, Trus};
use jiff::{SignedDuration, Timestamp};
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::change::ChangeResult;
use crate::operation_id::digest;

/// The name and version of the document's form. Fields are added under the same version, never renamed.
pub const PLAN_SCHEMA: &str = "temporal-capacity/plan/v1";

/// How old a saved plan may be when it is applied.
pub const PLAN_MAX_AGE: SignedDuration = SignedDuration::from_mins(15);

/// All decisions of one evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Always `temporal-capacity/plan/v1`.
    pub schema: String,
    /// Identifies this evaluation; operation ids are derived from it.
    pub plan_id: String,
    /// The account whose namespaces these are; null where there are none.
    pub account: Option<String>,
    /// When the evaluation was made (UTC).
    #[schemars(with = "String")]
    pub evaluated_at: Timestamp,
    /// Whether metrics were missing, stale or incomplete for the whole account: nothing was decided on them.
    pub blind: bool,
    /// What the usage rests on, for example `1 minute`.
    pub usage_window: String,
    /// One decision for every listed namespace that was asked for, by name.
    pub decisions: Vec<PlannedDecision>,
    /// What people should know about the evaluation as a whole.
    pub warnings: Vec<String>,
    /// Counts and money.
    pub summary: PlanSummary,
    /// What became of the changes; only after `apply`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<Vec<ChangeResult>>,
    /// Notices a document that was edited; only in a saved plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// One decision of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlannedDecision {
    /// Full id of the namespace, `name.account`.
    pub namespace: String,
    /// What is to be done.
    pub action: ActionName,
    /// Present TRUs, 0 meaning on-demand; null where it cannot be told.
    pub current_trus: Option<u32>,
    /// TRUs after the plan is executed, 0 meaning on-demand; null where it cannot be told.
    pub wanted_trus: Option<u32>,
    /// A wish that a guard held back, 0 meaning on-demand; null where there is none.
    pub blocked_trus: Option<u32>,
    /// Stable code of the reason, in snake case.
    pub reason_code: String,
    /// One sentence with its numbers.
    pub reason: String,
    /// Whether people should be told.
    pub announce: bool,
    /// What the capacity costs.
    pub price: DecisionPrice,
    /// The share of work refused by the limit that throttles most, in percent; null where nothing is throttled.
    pub throttled_percent: Option<f64>,
    /// The minute of the newest metrics used (UTC); null where there were none.
    #[schemars(with = "Option<String>")]
    pub sample_minute: Option<Timestamp>,
    /// The version of the namespace that was decided upon.
    pub resource_version: String,
}

/// The actions of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ActionName {
    /// From on-demand to provisioned capacity.
    Enable,
    /// From one number of TRUs to another.
    Resize,
    /// From provisioned capacity to on-demand.
    Disable,
    /// Looked at, nothing to do.
    Keep,
    /// Not judged or not allowed; the reason says what would end it.
    Hold,
    /// Filtered out.
    Skip,
}

impl ActionName {
    /// Returns whether this action changes capacity.
    pub fn is_change(self) -> bool {
        match self {
            Self::Enable | Self::Resize | Self::Disable => true,
            Self::Keep | Self::Hold | Self::Skip => false,
        }
    }

    /// Returns the word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enable => "Enable",
            Self::Resize => "Resize",
            Self::Disable => "Disable",
            Self::Keep => "Keep",
            Self::Hold => "Hold",
            Self::Skip => "Skip",
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
        }
    }
}

/// What capacity costs per hour when idle: the billed minimum, an upper bound. Exact decimals, as strings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DecisionPrice {
    /// US dollars an hour before.
    pub per_hour_before: Option<Decimal>,
    /// US dollars an hour after.
    pub per_hour_after: Option<Decimal>,
    /// The price in US dollars per million actions that both rest on.
    pub per_million_actions: Decimal,
}

/// Counts and money of a plan.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanSummary {
    /// Namespaces decided upon.
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
    /// Namespaces filtered out.
    pub skip: usize,
    /// Idle minimum of all namespaces in US dollars an hour, before.
    pub per_hour_before: Decimal,
    /// Idle minimum of all namespaces in US dollars an hour, after.
    pub per_hour_after: Decimal,
    /// Requests made to the Cloud Ops API.
    pub ops_requests: u64,
    /// Requests made to the metrics endpoint, of the 180 an hour an account has.
    pub metrics_requests: u64,
}

impl PlanSummary {
    /// Returns how many decisions change capacity.
    pub fn changes(&self) -> usize {
        self.enable + self.resize + self.disable
    }

    fn count(&mut self, decision: &PlannedDecision) {
        self.namespaces += 1;
        *match decision.action {
            ActionName::Enable => &mut self.enable,
            ActionName::Resize => &mut self.resize,
            ActionName::Disable => &mut self.disable,
            ActionName::Keep => &mut self.keep,
            ActionName::Hold => &mut self.hold,
            ActionName::Skip => &mut self.skip,
        } += 1;
        self.per_hour_before += decision.price.per_hour_before.unwrap_or_default();
        self.per_hour_after += decision.price.per_hour_after.unwrap_or_default();
    }

    /// Returns the counts of some decisions, with no requests made.
    pub(crate) fn of(decisions: &[PlannedDecision]) -> Self {
        let mut summary = Self::default();
        for decision in decisions {
            summary.count(decision);
        }
        summary
    }
}
