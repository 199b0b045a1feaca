//! What is news. A standing problem is told once, then once a day, and once when it ends; what was done is told every time.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use slack_notifier::Section;

use crate::messages::{DecisionReport, EvaluationReport, PauseSeen};

/// A standing problem is told again after so long.
const AGAIN_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// A hold on provisioned capacity is announced when it has lasted this many evaluations, because it costs money meanwhile.
const LONG_HOLD: u32 = 3;

/// Standing problems that are remembered. More than this at once are one problem, whose lines the digest counts.
pub(crate) const MOST_STANDING: usize = 400;

/// A problem that more than one evaluation may see.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Standing {
    /// How many evaluations in a row have seen it.
    pub seen: u32,
    /// When people were last told of it (UTC, RFC 3339); `None`: not yet.
    pub told: Option<String>,
    /// When it was first seen (UTC, RFC 3339).
    pub since: Option<String>,
}

/// What is to be told now.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct News {
    /// The report without what people know already.
    pub(crate) report: EvaluationReport,
    /// What is to be told beside it.
    pub(crate) more: Vec<Section>,
    /// The standing problems, if the channel is notified.
    pub(crate) standing: BTreeMap<String, Standing>,
    /// Since when evaluations fail, where that is to be announced (UTC, RFC 3339).
    pub(crate) failing_since: Option<String>,
    /// Whether it is to be announced that the schedule runs although changes are paused.
    pub(crate) unpaused: bool,
}

/// Separates what is new in a report from what people know.
pub(crate) fn news(
    report: EvaluationReport,
    before: &BTreeMap<String, Standing>,
    unpaused_schedule: Option<&PauseSeen>,
    now: Timestamp,
) -> News {
    let mut found = Found {
        before,
        now,
        standing: BTreeMap::new(),
    };
    let mut report = report;
    for decision in &mut report.decisions {
        if let Some((problem, due_after)) = problem_of(decision) {
            // One that may only raise holds what would be given back, and comes at any time: it counts no lasting hold.
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
        report.metrics_unavailable = found.is_news(METRICS_UNAVAILABLE, 1);
    }
    let mut more = Vec::new();
    let failing_since = (report.error.is_some() && found.is_news(FAILED, 1))
        .then(|| found.standing[FAILED].since.clone())
        .flatten();
    let unpaused = unpaused_schedule.is_some() && found.is_news(UNPAUSED, 1);
    if let Some(problem) = report.ledger_problem.clone()
        && found.is_news(LEDGER, 1)
    {
        let meanwhile = "no capacity is released until it works again; scaling up continues".to_owned();
        more.push(section("Ledger unavailable", vec![problem, meanwhile]));
    }
    let mut ended = Vec::new();
    for (problem, standing) in before {
        if found.standing.contains_key(problem) {
            continue;
        }
        // What a failed, blind or shortened evaluation does not show may stand all the same.
        let may_stand = (report.error.is_some()
            || report.scale_up_only
            || report.decisions_left_out > 0
            || found.standing.contains_key(METRICS_UNAVAILABLE))
            && problem != FAILED;
        if may_stand {
            found.standing.insert(problem.clone(), standing.clone());
        } else if standing.told.is_some() {
            ended.push(problem.clone());
        }
    }
    if !ended.is_empty() {
        more.push(section("Resolved", ended));
    }
    let mut standing = found.standing;
    while standing.len() > MOST_STANDING {
        standing.pop_last();
    }
    News {
        report,
        more,
        standing,
        failing_since,
        unpaused,
    }
}

const UNPAUSED: &str = "the schedule runs while changes are paused";
const METRICS_UNAVAILABLE: &str = "the account: metrics unusable";
const LEDGER: &str = "the account: ledger unusable";
const FAILED: &str = "the account: evaluation failed";

struct Found<'a> {
    before: &'a BTreeMap<String, Standing>,
    now: Timestamp,
    standing: BTreeMap<String, Standing>,
}

impl Found<'_> {
    /// Notes a problem, and returns whether people are to be told: when it has been seen often enough, and not within a day.
    fn is_news(&mut self, problem: &str, due_after: u32) -> bool {
        let mut standing = self.before.get(problem).cloned().unwrap_or_default();
        standing.seen = standing.seen.saturating_add(1);
        standing.since.get_or_insert_with(|| self.now.to_string());
        let told_lately = standing
            .told
            .as_deref()
            .is_some_and(|told| !is_over_a_day(told, self.now));
        let is_news = standing.seen >= due_after && !told_lately;
        if is_news {
            standing.told = Some(self.now.to_string());
        }
        self.standing.insert(problem.to_owned(), standing);
        is_news
    }
}

/// Whether people are to be told again; also if it cannot be read when they were.
pub(crate) fn is_over_a_day(told: &str, now: Timestamp) -> bool {
    told.parse::<Timestamp>()
        .map_or(true, |told| now.duration_since(told).abs() >= AGAIN_AFTER)
}

/// Returns what a decision says is wrong, and after how many evaluations it is told.
fn problem_of(decision: &DecisionReport) -> Option<(String, u32)> {
    let is_change = matches!(decision.action.as_str(), "Enable" | "Resize" | "Disable");
    // What waits for metrics newer than its last change costs nothing that a person could save.
    let is_paid_hold = decision.action == "Hold"
        && decision.reason_code != "waiting_for_effect"
        && decision.current_trus.is_some_and(|trus| trus > 0);
    let due_after = match (is_change, decision.announce, is_paid_hold) {
        (false, true, _) => 1,
        (false, false, true) => LONG_HOLD,
        _ => return None,
    };
    Some((
        format!(
            "{}: {} {}",
            decision.namespace, decision.action, decision.reason_code
        ),
        due_after,
    ))
}

fn section(heading: &str, lines: Vec<String>) -> Section {
    Section {
        heading: Some(heading.to_owned()),
        lines,
    }
}

#[cfg(test)]
mod tests {
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
            decisions: vec![DecisionReport {
                namespace: "pay.a1b2c".to_owned(),
                action: "Hold".to_owned(),
                current_trus: Some(trus),
                reason_code: "no_inventory".to_owned(),
                announce,
                ..DecisionReport::default()
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
    fn an_evaluation_that_may_only_raise_neither_counts_nor_ends_a_lasting_hold() {
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
    fn a_ledger_that_cannot_be_used_is_told_once_and_when_it_can_be_again() {
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
    fn a_standing_problem_is_told_once_then_daily_and_when_it_ends() {
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
    fn a_hold_on_provisioned_capacity_is_told_when_it_has_lasted_three_evaluations() {
        let mut standing = BTreeMap::new();
        let mut announced = Vec::new();
        for hour in 0..4 {
            let news = news(held(4, false), &standing, at(hour));
            announced.push(told(&news).0);
            standing = news.standing;
        }
        assert_eq!(announced, [false, false, true, false]);
        // One that ends before it was told ends without a word.
        let early = news(held(4, false), &BTreeMap::new(), at(0));
        assert_eq!(
            told(&news(EvaluationReport::default(), &early.standing, at(1))),
            (false, 0)
        );
    }

    #[test]
    fn what_was_done_is_told_every_time_and_a_failure_that_repeats_once() {
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
    fn a_failed_evaluation_is_told_once_and_hides_the_end_of_nothing() {
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
    fn blindness_is_told_once() {
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
        assert_eq!(over.more[0].lines, [METRICS_UNAVAILABLE]);
    }
}
