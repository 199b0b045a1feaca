//! Exit codes, and the one message on standard error that explains a failure.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use capacity_autopilot::Plan;
use process_edge::{Signal, flush_errors, write_error, write_output};

use crate::terminal::beside_progress;

/// Maximum wait for a line to be written to standard error before the command continues without it.
const IN_ORDER: Duration = Duration::from_millis(100);

/// How a command ended, unless it returned an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The command succeeded.
    Done,
    /// Part of the work failed.
    Failed,
    /// With `--detailed-exitcode`: changes are planned.
    ChangesPlanned,
    /// With `--detailed-exitcode`: the account's metrics are unavailable.
    MetricsUnavailable,
    /// A signal stopped the command before all work was done.
    Stopped(Signal),
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::ChangesPlanned => 2,
            Exit::MetricsUnavailable => 3,
            Exit::Stopped(signal) => signal.exit_code(),
        })
    }
}

impl Exit {
    /// Returns the exit code for a plan with `changes` remaining changes. An error takes precedence.
    pub(crate) fn of_plan(detailed: bool, plan: &Plan, changes: usize) -> Self {
        if plan.errors.is_empty() {
            Self::without_error(detailed, plan.metrics_unavailable, changes)
        } else {
            Self::Failed
        }
    }

    /// Returns the exit code for a plan without errors. Unavailable metrics take precedence over changes; without
    /// `--detailed-exitcode`, the exit code is 0 for both.
    fn without_error(detailed: bool, metrics_unavailable: bool, changes: usize) -> Self {
        match (detailed, metrics_unavailable, changes) {
            (true, true, _) => Self::MetricsUnavailable,
            (true, false, 1..) => Self::ChangesPlanned,
            _ => Self::Done,
        }
    }
}

/// Prints clap's message. Returns 0 for help and version, and 1 for a usage error.
///
/// Clap would exit with 2 for a usage error, but that code means "changes are planned".
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    // Ignore a closed pipe; the exit code already reports the failure.
    let _ = error.print();
    if error.use_stderr() {
        ExitCode::from(1)
    } else {
        ExitCode::SUCCESS
    }
}

/// Prints an error with its causes in one message and returns 1. Ignores a closed pipe (`| head`).
pub(crate) fn failed(error: &anyhow::Error) -> ExitCode {
    let closed_pipe = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe);
    if !closed_pipe {
        tell(&format!("error: {error:#}"));
    }
    ExitCode::from(1)
}

/// Writes a line to standard error. Never fails, and blocks for at most a moment if nothing reads it.
pub(crate) fn tell(text: &str) {
    beside_progress(|| {
        write_error(format!("{text}\n"));
        flush_errors(IN_ORDER);
    });
}

/// Prints the result of a read-only command.
///
/// # Errors
///
/// If it cannot be written. A closed pipe (`| head`) is not an error.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    write_output(text).context("cannot write to standard output")
}

/// Prints the result of a command that changed something. A failed write is only a warning, so that the exit
/// code reports the changes.
pub(crate) fn report(text: &str) {
    if let Err(error) = print(text) {
        tell(&format!("warning: {error:#}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::plain(false, true, 3, Exit::Done)]
    #[case::nothing_to_do(true, false, 0, Exit::Done)]
    #[case::changes(true, false, 3, Exit::ChangesPlanned)]
    #[case::unavailable_metrics_outrank_changes(true, true, 3, Exit::MetricsUnavailable)]
    fn a_plan_means(
        #[case] detailed: bool,
        #[case] metrics_unavailable: bool,
        #[case] changes: usize,
        #[case] expected: Exit,
    ) {
        assert_eq!(
            Exit::without_error(detailed, metrics_unavailable, changes),
            expected
        );
    }
}
