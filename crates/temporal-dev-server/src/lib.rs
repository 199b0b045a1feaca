#![doc = include_str!("../README.md")]
//!
//! # Where to start
//!
//! [`start`] runs a server described by [`Options`], and [`reach`] uses one that is already running. `cli`
//! finds or obtains the `temporal` command.

mod cli;
mod reach;
mod server;

pub use cli::{CliError, CliSource, PINNED_VERSION, find, find_or_obtain};
pub use reach::{Reached, reach};
pub use server::{DevServer, Options, StartError, start};
