//! Explains a decision: the row that decided, every option, and the smallest changes of one input that would
//! have changed it.
//!
//! The explanation contains only what the engine did: options are those that the rule and its guards
//! compared, and a [`Flip`] is included only after the engine has decided on the changed input.

mod dials;
mod flips;
mod inputs;
mod options;
mod switches;

use crate::decision::{ConsideredOption, Decision};

pub use flips::{Flip, nearest};
pub use inputs::{Inputs, Row, row_of};

/// A decision, explained.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// The decision.
    pub decision: Decision,
    /// The row that decided.
    pub row: Row,
    /// Every available size, smallest first.
    pub options: Vec<ConsideredOption>,
    /// For each input, the smallest change that would have changed the decision. Observed values come first,
    /// and small changes come before large ones.
    pub flips: Vec<Flip>,
}

/// Decides on the inputs, and explains the decision.
pub fn explain(inputs: &Inputs) -> Explanation {
    let decision = inputs.decide();
    Explanation {
        row: row_of(decision.reason_code, decision.blocked.is_some()),
        options: options::options(inputs, &decision),
        flips: flips::flips(inputs, &decision),
        decision,
    }
}
