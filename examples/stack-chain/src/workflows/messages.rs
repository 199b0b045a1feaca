//! Inputs and outputs of workflows and activities. All fields have defaults, so that histories of other
//! versions still decode.

use serde::{Deserialize, Serialize};

use crate::graph::PlannedStack;
use crate::progress::{Outcome, StackResult};
use crate::provider::RunRef;

/// Task queue of workflows and activities.
pub const TASK_QUEUE: &str = "spacelift-task-queue";

/// Returns the id of the workflow that handles the end of a run. There is only one per run.
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

/// Settings of a chain. They are part of its input, because workflow code must not read settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChainSettings {
    /// Maximum number of stacks that run at a time in one chain.
    pub most_running: u32,
    /// Minimum interval between two polls of a run, in milliseconds.
    pub poll_ms: u64,
    /// Timeout of one run in seconds, unless a label sets another.
    pub run_timeout_seconds: u64,
    /// Timeout of an approval, in seconds.
    pub approval_timeout_seconds: u64,
    /// Maximum number of runs per hour in all chains.
    pub most_runs_per_hour: Option<u32>,
    /// How long to wait for a chain to claim a run before it is offered again, in milliseconds. The list of
    /// open chains can be about a second behind.
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
    /// The run that ended or was triggered.
    pub run: RunRef,
    /// Outcome of the run.
    pub outcome: Outcome,
    /// Workflow id of the execution that triggered the run, if this is a claim.
    pub claimed_by: Option<String>,
    /// Settings of the chain that the run may start.
    pub settings: ChainSettings,
}

/// The result of handling the end of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunEventReport {
    /// Workflow id of the execution that the run belongs to.
    pub claimed_by: Option<String>,
    /// Workflow id of the chain that the run started.
    pub chain: Option<String>,
    /// Problem with the input.
    pub problem: Option<String>,
}

/// The response of the open chains to an offered run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Offer {
    /// Workflow id of the execution that the run belongs to.
    pub claimed_by: Option<String>,
    /// Workflow id of an execution that is triggering a run of this stack and does not know its id yet.
    pub held_by: Option<String>,
}

/// Input of a chain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChainRequest {
    /// The run that starts the chain; its id is empty if a person starts the chain.
    pub origin: RunRef,
    /// Outcome of that run.
    pub outcome: Outcome,
    /// Whether the chain also runs the origin.
    pub runs_origin: bool,
    /// Person or event that started the chain.
    pub started_by: String,
    /// Settings of the chain.
    pub settings: ChainSettings,
}

/// The result of a chain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChainReport {
    /// Workflow id of the chain.
    pub chain: String,
    /// The run that started it.
    pub origin: RunRef,
    /// Person or event that started the chain.
    pub started_by: String,
    /// Results of the stacks, in the order of the plan.
    pub results: Vec<StackResult>,
    /// Who canceled the chain, and why.
    pub canceled: Option<String>,
    /// Notes for the user.
    pub notes: Vec<String>,
    /// Why the chain could not be planned.
    pub error: Option<String>,
    /// Start time in seconds since 1970.
    pub started: Option<u64>,
    /// End time in seconds since 1970.
    pub ended: Option<u64>,
}

impl ChainReport {
    /// Returns a one-line summary.
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

    /// Returns whether every stack succeeded or was skipped on purpose.
    pub fn is_success(&self) -> bool {
        let fine = |it: &StackResult| matches!(it.outcome, Outcome::Succeeded | Outcome::Skipped);
        self.error.is_none() && self.canceled.is_none() && self.results.iter().all(fine)
    }
}

/// Input of an execution.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecutionRequest {
    /// Workflow id of the chain.
    pub chain: String,
    /// The stack, as planned.
    pub stack: PlannedStack,
    /// Settings of the chain.
    pub settings: ChainSettings,
}

/// The status of an execution.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecutionStatus {
    /// Id of the stack.
    pub stack: String,
    /// What the execution is doing or waiting for.
    pub phase: String,
    /// Ids of the runs it triggered.
    pub runs: Vec<String>,
    /// Whether it has triggered a run whose id is not known yet.
    pub is_triggering: bool,
    /// Whether it waits for a person.
    pub waits_for_person: bool,
    /// State of the last run, in the CI system's terms.
    pub state: Option<String>,
    /// URL of the last run.
    pub url: Option<String>,
}

/// The status of a chain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChainStatus {
    /// The report so far.
    pub report: ChainReport,
    /// All stacks of the plan.
    pub stacks: Vec<PlannedStack>,
    /// Ids of the stacks that have started and not ended.
    pub running: Vec<String>,
}

/// A person's decision about a critical stack.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Decision {
    /// Whether the run is approved.
    pub approved: bool,
    /// Person who decided.
    pub who: String,
    /// Reason for the decision.
    pub reason: String,
}

/// Input of the check before a run is triggered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PrepareRequest {
    /// Workflow id of the chain.
    pub chain: String,
    /// The stack, as planned.
    pub stack: PlannedStack,
}

/// Result of the check before a run is triggered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Prepared {
    /// Why the stack cannot be run.
    pub refusal: Option<String>,
    /// Ids of the latest runs. Any other run that appears later is new.
    pub seen: Vec<String>,
}

/// A run to trigger.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TriggerRequest {
    /// Workflow id of the execution.
    pub execution: String,
    /// Id of the stack.
    pub stack: String,
    /// Ids of the runs that existed before.
    pub seen: Vec<String>,
}

/// A request to reserve a run within the limits per hour.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reservation {
    /// Key of the reservation. Repeated requests with the same key reserve only once.
    pub key: String,
    /// Id of the stack.
    pub stack: String,
    /// Maximum number of runs of all stacks per hour.
    pub most_of_all: Option<u32>,
    /// Maximum number of runs of this stack per hour.
    pub most_of_stack: Option<u32>,
}
