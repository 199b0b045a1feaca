//! The `break-even` policy: provision capacity when it is cheaper than waiting.
//!
//! Queued work costs money; high utilization does not. A calendar hour is billed at its highest option, so
//! its cost is fixed once that option is reached. The policy therefore scales up only when that is cheaper
//! than waiting, never releases before the end of an hour, and considers a release at the end of every hour.
//! Both decisions compute the expected cost of each option, in actions, over a few scenarios from the
//! namespace's own history; the cheapest option wins. All arithmetic uses integers: actions, actions per
//! minute, minutes.
//!
//! Start with [`evaluate()`]. `load` reconstructs the demand, `costs` prices an option, `raise` scales up
//! now, `plan` plans the coming hour, `state` is what the policy remembers, and `reason` formats a decision.

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
