//! Detects calls that the Temporal service rejects while a process runs, from the SDK's own metrics.
//!
//! If polls are rejected, the process gets no work: it is not ready, and its key is read again from its file.
//! If that does not help, the SDK stops the worker after about a minute. Other rejected calls are retried by
//! the SDK, or by the service after a timeout, and are only logged. The SDK's metrics count each of them by
//! call and status code, and are the only place where they are visible.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use openmetrics_reader::{Event, Options, Reader};

use crate::client::InUse;
use crate::connection_settings::ConnectionSettings;
use crate::health::Health;
use crate::http::sdk_text;

/// Interval between reads of the metrics.
const INTERVAL: Duration = Duration::from_secs(2);
/// The SDK retries a rejected poll every 10 s. If none was rejected for longer than this, polls are accepted.
const QUIET: Duration = Duration::from_secs(15);
/// Minimum interval between log lines about rejected calls of other kinds.
const LOGGED_EVERY: Duration = Duration::from_mins(1);

/// The counters of failed calls. Those of polls are separate.
const COUNTERS: [&str; 2] = [
    "temporal_long_request_failure_total",
    "temporal_request_failure_total",
];
/// The status codes of a rejected credential.
const REFUSALS: [&str; 2] = ["UNAUTHENTICATED", "PERMISSION_DENIED"];

/// One kind of rejected call.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct RefusedCall {
    /// The call, such as `PollWorkflowTaskQueue`.
    call: String,
    /// The status code, such as `UNAUTHENTICATED`.
    code: String,
}

impl RefusedCall {
    /// Returns whether a worker gets no tasks while this is rejected.
    fn is_poll(&self) -> bool {
        self.call.starts_with("Poll") && self.call.ends_with("TaskQueue")
    }
}

/// Tracks the counters of rejected calls.
#[derive(Debug, Default)]
struct RefusalWatch {
    seen: BTreeMap<RefusedCall, u64>,
}

impl RefusalWatch {
    /// Reads the text of the SDK's metrics, and returns the calls that were rejected since the last reading.
    fn read(&mut self, metrics: &[u8]) -> Vec<RefusedCall> {
        let mut counts: BTreeMap<RefusedCall, u64> = BTreeMap::new();
        for event in Reader::new(metrics, Options::lenient()) {
            let Ok(Event::Sample(sample)) = event else {
                continue;
            };
            if !COUNTERS.contains(&sample.name().to_string().as_str()) {
                continue;
            }
            let label = |name: &str| sample.label(name).map(|text| text.to_string());
            let (Some(call), Some(code)) = (label("operation"), label("status_code")) else {
                continue;
            };
            if REFUSALS.contains(&code.as_str()) {
                // One series per task queue. Counts are whole numbers, far below the precision of a float.
                let value = sample
                    .value_text()
                    .split('.')
                    .next()
                    .and_then(|text| text.parse().ok());
                *counts.entry(RefusedCall { call, code }).or_default() += value.unwrap_or(0);
            }
        }
        let is_new = |(refused, count): (RefusedCall, u64)| {
            let before = self.seen.insert(refused.clone(), count).unwrap_or(0);
            (count > before).then_some(refused)
        };
        counts.into_iter().filter_map(is_new).collect()
    }
}

/// Watches for rejected calls until it is dropped.
pub(crate) async fn watch(
    settings: ConnectionSettings,
    in_use: InUse,
    sdk_metrics: SocketAddr,
    health: Health,
) -> std::convert::Infallible {
    let mut counters = RefusalWatch::default();
    let mut polls_refused_at: Option<Instant> = None;
    let mut logged_at: Option<Instant> = None;
    loop {
        tokio::time::sleep(INTERVAL).await;
        let Ok(Ok(text)) = tokio::time::timeout(INTERVAL, sdk_text(sdk_metrics)).await else {
            continue;
        };
        let (polls, others): (Vec<_>, Vec<_>) = counters
            .read(text.as_bytes())
            .into_iter()
            .partition(RefusedCall::is_poll);
        if let Some(poll) = polls.first() {
            // Before the error is logged: a key that was rotated in its file is the usual reason, and no
            // error.
            let is_renewed = settings.renew_key(&in_use.get());
            if polls_refused_at.is_none() && !is_renewed {
                tracing::error!("{}; retrying for a minute", sentence(&settings, poll));
            }
            polls_refused_at = Some(Instant::now());
            // Also with a new key, until polls are accepted: whether it works is not known yet.
            health.set_refused(Some(sentence(&settings, poll)));
        } else if polls_refused_at.is_some_and(|at| at.elapsed() > QUIET) {
            tracing::info!("the Temporal service accepts polls again");
            polls_refused_at = None;
            health.set_refused(None);
        }
        if let Some(other) = others.first()
            && polls.is_empty()
            && logged_at.is_none_or(|at| at.elapsed() > LOGGED_EVERY)
        {
            settings.renew_key(&in_use.get());
            tracing::warn!("{}; retrying the call", sentence(&settings, other));
            logged_at = Some(Instant::now());
        }
    }
}

fn sentence(settings: &ConnectionSettings, refused: &RefusedCall) -> String {
    let what = if refused.is_poll() {
        "polls from this worker".to_owned()
    } else {
        format!("a call from this worker ({})", refused.call)
    };
    format!(
        "the Temporal service at {} refuses {what} with {}: the credential ({}) has expired, was revoked, or lacks access to the namespace `{}`. Replace it, or grant it access",
        settings.address,
        refused.code,
        settings.credential.setting(),
        settings.namespace,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(polls: u64, heartbeats: u64) -> String {
        format!(
            "# TYPE temporal_long_request_failure_total counter\n\
             temporal_long_request_failure_total{{namespace=\"a\",operation=\"PollWorkflowTaskQueue\",service_name=\"temporal-core-sdk\",status_code=\"UNAUTHENTICATED\",task_queue=\"one\"}} {polls}\n\
             temporal_long_request_failure_total{{namespace=\"a\",operation=\"PollWorkflowTaskQueue\",service_name=\"temporal-core-sdk\",status_code=\"UNAVAILABLE\",task_queue=\"one\"}} 7\n\
             # TYPE temporal_request_failure_total counter\n\
             temporal_request_failure_total{{namespace=\"a\",operation=\"RecordActivityTaskHeartbeat\",status_code=\"PERMISSION_DENIED\"}} {heartbeats}\n"
        )
    }

    #[test]
    fn only_new_refusals_are_returned() {
        let mut watch = RefusalWatch::default();
        assert_eq!(watch.read(b""), []);
        let first = watch.read(metrics(1, 0).as_bytes());
        assert_eq!(first.len(), 1);
        assert!(first[0].is_poll() && first[0].code == "UNAUTHENTICATED");
        assert_eq!(watch.read(metrics(1, 0).as_bytes()), []);
        let second = watch.read(metrics(1, 2).as_bytes());
        assert_eq!(second[0].call, "RecordActivityTaskHeartbeat");
        assert!(!second[0].is_poll());
        assert_eq!(watch.read(metrics(2, 2).as_bytes()).len(), 1);
    }
}
