//! Reduces a plan to what fits into a payload. Its size is bounded, because a history keeps every payload.

use std::collections::BTreeMap;

use capacity_autopilot::{ActionName, Plan, PlannedDecision};

use crate::figures::Figures;
use crate::messages::{ChangeRequest, EvaluationReport, ObserveRequest, ObserveResult};

/// Maximum bytes of decisions in one payload, so that every payload, including changes and their outcomes,
/// stays below 200,000.
const DECISION_BYTES: usize = 42_000;

/// Maximum number of changes in one evaluation. Each is carried in full, once as a request and once with its
/// outcome.
pub(crate) const MOST_CHANGES: usize = 150;

/// Where to keep decisions that change nothing and need no announcement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QuietDecisions {
    /// In the report, as many as fit.
    InReport,
    /// In the ledger, so that the history does not grow with the number of quiet namespaces.
    InLedger,
}

impl ObserveResult {
    /// Adds the changes, as many as one evaluation can carry.
    #[must_use]
    pub(crate) fn with_changes(mut self, mut changes: Vec<ChangeRequest>) -> Self {
        self.changes_left_out = changes.len().saturating_sub(MOST_CHANGES);
        changes.truncate(MOST_CHANGES);
        self.changes = changes;
        self
    }

    /// Creates the observation of a plan. Decisions are limited by bytes, because a reason may be long. Quiet
    /// namespaces are only counted if a ledger has them.
    pub(crate) fn of(plan: &Plan, request: &ObserveRequest, dry_run: bool, quiet: QuietDecisions) -> Self {
        let mut counts = BTreeMap::new();
        for decision in &plan.decisions {
            *counts.entry(decision.action.as_str().to_owned()).or_default() += 1;
        }
        let is_quiet = |decision: &PlannedDecision| rank(decision) > 2;
        let mut sorted: Vec<&PlannedDecision> = plan.decisions.iter().collect();
        if quiet == QuietDecisions::InLedger {
            sorted.retain(|decision| !is_quiet(decision));
        }
        sorted.sort_by_key(|decision| rank(decision));
        let mut decisions = Vec::new();
        let mut announcements_left_out = 0;
        let mut bytes = 0;
        for decision in &sorted {
            // Texts, numbers and times can always be serialized as JSON.
            bytes += serde_json::to_vec(decision).map_or(0, |json| json.len());
            if bytes <= DECISION_BYTES {
                decisions.push((*decision).clone());
            } else if rank(decision) == 1 {
                announcements_left_out += 1;
            }
        }
        Self {
            report: EvaluationReport {
                number: request.number,
                evaluated_at: plan.evaluated_at.to_string(),
                account: plan.account.clone(),
                plan_id: plan.plan_id.clone(),
                dry_run,
                paused: request.paused,
                scale_up_only: request.scale_up_only,
                metrics_unavailable: plan.metrics_unavailable,
                coverage: plan.coverage(),
                figures: Some(Figures::of(plan)),
                counts,
                decisions_left_out: sorted.len() - decisions.len(),
                announcements_left_out,
                decisions,
                warnings: plan
                    .errors
                    .iter()
                    .chain(&plan.warnings)
                    .take(20)
                    .cloned()
                    .collect(),
                ..EvaluationReport::default()
            },
            ..Self::default()
        }
    }
}

/// Returns the rank of a decision: changes, announcements, holds, keeps. The last ones are dropped first.
fn rank(decision: &PlannedDecision) -> u8 {
    match decision.action {
        action if action.is_change() => 0,
        _ if decision.announce => 1,
        ActionName::Hold => 2,
        ActionName::Keep => 3,
        _ => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::{Announcement, ChangeReport};
    use crate::news::Standing;

    fn plan(namespaces: usize) -> Plan {
        let planned = |number: usize| PlannedDecision {
            namespace: format!("a-team-with-a-rather-long-name-{number:05}.a1b2c"),
            action: if number.is_multiple_of(10) {
                ActionName::Enable
            } else {
                ActionName::Keep
            },
            current_trus: Some(0),
            wanted_trus: Some(6),
            reason_code: "throttled".to_owned(),
            reason: "x".repeat(300),
            resource_version: "f".repeat(36),
            sample_minute: Some("2026-11-25T10:45:00Z".parse().expect("a time")),
            ..PlannedDecision::default()
        };
        Plan {
            decisions: (0..namespaces).map(planned).collect(),
            ..Plan::default()
        }
    }

    #[test]
    fn with_a_ledger_a_report_does_not_grow_with_the_number_of_quiet_namespaces() {
        let request = ObserveRequest::default();
        let bytes = |namespaces: usize| {
            let mut quiet = plan(namespaces);
            for decision in quiet.decisions.iter_mut().skip(1) {
                decision.action = ActionName::Keep;
            }
            let observation = ObserveResult::of(&quiet, &request, false, QuietDecisions::InLedger);
            assert_eq!(observation.report.counts.values().sum::<usize>(), namespaces);
            assert_eq!(observation.report.decisions_left_out, 0);
            serde_json::to_string(&observation).expect("JSON").len()
        };
        // The counts have more digits.
        assert!(bytes(10_000) < bytes(10) + 20);
    }

    #[test]
    fn every_payload_stays_below_200_kb_at_ten_thousand_namespaces() {
        let request = ObserveRequest {
            number: 1,
            ..ObserveRequest::default()
        };
        let change = |number: usize| ChangeRequest {
            namespace: format!("a-team-with-a-rather-long-name-{number:05}.a1b2c"),
            to_trus: 6,
            operation_id: "7ca9ac17-0000-8000-8000-000000000000".to_owned(),
            resource_version: "f".repeat(36),
            sample_minute: Some("2026-11-25T10:45:00Z".to_owned()),
            ..ChangeRequest::default()
        };
        let observation = ObserveResult::of(&plan(10_000), &request, false, QuietDecisions::InReport)
            .with_changes((0..1_000).map(change).collect());
        assert_eq!(observation.changes_left_out, 1_000 - MOST_CHANGES);
        let bytes = |value: &str| value.len();
        let json = serde_json::to_string(&observation).expect("JSON");
        assert!(bytes(&json) < 200_000, "{} bytes observed", bytes(&json));
        // The report with the worst outcomes, and everything that a controller carries.
        let report = EvaluationReport {
            changes: observation
                .changes
                .iter()
                .map(|change| ChangeReport::of(change, "failed", Some("e".repeat(1_000))).shortened())
                .collect(),
            ..observation.report.clone()
        };
        let told = Standing {
            seen: 3,
            told: Some("2026-11-25T10:45:00Z".to_owned()),
            since: Some("2026-11-25T10:45:00Z".to_owned()),
        };
        let standing = (0..crate::news::MOST_STANDING).map(|number| {
            (
                format!("a-team-with-a-rather-long-name-{number:05}.a1b2c: Hold x"),
                told.clone(),
            )
        });
        let announcement = Announcement {
            report,
            standing: standing.collect(),
            ..Announcement::default()
        };
        let json = serde_json::to_string(&announcement).expect("JSON");
        assert!(bytes(&json) < 200_000, "{} bytes announced", bytes(&json));
        let counted: usize = observation.report.counts.values().sum();
        assert_eq!(counted, 10_000);
        assert_eq!(
            observation.report.decisions.len() + observation.report.decisions_left_out,
            10_000
        );
        assert!(
            observation.report.decisions[0].action == ActionName::Enable,
            "changes come first"
        );
    }
}
