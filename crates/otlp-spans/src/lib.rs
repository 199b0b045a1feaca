#![doc = include_str!("../README.md")]
//!
//! # Where to start
//!
//! [`Spans`] takes spans and never waits, [`Trace`] makes them, [`Collector`] is where they go, by [`OtlpConfig`].

mod collector;
mod config;
mod message;
mod queue;
mod span;

pub use collector::{Collector, Error, ErrorKind, Service};
pub use config::{ConfigError, ConfigErrors, OtlpConfig, OtlpConfigBuilder};
pub use queue::{Counts, Spans};
pub use span::{Span, Trace, Value};
