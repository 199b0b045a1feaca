//! What happened, as an exit code and as one message on the error stream.

use std::io::Write;
use std::process::ExitCode;

/// Prints clap's message and returns 0 for help and version, 1 for a usage error.
///
/// Clap would exit with 2 for a usage error, which is kept for "changes are planned".
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    // A closed pipe is no reason to fail twice.
    let _ = error.print();
    if error.use_stderr() {
        ExitCode::from(1)
    } else {
        ExitCode::SUCCESS
    }
}

/// Prints an error with its causes, once, and returns 1. A reader that went away (`| head`) is told nothing.
pub(crate) fn failed(error: &anyhow::Error) -> ExitCode {
    let closed_pipe = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe);
    if !closed_pipe {
        let _ = writeln!(std::io::stderr(), "error: {error:#}");
    }
    ExitCode::from(1)
}
