#![doc = include_str!("../README.md")]
//!
//! # Where to start
//!
//! [`PrometheusConfig::builder`] describes a server, and [`PrometheusClient`] queries it. `selector` and
//! `answer` are pure: the text of a query, and the body of a response.

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

/// The HTTP library, for callers that pass their own client.
pub use reqwest;
