#![doc = include_str!("../README.md")]
//!
//! # Where to start
//!
//! [`PrometheusConfig::builder`] describes a server, [`PrometheusClient`] asks it. `selector` and `answer` are pure: the
//! text of a query, and the body of an answer.

mod answer;
mod client;
mod config;
mod error;
mod probe;
mod samples;
mod selector;

pub use client::PrometheusClient;
pub use config::{Auth, ConfigError, ConfigErrors, PrometheusConfig, PrometheusConfigBuilder};
pub use error::{Error, ErrorKind};
pub use probe::{Presence, ServerInfo};
pub use samples::{Coverage, FamilyCoverage, SeriesSample, Span};
pub use selector::Query;

/// The HTTP library, for a client of your own.
pub use reqwest;
