//! The progress of a chain, and which stacks may start next. Contains no I/O: the workflow applies events and
//! acts on the results.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::graph::{Plan, PlannedStack};
use crate::labels::Condition;

/// The outcome of one stack of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Its run succeeded.
    Succeeded,
    /// Its run failed.
    #[default]
    Failed,
    /// Someone else discarded, canceled or stopped its run.
    Canceled,
    /// Its run did not end in time.
    TimedOut,
    /// A person rejected it.
    Rejected,
    /// No run was started because of its condition, labels or state.
    Skipped,
    /// The chain was canceled.
    ChainCanceled,
}

impl Outcome {
    /// Returns whether stacks with the condition `on-failure` run after it.
    fn is_failure(self) -> bool {
        match self {
            // Not the ones that a person ended on purpose.
            Self::Failed | Self::TimedOut => true,
            Self::Succeeded | Self::Canceled | Self::Rejected | Self::Skipped | Self::ChainCanceled => false,
        }
    }

    /// Returns the outcome as text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::TimedOut => "timed_out",
            Self::Rejected => "rejected",
            Self::Skipped => "skipped",
            Self::ChainCanceled => "chain_canceled",
        }
    }
}

/// The result of one stack.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StackResult {
    /// Id of the stack.
    pub stack: String,
    /// Outcome of the stack.
    pub outcome: Outcome,
    /// Id of the last run, if there was one.
    pub run: Option<String>,
    /// Branch of the last run.
    pub branch: Option<String>,
    /// State of the last run, in the CI system's terms.
    pub state: Option<String>,
    /// URL of the last run.
    pub url: Option<String>,
    /// Reason, unless it succeeded.
    pub why: Option<String>,
    /// Number of runs started.
    pub attempts: u32,
    /// Start time in seconds since 1970.
    pub started: Option<u64>,
    /// End time in seconds since 1970.
    pub ended: Option<u64>,
    /// Decision about the approval and who made it, if one was needed.
    pub approval: Option<String>,
}

impl StackResult {
    /// Returns the result of a stack without a run.
    pub fn without_run(stack: &str, outcome: Outcome, why: impl Into<String>) -> Self {
        Self {
            stack: stack.to_owned(),
            outcome,
            why: Some(why.into()),
            ..Self::default()
        }
    }
}

/// The next step for a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Start a run.
    Start,
    /// Do nothing, because its result is known.
    Leave,
}

/// The progress of a chain.
#[derive(Debug, Clone)]
pub struct Progress {
    stacks: Vec<PlannedStack>,
    origin_outcome: Outcome,
    /// For each stack, the stacks it waits for: its parents and the parents of its group.
    waits_for: BTreeMap<String, BTreeSet<String>>,
    started: BTreeSet<String>,
    results: BTreeMap<String, StackResult>,
    most_running: usize,
    canceled: Option<String>,
}

impl Progress {
    /// Returns the progress at the start of a chain. At most `most_running` stacks run at a time, or one
    /// group if it has more stacks.
    pub fn new(plan: &Plan, origin_outcome: Outcome, most_running: usize) -> Self {
        let mut waits_for: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut of_group: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for (stack, group) in plan
            .stacks
            .iter()
            // The dependencies of a skipped stack must not delay its group.
            .filter(|it| it.skip.is_none())
            .filter_map(|it| Some((it, it.group.as_deref()?)))
        {
            of_group
                .entry(group)
                .or_default()
                .extend(stack.parents.iter().cloned());
        }
        for stack in &plan.stacks {
            let mut parents: BTreeSet<String> = stack.parents.iter().cloned().collect();
            let group = stack.group.as_deref().and_then(|group| of_group.get(group));
            parents.extend(group.into_iter().flatten().cloned());
            // Its run ended before the chain started.
            parents.remove(&plan.origin);
            waits_for.insert(stack.id.clone(), parents);
        }
        let mut progress = Self {
            stacks: plan.stacks.clone(),
            origin_outcome,
            waits_for,
            started: BTreeSet::new(),
            results: BTreeMap::new(),
            most_running: most_running.max(1),
            canceled: None,
        };
        for stack in &plan.stacks {
            if let Some(why) = &stack.skip {
                progress.results.insert(
                    stack.id.clone(),
                    StackResult::without_run(&stack.id, Outcome::Skipped, why.clone()),
                );
            }
        }
        progress.advance();
        progress
    }

    /// Returns the next step for a stack; `None` while it must wait.
    pub fn step(&self, id: &str) -> Option<Step> {
        if self.started.contains(id) {
            return Some(Step::Start);
        }
        self.results.contains_key(id).then_some(Step::Leave)
    }

    /// Records the result of a stack.
    pub fn ended(&mut self, result: StackResult) {
        self.results.insert(result.stack.clone(), result);
        self.advance();
    }

    /// Cancels the chain: no more stacks are started.
    pub fn cancel(&mut self, why: &str) {
        self.canceled.get_or_insert_with(|| why.to_owned());
        self.advance();
    }

    /// Returns why the chain was canceled.
    pub fn canceled(&self) -> Option<&str> {
        self.canceled.as_deref()
    }

    /// Returns whether all stacks have a result.
    pub fn is_over(&self) -> bool {
        self.results.len() == self.stacks.len()
    }

    /// Returns the stacks that were started and have no result yet.
    pub fn running(&self) -> impl Iterator<Item = &str> {
        self.started
            .iter()
            .filter(|id| !self.results.contains_key(*id))
            .map(String::as_str)
    }

    /// Returns the result of a stack.
    pub fn result_of(&self, id: &str) -> Option<&StackResult> {
        self.results.get(id)
    }

    /// Returns the stacks, each after its parents.
    pub fn stacks(&self) -> &[PlannedStack] {
        &self.stacks
    }

    /// Returns the results, in the order of the plan.
    pub fn results(&self) -> Vec<StackResult> {
        self.stacks
            .iter()
            .filter_map(|stack| self.results.get(&stack.id).cloned())
            .collect()
    }

    /// Sets the result of every stack that will not run, and starts those that may.
    fn advance(&mut self) {
        while self.leave_out() {}
        if self.canceled.is_some() {
            return;
        }
        for batch in self.batches() {
            let running = self.running().count();
            // A group that exceeds the limit starts once nothing else is running.
            let fits = running + batch.len() <= self.most_running || running == 0;
            if !fits {
                // Stacks with a lower priority must not overtake a group that waits for capacity.
                return;
            }
            self.started.extend(batch);
        }
    }

    /// Skips a stack if possible. Returns whether one was skipped, because that may affect others.
    fn leave_out(&mut self) -> bool {
        let undecided = self.stacks.iter().filter(|it| self.step(&it.id).is_none());
        let left_out: Vec<StackResult> = undecided
            .filter_map(|stack| {
                if let Some(why) = &self.canceled {
                    return Some(StackResult::without_run(
                        &stack.id,
                        Outcome::ChainCanceled,
                        why.clone(),
                    ));
                }
                // Only its own dependencies matter here; those of its group only delay it.
                let is_ready = stack.parents.iter().all(|it| self.outcome_of(it).is_some());
                let why = is_ready.then(|| self.against(stack)).flatten()?;
                Some(StackResult::without_run(&stack.id, Outcome::Skipped, why))
            })
            .collect();
        let is_any = !left_out.is_empty();
        self.results
            .extend(left_out.into_iter().map(|it| (it.stack.clone(), it)));
        is_any
    }

    /// Returns why a stack whose parents have all ended does not run.
    fn against(&self, stack: &PlannedStack) -> Option<String> {
        let mut outcomes = stack
            .parents
            .iter()
            .filter_map(|it| Some((it, self.outcome_of(it)?)));
        match stack.condition {
            Condition::Always => None,
            Condition::OnSuccess => {
                let (parent, outcome) = outcomes.find(|(_, outcome)| *outcome != Outcome::Succeeded)?;
                Some(format!(
                    "`{parent}` {}, and this stack runs only on success",
                    in_words(outcome)
                ))
            }
            Condition::OnFailure => (!outcomes.any(|(_, outcome)| outcome.is_failure()))
                .then(|| "no dependency failed, and this stack runs only on failure".to_owned()),
        }
    }

    fn outcome_of(&self, id: &str) -> Option<Outcome> {
        match self.results.get(id) {
            Some(result) => Some(result.outcome),
            None if self.waits_for.contains_key(id) => None,
            // Only the origin is not part of the plan.
            None => Some(self.origin_outcome),
        }
    }

    /// Returns the groups that may start, by descending priority. A stack without a group counts as a group
    /// of one.
    fn batches(&self) -> Vec<Vec<String>> {
        let mut batches: BTreeMap<(i64, String), Vec<String>> = BTreeMap::new();
        let mut priorities: BTreeMap<&str, i32> = BTreeMap::new();
        let free = self.stacks.iter().filter(|it| self.step(&it.id).is_none());
        let ready: Vec<&PlannedStack> = free
            .filter(|it| {
                self.waits_for[&it.id]
                    .iter()
                    .all(|parent| self.outcome_of(parent).is_some())
            })
            .collect();
        for stack in &ready {
            if let Some(group) = stack.group.as_deref() {
                let priority = priorities.entry(group).or_insert(stack.priority);
                *priority = stack.priority.max(*priority);
            }
        }
        for stack in ready {
            let (priority, name) = match stack.group.as_deref() {
                Some(group) => (priorities[group], format!("group {group}")),
                None => (stack.priority, format!("stack {}", stack.id)),
            };
            batches
                // Negative, because the map sorts in ascending order.
                .entry((-i64::from(priority), name))
                .or_default()
                .push(stack.id.clone());
        }
        batches.into_values().collect()
    }
}

fn in_words(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Succeeded => "succeeded",
        Outcome::Failed => "failed",
        Outcome::Canceled => "was canceled",
        Outcome::TimedOut => "timed out",
        Outcome::Rejected => "was rejected",
        Outcome::Skipped => "was not run",
        Outcome::ChainCanceled => "was canceled with the chain",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stack(id: &str, parents: &[&str]) -> PlannedStack {
        PlannedStack {
            id: id.to_owned(),
            parents: parents.iter().map(|it| (*it).to_owned()).collect(),
            ..PlannedStack::default()
        }
    }

    fn plan(stacks: Vec<PlannedStack>) -> Plan {
        Plan {
            origin: "o".to_owned(),
            stacks,
            notes: Vec::new(),
        }
    }

    fn end(progress: &mut Progress, id: &str, outcome: Outcome) {
        progress.ended(StackResult {
            stack: id.to_owned(),
            outcome,
            ..StackResult::default()
        });
    }

    fn running(progress: &Progress) -> Vec<&str> {
        progress.running().collect()
    }

    #[test]
    fn a_diamond_waits_for_both_sides() {
        let plan = plan(vec![
            stack("a", &["o"]),
            stack("b", &["o"]),
            stack("c", &["a", "b"]),
        ]);
        let mut progress = Progress::new(&plan, Outcome::Succeeded, 10);
        assert_eq!(running(&progress), ["a", "b"]);
        end(&mut progress, "a", Outcome::Succeeded);
        assert_eq!(progress.step("c"), None);
        end(&mut progress, "b", Outcome::Succeeded);
        assert_eq!(running(&progress), ["c"]);
    }

    #[test]
    fn a_failure_skips_what_runs_on_success_and_starts_what_runs_on_failure() {
        let mut rollback = stack("rollback", &["a"]);
        rollback.condition = Condition::OnFailure;
        let mut report = stack("report", &["c"]);
        report.condition = Condition::Always;
        let plan = plan(vec![stack("a", &["o"]), rollback, stack("c", &["a"]), report]);
        let mut progress = Progress::new(&plan, Outcome::Succeeded, 10);
        end(&mut progress, "a", Outcome::Failed);
        assert_eq!(running(&progress), ["report", "rollback"]);
        let skipped = progress.result_of("c").expect("a result");
        assert_eq!(skipped.outcome, Outcome::Skipped);
        assert_eq!(
            skipped.why.as_deref(),
            Some("`a` failed, and this stack runs only on success")
        );
    }

    #[test]
    fn a_failed_origin_starts_only_what_runs_on_failure() {
        let mut rollback = stack("rollback", &["o"]);
        rollback.condition = Condition::OnFailure;
        let progress = Progress::new(&plan(vec![stack("a", &["o"]), rollback]), Outcome::Failed, 10);
        assert_eq!(running(&progress), ["rollback"]);
    }

    #[test]
    fn the_higher_priority_starts_first_and_is_not_overtaken() {
        let mut urgent = stack("z-urgent", &["o"]);
        urgent.priority = 5;
        let mut progress = Progress::new(
            &plan(vec![stack("a", &["o"]), stack("b", &["o"]), urgent]),
            Outcome::Succeeded,
            1,
        );
        assert_eq!(running(&progress), ["z-urgent"]);
        end(&mut progress, "z-urgent", Outcome::Succeeded);
        assert_eq!(running(&progress), ["a"]);
    }

    #[test]
    fn a_group_starts_together_when_the_last_dependency_has_ended() {
        let mut first = stack("first", &["o"]);
        first.group = Some("g".to_owned());
        let mut second = stack("second", &["a"]);
        second.group = Some("g".to_owned());
        let mut progress = Progress::new(
            &plan(vec![stack("a", &["o"]), first, second]),
            Outcome::Succeeded,
            1,
        );
        assert_eq!(running(&progress), ["a"]);
        end(&mut progress, "a", Outcome::Succeeded);
        assert_eq!(running(&progress), ["first", "second"]);
    }

    #[test]
    fn a_canceled_chain_starts_nothing_and_waits_for_what_runs() {
        let plan = plan(vec![stack("a", &["o"]), stack("b", &["a"])]);
        let mut progress = Progress::new(&plan, Outcome::Succeeded, 10);
        progress.cancel("canceled by ann");
        assert!(!progress.is_over());
        end(&mut progress, "a", Outcome::ChainCanceled);
        assert!(progress.is_over());
        assert_eq!(
            progress.result_of("b").map(|it| it.outcome),
            Some(Outcome::ChainCanceled)
        );
    }

    proptest! {
        /// For all outcomes, every stack gets a result, none starts before its parents have ended, and
        /// the limit is respected.
        #[test]
        fn every_chain_ends(
            edges in proptest::collection::vec((0..20_usize, 0..20_usize), 0..60),
            outcomes in proptest::collection::vec(0..4_usize, 20), conditions in proptest::collection::vec(0..3_usize, 20),
            groups in proptest::collection::vec(0..12_usize, 20), most in 1..6_usize,
        ) {
            let name = |at: usize| format!("s{at:02}");
            let stacks = (0..20).map(|at| {
                let mut parents: Vec<String> = edges.iter().filter(|(from, to)| *to == at && from < to).map(|(from, _)| name(*from)).collect();
                parents.sort();
                parents.dedup();
                if parents.is_empty() { parents.push("o".to_owned()); }
                // Groups of stacks without dependencies have no conflicts.
                let group = (parents == ["o"] && groups[at] < 3).then(|| format!("g{}", groups[at]));
                PlannedStack { id: name(at), parents, group,
                    condition: [Condition::OnSuccess, Condition::OnFailure, Condition::Always][conditions[at]],
                    ..PlannedStack::default() }
            });
            let plan = plan(stacks.collect());
            let mut progress = Progress::new(&plan, Outcome::Succeeded, most);
            for _ in 0..20 {
                for id in progress.running() {
                    let parents = &plan.stacks.iter().find(|it| it.id == id).expect("planned").parents;
                    prop_assert!(parents.iter().all(|it| it == "o" || progress.result_of(it).is_some()));
                }
                let ungrouped = progress.running().filter(|id| plan.stacks.iter().any(|it| it.id == *id && it.group.is_none())).count();
                prop_assert!(ungrouped <= most);
                let Some(next) = progress.running().next().map(str::to_owned) else { break };
                let place = plan.stacks.iter().position(|it| it.id == next).expect("planned");
                let outcome = [Outcome::Succeeded, Outcome::Succeeded, Outcome::Failed, Outcome::Canceled][outcomes[place]];
                progress.ended(StackResult { stack: next, outcome, ..StackResult::default() });
            }
            prop_assert!(progress.is_over());
        }
    }
}
