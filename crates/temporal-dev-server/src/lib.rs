#![doc = include_str!("../README.md")]
//!
//! # Where to start
//!
//! [`start`] runs a server described by [`Options`]; `cli` is how the `temporal` command is found or obtained.

mod cli;
mod server;

pub use cli::{CliError, CliSource, PINNED_VERSION, find, find_or_obtain};
pub use server::{DevServer, Options, StartError, start};
