//! What crosses the wire between workflows, activities and people. Fields are only ever added, each with a default, so that old
//! histories keep decoding.

use std::collections::BTreeMap;

use capacity_autopilot::{ChangeOrder, ChangeResult, ChangeState, Next, PlannedDecision};
use capacity_engine::{Capacity, NamespaceId};
use serde::{Deserialize, Serialize};

use crate::news::Standing;

/// A change to be carried out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChangeRequest {
    /// Full id of the namespace.
    pub namespace: String,
    /// TRUs the decision was made on, 0 meaning on-demand.
    pub from_trus: u32,
    /// TRUs to set, 0 meaning on-demand.
    pub to_trus: u32,
    /// Our id of the operation.
    pub operation_id: String,
    /// The version of the namespace that was decided upon.
    pub resource_version: String,
    /// The minute of the newest metrics used (UTC, RFC 3339).
    pub sample_minute: Option<String>,
    /// How long the change may take before it has failed; a quarter of an hour if it is not said.
    pub timeout_seconds: Option<u64>,
}

impl ChangeRequest {
    /// Returns the order that this asks for.
    ///
    /// # Errors
    ///
    /// If it names no namespace, or changes nothing.
    pub fn order(&self) -> Result<ChangeOrder, String> {
        let namespace: NamespaceId = self.namespace.parse().map_err(|error| format!("{error}"))?;
        if self.from_trus == self.to_trus || self.operation_id.is_empty() {
            return Err(format!("the request for {namespace} changes nothing"));
        }
        Ok(ChangeOrder {
            namespace,
            from: Capacity::from_trus(self.from_trus),
            to: Capacity::from_trus(self.to_trus),
            operation_id: self.operation_id.clone(),
            resource_version: self.resource_version.clone(),
            sample_minute: self
                .sample_minute
                .as_deref()
                .and_then(|minute| minute.parse().ok()),
        })
    }
}

impl From<&ChangeOrder> for ChangeRequest {
    fn from(order: &ChangeOrder) -> Self {
        Self {
            namespace: order.namespace.to_string(),
            from_trus: order.from.trus(),
            to_trus: order.to.trus(),
            operation_id: order.operation_id.clone(),
            resource_version: order.resource_version.clone(),
            sample_minute: order.sample_minute.map(|minute| minute.to_string()),
            timeout_seconds: None,
        }
    }
}

/// One step of a change.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StepRequest {
    /// The change.
    pub request: ChangeRequest,
    /// Where it stands; nothing before the first step.
    pub state: Option<ChangeState>,
}

/// What follows a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepResult {
    /// What is next.
    pub next: Next,
}

/// A question to decide again.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Redecide {
    /// The change.
    pub request: ChangeRequest,
    /// What was found.
    pub found: String,
}

/// The answer: the change with fresh data, or why it is dropped.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Redecision {
    /// The change to go on with.
    pub request: Option<ChangeRequest>,
    /// Why there is none.
    pub dropped: String,
}

/// What became of a change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChangeReport {
    /// Full id of the namespace.
    pub namespace: String,
    /// TRUs before, 0 meaning on-demand.
    pub from_trus: u32,
    /// TRUs wanted, 0 meaning on-demand.
    pub to_trus: u32,
    /// `changed`, `already`, `refused`, `not_permitted`, `stuck`, `failed`, `in_progress` or `not_started`.
    pub outcome: String,
    /// Our id of the operation.
    pub operation_id: String,
    /// Why, where the outcome is not the wanted one.
    pub error: Option<String>,
    /// Fields of the spec, other than the capacity, that differ after the change.
    pub spec_differences: Vec<String>,
    /// Whether people were told of it already, by the change itself.
    pub announced: bool,
}

impl ChangeReport {
    /// Returns the report of a request that ended without an ending of its own.
    pub fn of(request: &ChangeRequest, outcome: &str, error: Option<String>) -> Self {
        let error = error.map(|text| text.chars().take(LONGEST_ERROR).collect());
        Self {
            namespace: request.namespace.clone(),
            from_trus: request.from_trus,
            to_trus: request.to_trus,
            outcome: outcome.to_owned(),
            operation_id: request.operation_id.clone(),
            error,
            spec_differences: Vec::new(),
            announced: false,
        }
    }

    /// Returns whether there is an ending to tell; the next evaluation tells that of the others.
    pub fn has_ended(&self) -> bool {
        !matches!(self.outcome.as_str(), "in_progress" | "not_started")
    }

    /// Returns whether the namespace has the wanted capacity.
    pub fn is_success(&self) -> bool {
        matches!(self.outcome.as_str(), "changed" | "already")
    }
}

impl From<&ChangeReport> for ChangeResult {
    fn from(report: &ChangeReport) -> Self {
        let outcome = serde_json::from_value(serde_json::Value::from(report.outcome.as_str()));
        Self {
            namespace: report.namespace.clone(),
            from_trus: report.from_trus,
            to_trus: report.to_trus,
            // An outcome of a newer worker is no success that we know of.
            outcome: outcome.unwrap_or(capacity_autopilot::Outcome::Failed),
            operation_id: report.operation_id.clone(),
            error: report.error.clone(),
            spec_differences: report.spec_differences.clone(),
        }
    }
}

/// A decision as people see it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DecisionReport {
    /// Full id of the namespace.
    pub namespace: String,
    /// `Enable`, `Resize`, `Disable`, `Keep`, `Hold` or `Skip`.
    pub action: String,
    /// Present TRUs, 0 meaning on-demand.
    pub current_trus: Option<u32>,
    /// TRUs wanted, 0 meaning on-demand.
    pub wanted_trus: Option<u32>,
    /// A wish that a guard held back.
    pub blocked_trus: Option<u32>,
    /// Stable code of the reason.
    pub reason_code: String,
    /// One sentence with its numbers.
    pub reason: String,
    /// Whether people should be told.
    pub announce: bool,
    /// How many of the last 60 minutes are known.
    pub known_minutes: Option<u32>,
}

impl From<&PlannedDecision> for DecisionReport {
    fn from(decision: &PlannedDecision) -> Self {
        Self {
            namespace: decision.namespace.clone(),
            action: decision.action.as_str().to_owned(),
            current_trus: decision.current_trus,
            wanted_trus: decision.wanted_trus,
            blocked_trus: decision.blocked_trus,
            reason_code: decision.reason_code.clone(),
            reason: decision.reason.clone(),
            announce: decision.announce,
            known_minutes: decision.known_minutes,
        }
    }
}

/// An evaluation: what was decided, and what became of it.
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
    /// Whether nothing was to be changed, by setting.
    pub dry_run: bool,
    /// Whether nothing was to be changed, by the controller's brake.
    pub paused: bool,
    /// Whether it could only raise, since throttling or high use triggered it.
    pub raise_only: bool,
    /// Whether the account was blind.
    pub blind: bool,
    /// What fed the hour, and how much of it is known.
    pub coverage: String,
    /// How many decisions of each action.
    pub counts: BTreeMap<String, usize>,
    /// Decisions: changes first, then holds, then the rest, as many as fit.
    pub decisions: Vec<DecisionReport>,
    /// Decisions that did not fit, counted.
    pub decisions_left_out: usize,
    /// What became of the changes.
    pub changes: Vec<ChangeReport>,
    /// What people should know of the evaluation as a whole.
    pub warnings: Vec<String>,
    /// Why the ledger could not be used.
    pub ledger_problem: Option<String>,
    /// Why there was no evaluation.
    pub error: Option<String>,
}

impl EvaluationReport {
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
            (false, false) if self.raise_only => ", triggered by high use: nothing is given back",
            (false, false) => "",
        };
        let done = self.changes.iter().filter(|change| change.is_success()).count();
        self.summary = match &self.error {
            Some(error) => format!("evaluation {} failed: {error}", self.number),
            None if self.blind => format!(
                "evaluation {}: blind, nothing was decided on metrics{mode}",
                self.number
            ),
            None if self.changes.is_empty() => {
                format!("evaluation {}: {}{mode}", self.number, counts.join(", "))
            }
            None => format!(
                "evaluation {}: {}; {done} of {} changes carried out",
                self.number,
                counts.join(", "),
                self.changes.len()
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
    /// Whether throttling or high use triggered it: then it may only raise.
    pub raise_only: bool,
    /// The ledgers of workers that evaluated lately, and when each did (milliseconds since 1970).
    pub ledgers: BTreeMap<String, i64>,
}

/// What was observed and decided, and how the changes are to be carried out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Observation {
    /// The evaluation, without what becomes of its changes.
    pub report: EvaluationReport,
    /// The changes, in the order in which they are carried out; none under dry run or brake.
    pub changes: Vec<ChangeRequest>,
    /// How many may run at a time.
    pub max_concurrent: u32,
    /// How long the evaluation waits for them.
    pub wait_seconds: u64,
    /// Changes left to the next evaluation, which follows at once: a payload carries only so many.
    pub changes_left_out: usize,
    /// The next scheduled evaluation (UTC, RFC 3339), where there is a schedule.
    pub next_tick: Option<String>,
    /// How far evaluations start apart at least, in milliseconds; `None` for the usual distance.
    pub apart_ms: Option<u64>,
    /// The ledgers of workers that evaluated lately, this one's among them.
    pub ledgers: BTreeMap<String, i64>,
}

/// Characters of an error that a payload carries.
const LONGEST_ERROR: usize = 300;

/// What people are to be told, and what they were told before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Announcement {
    /// The evaluation.
    pub report: EvaluationReport,
    /// Standing problems, and when people were told of each.
    pub standing: BTreeMap<String, Standing>,
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
    /// Whether that one may only raise.
    pub pending_raise_only: bool,
    /// Why it is paused, if it is.
    pub paused: Option<String>,
    /// When the last evaluation began (milliseconds since 1970): the next keeps its distance, also after continuing as new.
    pub last_start_ms: Option<u64>,
    /// Standing problems, and when people were told of each.
    pub standing: BTreeMap<String, Standing>,
    /// The next scheduled evaluation, as the schedule said at the last one (UTC, RFC 3339).
    pub next_tick: Option<String>,
    /// How far evaluations start apart at least, in milliseconds; `None` for the usual distance.
    pub apart_ms: Option<u64>,
    /// The ledgers of workers that evaluated lately, and when each did (milliseconds since 1970).
    pub ledgers: BTreeMap<String, i64>,
    /// The last evaluation.
    pub last: Option<EvaluationReport>,
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
    /// The next scheduled evaluation, as the schedule said at the last one (UTC, RFC 3339).
    pub next_tick: Option<String>,
    /// Changes that have begun and not ended.
    pub changes_in_progress: Vec<String>,
    /// What was wrong with the input it was started with.
    pub input_problem: Option<String>,
}

/// What a tick saw of the controller.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Silence {
    /// Why there was no answer; `None`: it answers again.
    pub problem: Option<String>,
    /// What the tick before failed with, if it failed: it says when people were told.
    pub before: Option<String>,
}

/// What the sampler is told: nothing yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SampleRequest {}

/// What a tick is told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TickRequest {
    /// How long the controller may take to answer.
    pub wait_seconds: Option<u64>,
}
