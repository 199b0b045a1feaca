//! Standard error of this process.

use std::io::Write;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::queue::Queue;

/// The stream belongs to the process, and so does its queue.
static ERRORS: OnceLock<Arc<Queue>> = OnceLock::new();

fn errors() -> &'static Queue {
    ERRORS.get_or_init(|| Queue::to(std::io::stderr()))
}

/// Writes text to standard error. Never fails and never waits: text that cannot be written is lost.
pub fn write_error(text: impl AsRef<[u8]>) {
    errors().push(text.as_ref());
}

/// Waits until everything written so far has left this process, for at most `bound`. Returns whether it has.
pub fn flush_errors(bound: Duration) -> bool {
    ERRORS.get().is_none_or(|queue| queue.flush(bound))
}

/// A writer that uses [`write_error`], for a logger. `LogWriter::new` is a `MakeWriter` for
/// `tracing_subscriber`.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogWriter;

impl LogWriter {
    /// Creates a writer.
    pub fn new() -> Self {
        Self
    }
}

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        // Reports success even if the line is dropped: the logger would report an error to the same stream.
        write_error(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
