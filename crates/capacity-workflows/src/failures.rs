//! The words of a failed activity: its error alone says only that it failed.

use temporalio_common::error::{ActivityExecutionError, IncomingError};

/// Returns the cause in words.
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
