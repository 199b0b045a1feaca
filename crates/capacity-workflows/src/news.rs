//! Determines what is new. An ongoing problem is announced once, then daily, and once more when it ends.
//! Changes are announced every time.

use std::collections::BTreeMap;

use capacity_autopilot::{METRICS_UNUSABLE, Problem, StandingProblems, resolved};
use human_text::counted;
use jiff::Timestamp;
use slack_notifier::Section;

use crate::messages::{EvaluationReport, PauseSeen};

pub use crate::messages::Standing;

/// Maximum number of ongoing problems that are remembered. More than this are combined into one problem,
/// whose lines the digest counts.
pub(crate) const MOST_STANDING: usize = 400;

/// What to announce now.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct News {
    /// The report without earlier announcements.
    pub(crate) report: EvaluationReport,
    /// Further sections to announce.
    pub(crate) more: Vec<Section>,
    /// The ongoing problems, if the channel is notified.
    pub(crate) standing: BTreeMap<String, Standing>,
    /// Time since which evaluations have been failing, if that must be announced (UTC, RFC 3339).
    pub(crate) failing_since: Option<String>,
    /// Whether to announce that the schedule is running although changes are paused.
    pub(crate) unpaused: bool,
}

/// Separates what is new in a report from earlier announcements.
pub(crate) fn news(
    report: EvaluationReport,
    before: &BTreeMap<String, Standing>,
    unpaused_schedule: Option<&PauseSeen>,
    now: Timestamp,
) -> News {
    let before: BTreeMap<String, Problem> = before
        .iter()
        .map(|(problem, standing)| (problem.clone(), Problem::from(standing)))
        .collect();
    let mut found = StandingProblems::new(&before, now);
    let mut report = report;
    for decision in &mut report.decisions {
        if let Some((problem, due_after)) = decision.problem() {
            // A scale-up-only evaluation holds every release and can happen at any time, so its holds do not
            // count as lasting.
            decision.announce =
                (due_after == 1 || !report.scale_up_only) && found.is_news(&problem, due_after);
        }
    }
    let mut changes = std::mem::take(&mut report.changes);
    changes.retain(|change| {
        let mut failed_anew = || {
            let problem = format!("{}: change {}", change.namespace, change.outcome);
            !change.announced && found.is_news(&problem, 1)
        };
        change.has_ended() && (change.is_success() || failed_anew())
    });
    report.changes = changes;
    if report.metrics_unavailable {
        report.metrics_unavailable = found.is_news(METRICS_UNUSABLE, 1);
    }
    let mut more = Vec::new();
    let failing_since = (report.error.is_some() && found.is_news(FAILED, 1))
        .then(|| found.since(FAILED))
        .flatten()
        .map(|since| since.to_string());
    let unpaused = unpaused_schedule.is_some() && found.is_news(UNPAUSED, 1);
    if let Some(problem) = report.ledger_problem.clone()
        && found.is_news(LEDGER, 1)
    {
        let meanwhile = "no capacity is released until it works again; scaling up continues".to_owned();
        more.push(section("Ledger unavailable", vec![problem, meanwhile]));
    }
    // Problems may still exist if a failed or shortened evaluation, or one without metrics, does not show
    // them.
    let may_stand = report.error.is_some()
        || report.scale_up_only
        || report.decisions_left_out > 0
        || found.has(METRICS_UNUSABLE);
    if report.announcements_left_out > 0 && found.is_news(MORE, 1) {
        let text = format!(
            "{} more {} attention; `temporal-capacity plan` lists all of them",
            counted(report.announcements_left_out, "namespace"),
            if report.announcements_left_out == 1 {
                "needs"
            } else {
                "need"
            }
        );
        more.push(section("Also needs attention", vec![text]));
    }
    // An evaluation that worked proves that evaluations no longer fail, however little of the rest it
    // shows.
    let (standing, ended) = found.end(MOST_STANDING, |problem| may_stand && problem != FAILED);
    more.extend(resolved(ended));
    let standing = standing
        .into_iter()
        .map(|(problem, standing)| (problem, Standing::from(standing)))
        .collect();
    News {
        report,
        more,
        standing,
        failing_since,
        unpaused,
    }
}

const UNPAUSED: &str = "the schedule runs while changes are paused";
const LEDGER: &str = "the account: ledger unusable";
const MORE: &str = "the account: more namespaces need attention than a report lists";
const FAILED: &str = "the account: evaluation failed";

impl From<&Standing> for Problem {
    fn from(standing: &Standing) -> Self {
        // An unreadable time is ignored, so the problem is announced again.
        let time = |text: &Option<String>| text.as_deref().and_then(|text| text.parse().ok());
        Self {
            seen: standing.seen,
            told: time(&standing.told),
            since: time(&standing.since),
        }
    }
}

impl From<Problem> for Standing {
    fn from(problem: Problem) -> Self {
        Self {
            seen: problem.seen,
            told: problem.told.map(|told| told.to_string()),
            since: problem.since.map(|since| since.to_string()),
        }
    }
}

fn section(heading: &str, lines: Vec<String>) -> Section {
    Section {
        heading: Some(heading.to_owned()),
        lines,
    }
}

#[cfg(test)]
mod tests {
    use capacity_autopilot::{ActionName, PlannedDecision};

    use super::*;
    use crate::messages::ChangeReport;

    fn news(report: EvaluationReport, before: &BTreeMap<String, Standing>, now: Timestamp) -> News {
        super::news(report, before, None, now)
    }

    fn at(hour: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + hour * 3_600).expect("in range")
    }

    fn held(trus: u32, announce: bool) -> EvaluationReport {
        EvaluationReport {
            decisions: vec![PlannedDecision {
                namespace: "pay.a1b2c".to_owned(),
                action: ActionName::Hold,
                current_trus: Some(trus),
                reason_code: "no_inventory".to_owned(),
                announce,
                ..PlannedDecision::default()
            }],
            ..EvaluationReport::default()
        }
    }

    fn told(news: &News) -> (bool, usize) {
        (
            news.report.decisions.iter().any(|decision| decision.announce),
            news.more.len(),
        )
    }

    #[test]
    fn a_scale_up_only_evaluation_neither_counts_toward_nor_ends_a_lasting_hold() {
        let mut standing = news(held(4, false), &BTreeMap::new(), at(0)).standing;
        let before = standing.clone();
        for _ in 0..5 {
            let mut report = held(4, false);
            report.scale_up_only = true;
            report.decisions[0].reason_code = "raise_only".to_owned();
            let told_now = news(report, &standing, at(0));
            assert_eq!(told(&told_now), (false, 0));
            standing = told_now.standing;
        }
        assert_eq!(standing, before);
    }

    #[test]
    fn a_namespace_that_waits_for_metrics_newer_than_its_change_needs_no_attention() {
        let mut standing = BTreeMap::new();
        for hour in 0..4 {
            let mut report = held(4, false);
            report.decisions[0].reason_code = "waiting_for_effect".to_owned();
            let news = news(report, &standing, at(hour));
            assert_eq!(told(&news), (false, 0));
            standing = news.standing;
        }
    }

    #[test]
    fn an_unusable_ledger_is_announced_once_and_again_when_it_recovers() {
        let broken = || EvaluationReport {
            ledger_problem: Some("the ledger ledger.db is damaged".to_owned()),
            ..EvaluationReport::default()
        };
        let first = news(broken(), &BTreeMap::new(), at(0));
        assert_eq!(first.more[0].heading.as_deref(), Some("Ledger unavailable"));
        let second = news(broken(), &first.standing, at(1));
        assert_eq!(second.more, []);
        let over = news(EvaluationReport::default(), &second.standing, at(2));
        assert_eq!(over.more[0].lines, [LEDGER]);
    }

    #[test]
    fn an_ongoing_problem_is_announced_once_then_daily_and_when_it_ends() {
        let first = news(held(0, true), &BTreeMap::new(), at(0));
        assert_eq!(told(&first), (true, 0));
        let second = news(held(0, true), &first.standing, at(1));
        assert_eq!(told(&second), (false, 0));
        let next_day = news(held(0, true), &second.standing, at(24));
        assert_eq!(told(&next_day), (true, 0));
        let over = news(EvaluationReport::default(), &next_day.standing, at(25));
        assert_eq!(told(&over), (false, 1));
        assert_eq!(over.more[0].lines, ["pay.a1b2c: Hold no_inventory"]);
        assert_eq!(
            told(&news(EvaluationReport::default(), &over.standing, at(26))),
            (false, 0)
        );
    }

    #[test]
    fn a_hold_on_provisioned_capacity_is_announced_after_three_evaluations() {
        let mut standing = BTreeMap::new();
        let mut announced = Vec::new();
        for hour in 0..4 {
            let news = news(held(4, false), &standing, at(hour));
            announced.push(told(&news).0);
            standing = news.standing;
        }
        assert_eq!(announced, [false, false, true, false]);
        // A problem that ends before it was announced is not announced.
        let early = news(held(4, false), &BTreeMap::new(), at(0));
        assert_eq!(
            told(&news(EvaluationReport::default(), &early.standing, at(1))),
            (false, 0)
        );
    }

    #[test]
    fn changes_are_announced_every_time_and_a_repeated_failure_once() {
        let report = |outcome: &str| EvaluationReport {
            changes: vec![ChangeReport {
                namespace: "pay.a1b2c".to_owned(),
                outcome: outcome.to_owned(),
                ..ChangeReport::default()
            }],
            ..EvaluationReport::default()
        };
        let changed = news(report("changed"), &BTreeMap::new(), at(0));
        assert_eq!(changed.report.changes.len(), 1);
        let failed = news(report("stuck"), &changed.standing, at(1));
        assert_eq!(failed.report.changes.len(), 1);
        let again = news(report("stuck"), &failed.standing, at(2));
        assert_eq!(again.report.changes.len(), 0);
        assert_eq!(
            news(report("in_progress"), &BTreeMap::new(), at(3))
                .report
                .changes
                .len(),
            0
        );
    }

    #[test]
    fn a_failed_evaluation_is_announced_once_and_ends_no_other_problem() {
        let held = news(held(0, true), &BTreeMap::new(), at(0));
        let failed = EvaluationReport {
            error: Some("no list".to_owned()),
            ..EvaluationReport::default()
        };
        let first = news(failed.clone(), &held.standing, at(1));
        assert_eq!(first.failing_since, Some(at(1).to_string()));
        assert_eq!(first.standing.len(), 2, "the hold may still stand");
        assert_eq!(news(failed.clone(), &first.standing, at(2)).failing_since, None);
        let next_day = news(failed, &first.standing, at(26));
        assert_eq!(
            next_day.failing_since,
            Some(at(1).to_string()),
            "since the first failure"
        );
    }

    #[test]
    fn unavailable_metrics_are_announced_once() {
        let blind = EvaluationReport {
            metrics_unavailable: true,
            ..EvaluationReport::default()
        };
        let first = news(blind.clone(), &BTreeMap::new(), at(0));
        let second = news(blind, &first.standing, at(1));
        assert_eq!(
            (
                first.report.metrics_unavailable,
                second.report.metrics_unavailable
            ),
            (true, false)
        );
        let over = news(EvaluationReport::default(), &second.standing, at(2));
        assert_eq!(over.more[0].lines, [METRICS_UNUSABLE]);
    }
}
