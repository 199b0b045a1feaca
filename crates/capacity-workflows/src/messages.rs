//! What crosses the wire between workflows, activities and people. Fields are only ever added, each with a default, so that old
//! histories keep decoding.

use std::collections::BTreeMap;

use capacity_autopilot::{ChangeResult, Digest, PlannedDecision};
use serde::{Deserialize, Serialize};
use slack_notifier::Section;

pub(crate) use crate::change_messages::{
    BUILD_NOT_VERIFIED, IN_PROGRESS, LEDGER_UNAVAILABLE, LONGEST_ERROR, METRICS_STALE, QUEUED, REPLACED,
    StalledChange, TOO_MANY_OPERATIONS,
};
pub use crate::change_messages::{
    ChangeEvent, ChangeReport, ChangeRequest, InvalidRequest, Redecide, Redecision, StepRequest, StepResult,
};
use crate::figures::Figures;
use crate::gate::Gate;
use crate::queue::Changes;

/// An evaluation: what was decided, and its outcome.
#[expect(
    clippy::struct_excessive_bools,
    reason = "a document: each is a fact of its own, by a name that people query"
)]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EvaluationReport {
    /// One sentence.
    pub summary: String,
    /// Counts up from 1 over the controller's life.
    pub number: u64,
    /// When it was made (UTC, RFC 3339).
    pub evaluated_at: String,
    /// The account.
    pub account: Option<String>,
    /// Identifies the plan; operation ids are derived from it.
    pub plan_id: String,
    /// Whether this was a dry run, by `DRY_RUN_MODE`.
    pub dry_run: bool,
    /// Whether changes were paused in the controller.
    pub paused: bool,
    /// Whether it could only scale up, since throttling or high use triggered it.
    #[serde(alias = "raise_only")]
    pub scale_up_only: bool,
    /// Whether the metrics of the account were unavailable.
    #[serde(alias = "blind")]
    pub metrics_unavailable: bool,
    /// What fed the hour, and how much of it is known.
    pub coverage: String,
    /// How many decisions of each action.
    pub counts: BTreeMap<String, usize>,
    /// Decisions: changes first, then holds, then the rest, as many as fit.
    pub decisions: Vec<PlannedDecision>,
    /// Decisions that did not fit, counted.
    pub decisions_left_out: usize,
    /// The outcomes of the changes.
    pub changes: Vec<ChangeReport>,
    /// Warnings about the evaluation as a whole.
    pub warnings: Vec<String>,
    /// Why the ledger could not be used.
    pub ledger_problem: Option<String>,
    /// Why there was no evaluation.
    pub error: Option<String>,
    /// Changes that this evaluation left out, since a payload has limited room.
    pub changes_left_out: usize,
    /// Decisions that should be announced, among those that did not fit.
    pub announcements_left_out: usize,
    /// Changes that were carried out and are no longer listed, since a payload has limited room.
    pub changes_done: usize,
    /// The evaluation in numbers; `None` from a release that did not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub figures: Option<Figures>,
}

impl EvaluationReport {
    /// Returns the digest of this report, with these outcomes of its changes and further sections.
    pub(crate) fn digest<'a>(&'a self, changes: &'a [ChangeResult], more: Vec<Section>) -> Digest<'a> {
        Digest {
            account: self.account.as_deref(),
            evaluated_at: self.evaluated_at.parse().unwrap_or_default(),
            plan_id: &self.plan_id,
            metrics_unavailable: self.metrics_unavailable,
            decisions: &self.decisions,
            warnings: &self.warnings,
            changes,
            more,
        }
    }

    /// Returns whether every change of it has ended or was replaced.
    pub fn is_settled(&self) -> bool {
        self.changes.iter().all(ChangeReport::is_settled)
    }

    /// Returns the last change of each namespace, in order. One that did not start and was re-evaluated is there once.
    pub fn last_changes(&self) -> Vec<&ChangeReport> {
        let last: BTreeMap<&str, usize> = (self.changes.iter().enumerate())
            .map(|(at, change)| (change.namespace.as_str(), at))
            .collect();
        let is_last = |at: usize, change: &ChangeReport| last.get(change.namespace.as_str()) == Some(&at);
        (self.changes.iter().enumerate())
            .filter(|(at, change)| is_last(*at, change))
            .map(|(_, change)| change)
            .collect()
    }

    /// Returns whether there was no evaluation, or a namespace was left without the capacity that was decided. A change that a
    /// newer decision replaced has not failed.
    pub fn has_failed(&self) -> bool {
        let failed = |change: &&ChangeReport| !change.is_success() && change.outcome != REPLACED;
        self.error.is_some() || self.last_changes().iter().any(failed)
    }

    /// Writes the sentence that sums it up.
    #[must_use]
    pub fn summed_up(mut self) -> Self {
        let counts: Vec<String> = self
            .counts
            .iter()
            .map(|(action, count)| format!("{count} {action}"))
            .collect();
        let mode = match (self.dry_run, self.paused) {
            (true, _) => ", dry run: nothing was changed",
            (false, true) => ", paused: nothing was changed",
            (false, false) if self.scale_up_only => ", triggered by high use: scales up only",
            (false, false) => "",
        };
        let changes = self.last_changes();
        let listed = changes.iter().filter(|change| change.is_success());
        let done = self.changes_done + listed.count();
        let all = self.changes_done + changes.len();
        self.summary = match &self.error {
            Some(error) => format!("evaluation {} failed: {error}", self.number),
            None if self.metrics_unavailable => format!(
                "evaluation {}: metrics unavailable, no metric-based decisions were made{mode}",
                self.number
            ),
            None if self.changes.is_empty() && self.changes_done == 0 => {
                format!("evaluation {}: {}{mode}", self.number, counts.join(", "))
            }
            None => format!(
                "evaluation {}: {}; {done} of {all} changes carried out",
                self.number,
                counts.join(", ")
            ),
        };
        self
    }
}

/// What the controller asks to observe.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ObserveRequest {
    /// The number of the evaluation.
    pub number: u64,
    /// The account this controller belongs to, once it knows.
    pub account: Option<String>,
    /// Whether the brake is on.
    pub paused: bool,
    /// Whether throttling or high use triggered it: then it may only scale up.
    #[serde(rename = "raise_only", alias = "scale_up_only")]
    pub scale_up_only: bool,
    /// The ledgers of workers that evaluated lately, and when each did (milliseconds since 1970).
    pub ledgers: BTreeMap<String, i64>,
}

/// What was observed and decided, and how to make the changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Observation {
    /// The evaluation, without the outcomes of its changes.
    pub report: EvaluationReport,
    /// The changes, in the order in which they are carried out; none under dry run or brake.
    pub changes: Vec<ChangeRequest>,
    /// How many may run at a time.
    pub max_concurrent: u32,
    /// How long the evaluation waits for them.
    pub wait_seconds: u64,
    /// Changes left to the next evaluation, which follows immediately: a payload has limited room.
    pub changes_left_out: usize,
    /// The next scheduled evaluation (UTC, RFC 3339), if there is a schedule.
    pub next_tick: Option<String>,
    /// The minimum interval between the starts of evaluations, in milliseconds; `None` for the usual one.
    pub apart_ms: Option<u64>,
    /// The ledgers of workers that evaluated lately, this one's among them.
    pub ledgers: BTreeMap<String, i64>,
}

/// A problem that more than one evaluation may see.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Standing {
    /// How many evaluations in a row have seen it.
    pub seen: u32,
    /// When it was last announced (UTC, RFC 3339); `None`: not yet.
    pub told: Option<String>,
    /// When it was first seen (UTC, RFC 3339).
    pub since: Option<String>,
}

/// What to announce, and what was announced before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Announcement {
    /// The evaluation.
    pub report: EvaluationReport,
    /// Standing problems, and when each was announced.
    pub standing: BTreeMap<String, Standing>,
    /// When the last evaluation with usable metrics began (UTC, RFC 3339).
    pub last_good: Option<String>,
    /// The pause during which someone unpaused the schedule.
    pub unpaused_schedule: Option<PauseSeen>,
}

/// What a controller carries from run to run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ControllerState {
    /// Evaluations made.
    pub evaluations: u64,
    /// The account it belongs to.
    pub account: Option<String>,
    /// Whether an evaluation was asked for and not made yet.
    pub pending: bool,
    /// Whether that one may only scale up.
    #[serde(rename = "pending_raise_only")]
    pub pending_scale_up_only: bool,
    /// Why it is paused, if it is.
    pub paused: Option<String>,
    /// When the last evaluation began (milliseconds since 1970): the next keeps its distance, also after continuing as new.
    pub last_start_ms: Option<u64>,
    /// Standing problems, and when each was announced.
    pub standing: BTreeMap<String, Standing>,
    /// The next scheduled evaluation, as the schedule reported at the last one (UTC, RFC 3339).
    pub next_tick: Option<String>,
    /// The minimum interval between the starts of evaluations, in milliseconds; `None` for the usual one.
    pub apart_ms: Option<u64>,
    /// The ledgers of workers that evaluated lately, and when each did (milliseconds since 1970).
    pub ledgers: BTreeMap<String, i64>,
    /// The last evaluation, of either kind.
    pub last: Option<EvaluationReport>,
    /// Earlier evaluations whose changes have not all ended, and the last full one.
    pub unsettled: Vec<EvaluationReport>,
    /// The number of the last full evaluation.
    pub full_number: u64,
    /// Changes that wait and changes in progress.
    pub changes: Changes,
    /// Whether changes may run side by side.
    pub gate: Gate,
    /// Whether the running set is known: not in a new controller, nor in one of an older release.
    pub knows_running: bool,
    /// The run id of the last pause seen of each kind, and whether it was open.
    pub pauses: BTreeMap<String, PauseSeen>,
    /// Namespaces whose last update was refused as not permitted.
    pub not_permitted: BTreeMap<String, NotPermitted>,
    /// Namespaces whose spec differed only when their change had ended.
    pub spec_changed: BTreeMap<String, SpecChanged>,
    /// How many changes may run at a time, from the settings of the last evaluation.
    pub max_concurrent: u32,
    /// What is queued is not re-evaluated before this time (milliseconds since 1970).
    pub again_after_ms: u64,
    /// When the last good evaluation began (milliseconds since 1970): one with usable metrics.
    pub last_good_ms: Option<u64>,
    /// Since when the metrics are unavailable (milliseconds since 1970).
    pub metrics_unavailable_since_ms: Option<u64>,
    /// What was announced of the gate and of hanging changes, so that it is announced once.
    pub announced: Vec<String>,
}

/// Which evaluation is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EvaluationQuery {
    /// Its number.
    pub number: u64,
}

/// A pause, as an evaluation read it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PauseSeen {
    /// Identifies the pause.
    pub run_id: String,
    /// Whether it was open.
    pub open: bool,
    /// Why it was made.
    pub reason: String,
    /// Who made it.
    pub by: String,
    /// When it was made (UTC, RFC 3339).
    pub since: String,
    /// When it ends by itself (UTC, RFC 3339).
    pub until: Option<String>,
}

/// A namespace that the key may not change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NotPermitted {
    /// The version that was refused: another one is tried again.
    pub resource_version: String,
    /// When it was refused (milliseconds since 1970).
    pub at_ms: u64,
}

/// A namespace whose spec differed when its change had ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SpecChanged {
    /// The fields.
    pub fields: Vec<String>,
    /// When that was seen (milliseconds since 1970).
    pub at_ms: u64,
}

/// What `get_status` answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// One sentence.
    pub summary: String,
    /// `waiting`, `evaluating` or `draining`.
    pub phase: String,
    /// Evaluations made.
    pub evaluations: u64,
    /// The account.
    pub account: Option<String>,
    /// Why it is paused, if it is.
    pub paused: Option<String>,
    /// When the last evaluation was made (UTC, RFC 3339).
    pub last_evaluation: Option<String>,
    /// How many decisions of each action it made.
    pub counts: BTreeMap<String, usize>,
    /// What fed its hours, and how much of them was known.
    pub coverage: Option<String>,
    /// The next scheduled evaluation, as the schedule reported at the last one (UTC, RFC 3339).
    pub next_tick: Option<String>,
    /// Changes that have begun and not ended.
    pub changes_in_progress: Vec<String>,
    /// How many changes wait for their turn.
    pub changes_queued: usize,
    /// What was wrong with the input it was started with.
    pub input_problem: Option<String>,
    /// The version of the controller's loop; 0 in releases that did not report it.
    #[serde(rename = "loop")]
    pub loop_version: u32,
    /// When the last evaluation with usable metrics began (UTC, RFC 3339).
    pub last_good_evaluation: Option<String>,
    /// Since when the metrics are unavailable (UTC, RFC 3339).
    pub metrics_unavailable_since: Option<String>,
    /// Whether changes may run side by side; else the next one is a canary.
    pub gate_open: bool,
    /// Namespaces that are held, why, and until when.
    pub held: Vec<HeldNamespace>,
    /// The last evaluation in numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub figures: Option<Figures>,
}

/// A namespace that is on hold for some time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HeldNamespace {
    /// Full id of the namespace.
    pub namespace: String,
    /// Stable code of the reason.
    pub reason_code: String,
    /// Why, in one sentence.
    pub reason: String,
}

/// What a tick saw of the controller.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Silence {
    /// Why there was no answer; `None`: it answers again.
    pub problem: Option<String>,
    /// What the previous tick failed with, if it failed; contains when that was announced.
    pub before: Option<String>,
}

/// The sampler's input: nothing yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SampleRequest {}

/// The input of a tick.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TickRequest {
    /// How long the controller may take to answer.
    pub wait_seconds: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(changes: &[(&str, &str)]) -> EvaluationReport {
        let changes = changes.iter().map(|(namespace, outcome)| ChangeReport {
            namespace: (*namespace).to_owned(),
            outcome: (*outcome).to_owned(),
            ..ChangeReport::default()
        });
        EvaluationReport {
            changes: changes.collect(),
            ..EvaluationReport::default()
        }
    }

    #[test]
    fn a_change_that_was_decided_again_counts_once() {
        let report = report(&[
            ("a.acct", "changed"),
            ("b.acct", "not_started"),
            ("b.acct", "changed"),
        ]);
        assert!(!report.has_failed());
        assert!(report.summed_up().summary.ends_with("2 of 2 changes carried out"));
    }

    #[test]
    fn the_last_change_of_a_namespace_tells_whether_it_failed() {
        assert!(report(&[("a.acct", "changed"), ("a.acct", "failed")]).has_failed());
        assert!(report(&[("a.acct", "not_started")]).has_failed());
        assert!(!report(&[("a.acct", REPLACED)]).has_failed());
    }
}
