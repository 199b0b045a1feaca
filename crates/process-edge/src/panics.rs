//! Reports panics as log lines.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::time::Duration;

use crate::errors::{flush_errors, write_error};

/// Time to flush, because the process may end right after the panic.
const FLUSH_BOUND: Duration = Duration::from_millis(500);

/// Makes panics appear in the log, in the log's format, or on standard error if the log is off.
pub fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or("(no message)");
        let captured = Backtrace::capture();
        let backtrace = match captured.status() {
            BacktraceStatus::Captured => format!("\n{captured}"),
            _ => String::new(),
        };
        if tracing::enabled!(tracing::Level::ERROR) {
            tracing::error!(place, "panicked: {message}; please report this bug{backtrace}");
        } else {
            write_error(format!(
                "panicked at {place}: {message}; please report this bug{backtrace}\n"
            ));
        }
        flush_errors(FLUSH_BOUND);
    }));
}
