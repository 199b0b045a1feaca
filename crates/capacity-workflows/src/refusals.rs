//! Calls that the Temporal service refuses while a worker runs, found in the client library's own metrics.
//!
//! The library repeats a refused poll for about a minute and then ends the worker; of refused heartbeats and completions it
//! says little. Its metrics count each of them, by call and status code, which is the one place where they can be seen.

use std::collections::BTreeMap;

use openmetrics_reader::{Event, Options, Reader};

/// The counters of failed calls; those of polls are counted apart.
const COUNTERS: [&str; 2] = [
    "temporal_long_request_failure_total",
    "temporal_request_failure_total",
];
/// The status codes of a credential that is not accepted.
const REFUSALS: [&str; 2] = ["UNAUTHENTICATED", "PERMISSION_DENIED"];

/// One kind of refused call.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RefusedCall {
    /// The call, such as `PollWorkflowTaskQueue`.
    pub call: String,
    /// The status code, such as `UNAUTHENTICATED`.
    pub code: String,
}

impl RefusedCall {
    /// Returns whether a worker gets no tasks while this is refused.
    pub fn is_poll(&self) -> bool {
        self.call.starts_with("Poll") && self.call.ends_with("TaskQueue")
    }
}

/// Follows the counters of refused calls.
#[derive(Debug, Default)]
pub struct RefusalWatch {
    seen: BTreeMap<RefusedCall, u64>,
}

impl RefusalWatch {
    /// Takes the text of the library's metrics, and returns what was refused since the last one.
    pub fn read(&mut self, metrics: &[u8]) -> Vec<RefusedCall> {
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
                // One series for each task queue. Counts are whole, and far below the precision of a float.
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
