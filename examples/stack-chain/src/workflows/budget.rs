//! The limit of runs per hour: a workflow in which all chains reserve their runs.
#![allow(missing_docs, reason = "the macros generate public items")]

use std::collections::VecDeque;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use temporal_worker_kit::Lenient;
use temporalio_common::data_converters::{
    GenericPayloadConverter, RawValue, SerializationContext, SerializationContextData,
};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ContinueAsNewOptions, SyncWorkflowContext, WorkflowContext, WorkflowContextView, WorkflowResult,
};

use super::messages::Reservation;

/// Workflow id of the [`RunBudget`].
pub const BUDGET_ID: &str = "stack-chain-budget";
const HOUR_MS: u64 = 3_600_000;
/// Number of updates after which the workflow continues as new. The server accepts 2,000 updates per run.
const ROTATE_AFTER: u32 = 500;

/// The runs started within the last hour.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Starts {
    starts: VecDeque<Start>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Start {
    at_ms: u64,
    stack: String,
    key: String,
}

impl Starts {
    /// Reserves a run. Returns 0, or the milliseconds until one may be available. Repeated requests with the
    /// same key reserve only once.
    pub fn reserve(&mut self, wanted: &Reservation, now_ms: u64) -> u64 {
        while self
            .starts
            .front()
            .is_some_and(|start| start.at_ms + HOUR_MS <= now_ms)
        {
            self.starts.pop_front();
        }
        if self.starts.iter().any(|start| start.key == wanted.key) {
            return 0;
        }
        let of_stack: Vec<u64> = self
            .starts
            .iter()
            .filter(|it| it.stack == wanted.stack)
            .map(|it| it.at_ms)
            .collect();
        let of_all: Vec<u64> = self.starts.iter().map(|it| it.at_ms).collect();
        let wait = wait_for(&of_all, wanted.most_of_all, now_ms).max(wait_for(
            &of_stack,
            wanted.most_of_stack,
            now_ms,
        ));
        if wait == 0 {
            self.starts.push_back(Start {
                at_ms: now_ms,
                stack: wanted.stack.clone(),
                key: wanted.key.clone(),
            });
        }
        wait
    }
}

/// Returns the milliseconds until fewer than `most` runs were started within the last hour.
fn wait_for(starts: &[u64], most: Option<u32>, now_ms: u64) -> u64 {
    let Some(most) = most.and_then(|most| usize::try_from(most.max(1)).ok()) else {
        return 0;
    };
    match starts
        .len()
        .checked_sub(most)
        .and_then(|oldest| starts.get(oldest))
    {
        // At least 1, because 0 means that the run is reserved.
        Some(at_ms) => (at_ms + HOUR_MS).saturating_sub(now_ms).max(1),
        None => 0,
    }
}

/// The workflow that limits runs per hour.
#[workflow]
pub struct RunBudget {
    starts: Starts,
    answered: u32,
}

#[workflow_methods]
impl RunBudget {
    #[init]
    pub fn new(_context: &WorkflowContextView, input: Lenient<Starts>) -> Self {
        Self {
            starts: input.value,
            answered: 0,
        }
    }

    #[run(name = "RunBudget")]
    pub async fn run(context: &mut WorkflowContext<Self>) -> WorkflowResult<()> {
        context.wait_condition(|it| it.answered >= ROTATE_AFTER).await?;
        let starts = context.state(|it| it.starts.clone());
        match context.continue_as_new(Lenient::from(starts), ContinueAsNewOptions::default())? {}
    }

    /// Returns 0, or the milliseconds until a run may be available.
    #[update(name = "reserve")]
    pub fn reserve(&mut self, context: &mut SyncWorkflowContext<Self>, raw: RawValue) -> u64 {
        self.answered += 1;
        let data = SerializationContextData::None;
        let serialization = SerializationContext::new(&data, context.payload_converter());
        let wanted: Reservation = match context
            .payload_converter()
            .from_payloads(&serialization, raw.payloads)
        {
            Ok(wanted) => wanted,
            // The request is invalid.
            Err(_) => return 0,
        };
        let now = context
            .workflow_time()
            .and_then(|now| now.duration_since(SystemTime::UNIX_EPOCH).ok());
        self.starts.reserve(
            &wanted,
            // Half of the maximum, so that an hour can be added.
            now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX / 2)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(key: &str, stack: &str, all: Option<u32>, own: Option<u32>) -> Reservation {
        Reservation {
            key: key.to_owned(),
            stack: stack.to_owned(),
            most_of_all: all,
            most_of_stack: own,
        }
    }

    #[test]
    fn the_limit_of_all_stacks_permits_another_run_after_an_hour() {
        let mut starts = Starts::default();
        assert_eq!(starts.reserve(&wanted("1", "a", Some(2), None), 0), 0);
        assert_eq!(starts.reserve(&wanted("2", "b", Some(2), None), 1_000), 0);
        assert_eq!(
            starts.reserve(&wanted("3", "c", Some(2), None), 2_000),
            HOUR_MS - 2_000
        );
        assert_eq!(starts.reserve(&wanted("3", "c", Some(2), None), HOUR_MS), 0);
        assert_eq!(starts.reserve(&wanted("4", "d", Some(2), None), HOUR_MS), 1_000);
    }

    #[test]
    fn the_limit_of_one_stack_leaves_others_alone() {
        let mut starts = Starts::default();
        assert_eq!(starts.reserve(&wanted("1", "a", None, Some(1)), 0), 0);
        assert_eq!(
            starts.reserve(&wanted("2", "a", None, Some(1)), 60_000),
            HOUR_MS - 60_000
        );
        assert_eq!(starts.reserve(&wanted("3", "b", None, Some(1)), 60_000), 0);
    }

    #[test]
    fn the_same_key_reserves_only_once() {
        let mut starts = Starts::default();
        assert_eq!(starts.reserve(&wanted("1", "a", Some(1), None), 0), 0);
        assert_eq!(starts.reserve(&wanted("1", "a", Some(1), None), 5), 0);
    }
}
