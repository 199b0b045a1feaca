//! Extracts the messages of failures from the service, which the client library formats as debug output.

use std::iter::successors;

use temporalio_client::errors::{WorkflowUpdateError, WorkflowUpdateWithStartError};
use temporalio_common::protos::temporal::api::failure::v1::Failure;

/// Returns the message of a failure and those of its causes, outermost first.
pub fn failure_text(failure: &Failure) -> String {
    let causes = successors(Some(failure), |failure| failure.cause.as_deref());
    let texts: Vec<&str> = causes.map(|failure| failure.message.as_str()).collect();
    texts.join(": ")
}

/// Returns why an update was refused: the message of the workflow if it rejected the update.
pub fn update_refusal(error: &WorkflowUpdateWithStartError) -> String {
    match error {
        WorkflowUpdateWithStartError::Update(WorkflowUpdateError::Failed(failure)) => failure_text(failure),
        other => other.to_string(),
    }
}
