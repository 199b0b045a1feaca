//! What crosses the wire. All of it decodes with defaults, so that histories of other versions stay readable.

use serde::{Deserialize, Serialize};

use crate::graph::PlannedStack;
use crate::progress::{Outcome, StackResult};
use crate::provider::RunRef;

/// Task queue of workflows and activities.
pub const TASK_QUEUE: &str = "spacelift-task-queue";

/// Returns the id of the workflow that handles the end of a run. There is one for each run, ever.
pub fn run_workflow_id(run: &str) -> String {
    format!("spacelift-run/{run}")
}

/// Returns the id of the chain that a run starts.
pub fn chain_id(origin: &RunRef) -> String {
    format!("stack-chain/{}/{}", origin.stack, origin.run)
}

/// Returns the id of a stack's execution in a chain.
pub fn execution_id(chain: &str, stack: &str) -> String {
    format!("{chain}/{stack}")
}

/// What a chain needs to know of the settings. It travels with the input, since workflow code reads no settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChainSettings {
    /// Stacks that run at a time in one chain.
    pub most_running: u32,
    /// Shortest time between two polls of a run, in milliseconds.
    pub poll_ms: u64,
    /// Seconds to wait for one run, unless a label says otherwise.
    pub run_timeout_seconds: u64,
    /// Seconds to wait for an approval.
    pub approval_timeout_seconds: u64,
    /// Runs that all chains together start within an hour.
    pub most_runs_per_hour: Option<u32>,
    /// How long a run that no chain claims is held before it is offered again, in milliseconds. The list of open chains
    /// trails behind by up to a second or so.
    pub second_look_ms: u64,
}

impl Default for ChainSettings {
    fn default() -> Self {
        Self {
            most_running: 20,
            poll_ms: 5_000,
            run_timeout_seconds: 6 * 3_600,
            approval_timeout_seconds: 3 * 86_400,
            most_runs_per_hour: None,
            second_look_ms: 3_000,
        }
    }
}

/// The end of a run, or the claim of a chain on a run that it triggered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunEvent {
    /// The run.
    pub run: RunRef,
    /// How it ended.
    pub outcome: Outcome,
    /// The execution that triggered the run, if this is a claim.
    pub claimed_by: Option<String>,
    /// For the chain that it may start.
    pub settings: ChainSettings,
}

/// The outcome of a run's end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunEventReport {
    /// The execution that the run belongs to.
    pub claimed_by: Option<String>,
    /// The chain that it started.
    pub chain: Option<String>,
    /// What was wrong with the input.
    pub problem: Option<String>,
}

/// What the open chains say about a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Offer {
    /// The execution that it belongs to.
    pub claimed_by: Option<String>,
    /// The execution that triggers a run of that stack and does not know which one yet.
    pub held_by: Option<String>,
}

/// A chain to start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChainRequest {
    /// The run that starts it; the run is empty when a person starts it.
    pub origin: RunRef,
    /// How that run ended.
    pub outcome: Outcome,
    /// Whether the origin is run as well.
    pub runs_origin: bool,
    /// Who started it.
    pub started_by: String,
    /// Settings.
    pub settings: ChainSettings,
}

/// What a chain came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChainReport {
    /// The workflow id.
    pub chain: String,
    /// The run that started it.
    pub origin: RunRef,
    /// Who started it.
    pub started_by: String,
    /// The stacks, in their order.
    pub results: Vec<StackResult>,
    /// Who canceled it, and why.
    pub canceled: Option<String>,
    /// What people should know.
    pub notes: Vec<String>,
    /// Why it could not be planned.
    pub error: Option<String>,
    /// When it started and ended, in seconds since 1970.
    pub started: Option<u64>,
    /// See `started`.
    pub ended: Option<u64>,
}

impl ChainReport {
    /// Returns one line for people.
    pub fn summary(&self) -> String {
        if let Some(error) = &self.error {
            return format!("not run: {error}");
        }
        let mut counts: Vec<(&str, usize)> = Vec::new();
        for result in &self.results {
            match counts
                .iter_mut()
                .find(|(word, _)| *word == result.outcome.as_str())
            {
                Some((_, count)) => *count += 1,
                None => counts.push((result.outcome.as_str(), 1)),
            }
        }
        let counts: Vec<String> = counts
            .into_iter()
            .map(|(word, count)| format!("{count} {word}"))
            .collect();
        if counts.is_empty() {
            "no stack depends on it".to_owned()
        } else {
            counts.join(", ")
        }
    }

    /// Returns whether every stack succeeded or was left out on purpose.
    pub fn is_success(&self) -> bool {
        let fine = |it: &StackResult| matches!(it.outcome, Outcome::Succeeded | Outcome::Skipped);
        self.error.is_none() && self.canceled.is_none() && self.results.iter().all(fine)
    }
}

/// A stack to run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecutionRequest {
    /// The chain.
    pub chain: String,
    /// The stack.
    pub stack: PlannedStack,
    /// Settings.
    pub settings: ChainSettings,
}

/// How far an execution is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecutionStatus {
    /// The stack.
    pub stack: String,
    /// What it does or waits for.
    pub phase: String,
    /// The runs that it triggered.
    pub runs: Vec<String>,
    /// Whether a run was triggered of which the id is not known yet.
    pub is_triggering: bool,
    /// Whether it waits for a person.
    pub waits_for_person: bool,
    /// The CI system's word for the state of the last run.
    pub state: Option<String>,
    /// Its URL, for people.
    pub url: Option<String>,
}

/// How far a chain is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChainStatus {
    /// The report so far.
    pub report: ChainReport,
    /// All stacks of the plan.
    pub stacks: Vec<PlannedStack>,
    /// Those that were started and have not ended.
    pub running: Vec<String>,
}

/// A person's decision about a critical stack.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Decision {
    /// Whether it may run.
    pub approved: bool,
    /// Who decided.
    pub who: String,
    /// Why.
    pub reason: String,
}

/// A question about a stack before it is triggered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PrepareRequest {
    /// The chain.
    pub chain: String,
    /// The stack.
    pub stack: PlannedStack,
}

/// A stack before it is triggered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Prepared {
    /// Why it cannot be run.
    pub refusal: Option<String>,
    /// The latest runs: what is not among them later is new.
    pub seen: Vec<String>,
}

/// A run to trigger.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TriggerRequest {
    /// The execution, by its workflow id.
    pub execution: String,
    /// The stack.
    pub stack: String,
    /// The runs that were there before.
    pub seen: Vec<String>,
}

/// A place in the hour to reserve.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reservation {
    /// What reserves: the same key reserves once.
    pub key: String,
    /// The stack.
    pub stack: String,
    /// Runs of all stacks within an hour.
    pub most_of_all: Option<u32>,
    /// Runs of this stack within an hour.
    pub most_of_stack: Option<u32>,
}
