//! Observes an account and decides.
//!
//! The order: list all namespaces and, at the same time, take the newest minute of the ledger if it is fresh,
//! otherwise read the families that identify candidates, for the whole account; judge once with the pure rule;
//! for candidates only, read the many per-operation series (for the same minute) and, at the same time, capacity
//! info; decide. A small account fits into one response and is read in full at once. Releases are based on metrics
//! that were read in this evaluation.

mod candidates;
mod capacity_infos;
mod evaluate;
mod first;
mod foreign;
mod moving;
mod observation;
mod policies;
mod round;
mod unknown_throttling;
mod warnings;

pub use observation::Observation;
pub use unknown_throttling::families_of_unknown_throttling;
