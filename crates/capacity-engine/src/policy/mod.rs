//! Turns a snapshot into a decision: the order of checks, the policies, the guards.
//!
//! One file per part: [`settings`] has the settings that all policies share, [`rules`] everything that a
//! decision is based on besides the snapshot, `judgment` checks 1 to 10, `contract` the policy trait (check
//! 11), `threshold` and `break_even` the built-in policies, `decide` the restrictions (check 12) and the
//! entry points, and `guards` the guards (check 13). Each part either lets a snapshot pass or ends with a
//! `Verdict`.

pub mod break_even;
mod built_in;
mod contract;
mod decide;
pub mod explain;
mod guards;
mod judgment;
mod options;
mod row;
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
