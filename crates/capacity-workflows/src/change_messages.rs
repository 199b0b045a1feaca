//! Messages about one change: what to change, its steps, and its outcome. Fields are only ever added, each
//! with a default, so that old histories can still be decoded.

use capacity_autopilot::{ChangeOrder, ChangeResult, ChangeState, Ending, Next};
use capacity_engine::{Capacity, NamespaceId};
use serde::{Deserialize, Serialize};

/// Maximum characters of an error in a change.
pub(crate) const LONGEST_ERROR: usize = 1_000;
/// Maximum characters of an error in the report of an evaluation.
const LONGEST_ERROR_IN_REPORT: usize = 300;

/// A change to be carried out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChangeRequest {
    /// Full id of the namespace.
    pub namespace: String,
    /// TRUs when the decision was made; 0 means on-demand.
    pub from_trus: u32,
    /// TRUs to set; 0 means on-demand.
    pub to_trus: u32,
    /// The id of the operation.
    pub operation_id: String,
    /// The version of the namespace that was decided on.
    pub resource_version: String,
    /// The minute of the newest metrics used (UTC, RFC 3339).
    pub sample_minute: Option<String>,
    /// How long the metrics behind the change stay fresh enough after the evaluation, in milliseconds of real time; `None` from
    /// older workers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fresh_for_ms: Option<u64>,
    /// How long the change may take before it is announced as slow, in seconds; 15 minutes by default.
    pub timeout_seconds: Option<u64>,
    /// Workflow id of the controller, which is signaled about the progress.
    pub controller_id: String,
    /// Number of the evaluation that decided on the change.
    pub evaluation: u64,
    /// The plan of that evaluation.
    pub plan_id: String,
    /// Whether the change runs ahead of others, to verify that an update changes only the capacity.
    pub canary: bool,
    /// Builds whose changes had a verdict. A worker of another build posts only canaries.
    pub verified_builds: Vec<String>,
}

/// Why a request is not a valid change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRequest {
    /// The request contains an invalid namespace id.
    #[error("{0}")]
    Namespace(capacity_engine::InvalidNamespaceId),
    /// The request would change nothing.
    #[error("the request for {0} changes nothing")]
    NoChange(NamespaceId),
}

impl ChangeRequest {
    /// Returns whether it scales up.
    pub fn scales_up(&self) -> bool {
        self.to_trus > self.from_trus
    }

    /// Converts the request to an order.
    ///
    /// # Errors
    ///
    /// If the namespace id is invalid, or nothing would change.
    pub fn order(&self) -> Result<ChangeOrder, InvalidRequest> {
        let namespace: NamespaceId = self.namespace.parse().map_err(InvalidRequest::Namespace)?;
        // Every field has a default, so an empty input decodes to this.
        if self.from_trus == self.to_trus || self.operation_id.is_empty() {
            return Err(InvalidRequest::NoChange(namespace));
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
            ..Self::default()
        }
    }
}

/// One step of a change.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct StepRequest {
    /// The change to work on.
    pub(crate) request: ChangeRequest,
    /// Current state of the change; empty before the first step.
    pub(crate) state: Option<ChangeState>,
}

/// The result of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct StepResult {
    /// The next step.
    pub(crate) next: Next,
}

/// A request to re-evaluate.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Redecide {
    /// The change to re-evaluate.
    pub(crate) request: ChangeRequest,
    /// State that the change found, as text.
    pub(crate) found: String,
}

/// The response: the change with fresh data, or why it is dropped.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Redecision {
    /// The change to continue with.
    pub(crate) request: Option<ChangeRequest>,
    /// Why there is no change to make.
    pub(crate) dropped: String,
}

/// The outcome of a change.
#[expect(
    clippy::struct_excessive_bools,
    reason = "a document: each field is a separate fact that people query by name"
)]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ChangeReport {
    /// Full id of the namespace.
    pub namespace: String,
    /// TRUs before; 0 means on-demand.
    pub from_trus: u32,
    /// Target TRUs; 0 means on-demand.
    pub to_trus: u32,
    /// `queued`, `in_progress`, `replaced`, or the final outcome: `changed`, `already`, `refused`,
    /// `superseded`, `not_permitted`, `stuck`, `failed`, `not_started`, `unknown` or `terminated`.
    pub outcome: String,
    /// The id of the operation.
    pub operation_id: String,
    /// The reason, if the outcome is not the requested one.
    pub error: Option<String>,
    /// Fields of the spec, other than the capacity, that differ after the change.
    pub spec_differences: Vec<String>,
    /// Whether the change itself has already notified the channel.
    pub announced: bool,
    /// Whether the ledger has the outcome, or there is no ledger.
    pub recorded: bool,
    /// Whether the controller was signaled about the end.
    pub signaled: bool,
    /// Stable code such as `paused` if the change was not started.
    pub code: Option<String>,
    /// Whether the service may have received its POST.
    pub posted: bool,
    /// Whether a reading after the POST showed the posted capacity and no other difference.
    pub verdict: bool,
    /// Build of the worker that posted the change.
    pub build: String,
    /// Fields of the spec that were added after the update.
    pub appeared_fields: Vec<String>,
    /// The version of the namespace that the change is based on.
    pub resource_version: String,
    /// Number of the evaluation that decided on the change.
    pub evaluation: u64,
    /// The plan of that evaluation.
    pub plan_id: String,
}

/// An open change that makes no progress.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct StalledChange {
    /// The change that makes no progress.
    pub(crate) change: ChangeRequest,
    /// Time when the change last made progress (milliseconds since 1970).
    pub(crate) since_ms: u64,
    /// Time when the change was started (milliseconds since 1970).
    pub(crate) started_ms: Option<u64>,
}

/// The progress of a change, as signaled to the controller.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ChangeEvent {
    /// The change, as far as it is known.
    pub report: ChangeReport,
    /// Whether it has ended.
    pub ended: bool,
}

/// Code of a change that was put back because the account had reached its maximum number of operations.
pub(crate) const TOO_MANY_OPERATIONS: &str = "too_many_operations";
/// Code of a change that was put back because its worker's build had no verdict yet.
pub(crate) const BUILD_NOT_VERIFIED: &str = "build_not_verified";
/// Code of a change that was not started because its metrics were too old.
pub(crate) const METRICS_STALE: &str = "metrics_stale";
/// Code of a release that was not started because the ledger did not respond.
pub(crate) const LEDGER_UNAVAILABLE: &str = "ledger_unavailable";
/// A change that waits for its turn.
pub(crate) const QUEUED: &str = "queued";
/// A change that is in progress.
pub(crate) const IN_PROGRESS: &str = "in_progress";
/// A change that a newer evaluation dropped from the queue.
pub(crate) const REPLACED: &str = "replaced";

impl ChangeReport {
    /// Returns the report of a request that ended without reporting its own outcome.
    pub fn of(request: &ChangeRequest, outcome: &str, error: Option<String>) -> Self {
        let error = error.map(|text| text.chars().take(LONGEST_ERROR).collect());
        Self {
            namespace: request.namespace.clone(),
            from_trus: request.from_trus,
            to_trus: request.to_trus,
            outcome: outcome.to_owned(),
            operation_id: request.operation_id.clone(),
            error,
            resource_version: request.resource_version.clone(),
            evaluation: request.evaluation,
            plan_id: request.plan_id.clone(),
            ..Self::default()
        }
    }

    /// Returns the report with a shorter error, as in the report of an evaluation, which may contain many
    /// changes.
    #[must_use]
    pub(crate) fn shortened(mut self) -> Self {
        self.error = self
            .error
            .map(|error| error.chars().take(LONGEST_ERROR_IN_REPORT).collect());
        self
    }

    /// Returns whether it was started and has ended.
    pub fn has_ended(&self) -> bool {
        !matches!(
            self.outcome.as_str(),
            QUEUED | IN_PROGRESS | REPLACED | "not_started"
        )
    }

    /// Returns whether nothing more will happen to the change.
    pub fn is_settled(&self) -> bool {
        !matches!(self.outcome.as_str(), QUEUED | IN_PROGRESS)
    }

    /// Returns whether the namespace has the target capacity.
    pub fn is_success(&self) -> bool {
        matches!(self.outcome.as_str(), "changed" | "already")
    }

    /// Returns whether the change announces its own end. A superseded change is re-evaluated instead, and a
    /// change that is not permitted is an ongoing problem of the namespace, which evaluations announce.
    pub fn is_news(&self) -> bool {
        self.has_ended()
            && !matches!(
                self.outcome.as_str(),
                "superseded" | "not_permitted" | "terminated"
            )
    }
}

impl From<&ChangeReport> for ChangeResult {
    fn from(report: &ChangeReport) -> Self {
        let outcome = serde_json::from_value(serde_json::Value::from(report.outcome.as_str()));
        // An unknown outcome from a newer worker does not count as success.
        let mut ending = Ending::new(outcome.unwrap_or(capacity_autopilot::Outcome::Failed));
        ending.error.clone_from(&report.error);
        ending.spec_differences.clone_from(&report.spec_differences);
        let trus = (report.from_trus, report.to_trus);
        Self::new(&report.operation_id, &report.namespace, trus, ending)
    }
}
