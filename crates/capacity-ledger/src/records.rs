//! What a ledger holds, as plain values: whole numbers with their units in the names, times in UTC.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One namespace in one minute. Limits are in the order actions, requests, operations; rates in millionths a second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespaceMinute {
    /// Full id of the namespace.
    pub namespace: Arc<str>,
    /// Whether any rate was reported; without one the namespace was idle.
    pub reported: bool,
    /// Which of `served` was not read, to spare requests or because it held no usable rate; it is zero there and meaningless.
    pub unread: [bool; 3],
    /// What was served.
    pub served: [u64; 3],
    /// What was refused because of the limit.
    pub throttled: [u64; 3],
    /// The limits in effect; `None`: unknown.
    pub limits: [Option<u64>; 3],
    /// What on-demand would give; `None`: unknown.
    pub envelopes: [Option<u64>; 3],
}

/// A minute of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Minute {
    /// The minute.
    pub minute: Timestamp,
    /// Whether all namespaces were read. A namespace absent from a complete minute had no usable sample.
    pub complete: bool,
    /// Where it came from: `metrics`, `prometheus` or `import`.
    pub source: String,
    /// The namespaces.
    pub samples: Vec<NamespaceMinute>,
}

/// The outcome of a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Recorded {
    /// It was written.
    Written,
    /// It was already written.
    AlreadyThere,
    /// It existed and has more data now: it is complete, or has more namespaces or more of their values.
    Completed,
    /// Its hour was already aggregated.
    TooOld,
}

/// An hour of a namespace, folded from its minutes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HourRecord {
    /// Account id.
    pub account: String,
    /// Full id of the namespace.
    pub namespace: String,
    /// Hours since 1970 (UTC).
    pub hour: i64,
    /// Minutes in which it was seen, throttling and limits at least.
    pub known_minutes: i64,
    /// Minutes in which something was throttled.
    pub throttled_minutes: i64,
    /// Sum over the minutes of known actions served, in millionths a second; times 60 for actions.
    pub actions_sum: i64,
    /// The same of requests.
    pub requests_sum: i64,
    /// The same of operations.
    pub operations_sum: i64,
    /// The highest minute of actions served and throttled, in millionths a second.
    pub actions_highest: i64,
    /// The same of requests.
    pub requests_highest: i64,
    /// The same of operations.
    pub operations_highest: i64,
    /// Minutes in which actions served were read: the sum is over these.
    pub actions_known_minutes: i64,
    /// The same of requests.
    pub requests_known_minutes: i64,
    /// The same of operations.
    pub operations_known_minutes: i64,
}

/// An evaluation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvaluationRecord {
    /// Account id.
    pub account: String,
    /// Identifies the plan.
    pub plan_id: String,
    /// When it was made (milliseconds since 1970).
    pub evaluated_at_ms: i64,
    /// Whether this was a dry run.
    pub dry_run: bool,
    /// Whether its metrics were unusable.
    pub blind: bool,
    /// Who evaluated: a worker or a person.
    pub by: String,
    /// What fed the hour: `ledger`, `prometheus` or `1 minute`.
    pub usage_window: String,
    /// Millionths of a dollar for a million actions.
    pub price_micro_dollars: i64,
}

/// A decision of an evaluation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionRecord {
    /// Account id.
    pub account: String,
    /// The plan.
    pub plan_id: String,
    /// Full id of the namespace.
    pub namespace: String,
    /// `Enable`, `Resize`, `Disable`, `Keep`, `Hold` or `Skip`.
    pub action: String,
    /// TRUs then; 0 means on-demand.
    pub current_trus: Option<i64>,
    /// TRUs wanted.
    pub wanted_trus: Option<i64>,
    /// Stable code of the reason.
    pub reason_code: String,
    /// One sentence with its numbers.
    pub reason: String,
    /// Idle price of an hour before, in millionths of a dollar.
    pub price_before_micro_dollars: Option<i64>,
    /// Idle price of an hour after.
    pub price_after_micro_dollars: Option<i64>,
    /// Known minutes of the last hour; `None` if it was not looked at.
    pub known_minutes: Option<i64>,
}

/// A change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeRecord {
    /// The id of the operation.
    pub operation_id: String,
    /// Account id.
    pub account: String,
    /// The plan.
    pub plan_id: String,
    /// Full id of the namespace.
    pub namespace: String,
    /// TRUs before; 0 means on-demand.
    pub from_trus: i64,
    /// TRUs wanted.
    pub to_trus: i64,
    /// Its outcome.
    pub outcome: String,
    /// Why, if the outcome is not the requested one.
    pub error: Option<String>,
    /// When it was recorded (milliseconds since 1970).
    pub ended_at_ms: i64,
    /// Who carried it out.
    pub by: String,
}

/// A policy's state for a namespace between evaluations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyStateRecord {
    /// Account id.
    pub account: String,
    /// Full id of the namespace.
    pub namespace: String,
    /// Name of the policy.
    pub policy: String,
    /// Version of the form of `state`, which only the policy reads.
    pub version: i64,
    /// Minutes since 1970 (UTC) of the evaluation that it was the result of.
    pub minute: i64,
    /// The state itself, at most [`PolicyStateRecord::LONGEST`] bytes.
    pub state: String,
}

impl PolicyStateRecord {
    /// The longest state that is stored, in bytes.
    pub const LONGEST: usize = 1024;
}

/// What a policy decided about a namespace in an evaluation: the acting one with what it compared, and the one in shadow.
///
/// A decision of `threshold` that was acted on has no such record, nor has one that left a quiet namespace on-demand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyDecisionRecord {
    /// Account id.
    pub account: String,
    /// The plan.
    pub plan_id: String,
    /// Full id of the namespace.
    pub namespace: String,
    /// Name of the policy.
    pub policy: String,
    /// Version of the policy.
    pub version: i64,
    /// Whether it was in shadow: recorded, and never carried out.
    pub shadow: bool,
    /// `Enable`, `Resize`, `Disable`, `Keep`, `Hold` or `Skip`.
    pub action: String,
    /// TRUs then; 0 means on-demand.
    pub current_trus: Option<i64>,
    /// TRUs wanted.
    pub wanted_trus: Option<i64>,
    /// What the policy wanted and a restriction or guard held.
    pub blocked_trus: Option<i64>,
    /// Stable code of the reason.
    pub reason_code: String,
    /// One sentence with its numbers.
    pub reason: String,
    /// What it compared: a JSON list of options, each with `trus`, `limit` (actions a second), `idle_hour` (dollars),
    /// `cost_actions`, `cost` (dollars), `chosen` and `verdict`.
    pub options: String,
}

/// The inputs of a decision, in addition to the minutes of usage, in the format of the deciding program: the ledger does not
/// parse them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionInputsRecord {
    /// Account id.
    pub account: String,
    /// The plan.
    pub plan_id: String,
    /// Full id of the namespace; empty for the inputs that all decisions of the plan share.
    pub namespace: String,
    /// JSON.
    pub inputs: String,
}

/// A decision of a policy, with the time of its evaluation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyDecisionRow {
    /// When it was decided (milliseconds since 1970).
    pub evaluated_at_ms: i64,
    /// The decision.
    pub decision: PolicyDecisionRecord,
}

/// A decision with its evaluation and its outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryRow {
    /// When it was decided (milliseconds since 1970).
    pub evaluated_at_ms: i64,
    /// Whether this was a dry run.
    pub dry_run: bool,
    /// Who evaluated.
    pub by: String,
    /// What fed the hour.
    pub usage_window: String,
    /// Millionths of a dollar for a million actions, which the prices are based on.
    pub price_micro_dollars: i64,
    /// The decision.
    #[serde(flatten)]
    pub decision: DecisionRecord,
    /// Its outcome, if it was a change.
    pub outcome: Option<String>,
    /// Why, if the outcome is not the requested one.
    pub error: Option<String>,
}

/// What of the history is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistoryFilter {
    /// Only these namespaces, by their full ids; all of them if there are none.
    pub namespaces: Vec<String>,
    /// Not before.
    pub from: Option<Timestamp>,
    /// Before.
    pub to: Option<Timestamp>,
    /// Only changes: `Enable`, `Resize`, `Disable`.
    pub changes_only: bool,
    /// At most this number, the newest; 0 for all.
    pub limit: u32,
}
