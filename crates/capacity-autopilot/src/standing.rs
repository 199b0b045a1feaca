//! Ongoing problems: each is announced once, then daily, and once more when it ends. Changes are announced
//! every time.
//!
//! [`StandingProblems`] implements the rule. The worker keeps announced problems in the controller's state;
//! `apply` keeps them in the ledger (`recall_problems`, `store_problems`), so that an hourly `apply` does not
//! repeat itself.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::plan::{ActionName, PlannedDecision};

/// Time after which an ongoing problem is announced again.
const AGAIN_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// Number of evaluations after which a hold on provisioned capacity is announced, because it costs money.
const LONG_HOLD: u32 = 3;

/// Name of the problem for the account's metrics.
pub const METRICS_UNUSABLE: &str = "the account: metrics unusable";

/// A problem that may persist over several evaluations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// Number of consecutive evaluations that have seen it.
    pub seen: u32,
    /// Time of the last announcement; `None` if there was none.
    pub told: Option<Timestamp>,
    /// Time when it was first seen.
    pub since: Option<Timestamp>,
}

/// Collects the problems that one evaluation sees, and compares them with those already known.
#[derive(Debug)]
pub struct StandingProblems<'a> {
    before: &'a BTreeMap<String, Problem>,
    now: Timestamp,
    found: BTreeMap<String, Problem>,
}

impl<'a> StandingProblems<'a> {
    /// Starts with the problems that are already known.
    pub fn new(before: &'a BTreeMap<String, Problem>, now: Timestamp) -> Self {
        Self {
            before,
            now,
            found: BTreeMap::new(),
        }
    }

    /// Records a problem, and returns whether to announce it: if it has been seen often enough, and was not
    /// announced within a day.
    pub fn is_news(&mut self, problem: &str, due_after: u32) -> bool {
        let mut standing = self.before.get(problem).copied().unwrap_or_default();
        standing.seen = standing.seen.saturating_add(1);
        standing.since.get_or_insert(self.now);
        let told_lately = standing.told.is_some_and(|told| !is_over_a_day(told, self.now));
        let is_news = standing.seen >= due_after && !told_lately;
        if is_news {
            standing.told = Some(self.now);
        }
        self.found.insert(problem.to_owned(), standing);
        is_news
    }

    /// Returns whether a problem was seen.
    pub fn has(&self, problem: &str) -> bool {
        self.found.contains_key(problem)
    }

    /// Returns the time since which a known problem has existed.
    pub fn since(&self, problem: &str) -> Option<Timestamp> {
        self.found.get(problem)?.since
    }

    /// Returns the ongoing problems, and the announced problems that have ended. A problem that was not seen
    /// but may still exist is kept. If there are more than `most` problems, those seen now take precedence;
    /// problems of the account are always kept.
    pub fn end(
        self,
        most: usize,
        may_stand: impl Fn(&str) -> bool,
    ) -> (BTreeMap<String, Problem>, Vec<String>) {
        let mut found = self.found;
        let mut ended = Vec::new();
        for (problem, standing) in self.before {
            if found.contains_key(problem) {
                continue;
            }
            if may_stand(problem) {
                if found.len() < most || is_of_account(problem) {
                    found.insert(problem.clone(), *standing);
                }
            } else if standing.told.is_some() {
                ended.push(problem.clone());
            }
        }
        let excess = found.len().saturating_sub(most);
        let last: Vec<String> = found
            .keys()
            .rev()
            .filter(|problem| !is_of_account(problem))
            .take(excess)
            .cloned()
            .collect();
        for problem in last {
            found.remove(&problem);
        }
        (found, ended)
    }
}

/// Returns whether a problem belongs to the account. Its name contains a space, unlike the name of any namespace.
fn is_of_account(problem: &str) -> bool {
    problem.starts_with("the ")
}

/// Returns whether the last announcement is more than a day old.
pub fn is_over_a_day(told: Timestamp, now: Timestamp) -> bool {
    // `abs`: after a clock that was far ahead, a problem would otherwise stay silent until that time.
    now.duration_since(told).abs() >= AGAIN_AFTER
}

impl PlannedDecision {
    /// Returns the problem of this decision, and after how many evaluations it is announced.
    pub fn problem(&self) -> Option<(String, u32)> {
        // Namespaces that wait for metrics newer than their last change need no attention.
        let is_paid_hold = self.action == ActionName::Hold
            && self.reason_code != "waiting_for_effect"
            && self.current_trus.is_some_and(|trus| trus > 0);
        let due_after = match (self.action.is_change(), self.announce, is_paid_hold) {
            (false, true, _) => 1,
            (false, false, true) => LONG_HOLD,
            _ => return None,
        };
        let action = self.action.as_str();
        Some((
            format!("{}: {action} {}", self.namespace, self.reason_code),
            due_after,
        ))
    }
}
