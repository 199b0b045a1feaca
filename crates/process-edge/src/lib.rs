#![doc = include_str!("../README.md")]

mod errors;
mod output;
mod panics;
mod queue;
mod signals;
mod version;

pub use errors::{LogWriter, flush_errors, write_error};
pub use output::write_output;
pub use panics::report_panics;
pub use signals::{Signal, Signals};
pub use version::version;
