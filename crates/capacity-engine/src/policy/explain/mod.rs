//! Why a decision is what it is: the row that decided, every option, and the smallest changes of one input that would have
//! changed it.
//!
//! Nothing is reported that the engine did not do: options are those that the rule and its guards looked at, and a [`Flip`] is
//! named only after the engine has decided on the changed input.

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
