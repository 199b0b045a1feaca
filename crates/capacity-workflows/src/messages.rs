//! Messages between workflows, activities and people. Fields are only ever added, each with a default, so
//! that old histories can still be decoded.

use std::collections::BTreeMap;

use capacity_autopilot::{ChangeResult, Digest, PlannedDecision};
use human_text::grouped;
use serde::{Deserialize, Serialize};
use slack_notifier::Section;

pub(crate) use crate::change_messages::{
    BUILD_NOT_VERIFIED, IN_PROGRESS, LEDGER_UNAVAILABLE, LONGEST_ERROR, METRICS_STALE, QUEUED, REPLACED,
    Redecide, Redecision, StalledChange, StepRequest, StepResult, TOO_MANY_OPERATIONS,
};
pub use crate::change_messages::{ChangeEvent, ChangeReport, ChangeRequest, InvalidRequest};
use crate::figures::Figures;
use crate::gate::Gate;
use crate::queue::Changes;

/// An evaluation: its decisions and their outcome.
#[expect(
    clippy::struct_excessive_bools,
    reason = "a document: each field is a separate fact that people query by name"
)]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EvaluationReport {
    /// Summary in one sentence.
    pub summary: String,
    /// Number of the evaluation, counting from 1 over all runs of the controller.
    pub number: u64,
    /// Time of the evaluation (UTC, RFC 3339).
    pub evaluated_at: String,
    /// Id of the Temporal Cloud account, once known.
    pub account: Option<String>,
    /// Id of the plan. Operation ids are derived from it.
    pub plan_id: String,
    /// Whether this was a dry run (`DRY_RUN_MODE`).
    pub dry_run: bool,
    /// Whether changes were paused in the controller.
    pub paused: bool,
    /// Whether it could only scale up, because throttling or high usage triggered it.
    #[serde(alias = "raise_only")]
    pub scale_up_only: bool,
    /// Whether the metrics of the account were unavailable.
    #[serde(alias = "blind")]
    pub metrics_unavailable: bool,
    /// Where the data of the last hour came from, and how much of it is known.
    pub coverage: String,
    /// Number of decisions, by action.
    pub counts: BTreeMap<String, usize>,
    /// Decisions: changes first, then holds, then the rest, as many as fit.
    pub decisions: Vec<PlannedDecision>,
    /// Number of decisions that did not fit.
    pub decisions_left_out: usize,
    /// The outcomes of the changes.
    pub changes: Vec<ChangeReport>,
    /// Warnings about the evaluation as a whole.
    pub warnings: Vec<String>,
    /// Why the ledger could not be used.
    pub ledger_problem: Option<String>,
    /// Why there was no evaluation; `None` if there was one.
    pub error: Option<String>,
    /// Number of changes that this evaluation left out, because a payload has limited space.
    pub changes_left_out: usize,
    /// Number of announcements among the decisions that did not fit.
    pub announcements_left_out: usize,
    /// Number of completed changes that are no longer listed, because a payload has limited space.
    pub changes_done: usize,
    /// The evaluation in numbers; `None` from releases that did not compute them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub figures: Option<Figures>,
}

impl EvaluationReport {
    /// Returns the digest of this report, with the given outcomes of its changes and further sections.
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

    /// Returns whether every change of the evaluation has ended or was replaced.
    pub fn is_settled(&self) -> bool {
        self.changes.iter().all(ChangeReport::is_settled)
    }

    /// Returns the last change of each namespace, in order. A change that did not start and was re-evaluated
    /// appears once.
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

    /// Returns whether the evaluation failed, or left a namespace without the capacity it decided on. A
    /// change that a newer decision replaced has not failed.
    pub fn has_failed(&self) -> bool {
        let failed = |change: &&ChangeReport| !change.is_success() && change.outcome != REPLACED;
        self.error.is_some() || self.last_changes().iter().any(failed)
    }

    /// Sets `summary` from the other fields.
    #[must_use]
    pub fn summed_up(mut self) -> Self {
        let counts: Vec<String> = self
            .counts
            .iter()
            .map(|(action, count)| format!("{} {action}", grouped(*count)))
            .collect();
        let mode = match (self.dry_run, self.paused) {
            (true, _) => ", dry run: nothing was changed",
            (false, true) => ", paused: nothing was changed",
            (false, false) if self.scale_up_only => ", triggered by high usage: scales up only",
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

/// A request to observe, which is part of an evaluation. A controller of release 0.1.0 sends it directly.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ObserveRequest {
    /// The number of the evaluation.
    pub(crate) number: u64,
    /// The account that this controller belongs to, once known.
    pub(crate) account: Option<String>,
    /// Whether changes are paused.
    pub(crate) paused: bool,
    /// Whether throttling or high usage triggered it, so that it may only scale up.
    // Release 0.1.0 writes and reads the old name.
    #[serde(rename = "raise_only", alias = "scale_up_only")]
    pub(crate) scale_up_only: bool,
    /// Ledgers of workers that evaluated recently, with the time of each evaluation (milliseconds since
    /// 1970).
    pub(crate) ledgers: BTreeMap<String, i64>,
}

/// The observations and decisions of an evaluation, and the parameters of its changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ObserveResult {
    /// The evaluation, without the outcomes of its changes.
    pub(crate) report: EvaluationReport,
    /// The changes, in the order in which they are carried out; none in dry-run mode or while paused.
    pub(crate) changes: Vec<ChangeRequest>,
    /// Maximum number of concurrent changes.
    pub(crate) max_concurrent: u32,
    /// Maximum time that the evaluation waits for its changes, in seconds.
    pub(crate) wait_seconds: u64,
    /// Number of changes left to the next evaluation, which follows immediately, because a payload has
    /// limited space.
    pub(crate) changes_left_out: usize,
    /// The next scheduled evaluation (UTC, RFC 3339), if there is a schedule.
    pub(crate) next_tick: Option<String>,
    /// The minimum interval between the starts of evaluations, in milliseconds; `None` for the default.
    pub(crate) apart_ms: Option<u64>,
    /// Ledgers of workers that evaluated recently, including this worker's.
    pub(crate) ledgers: BTreeMap<String, i64>,
}

/// A problem that may persist over several evaluations.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Standing {
    /// Number of consecutive evaluations that have seen it.
    pub seen: u32,
    /// When it was last announced (UTC, RFC 3339); `None` if it was not.
    pub told: Option<String>,
    /// When it was first seen (UTC, RFC 3339).
    pub since: Option<String>,
}

/// A report to announce, and earlier announcements.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Announcement {
    /// Report of the evaluation.
    pub(crate) report: EvaluationReport,
    /// Ongoing problems, with the time of each announcement.
    pub(crate) standing: BTreeMap<String, Standing>,
    /// When the last evaluation with usable metrics began (UTC, RFC 3339).
    pub(crate) last_good: Option<String>,
    /// The pause during which someone unpaused the schedule.
    pub(crate) unpaused_schedule: Option<PauseSeen>,
}

/// The state that a controller carries from run to run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ControllerState {
    /// Number of evaluations made.
    pub evaluations: u64,
    /// The account that the controller belongs to.
    pub account: Option<String>,
    /// Whether an evaluation was requested and not made yet.
    pub pending: bool,
    /// Whether the requested evaluation may only scale up.
    // The name of release 0.1.0: its states are read here, and these by its workers after a rollback.
    #[serde(rename = "pending_raise_only")]
    pub pending_scale_up_only: bool,
    /// The reason for the pause, if changes are paused.
    pub paused: Option<String>,
    /// When the last evaluation began (milliseconds since 1970). The next one starts a minimum interval later, even after
    /// continue-as-new.
    pub last_start_ms: Option<u64>,
    /// Ongoing problems, with the time of each announcement.
    pub standing: BTreeMap<String, Standing>,
    /// The next scheduled evaluation, as reported by the last evaluation (UTC, RFC 3339).
    pub next_tick: Option<String>,
    /// The minimum interval between the starts of evaluations, in milliseconds; `None` for the default.
    pub apart_ms: Option<u64>,
    /// Ledgers of workers that evaluated recently, with the time of each evaluation (milliseconds since
    /// 1970).
    pub ledgers: BTreeMap<String, i64>,
    /// The last evaluation, of either kind.
    pub last: Option<EvaluationReport>,
    /// Earlier evaluations whose changes have not all ended, and the last full one.
    pub unsettled: Vec<EvaluationReport>,
    /// The number of the last full evaluation.
    pub full_number: u64,
    /// Queued changes and changes in progress.
    pub changes: Changes,
    /// Whether changes may run at the same time.
    pub gate: Gate,
    /// Whether the running set is known. It is not in a new controller, or in one of an older release.
    pub knows_running: bool,
    /// The run id of the last pause seen of each kind, and whether it was open.
    pub pauses: BTreeMap<String, PauseSeen>,
    /// Namespaces whose last update was refused as not permitted.
    pub not_permitted: BTreeMap<String, NotPermitted>,
    /// Namespaces whose spec differed at the end of their change, after a clean first reading.
    pub spec_changed: BTreeMap<String, SpecChanged>,
    /// How many changes may run at the same time, from the settings of the last evaluation.
    pub max_concurrent: u32,
    /// Earliest time to re-evaluate the queue (milliseconds since 1970).
    pub again_after_ms: u64,
    /// When the last evaluation with usable metrics began (milliseconds since 1970).
    pub last_good_ms: Option<u64>,
    /// Since when the metrics are unavailable (milliseconds since 1970).
    pub metrics_unavailable_since_ms: Option<u64>,
    /// Announcements about the gate and about hanging changes, so that each is made once.
    pub announced: Vec<String>,
}

/// Selects an evaluation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct EvaluationQuery {
    /// Number of the evaluation.
    pub number: u64,
}

/// A pause, as an evaluation read it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct PauseSeen {
    /// Run id of the pause.
    pub run_id: String,
    /// Whether the pause was in effect.
    pub open: bool,
    /// Reason for the pause.
    pub reason: String,
    /// Person who paused.
    pub by: String,
    /// Time when the pause began (UTC, RFC 3339).
    pub since: String,
    /// Time when the pause ends automatically (UTC, RFC 3339).
    pub until: Option<String>,
}

/// A namespace that the key is not allowed to change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct NotPermitted {
    /// The version that was refused. A change of another version is attempted again.
    pub resource_version: String,
    /// Time of the refusal (milliseconds since 1970).
    pub at_ms: u64,
}

/// A namespace whose spec differed at the end of its change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct SpecChanged {
    /// The fields that differed.
    pub fields: Vec<String>,
    /// Time when the difference was seen (milliseconds since 1970).
    pub at_ms: u64,
}

/// The controller's current activity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ControllerPhase {
    /// Waiting for a trigger.
    Waiting,
    /// Evaluating the account.
    Evaluating,
    /// Passing its state on to the next run.
    Draining,
    /// Not reported, or unknown to this version.
    #[default]
    #[serde(other)]
    Unknown,
}

impl ControllerPhase {
    /// Returns the activity as text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Evaluating => "evaluating",
            Self::Draining => "draining",
            Self::Unknown => "unknown",
        }
    }
}

impl std::fmt::Display for ControllerPhase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The result of the query `get_status`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Summary in one sentence.
    pub summary: String,
    /// What the controller is doing.
    pub phase: ControllerPhase,
    /// Number of evaluations made.
    pub evaluations: u64,
    /// Id of the Temporal Cloud account, once known.
    pub account: Option<String>,
    /// The reason for the pause, if changes are paused.
    pub paused: Option<String>,
    /// When the last evaluation was made (UTC, RFC 3339).
    pub last_evaluation: Option<String>,
    /// Number of decisions in the last evaluation, by action.
    pub counts: BTreeMap<String, usize>,
    /// Where the data of the last hour came from, and how much of it was known.
    pub coverage: Option<String>,
    /// The next scheduled evaluation, as reported by the last evaluation (UTC, RFC 3339).
    pub next_tick: Option<String>,
    /// Changes in progress.
    pub changes_in_progress: Vec<String>,
    /// Number of changes waiting for their turn.
    pub changes_queued: usize,
    /// Problem with the input that the workflow was started with.
    pub input_problem: Option<String>,
    /// The version of the controller's loop; 0 in releases that did not report it.
    #[serde(rename = "loop")]
    pub loop_version: u32,
    /// When the last evaluation with usable metrics began (UTC, RFC 3339).
    pub last_good_evaluation: Option<String>,
    /// Since when the metrics are unavailable (UTC, RFC 3339).
    pub metrics_unavailable_since: Option<String>,
    /// Whether changes may run at the same time. If not, the next one is a canary.
    pub gate_open: bool,
    /// Namespaces that are held, with the reason.
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
    /// The reason, in one sentence.
    pub reason: String,
}

/// A tick's observation of whether the controller responds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Silence {
    /// Why there was no response; `None` if the controller responds again.
    pub(crate) problem: Option<String>,
    /// The failure of the previous tick, if it failed. Contains the time of the announcement.
    pub(crate) before: Option<String>,
}

/// The input of the sampler, which has no fields yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SampleRequest {}

/// The input of a tick.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TickRequest {
    /// Timeout for the controller's response, in seconds.
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
    fn a_re_evaluated_change_counts_once() {
        let report = report(&[
            ("a.acct", "changed"),
            ("b.acct", "not_started"),
            ("b.acct", "changed"),
        ]);
        assert!(!report.has_failed());
        assert!(report.summed_up().summary.ends_with("2 of 2 changes carried out"));
    }

    #[test]
    fn the_last_change_of_a_namespace_determines_whether_it_failed() {
        assert!(report(&[("a.acct", "changed"), ("a.acct", "failed")]).has_failed());
        assert!(report(&[("a.acct", "not_started")]).has_failed());
        assert!(!report(&[("a.acct", REPLACED)]).has_failed());
    }
}
