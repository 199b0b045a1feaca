//! What the controller and an evaluation exchange. Everything has a default, so that histories of other releases decode.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::messages::{
    ChangeReport, ChangeRequest, EvaluationReport, NotPermitted, PauseSeen, SpecChanged, StalledChange,
};

/// What the controller asks an evaluation for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EvaluateRequest {
    /// The number of the evaluation.
    pub number: u64,
    /// Whether it may only scale up.
    pub scale_up_only: bool,
    /// Whether it re-evaluates what the evaluation of that number has read.
    pub again: bool,
    /// The account this controller belongs to, once it knows.
    pub account: Option<String>,
    /// The ledgers of workers that evaluated lately, and when each did (milliseconds since 1970).
    pub ledgers: BTreeMap<String, i64>,
    /// Changes in progress.
    pub running: Vec<ChangeRequest>,
    /// Whether those are all of them; otherwise they are looked up.
    pub knows_running: bool,
    /// Namespaces that the key may not change.
    pub not_permitted: BTreeMap<String, NotPermitted>,
    /// Namespaces whose spec differed after their change.
    pub spec_changed: BTreeMap<String, SpecChanged>,
}

/// What an evaluation found and decided.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EvaluateResult {
    /// The evaluation, without the outcomes of its changes.
    pub report: EvaluationReport,
    /// The changes, in the order in which they are carried out.
    pub changes: Vec<ChangeRequest>,
    /// Namespaces that need capacity, changed or not.
    pub needed: Vec<String>,
    /// How many changes may run at a time.
    pub max_concurrent: u32,
    /// The next scheduled evaluation (UTC, RFC 3339), if there is a schedule.
    pub next_tick: Option<String>,
    /// The minimum interval between the starts of evaluations, in milliseconds; `None` for the usual one.
    pub apart_ms: Option<u64>,
    /// The ledgers of workers that evaluated lately, this one's among them.
    pub ledgers: BTreeMap<String, i64>,
    /// The latest pause of each kind; `None` if they could not be read.
    pub pauses: Option<BTreeMap<String, PauseSeen>>,
    /// Changes that ended without a signal.
    pub ended: Vec<ChangeReport>,
    /// Changes in progress that the controller did not know.
    pub found: Vec<ChangeRequest>,
    /// Changes in progress that make no progress.
    pub stalled: Vec<StalledChange>,
    /// Whether the changes in progress could be read.
    pub knows_running: bool,
    /// How long the data behind the changes stays fresh enough, in milliseconds of real time.
    pub data_expires_in_ms: u64,
    /// Whether the schedule runs although changes are paused.
    pub schedule_runs_under_pause: bool,
}
