#![doc = include_str!("../README.md")]
//!
//! # Where to start
//!
//! [`Ledger::open`] with a [`Location`], or [`Ledger::open_read_only`] to change nothing. Then [`Ledger::record_minute`] and
//! [`Ledger::window`], or [`Ledger::record_evaluation`] and [`Ledger::history`].

mod address;
mod backend;
mod budget;
mod codec;
mod decision_block;
mod decision_inputs;
mod decisions;
mod error;
mod evaluations;
mod line;
mod location;
mod minutes;
mod policy_decisions;
mod policy_state;
mod pool;
mod problem;
mod ranges;
mod records;
mod rows;
mod schema;
mod sqlite;
mod store;
mod tables;
mod transfer;
mod upkeep;
mod write_ahead_log;

pub use budget::Claim;
pub use error::{ErrorKind, LedgerError};
pub use line::Format;
pub use location::Location;
pub use records::{
    ChangeRecord, DecisionInputsRecord, DecisionRecord, EvaluationRecord, HistoryFilter, HistoryRow,
    HourRecord, Minute, NamespaceMinute, PolicyDecisionRecord, PolicyDecisionRow, PolicyStateRecord,
    Recorded,
};
pub use store::Ledger;
pub use transfer::Table;
pub use upkeep::{Info, Pruned};
