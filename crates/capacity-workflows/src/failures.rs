//! Formats failed activities, whose own error says only that they failed.

use temporalio_common::error::{ActivityExecutionError, IncomingError};

/// An activity that failed, formatted as its cause.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct ActivityFailed(String);

impl From<ActivityExecutionError> for ActivityFailed {
    fn from(error: ActivityExecutionError) -> Self {
        Self(cause_of(&error))
    }
}

/// Returns the cause as text.
pub(crate) fn cause_of(error: &ActivityExecutionError) -> String {
    match error.cause() {
        Some(cause) => cause.to_string(),
        None => error.to_string(),
    }
}

/// Returns the type of an application failure.
pub(crate) fn type_of(error: &ActivityExecutionError) -> Option<&str> {
    match error.cause() {
        Some(IncomingError::Application(failure)) => failure.type_name(),
        Some(_) | None => None,
    }
}
