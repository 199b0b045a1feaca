//! The records of a ledger as plain values: whole numbers with their units in the names, times in UTC.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

// Exhaustive: a writer must fill every column.
/// One namespace in one minute. Arrays are in the order actions, requests, operations; rates are in
/// millionths per second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespaceMinute {
    /// Full id of the namespace.
    pub namespace: Arc<str>,
    /// Whether any rate was reported. A namespace without one was idle.
    pub reported: bool,
    /// Which of the `served` rates were not read, to save requests or because there was no usable rate. Such
    /// a rate is zero and meaningless.
    pub unread: [bool; 3],
    /// Served rates.
    pub served: [u64; 3],
    /// Rates that were throttled because of the limit.
    pub throttled: [u64; 3],
    /// The limits in effect; `None` if unknown.
    pub limits: [Option<u64>; 3],
    /// The limits that on-demand would provide; `None` if unknown.
    pub envelopes: [Option<u64>; 3],
}

// Exhaustive: a writer must fill every column.
/// A minute of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Minute {
    /// Start of the minute.
    pub minute: Timestamp,
    /// Whether all namespaces were read. A namespace absent from a complete minute had no usable sample.
    pub complete: bool,
    /// Source of the data: `metrics`, `prometheus` or `import`.
    pub source: String,
    /// Samples of the namespaces.
    pub samples: Vec<NamespaceMinute>,
}

/// The result of recording a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Recorded {
    /// It was written.
    Written,
    /// It was already written.
    AlreadyThere,
    /// It already existed and now has more data: it is complete, or has more namespaces or more of their
    /// values.
    Completed,
    /// The hour of the minute was already aggregated.
    TooOld,
}

/// An hour of a namespace, aggregated from its minutes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HourRecord {
    /// Id of the Temporal Cloud account.
    pub account: String,
    /// Full id of the namespace.
    pub namespace: String,
    /// Hours since 1970 (UTC).
    pub hour: i64,
    /// Minutes for which at least throttling and limits are known.
    pub known_minutes: i64,
    /// Minutes with throttling.
    pub throttled_minutes: i64,
    /// Sum of the served action rates of known minutes, in millionths per second. Multiply by 60 to get
    /// actions.
    pub actions_sum: i64,
    /// Sum of the served request rates of known minutes, in millionths per second.
    pub requests_sum: i64,
    /// Sum of the served operation rates of known minutes, in millionths per second.
    pub operations_sum: i64,
    /// Highest rate of served plus throttled actions in a minute, in millionths per second.
    pub actions_highest: i64,
    /// Highest rate of served plus throttled requests in a minute, in millionths per second.
    pub requests_highest: i64,
    /// Highest rate of served plus throttled operations in a minute, in millionths per second.
    pub operations_highest: i64,
    /// Minutes in which served actions were read, which are the minutes in `actions_sum`.
    pub actions_known_minutes: i64,
    /// Minutes in which served requests were read, which are the minutes in `requests_sum`.
    pub requests_known_minutes: i64,
    /// Minutes in which served operations were read, which are the minutes in `operations_sum`.
    pub operations_known_minutes: i64,
}

// Exhaustive: a writer must fill every column.
/// An evaluation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvaluationRecord {
    /// Id of the Temporal Cloud account.
    pub account: String,
    /// Id of the plan.
    pub plan_id: String,
    /// Time of the evaluation (milliseconds since 1970).
    pub evaluated_at_ms: i64,
    /// Whether this was a dry run.
    pub dry_run: bool,
    /// Whether its metrics were unusable.
    pub blind: bool,
    /// Worker or person that evaluated.
    pub by: String,
    /// Where the data of the last hour came from: `ledger`, `prometheus` or `1 minute`.
    pub usage_window: String,
    /// Price of a million actions, in millionths of a dollar.
    pub price_micro_dollars: i64,
}

// Exhaustive: a writer must fill every column.
/// A decision of an evaluation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionRecord {
    /// Id of the Temporal Cloud account.
    pub account: String,
    /// Id of the plan.
    pub plan_id: String,
    /// Full id of the namespace.
    pub namespace: String,
    /// `Enable`, `Resize`, `Disable`, `Keep`, `Hold` or `Skip`.
    pub action: String,
    /// TRUs at the time of the decision; 0 means on-demand.
    pub current_trus: Option<i64>,
    /// TRUs after the decision; 0 means on-demand.
    pub wanted_trus: Option<i64>,
    /// Stable code of the reason.
    pub reason_code: String,
    /// The reason, in one sentence with its numbers.
    pub reason: String,
    /// Cost of an idle hour before the decision, in millionths of a dollar.
    pub price_before_micro_dollars: Option<i64>,
    /// Cost of an idle hour after the decision, in millionths of a dollar.
    pub price_after_micro_dollars: Option<i64>,
    /// Known minutes of the last hour; `None` if the usage was not checked.
    pub known_minutes: Option<i64>,
}

// Exhaustive: a writer must fill every column.
/// A capacity change, as recorded in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeRecord {
    /// Id of the operation.
    pub operation_id: String,
    /// Id of the Temporal Cloud account.
    pub account: String,
    /// Id of the plan.
    pub plan_id: String,
    /// Full id of the namespace.
    pub namespace: String,
    /// TRUs before; 0 means on-demand.
    pub from_trus: i64,
    /// Requested TRUs; 0 means on-demand.
    pub to_trus: i64,
    /// Outcome of the change.
    pub outcome: String,
    /// The reason, if the outcome is not the requested one.
    pub error: Option<String>,
    /// Time when it was recorded (milliseconds since 1970).
    pub ended_at_ms: i64,
    /// Worker or person that carried it out.
    pub by: String,
}

// Exhaustive: a writer must fill every column.
/// A policy's state for a namespace between evaluations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyStateRecord {
    /// Id of the Temporal Cloud account.
    pub account: String,
    /// Full id of the namespace.
    pub namespace: String,
    /// Name of the policy.
    pub policy: String,
    /// Format version of `state`, which only the policy interprets.
    pub version: i64,
    /// Time of the evaluation that produced the state, in minutes since 1970 (UTC).
    pub minute: i64,
    /// The state itself, at most [`PolicyStateRecord::LONGEST`] bytes.
    pub state: String,
}

impl PolicyStateRecord {
    /// The longest state that is stored, in bytes.
    pub const LONGEST: usize = 1024;
}

// Exhaustive: a writer must fill every column.
/// A policy's decision about a namespace in an evaluation: of the active policy with the options it compared,
/// or of the shadow policy.
///
/// There is no such record for a decision of `threshold` that was acted on, or for one that left a quiet
/// namespace on-demand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyDecisionRecord {
    /// Id of the Temporal Cloud account.
    pub account: String,
    /// Id of the plan.
    pub plan_id: String,
    /// Full id of the namespace.
    pub namespace: String,
    /// Name of the policy.
    pub policy: String,
    /// Version of the policy.
    pub version: i64,
    /// Whether the policy was in shadow, so that the decision was recorded and never carried out.
    pub shadow: bool,
    /// `Enable`, `Resize`, `Disable`, `Keep`, `Hold` or `Skip`.
    pub action: String,
    /// TRUs at the time of the decision; 0 means on-demand.
    pub current_trus: Option<i64>,
    /// TRUs after the decision; 0 means on-demand.
    pub wanted_trus: Option<i64>,
    /// TRUs that the policy wanted but a restriction or guard blocked.
    pub blocked_trus: Option<i64>,
    /// Stable code of the reason.
    pub reason_code: String,
    /// The reason, in one sentence with its numbers.
    pub reason: String,
    /// The options that the policy compared: a JSON list, each with `trus`, `limit` (actions per second),
    /// `idle_hour` (dollars), `cost_actions`, `cost` (dollars), `chosen` and `verdict`.
    pub options: String,
}

// Exhaustive: a writer must fill every column.
/// The inputs of a decision, apart from the minutes of usage, in the format of the program that decided. The
/// ledger does not parse them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionInputsRecord {
    /// Id of the Temporal Cloud account.
    pub account: String,
    /// Id of the plan.
    pub plan_id: String,
    /// Full id of the namespace; empty for the inputs that all decisions of the plan share.
    pub namespace: String,
    /// The inputs as JSON.
    pub inputs: String,
}

/// A decision of a policy, with the time of its evaluation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PolicyDecisionRow {
    /// Time of the decision (milliseconds since 1970).
    pub evaluated_at_ms: i64,
    /// The decision that was recorded.
    pub decision: PolicyDecisionRecord,
}

/// A decision with its evaluation and its outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HistoryRow {
    /// Time of the decision (milliseconds since 1970).
    pub evaluated_at_ms: i64,
    /// Whether this was a dry run.
    pub dry_run: bool,
    /// Worker or person that evaluated.
    pub by: String,
    /// Source of the data of the last hour.
    pub usage_window: String,
    /// Price of a million actions, in millionths of a dollar, on which the costs are based.
    pub price_micro_dollars: i64,
    /// The decision that was recorded.
    #[serde(flatten)]
    pub decision: DecisionRecord,
    /// Outcome, if it was a change.
    pub outcome: Option<String>,
    /// The reason, if the outcome is not the requested one.
    pub error: Option<String>,
}

impl HistoryRow {
    /// Combines a decision with its evaluation, without an outcome.
    pub(crate) fn of(evaluation: &EvaluationRecord, decision: DecisionRecord) -> Self {
        Self {
            evaluated_at_ms: evaluation.evaluated_at_ms,
            dry_run: evaluation.dry_run,
            by: evaluation.by.clone(),
            usage_window: evaluation.usage_window.clone(),
            price_micro_dollars: evaluation.price_micro_dollars,
            decision,
            outcome: None,
            error: None,
        }
    }
}

// Exhaustive: callers use struct update syntax (`..`), so a new field gets its default.
/// Selects rows of the history.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistoryFilter {
    /// Only these namespaces, by their full ids; empty means all.
    pub namespaces: Vec<String>,
    /// Earliest time (inclusive).
    pub from: Option<Timestamp>,
    /// Latest time (exclusive).
    pub to: Option<Timestamp>,
    /// Only changes: `Enable`, `Resize`, `Disable`.
    pub changes_only: bool,
    /// Maximum number of rows, the newest ones; 0 means all.
    pub limit: u32,
}
