#![doc = include_str!("../README.md")]
//!
//! # Where to start
//!
//! [`Config`] reads the file and the environment, [`Registry`] holds workflows and activities per task queue, and [`Kit`]
//! connects, polls, serves metrics and health, and drains on SIGTERM.

mod backlog;
mod config;
mod connection;
mod duration;
mod environment;
mod health;
mod heartbeat;
mod http;
mod kit;
mod lenient;
mod logs;
mod metrics;
mod mistake;
mod reader;
mod registry;
mod reload;
mod worker;

pub use config::{Config, Deployment, TaskQueue};
pub use connection::{ConnectError, ConnectionSettings, Credential, Pem, chain};
pub use duration::parse_duration;
pub use environment::process_environment;
pub use heartbeat::beating;
pub use kit::{Kit, KitError, Running};
pub use lenient::Lenient;
pub use logs::{LogFormat, LogSettings, subscriber};
pub use mistake::{Mistake, Mistakes};
pub use registry::{Registered, Registry};
