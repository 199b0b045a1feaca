#![doc = include_str!("../README.md")]
//!
//! # Where to start
//!
//! [`gather`] reads the ledger, [`Report::of`] computes the figures, [`Report::figures`] traces them,
//! [`fetch_bill`] fetches the bill, [`reconcile`] compares the report with it, and [`digest`] is the
//! notification for the channel.

mod alternatives;
mod bill;
mod capacity;
mod digest;
mod error;
mod gather;
mod hours;
mod query;
mod reconcile;
mod report;
mod shadow;
mod trace;

pub use bill::{FetchedBill, fetch_bill};
pub use digest::digest;
pub use error::ReportError;
pub use gather::{Gathered, Progress, gather};
pub use hours::HourFigures;
pub use query::{Query, Span};
pub use reconcile::{Bill, BilledHour, Difference, Explanation, NamespaceBill, Reconciliation, reconcile};
pub use report::{
    Alternative, ByWhom, Change, Figures, NamespaceReport, REPORT_SCHEMA, Reason, Report, UnitPrice, paid,
};
pub use shadow::{Shadow, ShadowDifference};
pub use trace::{Figure, Rows};
