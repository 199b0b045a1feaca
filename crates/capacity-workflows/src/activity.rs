//! Helpers for all activities: failures as histories show them, heartbeats, and the author of records.

use std::time::Duration;

use jiff::Timestamp;
use temporalio_sdk::ApplicationFailure;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

/// Failure types, as they appear in histories.
pub(crate) mod failure {
    pub(crate) const DRY_RUN: &str = "dry_run";
    pub(crate) const WRONG_ACCOUNT: &str = "wrong_account";
    pub(crate) const BAD_REQUEST: &str = "bad_request";
    pub(crate) const NO_ANSWER: &str = "no_answer";
    pub(crate) const JOIN: &str = "join";
    pub(crate) const EVALUATE: &str = "observe";
    pub(crate) const SILENT: &str = "controller_silent";
}

pub(crate) fn failed(kind: &str, final_word: bool, text: impl Into<String>) -> ActivityError {
    ApplicationFailure::builder(std::io::Error::other(text.into()))
        .type_name(kind.to_owned())
        .non_retryable(final_word)
        .build()
        .into()
}

/// Returns a failure that the service retries.
pub(crate) fn again(why: &str, after: Option<Duration>) -> ActivityError {
    let failure = ApplicationFailure::builder(std::io::Error::other(why.to_owned()));
    match after {
        Some(after) => failure.next_retry_delay(after).build().into(),
        None => failure.build().into(),
    }
}

/// Returns the author of records: this worker's host. A process id would not help, because processes in containers often have the
/// same one.
pub(crate) fn recorder() -> String {
    let host = gethostname::gethostname();
    format!("capacity-worker {}/{}", host.display(), std::process::id())
}

/// Prefix of the announcement time in the failure of a tick that got no response.
pub(crate) const TOLD_AT: &str = "announced at ";

/// Like `TOLD_AT`, in releases up to 0.1.
const TOLD_AT_0_1: &str = "people were told at "; // prose: quoted

pub(crate) fn told_at(failure: &str) -> Option<String> {
    let prefixes = [TOLD_AT, TOLD_AT_0_1];
    let (_, rest) = prefixes.iter().find_map(|prefix| failure.rsplit_once(prefix))?;
    let told = rest
        .split(|letter: char| letter == ')' || letter.is_whitespace())
        .next()?;
    told.parse::<Timestamp>().ok().map(|told| told.to_string())
}

/// Sends heartbeats during one slow call, because a cancel request only arrives in the response to a
/// heartbeat.
pub(crate) async fn beating<T>(
    context: &ActivityContext,
    call: impl Future<Output = T>,
) -> Result<T, ActivityError> {
    temporal_worker_kit::beating(context, Duration::from_secs(5), (), Box::pin(call)).await
}
