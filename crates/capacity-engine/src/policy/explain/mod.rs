//! Why a decision is what it is: the row that decided, every option, and the smallest changes of one input that would have
//! changed it.
//!
//! Nothing is told that the engine did not do: options are those that the rule and its guards looked at, and a [`Flip`] is named
//! only after the engine has decided on the changed input.

mod dials;
mod flips;
mod options;
mod switches;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::settings::Policy;
use super::{ConsideredOption, PolicyState, decide_with_state};
use crate::decision::{Decision, ReasonCode};
use crate::snapshot::{AccountView, Snapshot};

pub use flips::{Flip, nearest};

/// Everything that a decision about one namespace rests on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Inputs {
    /// What is known of the namespace.
    pub snapshot: Snapshot,
    /// What is known of the account.
    pub account: AccountView,
    /// The rules.
    pub policy: Policy,
    /// What the policy remembers of the namespace.
    pub state: Option<PolicyState>,
    /// When it is decided.
    pub now: Timestamp,
}

impl Inputs {
    /// Returns the decision.
    pub fn decide(&self) -> Decision {
        decide_with_state(
            &self.snapshot,
            &self.account,
            &self.policy,
            self.state.as_ref(),
            self.now,
        )
        .0
    }
}

/// The row of the order of judgement that ended it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Its number, from 1 to 13.
    pub number: u8,
    /// What it looks at.
    pub name: &'static str,
}

/// A decision, explained.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// The decision.
    pub decision: Decision,
    /// The row that decided.
    pub row: Row,
    /// Every size that could be chosen, smallest first.
    pub options: Vec<ConsideredOption>,
    /// Single inputs whose change would have changed the decision: what was observed first, each the smallest change of its input,
    /// the smallest of all first.
    pub flips: Vec<Flip>,
}

/// Decides, and explains the decision.
pub fn explain(inputs: &Inputs) -> Explanation {
    let decision = inputs.decide();
    Explanation {
        row: row_of(decision.reason_code, decision.blocked.is_some()),
        options: options::options(inputs, &decision),
        flips: flips::flips(inputs, &decision),
        decision,
    }
}

/// Returns the row that ends a decision with a code; `wished` tells whether the policy wanted a change that was held.
pub fn row_of(code: ReasonCode, wished: bool) -> Row {
    let (number, name) = match code {
        ReasonCode::Denied | ReasonCode::NotAllowed => (1, "allow and deny lists"),
        ReasonCode::NamespaceNotActive => (2, "namespace state"),
        ReasonCode::ReplicaMoving => (3, "replicas"),
        ReasonCode::ChangeInProgress => (4, "change in progress"),
        ReasonCode::CapacityUnknown | ReasonCode::LimitsUnknown if wished => (13, "guards"),
        ReasonCode::CapacityUnknown => (5, "current capacity"),
        ReasonCode::MetricsIncomplete if wished => (12, "restrictions"),
        ReasonCode::MetricsIncomplete => (6, "account metrics"),
        ReasonCode::MetricsMissing => (7, "namespace metrics"),
        ReasonCode::MetricsStale => (8, "age of the metrics"),
        ReasonCode::WaitingForEffect => (9, "effect of the last change"),
        ReasonCode::LimitsUnknown => (10, "limits"),
        ReasonCode::LedgerUnavailable
        | ReasonCode::LedgersDiffer
        | ReasonCode::ScaleUpOnly
        | ReasonCode::Paused
        | ReasonCode::ScaleUpPaused
        | ReasonCode::ScaleDownPaused
        | ReasonCode::OutcomeNotRecorded
        | ReasonCode::SpecChanged
        | ReasonCode::UnknownThrottling => (12, "restrictions"),
        ReasonCode::NotPermitted
        | ReasonCode::CapacityInfoUnavailable
        | ReasonCode::NoStepHelps
        | ReasonCode::NoInventory
        | ReasonCode::OnDemandTooSmall
        | ReasonCode::SizeTooSmall
        | ReasonCode::SetBySupport
        | ReasonCode::NotRegainable
        | ReasonCode::ChangedByOthers
        | ReasonCode::OwnNamespace => (13, "guards"),
        _ => (11, "policy"),
    };
    Row { number, name }
}
