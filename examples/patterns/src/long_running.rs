//! Long-running: a workflow that receives signals for years, in runs of limited length.
//!
//! Each run handles a limited number of signals and then continues as new. The next run receives the state
//! and all signals that have not been handled, so that none is lost or counted twice.
#![allow(missing_docs, reason = "the macros generate public items")]

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use temporal_worker_kit::Lenient;
use temporalio_common::data_converters::{
    GenericPayloadConverter, RawValue, SerializationContext, SerializationContextData,
};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ContinueAsNewOptions, SyncWorkflowContext, TimerResult, WorkflowContext, WorkflowContextView,
    WorkflowResult, WorkflowTermination,
};

/// Number of deposits per run. Must stay constant, because a change would break the replay of open runs.
pub const PER_RUN: u32 = 12;

/// Pause before a run continues as new. The server delays workflows that continue as new more than once per
/// second.
const PAUSE: Duration = Duration::from_secs(1);

/// The state that is passed from run to run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Account {
    /// Sum of all deposits so far.
    pub balance: i64,
    /// Number of deposits handled.
    pub deposits: u32,
    /// Number of signals that could not be decoded.
    pub rejected: u32,
    /// Number of runs, including this one.
    pub runs: u32,
    /// Deposits that have arrived but have not been handled.
    pub pending: VecDeque<i64>,
    /// Whether the account closes once no deposits are pending.
    pub closing: bool,
}

/// An account that receives deposits as signals.
#[workflow]
pub struct LongRunning {
    account: Account,
}

#[workflow_methods]
impl LongRunning {
    /// Takes over the state of the previous run.
    #[init]
    pub fn new(_context: &WorkflowContextView, input: Lenient<Account>) -> Self {
        let mut account = input.value;
        account.runs += 1;
        Self { account }
    }

    /// Handles deposits until the account is closed.
    #[run(name = "LongRunning")]
    pub async fn run(context: &mut WorkflowContext<Self>) -> WorkflowResult<Account> {
        for _ in 0..PER_RUN {
            context
                .wait_condition(|state| !state.account.pending.is_empty() || state.account.closing)
                .await?;
            // Deposits first: those that arrived before the close still count.
            let Some(amount) = context.state_mut(|state| state.account.pending.pop_front()) else {
                return Ok(context.state(|state| state.account.clone()));
            };
            context.state_mut(|state| {
                state.account.balance += amount;
                state.account.deposits += 1;
            });
        }
        if context.timer(PAUSE).await == TimerResult::Cancelled {
            return Err(WorkflowTermination::cancelled());
        }
        // There is no await between this line and the new run, so its input contains every signal received so
        // far.
        let next = context.state(|state| state.account.clone());
        match context.continue_as_new(Lenient::from(next), ContinueAsNewOptions::default())? {}
    }

    /// Adds a deposit. A payload that cannot be decoded is counted and does not block the workflow.
    #[signal(name = "deposit")]
    pub fn deposit(&mut self, context: &mut SyncWorkflowContext<Self>, raw: RawValue) {
        let none = SerializationContextData::None;
        let converter = SerializationContext::new(&none, context.payload_converter());
        match context
            .payload_converter()
            .from_payloads::<i64>(&converter, raw.payloads)
        {
            Ok(amount) => self.account.pending.push_back(amount),
            Err(_) => self.account.rejected += 1,
        }
    }

    /// Closes the account once no deposits are pending.
    #[signal(name = "close")]
    // Any payload is accepted, because one that does not decode would block the workflow.
    pub fn close(&mut self, _context: &mut SyncWorkflowContext<Self>, _raw: RawValue) {
        self.account.closing = true;
    }

    /// Returns the current state.
    #[query(name = "account")]
    pub fn account(&self, _context: &WorkflowContextView) -> Account {
        self.account.clone()
    }
}
