//! The state that a controller carries from run to run, reduced to the size of a payload.
//!
//! Items are always kept in the same order of priority: changes, announcements, holds, keeps. Announcements
//! are never dropped before other items.

use capacity_autopilot::{ActionName, PlannedDecision};

use crate::messages::{ChangeReport, ControllerState, EvaluationReport};

/// Maximum payload size, below 200,000 bytes.
const MOST_BYTES: usize = 190_000;

impl ControllerState {
    /// Drops the least important items until the state fits. Queued and running changes stay.
    #[must_use]
    pub(crate) fn bounded(mut self) -> Self {
        let is_quiet =
            |it: &PlannedDecision, actions: &[ActionName]| !it.announce && actions.contains(&it.action);
        let cuts: [&dyn Fn(&mut Self); 5] = [
            &|it| it.cut_decisions(|decision| is_quiet(decision, &[ActionName::Keep, ActionName::Skip])),
            &|it| it.cut_decisions(|decision| is_quiet(decision, &[ActionName::Hold])),
            // These were recorded and announced by their own workflows.
            &|it| it.cut_changes(ChangeReport::is_success),
            &|it| it.cut_changes(ChangeReport::is_settled),
            // Each worker also remembers the refusals it saw.
            &|it| it.not_permitted.clear(),
        ];
        for cut in cuts {
            if self.bytes() <= MOST_BYTES {
                return self;
            }
            cut(&mut self);
        }
        // The last evaluation has been announced, and its announcements are among the ongoing problems.
        while self.bytes() > MOST_BYTES
            && let Some(report) = self.last.as_mut().filter(|report| !report.decisions.is_empty())
        {
            // Halved, because every measurement serializes the whole state.
            let keep = report.decisions.len() / 2;
            report.decisions_left_out += report.decisions.len() - keep;
            report.announcements_left_out += report.decisions[keep..].iter().filter(|it| it.announce).count();
            report.decisions.truncate(keep);
        }
        self
    }

    fn bytes(&self) -> usize {
        // Texts, numbers and times can always be serialized as JSON.
        serde_json::to_vec(self).map_or(usize::MAX, |json| json.len())
    }

    fn reports(&mut self) -> impl Iterator<Item = &mut EvaluationReport> {
        self.last.iter_mut().chain(&mut self.unsettled)
    }

    fn cut_decisions(&mut self, goes: impl Fn(&PlannedDecision) -> bool) {
        for report in self.reports() {
            let before = report.decisions.len();
            report.decisions.retain(|decision| !goes(decision));
            report.decisions_left_out += before - report.decisions.len();
        }
    }

    fn cut_changes(&mut self, goes: impl Fn(&ChangeReport) -> bool) {
        for report in self.reports() {
            let done = report
                .changes
                .iter()
                .filter(|it| goes(it) && it.is_success())
                .count();
            report.changes_done += done;
            report.changes.retain(|change| !goes(change));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use capacity_autopilot::Plan;
    use jiff::Timestamp;

    use super::*;
    use crate::evaluation_messages::{EvaluateRequest, EvaluateResult};
    use crate::management::CapacityManagementWorkflow;
    use crate::messages::{Announcement, ChangeEvent, ChangeRequest, ObserveRequest, ObserveResult};
    use crate::news::news;
    use crate::observe_result::QuietDecisions;

    const NAMESPACES: usize = 10_000;
    const LIMIT: usize = 200_000;

    fn bytes(what: &str, value: &impl serde::Serialize) -> usize {
        let bytes = serde_json::to_vec(value).expect("JSON").len();
        assert!(bytes < LIMIT, "{what}: {bytes} bytes");
        bytes
    }

    fn name(number: usize) -> String {
        format!("a-team-with-a-rather-long-name-{number:05}.a1b2c")
    }

    /// Returns a plan in which every tenth namespace is quiet, and the quiet ones come first by name; the others are throttled.
    /// The key is not allowed to change any of them: the namespaces refused so far are on hold, and the rest should be enabled.
    fn plan(refused: usize) -> Plan {
        let decisions = (0..NAMESPACES).map(|number| {
            let quiet = number < NAMESPACES / 10;
            let held = number - (NAMESPACES / 10).min(number) < refused;
            let (action, code) = match (quiet, held) {
                (true, _) => (ActionName::Keep, "quiet"),
                (false, true) => (ActionName::Hold, "not_permitted"),
                (false, false) => (ActionName::Enable, "throttled"),
            };
            PlannedDecision {
                namespace: name(number),
                action,
                current_trus: Some(0),
                wanted_trus: Some(if action.is_change() { 6 } else { 0 }),
                reason_code: code.to_owned(),
                reason: "x".repeat(250),
                announce: action == ActionName::Hold,
                resource_version: "f".repeat(36),
                sample_minute: Some("2026-11-25T10:45:00Z".parse().expect("a time")),
                known_minutes: Some(60),
                ..PlannedDecision::default()
            }
        });
        Plan {
            account: Some("a1b2c".to_owned()),
            plan_id: "7ca9ac17-0000-8000-8000-000000000000".to_owned(),
            evaluated_at: "2026-11-25T10:45:00Z".parse().expect("a time"),
            decisions: decisions.collect(),
            ..Plan::default()
        }
    }

    fn requests(plan: &Plan, number: u64) -> Vec<ChangeRequest> {
        let enabled = plan.decisions.iter().filter(|it| it.action.is_change());
        enabled
            .map(|decision| ChangeRequest {
                namespace: decision.namespace.clone(),
                to_trus: 6,
                operation_id: format!("7ca9ac17-{number:04}-8000-8000-{}", &decision.namespace[31..36]),
                resource_version: "f".repeat(36),
                sample_minute: Some("2026-11-25T10:45:00Z".to_owned()),
                controller_id: "capacity-management-workflow".to_owned(),
                evaluation: number,
                plan_id: plan.plan_id.clone(),
                ..ChangeRequest::default()
            })
            .collect()
    }

    /// Runs one evaluation until the end of its changes, all of which are refused. Checks every payload.
    fn evaluate(it: &mut CapacityManagementWorkflow, number: u64, refused: usize) -> usize {
        let state = &it.state;
        let request = EvaluateRequest {
            number,
            not_permitted: state.not_permitted.clone(),
            running: state
                .changes
                .running
                .iter()
                .map(|it| it.request.clone())
                .collect(),
            ..EvaluateRequest::default()
        };
        bytes("asked", &request);
        let plan = plan(refused);
        let observe = ObserveRequest {
            number,
            ..ObserveRequest::default()
        };
        let observation = ObserveResult::of(&plan, &observe, false, QuietDecisions::InReport)
            .with_changes(requests(&plan, number));
        let report = EvaluationReport {
            changes_left_out: observation.changes_left_out,
            ..observation.report
        };
        // Announcements are never dropped before optional items.
        let quiet = report
            .decisions
            .iter()
            .filter(|it| it.action == ActionName::Keep)
            .count();
        assert!(
            report.announcements_left_out == 0 || quiet == 0,
            "{quiet} quiet rows"
        );
        let result = EvaluateResult {
            report,
            changes: observation.changes,
            max_concurrent: 8,
            knows_running: true,
            data_expires_in_ms: 600_000,
            ..EvaluateResult::default()
        };
        bytes("evaluated", &result);
        let changes = result.changes.clone();
        it.take_result(result, it.now_ms, false);
        // Midway: everything is queued.
        bytes("queued", &it.state.clone().bounded());
        for request in &changes {
            let index = it
                .state
                .changes
                .queued
                .iter()
                .position(|it| it.request.namespace == request.namespace);
            let request = it.start(index.expect("queued"));
            let mut report = ChangeReport::of(&request, "not_permitted", Some("e".repeat(1_000)));
            report.resource_version.clone_from(&request.resource_version);
            bytes("signaled", &report);
            it.take_event(ChangeEvent { report, ended: true });
        }
        let announcement = Announcement {
            report: EvaluationReport {
                changes: Vec::new(),
                ..it.state.report(number).cloned().expect("known")
            },
            standing: it.state.standing.clone(),
            ..Announcement::default()
        };
        bytes("announced", &announcement);
        let now = Timestamp::from_millisecond(i64::try_from(it.now_ms).expect("in range")).expect("a time");
        let told = news(announcement.report, &announcement.standing, None, now);
        bytes("told", &told.standing);
        it.state.standing = told.standing;
        changes.len()
    }

    #[test]
    fn payloads_stay_within_limits_across_runs_when_every_change_is_refused() {
        let mut it = CapacityManagementWorkflow::at(1_790_000_000_000);
        let mut refused = 0;
        let mut told_more = 0;
        for number in 1..=12 {
            it.now_ms += 3_600_000;
            it.state.evaluations = number;
            let before: BTreeMap<_, _> = it.state.standing.clone();
            refused += evaluate(&mut it, number, refused);
            told_more += usize::from(
                !before.keys().any(|it| it.contains("more namespaces"))
                    && it.state.standing.keys().any(|it| it.contains("more namespaces")),
            );
            // Continues as new.
            let carried = it.state.clone().bounded();
            bytes("carried", &carried);
            let json = serde_json::to_string(&carried).expect("JSON");
            let mut following = CapacityManagementWorkflow::at(it.now_ms);
            following.state = serde_json::from_str(&json).expect("decodes");
            it = following;
        }
        assert_eq!(refused, 12 * 150, "each evaluation tried others");
        assert_eq!(told_more, 1, "the truncation is itself a standing problem");
        let last = it.state.last.as_ref().expect("kept");
        assert!(
            last.announcements_left_out > 0
                && last
                    .decisions
                    .iter()
                    .all(|it| it.announce || it.action == ActionName::Enable)
        );
    }

    #[test]
    fn repeated_re_evaluation_does_not_grow_reports() {
        let mut it = CapacityManagementWorkflow::at(1_790_000_000_000);
        for round in 0..20 {
            let changes = requests(&plan(round * 150), 1).into_iter().take(150);
            let report = EvaluationReport {
                number: 1,
                changes: changes
                    .map(|request| ChangeReport::of(&request, "changed", None))
                    .collect(),
                ..EvaluationReport::default()
            };
            it.take_report(report, round > 0);
        }
        let last = it.state.last.as_ref().expect("kept");
        assert_eq!((last.changes.len(), last.changes_done), (150, 19 * 150));
        assert!(
            last.summary.ends_with("3000 of 3000 changes carried out"),
            "{}",
            last.summary
        );
        bytes("reported", last);
    }

    #[test]
    fn a_state_that_fits_is_carried_unchanged() {
        let state = ControllerState {
            last: Some(EvaluationReport {
                decisions: vec![PlannedDecision::default(); 10],
                ..EvaluationReport::default()
            }),
            ..ControllerState::default()
        };
        assert_eq!(state.clone().bounded(), state);
    }
}
