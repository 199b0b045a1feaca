#![doc = include_str!("../README.md")]
//!
//! # Where to start
//!
//! [`Message::payload`] is pure; [`Webhook::post`] delivers it.

mod message;
mod webhook;

pub use message::{Message, Section, Severity};
pub use webhook::{Config, ConfigError, Error, ErrorKind, Webhook};

/// The HTTP library, for a client of your own.
pub use reqwest;
