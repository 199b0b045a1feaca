#![doc = include_str!("../README.md")]

pub mod autopilot;
pub mod certificates;
pub mod client;
pub mod database;
pub mod doctor;
pub mod handshake;
mod membership;
pub mod namespaces;
pub mod place;
pub mod process;
pub mod programs;
pub mod query_error;
pub mod render;
pub mod roles;
pub mod run;
pub mod schema;
pub mod search;
pub mod settings;
mod wait;

use std::time::Duration;

/// Maximum wait for a line to be written; its reader may have stopped reading.
const IN_ORDER: Duration = Duration::from_millis(100);

/// Writes a progress line to standard error.
pub(crate) fn tell(text: &str) {
    process_edge::write_error(format!("{text}\n"));
    process_edge::flush_errors(IN_ORDER);
}
