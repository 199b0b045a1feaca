//! The `break-even` policy: capacity where it is cheaper than waiting.
//!
//! Queued work costs money; high utilization does not. Within a calendar hour, money is spent once its highest option is
//! reached. So the policy scales up only when that is cheaper than waiting, never releases before the end of an hour, and
//! considers releasing at the end of every hour. Both decisions compute the expected cost of each option over a few scenarios
//! from the namespace's own history, in actions; the cheapest option wins. All arithmetic is on integers: actions, actions per
//! minute, minutes.
//!
//! Start with [`evaluate()`]. `load` rebuilds the demand, `costs` prices an option, `raise` scales up now, `plan` plans the coming
//! hour, `state` is what is remembered, and `reason` puts a decision into words.

mod costs;
mod evaluate;
mod load;
mod model;
mod parameters;
mod plan;
mod policy;
mod raise;
mod reason;
mod scale;
mod state;
#[cfg(test)]
mod tests;

pub use evaluate::{evaluate, evaluate_only};
pub use load::{DemandRebuild, MinuteActions, WINDOW_MINUTES, Window};
pub use model::{OptionCost, Outcome, Reason, Rule, Situation, Size, Waiting};
pub use parameters::{ParameterError, Parameters};
pub use policy::BreakEven;
pub use state::{BreakEvenState, RememberedHour, StateError};
