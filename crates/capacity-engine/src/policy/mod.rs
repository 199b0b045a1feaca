//! From a snapshot to a decision: the order of checks, the policies, the guards.
//!
//! Each part is a file: [`settings`] what all policies share, [`rules`] all that a decision is made by, `judgement` checks 1 to 10,
//! `contract` the trait of a policy (check 11), `threshold` and `break_even` the built-ins, `decide` the restrictions (check 12)
//! and the whole, `guards` the guards (check 13). A part either lets a snapshot pass or ends with a `Verdict`.

pub mod break_even;
mod built_in;
mod contract;
mod decide;
pub mod explain;
mod guards;
mod judgement;
mod rules;
mod settings;
#[cfg(test)]
mod tests;
mod threshold;
mod throttling;
mod trace;
mod verdict;
mod words;

pub use built_in::PolicyRef;
pub use contract::{CapacityPolicy, PolicyState, PolicyTarget, PolicyView, Wish};
pub use decide::{decide, judge, wants_capacity_info};
pub use rules::Rules;
pub use settings::{Bounds, Freshness, Guards};
pub use threshold::{SizeOutOfBounds, Threshold, ThresholdSettings};
