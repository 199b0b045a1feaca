//! What the worker does when the Temporal service refuses its credential while it runs.
//!
//! Refused polls mean that it gets no work: it is not ready, its key is read again from its file, and if that does not help
//! the client library ends the worker after about a minute. Other refused calls are repeated, by the library or by the
//! service after a timeout, and are only logged.

use std::time::{Duration, Instant};

use capacity_workflows::{Connection, RefusalWatch, RefusedCall};
use temporalio_client::Client;

use crate::http::Health;

const INTERVAL: Duration = Duration::from_secs(2);
/// The library repeats a refused poll every 10 s: when none was refused for longer, polls are accepted.
const QUIET: Duration = Duration::from_secs(15);
/// Refused calls of other kinds are logged this often at most.
const LOGGED_EVERY: Duration = Duration::from_mins(1);

/// Watches for refused calls until it is dropped.
pub(crate) async fn watch(
    connection: &Connection,
    client: &Client,
    health: &Health,
) -> std::convert::Infallible {
    let mut counters = RefusalWatch::default();
    let mut polls_refused_at: Option<Instant> = None;
    let mut logged_at: Option<Instant> = None;
    loop {
        tokio::time::sleep(INTERVAL).await;
        let Ok(Ok(text)) = tokio::time::timeout(INTERVAL, health.sdk_text()).await else {
            continue;
        };
        let (polls, others): (Vec<_>, Vec<_>) = counters
            .read(text.as_bytes())
            .into_iter()
            .partition(RefusedCall::is_poll);
        if let Some(poll) = polls.first() {
            let is_renewed = connection.renew_key(client);
            if polls_refused_at.is_none() && !is_renewed {
                tracing::error!("{}; trying again for a minute", sentence(connection, poll));
            }
            polls_refused_at = Some(Instant::now());
            health.set_refused(Some(sentence(connection, poll)));
        } else if polls_refused_at.is_some_and(|at| at.elapsed() > QUIET) {
            tracing::info!("the Temporal service accepts polls again");
            polls_refused_at = None;
            health.set_refused(None);
        }
        if let Some(other) = others.first()
            && polls.is_empty()
            && logged_at.is_none_or(|at| at.elapsed() > LOGGED_EVERY)
        {
            connection.renew_key(client);
            tracing::warn!("{}; the call will be repeated", sentence(connection, other));
            logged_at = Some(Instant::now());
        }
    }
}

fn sentence(connection: &Connection, refused: &RefusedCall) -> String {
    let what = if refused.is_poll() {
        "polls of this worker".to_owned()
    } else {
        format!("a call of this worker ({})", refused.call)
    };
    format!(
        "the Temporal service at {} refuses {what} with {}: the credential ({}) has expired, was revoked, or may not use the namespace `{}`. Replace it",
        connection.address,
        refused.code,
        connection.credential.setting(),
        connection.namespace,
    )
}
