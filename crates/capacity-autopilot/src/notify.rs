//! The digest of an evaluation: sent only when capacity changed or something needs attention.

use human_text::at_minute;
use jiff::Timestamp;
use slack_notifier::{Message, Section, Severity};

use crate::change::ChangeResult;
use crate::plan::{ActionName, Plan, PlannedDecision};
use crate::warning::METRICS_UNAVAILABLE;

/// The content of a digest, from a plan or from the report of a workflow.
#[derive(Debug, Clone, Default)]
pub struct Digest<'a> {
    /// The account, if it is known.
    pub account: Option<&'a str>,
    /// Time of the evaluation.
    pub evaluated_at: Timestamp,
    /// Id of the plan.
    pub plan_id: &'a str,
    /// Whether metrics were unavailable for the whole account.
    pub metrics_unavailable: bool,
    /// Decisions of the plan.
    pub decisions: &'a [PlannedDecision],
    /// Warnings of the plan.
    pub warnings: &'a [String],
    /// The outcomes of its changes.
    pub changes: &'a [ChangeResult],
    /// Further sections.
    pub more: Vec<Section>,
}

impl<'a> From<&'a Plan> for Digest<'a> {
    fn from(plan: &'a Plan) -> Self {
        Self {
            account: plan.account.as_deref(),
            evaluated_at: plan.evaluated_at,
            plan_id: &plan.plan_id,
            metrics_unavailable: plan.metrics_unavailable,
            decisions: &plan.decisions,
            warnings: &plan.warnings,
            changes: plan.changes.as_deref().unwrap_or_default(),
            more: Vec::new(),
        }
    }
}

impl Digest<'_> {
    /// Adds further sections.
    #[must_use]
    pub fn with(self, more: Vec<Section>) -> Self {
        Self { more, ..self }
    }

    /// Returns the message; `None` if there is nothing to report.
    pub fn message(self) -> Option<Message> {
        let (changed, failed): (Vec<&ChangeResult>, Vec<&ChangeResult>) =
            (self.changes.iter()).partition(|result| result.outcome.is_success());
        let mut results = changed.iter().chain(&failed);
        let spec_changed = results.any(|result| !result.spec_differences.is_empty());
        let attention: Vec<String> = self
            .decisions
            .iter()
            .filter(|decision| decision.announce && !decision.action.is_change())
            .map(decision_line)
            .collect();
        let unavailable = if self.metrics_unavailable {
            self.why_unavailable()
        } else {
            Vec::new()
        };
        let counts: Vec<String> = [
            (failed.len(), "failed", "failed"),
            (changed.len(), "changed", "changed"),
            (attention.len(), "needs attention", "need attention"),
        ]
        .into_iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, one, many)| format!("{count} {}", if count == 1 { one } else { many }))
        .collect();
        let result_lines =
            |results: &[&ChangeResult]| results.iter().map(|result| result_line(result)).collect();
        let sections: Vec<Section> = [
            (
                "Metrics unavailable: no metric-based decisions were made",
                unavailable,
            ),
            ("Not carried out", result_lines(&failed)),
            ("Changed", result_lines(&changed)),
            ("Needs attention", attention),
        ]
        .into_iter()
        .map(|(heading, lines)| Section {
            heading: Some(heading.to_owned()),
            lines,
        })
        .chain(self.more)
        .filter(|section| !section.lines.is_empty())
        .collect();
        if sections.is_empty() {
            return None;
        }
        let what = match (counts.is_empty(), self.metrics_unavailable) {
            (false, _) => counts.join(", "),
            (true, true) => "metrics unavailable".to_owned(),
            (true, false) => "update".to_owned(),
        };
        let title = match self.account {
            Some(account) => format!("Capacity of account {account}: {what}"),
            None => format!("Temporal Cloud capacity: {what}"),
        };
        Some(Message {
            severity: match (spec_changed || !failed.is_empty(), sections.len()) {
                (true, _) => Severity::Critical,
                // The only section is the one with successful changes.
                (false, 1) if !changed.is_empty() => Severity::Info,
                (false, _) => Severity::Warning,
            },
            title,
            sections,
            context: vec![format!(
                "evaluated at {}, plan {}",
                at_minute(self.evaluated_at),
                self.plan_id
            )],
        })
    }

    /// Returns why the account's metrics are unavailable. Each reason is listed once, since most namespaces share it.
    fn why_unavailable(&self) -> Vec<String> {
        let of_account: Vec<String> = self
            .warnings
            .iter()
            .filter_map(|warning| warning.strip_prefix(METRICS_UNAVAILABLE))
            .map(str::to_owned)
            .collect();
        if !of_account.is_empty() {
            return of_account;
        }
        let held = self
            .decisions
            .iter()
            .filter(|it| it.action == ActionName::Hold && it.reason_code.starts_with("metrics_"));
        let mut reasons: Vec<String> = held.map(|it| it.reason.clone()).collect();
        reasons.sort();
        // Every namespace of the account may be held for the same reason.
        reasons.dedup();
        reasons.truncate(3);
        reasons
    }
}

fn decision_line(decision: &PlannedDecision) -> String {
    format!(
        "[{}] {}: {}",
        decision.namespace,
        decision.action.as_str(),
        decision.reason
    )
}

fn result_line(result: &ChangeResult) -> String {
    let trus = |trus: u32| capacity_engine::Capacity::from_trus(trus).to_string();
    let mut line = format!(
        "[{}] {} -> {}",
        result.namespace,
        trus(result.from_trus),
        trus(result.to_trus)
    );
    if let Some(error) = &result.error {
        line = format!("{line}: {}, {error}", result.outcome.as_str());
    }
    if !result.spec_differences.is_empty() {
        line = format!(
            "{line}; other fields of its spec changed: {}",
            result.spec_differences.join(", ")
        );
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::Outcome;

    fn plan(changes: Vec<ChangeResult>) -> Plan {
        Plan {
            evaluated_at: "2026-11-20T10:45:00Z".parse().expect("a time"),
            account: Some("a1b2c".to_owned()),
            changes: Some(changes),
            ..Plan::default()
        }
    }

    fn digest(plan: &Plan) -> Option<Message> {
        Digest::from(plan).message()
    }

    fn result(outcome: Outcome, error: Option<&str>, spec_differences: &[&str]) -> ChangeResult {
        ChangeResult {
            namespace: "pay.a1b2c".to_owned(),
            from_trus: 0,
            to_trus: 6,
            outcome,
            operation_id: "op".to_owned(),
            error: error.map(str::to_owned),
            spec_differences: spec_differences.iter().map(|it| (*it).to_owned()).collect(),
        }
    }

    #[test]
    fn an_evaluation_without_news_sends_no_message() {
        assert_eq!(digest(&plan(Vec::new())), None);
    }

    #[test]
    fn changes_are_reported_and_failures_are_critical() {
        let told = digest(&plan(vec![result(Outcome::Changed, None, &[])])).expect("a message");
        assert_eq!(
            (told.severity, told.title.as_str()),
            (Severity::Info, "Capacity of account a1b2c: 1 changed")
        );
        assert_eq!(told.sections[0].lines, ["[pay.a1b2c] on-demand -> 6 TRUs"]);
        let failed = vec![
            result(Outcome::Changed, None, &[]),
            result(Outcome::Failed, Some("rejected"), &[]),
        ];
        let told = digest(&plan(failed)).expect("a message");
        assert_eq!(told.severity, Severity::Critical);
        assert_eq!(
            told.sections[0].lines,
            ["[pay.a1b2c] on-demand -> 6 TRUs: failed, rejected"]
        );
    }

    #[test]
    fn a_spec_that_changed_is_critical_although_the_change_succeeded() {
        let told = digest(&plan(vec![result(Outcome::Changed, None, &["apiKeyAuth"])])).expect("a message");
        assert_eq!(told.severity, Severity::Critical);
        assert!(told.sections[0].lines[0].contains("apiKeyAuth"));
    }

    #[test]
    fn what_needs_attention_is_reported_without_any_change() {
        let mut plan = plan(Vec::new());
        plan.decisions.push(throttled("media.a1b2c"));
        let message = digest(&plan).expect("a message");
        assert_eq!(
            (message.severity, message.sections[0].lines[0].as_str()),
            (Severity::Warning, "[media.a1b2c] Keep: throttled")
        );
        assert_eq!(message.title, "Capacity of account a1b2c: 1 needs attention");
        assert_eq!(message.sections[0].heading.as_deref(), Some("Needs attention"));
        plan.decisions.push(throttled("pay.a1b2c"));
        let message = digest(&plan).expect("a message");
        assert_eq!(message.title, "Capacity of account a1b2c: 2 need attention");
    }

    #[test]
    fn unavailable_metrics_are_the_heading_and_the_title() {
        let mut plan = plan(Vec::new());
        plan.metrics_unavailable = true;
        for namespace in ["media.a1b2c", "pay.a1b2c"] {
            plan.decisions.push(PlannedDecision {
                action: ActionName::Hold,
                reason_code: "metrics_incomplete".to_owned(),
                reason: "no response".to_owned(),
                announce: false,
                ..throttled(namespace)
            });
        }
        let message = digest(&plan).expect("a message");
        assert_eq!(message.title, "Capacity of account a1b2c: metrics unavailable");
        let section = &message.sections[0];
        assert_eq!(
            section.heading.as_deref(),
            Some("Metrics unavailable: no metric-based decisions were made")
        );
        assert_eq!(section.lines, ["no response"]);
        // A problem of the whole account is reported once, in the warnings.
        plan.warnings = vec!["metrics unavailable: refused with 401".to_owned()];
        let message = digest(&plan).expect("a message");
        assert_eq!(message.sections[0].lines, ["refused with 401"]);
    }

    #[test]
    fn an_account_that_is_not_known_is_left_out_of_the_title() {
        let mut plan = plan(vec![result(Outcome::Changed, None, &[])]);
        plan.account = None;
        let message = digest(&plan).expect("a message");
        assert_eq!(message.title, "Temporal Cloud capacity: 1 changed");
    }

    fn throttled(namespace: &str) -> PlannedDecision {
        PlannedDecision {
            namespace: namespace.to_owned(),
            action: ActionName::Keep,
            current_trus: Some(4),
            wanted_trus: Some(4),
            reason_code: "throttled_while_provisioned".to_owned(),
            reason: "throttled".to_owned(),
            announce: true,
            ..PlannedDecision::default()
        }
    }
}
