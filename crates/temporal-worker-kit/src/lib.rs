#![doc = include_str!("../README.md")]
//!
//! # Where to start
//!
//! [`Config`] loads the file and the environment, [`Registry`] has workflows and activities per task queue,
//! and [`Kit`] connects, polls, serves metrics and health, and drains on SIGTERM.

mod backlog;
mod client;
mod config;
mod connect_error;
mod connection;
mod connection_settings;
mod definitions;
mod environment;
mod failure;
mod health;
mod heartbeat;
mod http;
mod kit;
mod kit_error;
mod lenient;
mod logs;
mod metrics;
mod mistake;
mod reader;
mod refusals;
mod registry;
mod reload;
mod tls_probe;
mod worker;

pub use client::SharedClient;
pub use config::{Config, Deployment, TaskQueue};
pub use connect_error::ConnectError;
pub use connection_settings::{ConnectionSettings, Credential, Pem};
pub use definitions::{same_query, same_signal, same_update, same_workflow};
pub use environment::process_environment;
pub use failure::{failure_text, update_refusal};
pub use health::NotReady;
pub use heartbeat::beating;
pub use http_edge::Secret;
pub use human_text::{InvalidDuration, chain, parse_duration};
pub use kit::{Kit, Running};
pub use kit_error::KitError;
pub use lenient::Lenient;
pub use logs::{InvalidLevel, LogFormat, LogSettings, subscriber};
pub use mistake::{Mistake, Mistakes};
pub use registry::{Registered, Registry};

/// What the macros need of the SDK. Not part of the public API.
#[doc(hidden)]
pub mod sdk {
    pub use temporalio_common::{
        HasWorkflowDefinition, QueryDefinition, SignalDefinition, UpdateDefinition, WorkflowDefinition,
    };
}
