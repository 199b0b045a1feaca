//! Compares the decisions of shadow policies with those of the active policy.

use std::collections::BTreeMap;

use capacity_ledger::{DecisionRecord, HistoryFilter, Ledger, PolicyDecisionRecord};
use jiff::Timestamp;
use serde::Serialize;

use crate::error::ReportError;
use crate::query::Span;

/// Maximum number of differences that are listed.
const LISTED: usize = 20;

/// A shadow policy, compared with the active policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Shadow {
    /// Name of the policy.
    pub policy: String,
    /// Number of its decisions in the range.
    pub decisions: u64,
    /// Decisions for the same size as the active policy.
    pub agreed: u64,
    /// Decisions for a larger size.
    pub larger: u64,
    /// Decisions for a smaller size.
    pub smaller: u64,
    /// The newest differences, oldest first.
    pub differences: Vec<ShadowDifference>,
}

/// A decision for a different size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ShadowDifference {
    /// Time of the decision.
    pub at: Timestamp,
    /// Full id of the namespace.
    pub namespace: String,
    /// Id of the evaluation's plan.
    pub plan_id: String,
    /// The size that the active policy wanted; 0 means on-demand.
    pub acting_trus: i64,
    /// The size that the shadow policy wanted; 0 means on-demand.
    pub shadow_trus: i64,
    /// Reason of the shadow policy.
    pub reason: String,
}

/// Decisions of shadow policies, by evaluation and namespace.
#[derive(Debug, Default)]
pub(crate) struct Shadows {
    decisions: BTreeMap<(String, String), Vec<PolicyDecisionRecord>>,
    compared: BTreeMap<String, Shadow>,
}

impl Shadows {
    /// Reads the decisions of a range.
    pub(crate) async fn read(ledger: &Ledger, account: &str, span: Span) -> Result<Self, ReportError> {
        let filter = HistoryFilter {
            from: Some(span.from()),
            to: Some(span.to()),
            ..HistoryFilter::default()
        };
        let mut shadows = Self::default();
        for row in ledger.policy_decisions(Some(account), &filter).await? {
            let decision = row.decision;
            if decision.shadow {
                let key = (decision.plan_id.clone(), decision.namespace.clone());
                shadows.decisions.entry(key).or_default().push(decision);
            }
        }
        Ok(shadows)
    }

    /// Compares a decision of the active policy with the shadow decisions of the same evaluation.
    pub(crate) fn compare(&mut self, at_ms: i64, acting: &DecisionRecord) {
        let key = (acting.plan_id.clone(), acting.namespace.clone());
        let wanted = size(&acting.action, acting.current_trus, acting.wanted_trus);
        for shadow in self.decisions.remove(&key).into_iter().flatten() {
            let its = size(&shadow.action, shadow.current_trus, shadow.wanted_trus);
            let (Some(wanted), Some(its)) = (wanted, its) else {
                continue;
            };
            let compared = self
                .compared
                .entry(shadow.policy.clone())
                .or_insert_with(|| Shadow {
                    policy: shadow.policy.clone(),
                    decisions: 0,
                    agreed: 0,
                    larger: 0,
                    smaller: 0,
                    differences: Vec::new(),
                });
            compared.decisions += 1;
            match its.cmp(&wanted) {
                std::cmp::Ordering::Equal => compared.agreed += 1,
                std::cmp::Ordering::Greater => compared.larger += 1,
                std::cmp::Ordering::Less => compared.smaller += 1,
            }
            if its != wanted {
                if compared.differences.len() == LISTED {
                    compared.differences.remove(0);
                }
                compared.differences.push(ShadowDifference {
                    at: Timestamp::from_millisecond(at_ms).unwrap_or_default(),
                    namespace: shadow.namespace,
                    plan_id: shadow.plan_id,
                    acting_trus: wanted,
                    shadow_trus: its,
                    reason: shadow.reason,
                });
            }
        }
    }

    pub(crate) fn finish(self) -> Vec<Shadow> {
        self.compared.into_values().collect()
    }
}

/// Returns the size that a decision leads to; `None` if unknown.
fn size(action: &str, current: Option<i64>, wanted: Option<i64>) -> Option<i64> {
    match action {
        "Enable" | "Resize" | "Disable" => wanted,
        _ => current,
    }
}
