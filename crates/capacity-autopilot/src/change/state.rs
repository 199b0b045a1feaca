//! What to change, its progress, and how it ended.

use std::time::Duration;

use capacity_engine::{Capacity, NamespaceId};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How long one change may take, waits included, before it is given up and reported as failed.
pub const CHANGE_TIMEOUT: Duration = Duration::from_mins(15);

/// What to change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeOrder {
    /// The namespace.
    pub namespace: NamespaceId,
    /// The capacity the decision was made on; anything else found means that the namespace moved.
    pub from: Capacity,
    /// The capacity to set.
    pub to: Capacity,
    /// Our id of the operation, recorded before anything is sent.
    pub operation_id: String,
    /// The version of the namespace the decision was made on.
    pub resource_version: String,
    /// The minute of the newest metrics behind the decision.
    pub sample_minute: Option<Timestamp>,
}

/// Where a change stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChangeState {
    /// What is done next.
    pub phase: Phase,
    /// How long the change has waited so far.
    pub waited: Duration,
    /// How often the request was posted.
    pub posts: u32,
    /// The spec found before the change, to compare with the one after it (JSON text).
    pub spec_before: Option<String>,
}

/// What a change does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Phase {
    /// Read the namespace, refuse if it moved, post the change.
    Begin,
    /// The post has no readable answer, or was answered "nothing to change": read back before anything else.
    ReadBack {
        /// Whether the service said that there is nothing to change.
        nothing_to_change: bool,
    },
    /// The operation runs: read its status.
    Waiting,
    /// The operation is fulfilled: wait until the request is completed and the capacity is as wanted.
    Verifying {
        /// How long has been waited for it.
        waited: Duration,
    },
}

impl ChangeState {
    /// Returns the state of a change that has not started.
    pub fn begin() -> Self {
        Self {
            phase: Phase::Begin,
            waited: Duration::ZERO,
            posts: 0,
            spec_before: None,
        }
    }
}

/// What follows a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Next {
    /// Call again with this state after this delay.
    After {
        /// How long to wait first.
        delay: Duration,
        /// The state to go on with.
        state: ChangeState,
    },
    /// The version moved since the decision: re-evaluate on fresh data. If the decision is the same, start again with the fresh
    /// version; otherwise drop the change.
    DecideAgain {
        /// What was found.
        found: String,
    },
    /// The change has ended.
    Ended(Ending),
}

/// How a change ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// Its outcome.
    pub outcome: Outcome,
    /// Why, if there is more to report than the outcome.
    pub error: Option<String>,
    /// Fields of the spec, other than the capacity, that differ from before: a reason to stop everything.
    pub spec_differences: Vec<String>,
}

/// Outcome of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// Done and verified: operation, request and capacity.
    Changed,
    /// The wanted capacity was already there; a read-back confirms it.
    Already,
    /// Not attempted: the namespace moved since the decision, or the decision on fresh data differs.
    Refused,
    /// The key may read the namespace but not change it.
    NotPermitted,
    /// The service says "nothing to change", and a read-back denies it.
    Stuck,
    /// The service refused, or the operation failed, or it took too long.
    Failed,
    /// Not started: the run was stopped first.
    NotStarted,
    /// Started and left: the run was stopped while the service was working on it.
    InProgress,
    /// The namespace changed since the decision, so nothing was sent.
    Superseded,
    /// Posted, but the service never reported the outcome.
    Unknown,
    /// The workflow of the change was terminated or timed out before its end.
    Terminated,
}

impl Outcome {
    /// Returns whether the namespace has the wanted capacity.
    pub fn is_success(self) -> bool {
        match self {
            Self::Changed | Self::Already => true,
            Self::Refused
            | Self::NotPermitted
            | Self::Stuck
            | Self::Failed
            | Self::NotStarted
            | Self::InProgress
            | Self::Superseded
            | Self::Unknown
            | Self::Terminated => false,
        }
    }

    /// Returns the stable word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Already => "already",
            Self::Refused => "refused",
            Self::NotPermitted => "not_permitted",
            Self::Stuck => "stuck",
            Self::Failed => "failed",
            Self::NotStarted => "not_started",
            Self::InProgress => "in_progress",
            Self::Superseded => "superseded",
            Self::Unknown => "unknown",
            Self::Terminated => "terminated",
        }
    }
}

/// Outcome of one change, as in the plan document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeResult {
    /// Full id of the namespace.
    pub namespace: String,
    /// TRUs before; 0 means on-demand.
    pub from_trus: u32,
    /// Target TRUs; 0 means on-demand.
    pub to_trus: u32,
    /// Its outcome.
    pub outcome: Outcome,
    /// Our id of the operation; also set where nothing was sent in the end.
    pub operation_id: String,
    /// Why, where the outcome is not the wanted one.
    pub error: Option<String>,
    /// Fields of the spec, other than the capacity, that differ after the change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spec_differences: Vec<String>,
}
