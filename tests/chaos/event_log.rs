//! The event log of a run.

use std::sync::OnceLock;
use std::time::Instant;

static BEGUN: OnceLock<Instant> = OnceLock::new();

/// Prints a line to the event log.
pub(crate) fn say(what: &str) {
    let since = BEGUN.get_or_init(Instant::now).elapsed().as_secs_f64();
    println!("{since:8.1} s  {what}");
}

/// Starts the clock of the event log.
pub(crate) fn begin() {
    BEGUN.get_or_init(Instant::now);
}
