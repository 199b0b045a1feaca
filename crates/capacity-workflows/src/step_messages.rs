//! What the steps of a change receive and report. Everything has a default, so that histories of other releases decode.

use capacity_autopilot::Basis;
use cloud_ops_client::SpecDigests;
use serde::{Deserialize, Serialize};

use crate::messages::{ChangeReport, ChangeRequest};

/// A change that is ready, posted or over, as a step reports it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StepAnswer {
    /// `ready`, `posted`, `accepted`, `nothing_to_change`, `uncertain`, `running`, `arriving`, `never_posted`, `unreadable` or
    /// `ended`.
    pub state: String,
    /// How it ended, if it ended.
    pub outcome: String,
    /// Why.
    pub error: Option<String>,
    /// Why it was not started, as a stable code.
    pub code: Option<String>,
    /// When to check again.
    pub check_after_ms: u64,
    /// The inputs of the POST.
    pub basis: Option<Basis>,
    /// The build of the worker that answered.
    pub build: String,
    /// Whether the spec was read and shows the posted capacity.
    pub shows_posted: bool,
    /// Whether the rest of the spec could be compared.
    pub compared: bool,
    /// Fields that changed or were removed.
    pub changed_fields: Vec<String>,
    /// Fields that appeared.
    pub appeared_fields: Vec<String>,
}

/// A change and the inputs of its POST.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PostRequest {
    /// The change.
    pub request: ChangeRequest,
    /// Its inputs.
    pub basis: Basis,
}

/// A posted change, with the digests from before the POST.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CheckRequest {
    /// The change.
    pub request: ChangeRequest,
    /// The digests; `None` if an earlier run of the change posted it.
    pub digests: Option<SpecDigests>,
}

/// An ended change, and what is still to be done about it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Conclusion {
    /// The change. Its `recorded` and `announced` say what was done before.
    pub report: ChangeReport,
    /// Whether half of it is a failure, so that the service tries again.
    pub complete: bool,
}

/// What happened to a change besides its end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Incident {
    /// `slow`, `unknown`, `spec_changed`, `spec_changed_later`, `spec_appeared`, `no_verdict`, `no_progress`, `places_used_up` or
    /// `terminated`.
    pub kind: String,
    /// The changes it concerns.
    pub changes: Vec<ChangeRequest>,
    /// When the first of them started (milliseconds since 1970).
    pub started_ms: Option<u64>,
    /// Since when there is no progress (milliseconds since 1970).
    pub since_ms: Option<u64>,
    /// Fields of the spec.
    pub fields: Vec<String>,
}

/// Which pause to open or end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PauseOrder {
    /// The kind, as in the workflow id; empty means every kind that a person makes.
    pub kind: String,
    /// Whether it is ended.
    pub resume: bool,
    /// Why.
    pub reason: String,
    /// Who.
    pub by: String,
}

/// The outcomes of both halves of a conclusion.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Concluded {
    /// Whether the ledger has it, or there is no ledger.
    pub recorded: bool,
    /// Whether the channel was notified, or there is no channel.
    pub announced: bool,
}
