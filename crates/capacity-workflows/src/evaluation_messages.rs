//! Messages between the controller and an evaluation. Every field has a default, so that histories of other
//! releases can be decoded.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::messages::{
    ChangeReport, ChangeRequest, EvaluationReport, NotPermitted, PauseSeen, SpecChanged, StalledChange,
};

/// A request for an evaluation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct EvaluateRequest {
    /// The number of the evaluation.
    pub(crate) number: u64,
    /// Whether it may only scale up.
    pub(crate) scale_up_only: bool,
    /// Whether it re-evaluates the data that the evaluation with this number has read.
    pub(crate) again: bool,
    /// The account that this controller belongs to, once known.
    pub(crate) account: Option<String>,
    /// Ledgers of workers that evaluated recently, with the time of each evaluation (milliseconds since
    /// 1970).
    pub(crate) ledgers: BTreeMap<String, i64>,
    /// Changes in progress.
    pub(crate) running: Vec<ChangeRequest>,
    /// Whether `running` is complete; if not, the evaluation looks them up.
    pub(crate) knows_running: bool,
    /// Namespaces that the key is not allowed to change.
    pub(crate) not_permitted: BTreeMap<String, NotPermitted>,
    /// Namespaces whose spec differed after their change.
    pub(crate) spec_changed: BTreeMap<String, SpecChanged>,
}

/// The result of an evaluation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct EvaluateResult {
    /// The evaluation, without the outcomes of its changes.
    pub(crate) report: EvaluationReport,
    /// The changes, in the order in which they are carried out.
    pub(crate) changes: Vec<ChangeRequest>,
    /// Namespaces that need capacity, whether or not they are changed.
    pub(crate) needed: Vec<String>,
    /// Maximum number of concurrent changes.
    pub(crate) max_concurrent: u32,
    /// The next scheduled evaluation (UTC, RFC 3339), if there is a schedule.
    pub(crate) next_tick: Option<String>,
    /// The minimum interval between the starts of evaluations, in milliseconds; `None` for the default.
    pub(crate) apart_ms: Option<u64>,
    /// Ledgers of workers that evaluated recently, including this worker's.
    pub(crate) ledgers: BTreeMap<String, i64>,
    /// The latest pause of each kind; `None` if they could not be read.
    pub(crate) pauses: Option<BTreeMap<String, PauseSeen>>,
    /// Changes that ended without a signal.
    pub(crate) ended: Vec<ChangeReport>,
    /// Changes in progress that the controller did not know about.
    pub(crate) found: Vec<ChangeRequest>,
    /// Changes in progress that make no progress.
    pub(crate) stalled: Vec<StalledChange>,
    /// Whether the changes in progress could be read.
    pub(crate) knows_running: bool,
    /// How long the data behind the changes stays fresh enough, in milliseconds of real time.
    pub(crate) data_expires_in_ms: u64,
    /// Whether the schedule is running although changes are paused.
    pub(crate) schedule_runs_under_pause: bool,
}
