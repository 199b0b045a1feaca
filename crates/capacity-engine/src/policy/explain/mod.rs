//! Explains a decision: the row that decided, its trace ([`Decision::options`]), and the smallest changes of one input
//! that would have changed it.
//!
//! The explanation contains only what the engine did: the decision records its trace, and a [`Flip`] is included only after the
//! engine has decided on the changed input.

mod dials;
mod flips;
mod inputs;
mod switches;

use crate::decision::Decision;

pub use super::row::{Row, row_of};
pub use flips::{Flip, nearest};
pub use inputs::Inputs;

/// A decision, explained.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Explanation {
    /// The decision, with its trace.
    pub decision: Decision,
    /// The row that decided.
    pub row: Row,
    /// For each input, the smallest change that would have changed the decision. Observed values come first,
    /// and small changes come before large ones.
    pub flips: Vec<Flip>,
}

/// Decides on the inputs, and explains the decision.
pub fn explain(inputs: &Inputs) -> Explanation {
    let decision = inputs.decide();
    Explanation {
        row: row_of(decision.reason_code, decision.blocked.is_some()),
        flips: flips::flips(inputs, &decision),
        decision,
    }
}
