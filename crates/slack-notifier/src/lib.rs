#![doc = include_str!("../README.md")]
//!
//! # Where to start
//!
//! [`Message::payload`] is pure; `Webhook::post` (feature `post`, on by default) delivers it.

mod message;
#[cfg(feature = "post")]
mod webhook;

pub use message::{Message, Section, Severity};
#[cfg(feature = "post")]
pub use webhook::{Config, ConfigError, Error, ErrorKind, Webhook};

/// The HTTP library, for callers that pass their own client.
#[cfg(feature = "post")]
pub use reqwest;
