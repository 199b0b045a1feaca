//! The inputs of a decision.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::decision::Decision;
use crate::policy::{PolicyState, Rules, decide};
use crate::snapshot::{AccountView, Snapshot};

// Exhaustive: a value without one of these fields has no meaning.
/// Everything that a decision about one namespace is based on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Inputs {
    /// Everything known about the namespace.
    pub snapshot: Snapshot,
    /// Everything known about the account.
    pub account: AccountView,
    /// Rules that the decision follows.
    #[serde(alias = "policy")]
    pub rules: Rules,
    /// The state that the policy has stored for the namespace.
    pub state: Option<PolicyState>,
    /// The time of the decision.
    pub now: Timestamp,
}

impl Inputs {
    /// Returns the decision.
    pub fn decide(&self) -> Decision {
        decide(
            &self.snapshot,
            &self.account,
            &self.rules,
            self.state.as_ref(),
            self.now,
        )
        .0
    }
}
