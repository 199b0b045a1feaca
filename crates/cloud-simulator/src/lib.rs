#![doc = include_str!("../README.md")]
//!
//! # Where to start
//!
//! [`start`] runs a cloud described by [`SimulatorOptions`], and [`RunningSimulator`] is a handle to its
//! state. The state is in `cloud` and `namespace`, without any network; `server` adds the HTTP interface.

mod account;
mod answers;
mod billing;
mod billing_report;
mod billing_reports;
mod clock;
mod cloud;
mod faults;
mod incidents;
mod load;
mod metrics;
mod namespace;
mod operation;
mod options;
mod prometheus;
mod refusal;
mod running;
mod server;
#[cfg(test)]
mod tests;

pub use account::{Access, Account, NamespaceSetup};
pub use billing::HourBill;
pub use cloud::{AcceptedUpdate, CapacityChange};
pub use faults::{BillingFault, Faults, MetricsFault, OperationFault, ScrapeJobFault};
pub use incidents::Incident;
pub use load::{Load, Trace, TraceError};
pub use options::SimulatorOptions;
pub use running::{NamespaceView, RunningSimulator, StartError, start};
pub use server::OPS_ROUTES;

/// The secret part of the simulated webhook's address.
pub(crate) const SLACK_TOKEN: &str = "simulated-webhook-token";
