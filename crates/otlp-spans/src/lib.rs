#![doc = include_str!("../README.md")]
//!
//! # Where to start
//!
//! [`Trace`] creates spans, [`Spans`] queues them without waiting, and [`Collector`] sends them as [`OtlpConfig`] specifies.

mod collector;
mod config;
mod message;
mod queue;
mod span;

pub use collector::{Collector, Error, ErrorKind, Service};
pub use config::{ConfigError, ConfigErrors, OtlpConfig, OtlpConfigBuilder};
pub use queue::{Counts, Spans};
pub use span::{Span, Trace, Value};
