//! Determines what a plan announces: new problems, and problems that have ended.

use std::collections::BTreeMap;

use jiff::Timestamp;
use slack_notifier::Section;

use crate::plan::Plan;
use crate::standing::{METRICS_UNUSABLE, Problem, StandingProblems};

/// Returns the section that lists resolved problems; `None` if there are none.
pub fn resolved(ended: Vec<String>) -> Option<Section> {
    (!ended.is_empty()).then(|| Section {
        heading: Some("Resolved".to_owned()),
        lines: ended,
    })
}

/// The announcements of a plan.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PlanNews {
    /// The plan, reduced to new announcements.
    pub plan: Plan,
    /// Further sections to announce.
    pub more: Vec<Section>,
    /// The ongoing problems after the announcement.
    pub standing: BTreeMap<String, Problem>,
}

/// Separates what is new in a plan and its changes from what was already announced.
pub fn plan_news(plan: &Plan, before: &BTreeMap<String, Problem>, now: Timestamp) -> PlanNews {
    let mut found = StandingProblems::new(before, now);
    let mut plan = plan.clone();
    for decision in &mut plan.decisions {
        if let Some((problem, due_after)) = decision.problem() {
            decision.announce = found.is_news(&problem, due_after);
        }
    }
    if let Some(changes) = &mut plan.changes {
        changes.retain(|change| {
            let problem = format!("{}: change {}", change.namespace, change.outcome.as_str());
            change.outcome.is_success() || found.is_news(&problem, 1)
        });
    }
    let is_blind = plan.metrics_unavailable;
    if is_blind {
        plan.metrics_unavailable = found.is_news(METRICS_UNUSABLE, 1);
    }
    let (standing, ended) = found.end(usize::MAX, |_| is_blind);
    PlanNews {
        plan,
        more: resolved(ended).into_iter().collect(),
        standing,
    }
}
