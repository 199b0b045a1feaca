//! Inputs and results of the steps of a change. Every field has a default, so that histories of other
//! releases can be decoded.

use capacity_autopilot::Basis;
use cloud_ops_client::SpecDigests;
use serde::{Deserialize, Serialize};

use crate::messages::{ChangeReport, ChangeRequest};

/// The state of a change after a step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct StepAnswer {
    /// `ready`, `posted`, `accepted`, `nothing_to_change`, `uncertain`, `running`, `arriving`, `never_posted`, `unreadable` or
    /// `ended`.
    pub(crate) state: String,
    /// The outcome, if the change has ended.
    pub(crate) outcome: String,
    /// Why the step or the change did not succeed.
    pub(crate) error: Option<String>,
    /// Stable code of the reason why it was not started.
    pub(crate) code: Option<String>,
    /// Delay before the next check, in milliseconds.
    pub(crate) check_after_ms: u64,
    /// The inputs of the POST.
    pub(crate) basis: Option<Basis>,
    /// Build of the worker that ran the step.
    pub(crate) build: String,
    /// Whether the spec was read and shows the posted capacity.
    pub(crate) shows_posted: bool,
    /// Whether the rest of the spec could be compared.
    pub(crate) compared: bool,
    /// Fields that changed or were removed.
    pub(crate) changed_fields: Vec<String>,
    /// Fields that were added.
    pub(crate) appeared_fields: Vec<String>,
}

/// A change and the inputs of its POST.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct PostRequest {
    /// The change to post.
    pub(crate) request: ChangeRequest,
    /// Inputs of the POST.
    pub(crate) basis: Basis,
    /// When the change began (milliseconds since 1970), for its trace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) started_ms: Option<u64>,
}

/// A posted change, with the digests from before the POST.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct CheckRequest {
    /// The change that was posted.
    pub(crate) request: ChangeRequest,
    /// The digests; `None` if an earlier run of the change posted it.
    pub(crate) digests: Option<SpecDigests>,
}

/// A change that has ended, and the work that is left.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Conclusion {
    /// The change. Its `recorded` and `announced` show what is already done.
    pub(crate) report: ChangeReport,
    /// Whether incomplete work is a failure, so that the service retries it.
    pub(crate) complete: bool,
    /// When the change began (milliseconds since 1970), for its trace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) started_ms: Option<u64>,
    /// When the service accepted the POST (milliseconds since 1970).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) posted_ms: Option<u64>,
}

/// An event of a change other than its end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Incident {
    /// `slow`, `unknown`, `spec_changed`, `spec_changed_later`, `spec_appeared`, `no_verdict`, `no_progress`, `places_used_up` or
    /// `terminated`.
    pub(crate) kind: String,
    /// The changes that it concerns.
    pub(crate) changes: Vec<ChangeRequest>,
    /// Start time of the first of them (milliseconds since 1970).
    pub(crate) started_ms: Option<u64>,
    /// Since when there has been no progress (milliseconds since 1970).
    pub(crate) since_ms: Option<u64>,
    /// Fields of the spec that differ.
    pub(crate) fields: Vec<String>,
}

/// A pause to open or end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct PauseOrder {
    /// The kind, as in the workflow id; empty means all kinds that a person can open.
    pub(crate) kind: String,
    /// Whether to end the pause.
    pub(crate) resume: bool,
    /// Why changes are paused or resumed.
    pub(crate) reason: String,
    /// Person who pauses or resumes.
    pub(crate) by: String,
}

/// The outcome of both parts of a conclusion.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Concluded {
    /// Whether the ledger has the outcome, or there is no ledger.
    pub recorded: bool,
    /// Whether the channel was notified, or there is no channel.
    pub announced: bool,
}
