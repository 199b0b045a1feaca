//! Standard output of this process.

use std::io::{ErrorKind, Write};
use std::time::Duration;

use crate::errors::flush_errors;

/// How long output waits for earlier lines on standard error, so that a terminal shows both in order.
const IN_ORDER: Duration = Duration::from_millis(100);

/// Writes text to standard output, followed by a line break. A reader that has closed the pipe (`| head -1`)
/// is not an error.
///
/// # Errors
///
/// If the text cannot be written, for example to a full disk.
pub fn write_output(text: &str) -> std::io::Result<()> {
    // The result is ignored: a stuck error stream must not hold back the output.
    flush_errors(IN_ORDER);
    match write_to(&mut std::io::stdout().lock(), text) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

fn write_to(output: &mut impl Write, text: &str) -> std::io::Result<()> {
    output.write_all(text.as_bytes())?;
    if !text.is_empty() && !text.ends_with('\n') {
        output.write_all(b"\n")?;
    }
    output.flush()
}
