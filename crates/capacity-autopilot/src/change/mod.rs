//! Applies one decision: read, refuse if the namespace changed, post, wait, verify.
//!
//! A change is a small state machine. [`Changer::step`] does at most one POST or one poll, and returns the
//! next state and the delay before it. A command line can loop over it with a timer, and a workflow with
//! durable timers; every state is serializable. Nothing here waits.

mod attempt;
mod refusal;
mod state;
mod steps;

pub use attempt::Changer;
pub(crate) use attempt::still_not_done;
pub use state::{CHANGE_TIMEOUT, ChangeOrder, ChangeResult, ChangeState, Ending, Next, Outcome, Phase};
pub use steps::{Basis, ChangeSteps, Checked, Posting, Prepared, Progressed, Reading};
