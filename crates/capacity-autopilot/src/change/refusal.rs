//! Maps failed calls to their consequences for a change in progress.

use std::time::Duration;

use cloud_ops_client::Error;

/// Which call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    /// A read, which is harmless to repeat.
    Read,
    /// The POST of the change.
    Post,
}

/// The consequence of a failed call for the change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Consequence {
    /// Retry, after the service's delay if it sent one.
    Repeat {
        /// The delay that the service requested.
        delay: Option<Duration>,
    },
    /// It is unknown whether the POST took effect: read back first.
    ReadBack {
        /// The delay that the service requested.
        delay: Option<Duration>,
    },
    /// The version changed: read again and re-evaluate.
    DecideAgain,
    /// The service reports that the request is already fulfilled: read back.
    NothingToChange,
    /// The key lacks permission.
    NotPermitted,
    /// A retry cannot help.
    Stop,
}

/// Returns what a failed call means.
///
/// | response | read | POST |
/// | --- | --- | --- |
/// | conflict (Aborted, AlreadyExists) | repeat | re-evaluate |
/// | "nothing to change" | stop | read back |
/// | permission denied | not permitted | not permitted |
/// | unavailable, exhausted, internal, deadline, no response | repeat | read back |
/// | anything else | stop | stop |
pub(super) fn consequence(error: &Error, call: Call) -> Consequence {
    let delay = error.retry_after();
    match call {
        _ if error.is_permission_denied() => Consequence::NotPermitted,
        Call::Post if error.is_nothing_to_change() => Consequence::NothingToChange,
        Call::Post if error.is_conflict() => Consequence::DecideAgain,
        Call::Post if error.is_outcome_unknown() || error.is_retryable() => Consequence::ReadBack { delay },
        Call::Read if error.is_retryable() || error.is_conflict() => Consequence::Repeat { delay },
        Call::Read | Call::Post => Consequence::Stop,
    }
}
