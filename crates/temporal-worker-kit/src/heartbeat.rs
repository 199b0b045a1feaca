//! Heartbeats while one slow call is in flight. A cancellation reaches an activity only with the response to a heartbeat.

use std::time::Duration;

use serde::Serialize;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

/// Runs a call, and sends a heartbeat every `every` with the progress from which another attempt would
/// resume.
///
/// The interval should be less than half of the heartbeat timeout.
///
/// # Errors
///
/// If the activity is canceled before the call ends. The call is then dropped.
pub async fn beating<T, P>(
    context: &ActivityContext,
    every: Duration,
    progress: P,
    call: impl Future<Output = T>,
) -> Result<T, ActivityError>
where
    P: Serialize + Clone + Send + Sync + 'static,
{
    let mut call = std::pin::pin!(call);
    let mut ticks = tokio::time::interval(every);
    loop {
        tokio::select! {
            // The cancellation first: its details say where another attempt resumes, and a result would be
            // rejected.
            biased;
            () = context.cancelled() => return Err(ActivityError::cancelled_with_details(progress)),
            result = &mut call => return Ok(result),
            _ = ticks.tick() => context.record_heartbeat(progress.clone()).await?,
        }
    }
}
