//! The plan document: every decision of one evaluation, as users save it and scripts read it.
//!
//! The same document is used by `plan --output json`, by `plan --save` with `apply FILE`, and by `apply`
//! itself, which adds `changes`. Its JSON schema is `docs/plan.schema.json`. A saved plan carries a digest,
//! so that edits are detected. The digest detects accidents; it is not a signature.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use capacity_engine::{Action, Capacity, NamespaceId, PolicyRef, Rules, Threshold};
use jiff::{SignedDuration, Timestamp};
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::change::{ChangeOrder, ChangeResult};
use crate::evaluation::{Evaluation, Judged};
use crate::operation_id::{digest, operation_id};

/// The name and version of the document's schema. Fields may be added under the same version, but are never
/// renamed.
pub const PLAN_SCHEMA: &str = "temporal-capacity/plan/v1";

/// Maximum age of a saved plan when it is applied.
pub const PLAN_MAX_AGE: SignedDuration = SignedDuration::from_mins(15);

/// All decisions of one evaluation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Always `temporal-capacity/plan/v1`.
    pub schema: String,
    /// Identifies this evaluation; operation ids are derived from it.
    pub plan_id: String,
    /// The account of the namespaces; null if there are no namespaces.
    pub account: Option<String>,
    /// Time of the evaluation (UTC).
    #[schemars(with = "String")]
    pub evaluated_at: Timestamp,
    /// Whether metrics were missing, stale or incomplete for the whole account: no metric-based decisions were made.
    #[serde(alias = "blind")]
    pub metrics_unavailable: bool,
    /// Why metrics are unavailable, if they are: `refused`, `unreachable`, `incomplete`, `over_budget` or `stale`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics_problem: Option<String>,
    /// Where the data of the last hour came from: `ledger`, `prometheus`, or `1 minute` if nothing was stored.
    pub usage_window: String,
    /// The active policy and the shadow policy; null in plans of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policies: Option<PlannedPolicies>,
    /// Price of the next million actions in US dollars, without a support plan. Dollar amounts use the whole price list.
    pub price_per_million_actions: Decimal,
    /// One decision for every listed namespace in scope, ordered by name.
    pub decisions: Vec<PlannedDecision>,
    /// Warnings about the evaluation as a whole.
    pub warnings: Vec<String>,
    /// Failures that did not prevent decisions: a rejected metrics key, or capacity info that could not be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
    /// Counts and costs.
    pub summary: PlanSummary,
    /// Outcomes of the changes; only after `apply`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<Vec<ChangeResult>>,
    /// Inputs of the decisions, for `explain --plan`, in a separate format; only in a saved plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<serde_json::Value>,
    /// Digest to detect edits; only in a saved plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// The policies of a plan.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
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

// Saved plans, reports of workflows, digests, the ledger, tables and CSV all use this type. It is
// deserialized leniently, because a workflow history may contain one from another release. Additional fields
// in an edited plan are ignored; the digest covers the fields that are read.
/// One decision of a plan.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(!default, deny_unknown_fields)]
pub struct PlannedDecision {
    /// Full id of the namespace, `name.account`.
    pub namespace: String,
    /// The action.
    pub action: ActionName,
    /// Current TRUs; 0 means on-demand, null if unknown.
    pub current_trus: Option<u32>,
    /// TRUs after the plan is executed; 0 means on-demand, null if unknown.
    pub wanted_trus: Option<u32>,
    /// Target that a restriction or guard held back; 0 means on-demand, null if there is none.
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
    /// Returns whether the share is less than half a tenth.
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
        }
    }
}

/// Cost of capacity per hour when idle: the billed minimum, an upper bound. Exact decimals, as strings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(!default, deny_unknown_fields)]
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

/// Why a saved plan cannot be carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// Not a plan, or a plan of another version.
    #[error("this is not a saved plan; make one with `temporal-capacity plan --save FILE`")]
    NotAPlan(#[source] serde_json::Error),
    /// A document with another schema.
    #[error("the document has the schema `{0}`, but this version reads `{PLAN_SCHEMA}`: make a new plan")]
    Schema(String),
    /// A document that was edited or truncated.
    #[error("the plan was changed after it was saved: make a new one instead of editing it")]
    Edited,
    /// A plan that is too old.
    #[error("the plan is {age_minutes} minutes old, and at most {} are allowed: make a new one", PLAN_MAX_AGE.as_mins())]
    TooOld {
        /// Age of the plan in minutes.
        age_minutes: i64,
    },
    /// A plan from the future.
    #[error("the plan is {minutes} minutes in the future: check the clocks, then make a new one")]
    FromTheFuture {
        /// Minutes by which the plan is in the future.
        minutes: i64,
    },
    /// A decision whose parts contradict each other.
    #[error("the decision on `{namespace}` cannot be carried out: {problem}; make a new plan")]
    Decision {
        /// The namespace, as in the plan.
        namespace: String,
        /// The contradiction.
        problem: String,
    },
}

impl Plan {
    /// Creates the plan of an evaluation.
    pub fn of(evaluation: &Evaluation) -> Self {
        let decisions: Vec<PlannedDecision> =
            evaluation.decisions.iter().map(PlannedDecision::from).collect();
        let mut summary = PlanSummary::of(&decisions);
        summary.ops_requests = evaluation.ops_requests;
        summary.metrics_requests = evaluation.metrics_requests;
        let identity = format!(
            "{}\n{}\n{}",
            evaluation.account.as_deref().unwrap_or_default(),
            evaluation.evaluated_at.as_nanosecond(),
            std::process::id()
        );
        Self {
            schema: PLAN_SCHEMA.to_owned(),
            plan_id: digest(&identity),
            account: evaluation.account.clone(),
            evaluated_at: evaluation.evaluated_at,
            metrics_unavailable: evaluation.metrics_unavailable.is_some(),
            metrics_problem: evaluation
                .metrics_unavailable
                .map(|problem| problem.as_str().to_owned()),
            usage_window: evaluation.usage_source.to_string(),
            policies: Some(PlannedPolicies::from(&evaluation.rules)),
            price_per_million_actions: evaluation.rules.prices.dollars(),
            decisions,
            warnings: evaluation.warnings.clone(),
            errors: evaluation.errors.clone(),
            summary,
            changes: None,
            inputs: None,
            digest: None,
        }
    }

    /// Describes the source of the last hour's data, and how much of it is known: `ledger, 52 to 60 of 60
    /// minutes known`.
    pub fn coverage(&self) -> String {
        let known = || {
            self.decisions
                .iter()
                .filter_map(|decision| decision.known_minutes)
        };
        match (known().min(), known().max()) {
            (Some(fewest), Some(most)) if fewest == most => {
                format!("{}, {most} of 60 minutes known", self.usage_window)
            }
            (Some(fewest), Some(most)) => {
                format!("{}, {fewest} to {most} of 60 minutes known", self.usage_window)
            }
            _ => format!("{}, no minute known", self.usage_window),
        }
    }

    /// Returns the changes as orders, in the order in which they are carried out: scale-ups before
    /// scale-downs, the most throttled first, then by name. Decisions that cannot be carried out, for example
    /// in an edited plan, are left out.
    pub fn orders(&self) -> Vec<ChangeOrder> {
        let orders = self.changes_in_order().into_iter();
        orders
            .filter_map(|decision| {
                self.order(decision)
                    .inspect_err(|error| tracing::warn!(%error, "a change is not carried out"))
                    .ok()
            })
            .collect()
    }

    /// Returns the changes of a saved plan as orders, in the same order.
    ///
    /// # Errors
    ///
    /// If the plan is too old, from the future, or contains a decision that contradicts itself.
    pub fn saved_orders(&self, now: Timestamp) -> Result<Vec<ChangeOrder>, PlanError> {
        let age = now.duration_since(self.evaluated_at);
        if age > PLAN_MAX_AGE {
            return Err(PlanError::TooOld {
                age_minutes: age.as_mins(),
            });
        }
        if age < SignedDuration::from_mins(-1) {
            return Err(PlanError::FromTheFuture {
                minutes: -age.as_mins(),
            });
        }
        let orders = self.changes_in_order().into_iter();
        orders.map(|decision| self.order(decision)).collect()
    }

    fn changes_in_order(&self) -> Vec<&PlannedDecision> {
        let changes = self
            .decisions
            .iter()
            .filter(|decision| decision.action.is_change());
        let mut changes: Vec<&PlannedDecision> = changes.collect();
        changes.sort_by_key(|decision| {
            (
                decision.wanted_trus < decision.current_trus,
                Reverse(decision.throttled_percent),
                &decision.namespace,
            )
        });
        changes
    }

    fn order(&self, decision: &PlannedDecision) -> Result<ChangeOrder, PlanError> {
        let wrong = |problem: String| PlanError::Decision {
            namespace: decision.namespace.clone(),
            problem,
        };
        let namespace: NamespaceId = decision
            .namespace
            .parse()
            .map_err(|error| wrong(format!("{error}")))?;
        if self.account.is_some() && namespace.account() != self.account.as_deref() {
            return Err(wrong("it belongs to another account than the plan".to_owned()));
        }
        let (Some(from), Some(to)) = (decision.current_trus, decision.wanted_trus) else {
            return Err(wrong("its capacity is unknown".to_owned()));
        };
        let expected = match (from, to) {
            (0, 1..) => ActionName::Enable,
            (1.., 0) => ActionName::Disable,
            (one, other) if one != other => ActionName::Resize,
            _ => return Err(wrong("it changes nothing".to_owned())),
        };
        if expected != decision.action {
            return Err(wrong(format!(
                "{} does not lead from {from} to {to} TRUs",
                decision.action.as_str()
            )));
        }
        let to = Capacity::from_trus(to);
        Ok(ChangeOrder {
            operation_id: operation_id(&namespace, to, &self.plan_id),
            namespace,
            from: Capacity::from_trus(from),
            to,
            resource_version: decision.resource_version.clone(),
            sample_minute: decision.sample_minute,
        })
    }

    /// Serializes the plan for a file: one JSON document with a digest.
    pub fn to_saved(&self) -> String {
        let plan = Self {
            digest: Some(self.own_digest()),
            changes: None,
            ..self.clone()
        };
        serde_json::to_string_pretty(&plan).expect("every part of a plan is JSON") + "\n"
    }

    /// Parses a saved plan.
    ///
    /// # Errors
    ///
    /// If it is not a plan of this version, or was edited after it was saved.
    pub fn from_saved(text: &str) -> Result<Self, PlanError> {
        #[derive(Deserialize)]
        struct Form {
            schema: String,
        }
        let form: Form = serde_json::from_str(text).map_err(PlanError::NotAPlan)?;
        if form.schema != PLAN_SCHEMA {
            return Err(PlanError::Schema(form.schema.chars().take(80).collect()));
        }
        let plan: Self = serde_json::from_str(text).map_err(PlanError::NotAPlan)?;
        if plan.digest.as_deref() != Some(plan.own_digest().as_str()) {
            return Err(PlanError::Edited);
        }
        Ok(plan)
    }

    fn own_digest(&self) -> String {
        let plan = Self {
            digest: None,
            changes: None,
            ..self.clone()
        };
        digest(&serde_json::to_string(&plan).expect("every part of a plan is JSON"))
    }
}

impl From<&Judged> for PlannedDecision {
    fn from(judged: &Judged) -> Self {
        let decision = &judged.decision;
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
            resource_version: judged.resource_version.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(of: &[(&str, u32, u32, f64)]) -> Plan {
        let decision = |(name, from, to, throttled): &(&str, u32, u32, f64)| PlannedDecision {
            namespace: format!("{name}.a1b2c"),
            action: match (from, to) {
                (0, _) => ActionName::Enable,
                (_, 0) => ActionName::Disable,
                (_, _) => ActionName::Resize,
            },
            current_trus: Some(*from),
            wanted_trus: Some(*to),
            throttled_percent: (*throttled > 0.0).then(|| (*throttled).into()),
            ..PlannedDecision::default()
        };
        Plan {
            decisions: of.iter().map(decision).collect(),
            ..Plan::default()
        }
    }

    #[test]
    fn scale_ups_go_first_then_the_most_throttled_then_by_name() {
        let plan = changes(&[
            ("a-idle", 4, 0, 0.0),
            ("b-planned", 2, 4, 0.0),
            ("a-slightly", 0, 6, 0.2),
            ("z-heavy", 0, 6, 12.5),
            ("b-heavy", 0, 6, 12.5),
        ]);
        let orders = plan.orders();
        let order: Vec<&str> = orders.iter().map(|order| order.namespace.name()).collect();
        assert_eq!(order, ["b-heavy", "z-heavy", "a-slightly", "b-planned", "a-idle"]);
        assert_eq!(plan.saved_orders(plan.evaluated_at).expect("orders"), orders);
    }

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
