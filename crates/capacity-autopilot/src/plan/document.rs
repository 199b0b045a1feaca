//! The plan document: created from an evaluation, saved, parsed, and converted to orders.

use std::cmp::Reverse;

use capacity_engine::{Capacity, NamespaceId};
use human_text::at_minute;
use jiff::{SignedDuration, Timestamp};
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::decision::{ActionName, PlanSummary, PlannedDecision};
use super::policies::PlannedPolicies;
use crate::change::{ChangeOrder, ChangeResult};
use crate::evaluation::Evaluation;
use crate::operation_id::{digest, operation_id};

/// The name and version of the document's schema. Fields may be added under the same version, but are never
/// renamed.
pub const PLAN_SCHEMA: &str = "temporal-capacity/plan/v1";

/// Maximum age of a saved plan when it is applied.
pub const PLAN_MAX_AGE: SignedDuration = SignedDuration::from_mins(15);

// Exhaustive: callers use struct update syntax (`..`), so a new field gets its default.
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
    #[error(
        "it was made {} ago ({}), and a plan can be applied for {}. Make a new one with `temporal-capacity plan --save FILE`, or \
         run `temporal-capacity apply` without a file to plan and apply in one step",
        crate::text::age(*.age), at_minute(*.made), crate::text::age(PLAN_MAX_AGE)
    )]
    TooOld {
        /// Time since the evaluation.
        age: SignedDuration,
        /// Time of the evaluation.
        made: Timestamp,
    },
    /// A plan from the future.
    #[error(
        "it was made {} in the future ({}), by the clock of Temporal Cloud. Check the clock of the machine that made it (NTP), then \
         make a new one with `temporal-capacity plan --save FILE`",
        crate::text::age(*.ahead), at_minute(*.made)
    )]
    FromTheFuture {
        /// Time until the evaluation.
        ahead: SignedDuration,
        /// Time of the evaluation.
        made: Timestamp,
    },
    /// A decision whose parts contradict each other.
    #[error("the decision on `{namespace}` cannot be carried out: {problem}; make a new plan")]
    Decision {
        /// The namespace, as in the plan.
        namespace: String,
        /// How the parts contradict each other.
        problem: String,
    },
}

impl Plan {
    /// Creates the plan of an evaluation.
    pub fn of(evaluation: &Evaluation) -> Self {
        let account = &evaluation.account;
        let decisions: Vec<PlannedDecision> =
            evaluation.decisions.iter().map(PlannedDecision::from).collect();
        let mut summary = PlanSummary::of(&decisions);
        summary.ops_requests = account.ops_requests;
        summary.metrics_requests = account.metrics_requests;
        let identity = format!(
            "{}\n{}\n{}",
            account.id.as_deref().unwrap_or_default(),
            account.at.as_nanosecond(),
            // Two processes may share a time; their plans, and the operation ids derived from these, must
            // differ.
            std::process::id()
        );
        Self {
            schema: PLAN_SCHEMA.to_owned(),
            plan_id: digest(&identity),
            account: account.id.clone(),
            evaluated_at: account.at,
            metrics_unavailable: evaluation.metrics_unavailable.is_some(),
            metrics_problem: evaluation
                .metrics_unavailable
                .map(|problem| problem.as_str().to_owned()),
            usage_window: account.usage_source.to_string(),
            policies: Some(PlannedPolicies::from(&account.rules)),
            price_per_million_actions: account.rules.prices.dollars(),
            decisions,
            warnings: account.warnings.iter().map(ToString::to_string).collect(),
            errors: account.errors.iter().map(ToString::to_string).collect(),
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
            _ => format!("{}, no minutes known", self.usage_window),
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
                    .inspect_err(
                        |error| tracing::warn!(%error, "skipping a change that cannot be carried out"),
                    )
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
                age,
                made: self.evaluated_at,
            });
        }
        // A minute of tolerance, as for samples: clocks differ.
        if age < SignedDuration::from_mins(-1) {
            return Err(PlanError::FromTheFuture {
                ahead: -age,
                made: self.evaluated_at,
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
            return Err(wrong(
                "it belongs to a different account than the plan".to_owned(),
            ));
        }
        let (Some(from), Some(to)) = (decision.current_trus, decision.wanted_trus) else {
            return Err(wrong("its capacity is unknown".to_owned()));
        };
        // A saved plan is input from outside: action and sizes must agree before anything is sent.
        let expected = match (from, to) {
            (0, 1..) => ActionName::Enable,
            (1.., 0) => ActionName::Disable,
            (one, other) if one != other => ActionName::Resize,
            _ => return Err(wrong("it changes nothing".to_owned())),
        };
        if expected != decision.action {
            return Err(wrong(format!(
                "the action `{}` does not change {from} to {to} TRUs",
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
        // The schema first, so that a plan of a newer version is reported as such and not as an unknown
        // field.
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
    fn a_plan_that_is_too_old_names_its_age_the_limit_and_the_remedy() {
        let plan = Plan {
            evaluated_at: "2026-11-25T10:45:30Z".parse().expect("a time"),
            ..Plan::default()
        };
        let told = |minutes| {
            let now = plan.evaluated_at + SignedDuration::from_mins(minutes);
            plan.saved_orders(now).expect_err("refused").to_string()
        };
        insta::assert_snapshot!(told(135), @"it was made 2 h 15 min ago (2026-11-25 10:45 UTC), and a plan can be applied for 15 min. Make a new one with `temporal-capacity plan --save FILE`, or run `temporal-capacity apply` without a file to plan and apply in one step");
        insta::assert_snapshot!(told(-5), @"it was made 5 min in the future (2026-11-25 10:45 UTC), by the clock of Temporal Cloud. Check the clock of the machine that made it (NTP), then make a new one with `temporal-capacity plan --save FILE`");
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
}
