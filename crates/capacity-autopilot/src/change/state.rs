//! The order, the progress and the outcome of a change.

use std::time::Duration;

use capacity_engine::{Capacity, NamespaceId};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Maximum time for one change, waits included, before it is reported as failed.
pub const CHANGE_TIMEOUT: Duration = Duration::from_mins(15);

// Exhaustive: an order without one of these fields would be carried out incorrectly.
/// A change to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeOrder {
    /// Namespace to change.
    pub namespace: NamespaceId,
    /// The capacity when the decision was made. If the current capacity differs, the namespace has changed
    /// since.
    pub from: Capacity,
    /// The capacity to set.
    pub to: Capacity,
    /// Operation id of the change, recorded before anything is sent.
    pub operation_id: String,
    /// The version of the namespace when the decision was made.
    pub resource_version: String,
    /// The minute of the newest metrics behind the decision.
    pub sample_minute: Option<Timestamp>,
}

/// The progress of a change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ChangeState {
    /// The next step.
    pub phase: Phase,
    /// Time that the change has waited so far.
    pub waited: Duration,
    /// Number of times the request was posted.
    pub posts: u32,
    /// The spec before the change (JSON text), to compare with the one after it.
    pub spec_before: Option<String>,
}

/// The next step of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Phase {
    /// Read the namespace, refuse if it changed, and post the change.
    Begin,
    /// The POST got no readable response, or the response "nothing to change": read back before anything
    /// else.
    ReadBack {
        /// Whether the service reported that there is nothing to change.
        nothing_to_change: bool,
    },
    /// The operation is running: read its status.
    Waiting,
    /// The operation is fulfilled: wait until the request is completed and the capacity is the wanted one.
    Verifying {
        /// Time that this step has waited so far.
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

// Exhaustive: a driver of changes must handle everything that can follow a step.
/// The result of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Next {
    /// Call again with this state after this delay.
    After {
        /// Wait before the next step.
        delay: Duration,
        /// The state to continue with.
        state: ChangeState,
    },
    /// The version changed since the decision: re-evaluate on fresh data. If the decision is the same, start
    /// again with the fresh version; otherwise drop the change.
    DecideAgain {
        /// What was observed, as text for operators.
        found: String,
    },
    /// The change has ended.
    Ended(Ending),
}

/// The outcome of a change, with details.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Ending {
    /// Outcome of the change.
    pub outcome: Outcome,
    /// The reason, if the outcome alone does not explain it.
    pub error: Option<String>,
    /// Fields of the spec, other than the capacity, that differ from before. They are a reason to stop
    /// everything.
    pub spec_differences: Vec<String>,
}

impl Ending {
    /// Returns an ending whose outcome needs no explanation.
    pub const fn new(outcome: Outcome) -> Self {
        Self {
            outcome,
            error: None,
            spec_differences: Vec::new(),
        }
    }

    /// Returns an ending with a reason.
    pub fn because(outcome: Outcome, why: impl Into<String>) -> Self {
        Self {
            error: Some(why.into()),
            ..Self::new(outcome)
        }
    }
}

/// Outcome of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// Made and verified: operation, request and capacity.
    Changed,
    /// The namespace already had the wanted capacity; a read-back confirms it.
    Already,
    /// Not attempted: the namespace changed since the decision, or the decision on fresh data differs.
    Refused,
    /// The key can read the namespace but not change it.
    NotPermitted,
    /// The service reports "nothing to change", and a read-back contradicts it.
    Stuck,
    /// The service refused, the operation failed, or it took too long.
    Failed,
    /// Not started: the run was stopped first.
    NotStarted,
    /// Started and no longer followed: the run was stopped while the service was working on it.
    InProgress,
    /// The namespace changed since the decision, so nothing was sent.
    Superseded,
    /// Posted, but the service never reported the outcome.
    Unknown,
    /// The workflow of the change was terminated or timed out before it ended.
    Terminated,
}

impl Outcome {
    /// Returns whether the namespace has the wanted capacity.
    pub fn is_success(self) -> bool {
        match self {
            // No wildcard, so that a new outcome has to choose a side.
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

    /// Returns the stable name.
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
#[non_exhaustive]
pub struct ChangeResult {
    /// Full id of the namespace.
    pub namespace: String,
    /// TRUs before; 0 means on-demand.
    pub from_trus: u32,
    /// Target TRUs; 0 means on-demand.
    pub to_trus: u32,
    /// Outcome of the change.
    pub outcome: Outcome,
    /// Our operation id; also set if nothing was sent.
    pub operation_id: String,
    /// The reason, if the namespace does not have the wanted capacity.
    pub error: Option<String>,
    /// Fields of the spec, other than the capacity, that differ after the change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spec_differences: Vec<String>,
}

impl ChangeResult {
    /// Returns the result of a namespace's change between two numbers of TRUs.
    pub fn new(
        operation_id: impl Into<String>,
        namespace: impl Into<String>,
        (from_trus, to_trus): (u32, u32),
        ending: Ending,
    ) -> Self {
        Self {
            namespace: namespace.into(),
            from_trus,
            to_trus,
            outcome: ending.outcome,
            operation_id: operation_id.into(),
            error: ending.error,
            spec_differences: ending.spec_differences,
        }
    }
}
