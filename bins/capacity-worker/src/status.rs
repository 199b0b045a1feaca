//! The worker's additions to `/metrics` and `/readyz`.

use std::fmt::{Display, Write as _};
use std::time::Duration;

use capacity_autopilot::Autopilot;
use capacity_workflows::{CHANGE_OUTCOMES, EvaluationHealth, Status};
use serde_json::{Map, Value};
use temporal_worker_kit::NotReady;

/// A worker is not ready once its own evaluations have failed for two hourly intervals.
const FAILING_TOO_LONG: Duration = Duration::from_hours(2);

/// Returns why this worker is not ready. A worker that was never chosen to run an evaluation stays ready.
pub(crate) fn condition(evaluations: &EvaluationHealth) -> Result<(), NotReady> {
    not_failing_too_long(evaluations.failing_for())
}

/// Returns an error if evaluations have failed for too long.
fn not_failing_too_long(failing_for: Option<Duration>) -> Result<(), NotReady> {
    match failing_for {
        Some(since) if since > FAILING_TOO_LONG => Err(NotReady::new(format!(
            "the evaluations of this worker have failed for {} min",
            since.as_secs() / 60
        ))),
        Some(_) | None => Ok(()),
    }
}

/// Returns the keys that this worker adds to `/readyz`.
pub(crate) fn keys(evaluations: &EvaluationHealth) -> Map<String, Value> {
    let paused = evaluations.controller().and_then(|status| status.paused);
    let age = evaluations.age().as_secs();
    Map::from_iter([
        ("last_evaluation_age_seconds".to_owned(), age.into()),
        ("paused".to_owned(), serde_json::json!(paused)),
    ])
}

/// Counts this worker's requests to the metrics endpoint, which allows 180 per hour for each account.
pub(crate) struct Requests {
    made: u64,
    budget: Option<u32>,
}

impl Requests {
    pub(crate) fn of(autopilot: &Autopilot, budget: Option<u32>) -> Self {
        Self {
            made: autopilot.metrics().counted_requests(),
            budget,
        }
    }
}

/// Returns the metrics, in the Prometheus text format. docs/monitoring.md lists them.
pub(crate) fn metrics(
    evaluations: &EvaluationHealth,
    requests: &Requests,
    spans: otlp_spans::Counts,
) -> String {
    let mut text = Text(String::new());
    text.counter(
        "evaluations_total",
        "Evaluations with usable metrics made by this worker.",
        evaluations.evaluations(),
    );
    text.counter(
        "samples_failed_total",
        "Usage samples that failed on this worker.",
        evaluations.samples_failed(),
    );
    text.gauge(
        "last_evaluation_age_seconds",
        "Age of the controller's last evaluation with usable metrics; before the first one, the uptime of \
         this worker.",
        evaluations.age().as_secs(),
    );
    text.counter(
        "metrics_requests_total",
        "Requests by this worker to the metrics endpoint.",
        requests.made,
    );
    if let Some(budget) = requests.budget {
        text.gauge(
            "metrics_requests_per_hour_limit",
            "Setting METRICS_REQUESTS_PER_HOUR, shared by all workers that use the same ledger.",
            budget,
        );
    }
    text.counter(
        "spans_sent_total",
        "Spans that the trace collector accepted.",
        spans.sent,
    );
    text.counter(
        "spans_dropped_total",
        "Spans dropped because the queue was full or the trace collector did not accept them.",
        spans.dropped,
    );
    text.family(
        "changes_total",
        "counter",
        "Changes completed by this worker, successful or not.",
    );
    for (direction, scale_up) in [("scale_down", false), ("scale_up", true)] {
        for (outcome, count) in CHANGE_OUTCOMES.iter().zip(evaluations.changes(scale_up)) {
            text.sample(
                "changes_total",
                &[("direction", direction), ("outcome", outcome)],
                count,
            );
        }
    }
    if let Some(status) = evaluations.controller() {
        text.controller(&status);
    }
    text.0
}

/// Builds lines of the Prometheus text format.
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(
            self.0,
            "# HELP temporal_capacity_{name} {help}\n# TYPE temporal_capacity_{name} {kind}"
        );
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<String> = labels
            .iter()
            .map(|(label, value)| format!("{label}=\"{value}\""))
            .collect();
        let labels = match labels.as_slice() {
            [] => String::new(),
            labels => format!("{{{}}}", labels.join(",")),
        };
        let _ = writeln!(self.0, "temporal_capacity_{name}{labels} {value}");
    }

    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "counter", help);
        self.sample(name, &[], value);
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        self.sample(name, &[], value);
    }

    /// Adds the controller's metrics, which are the same on every worker.
    fn controller(&mut self, status: &Status) {
        let flag = u8::from;
        self.gauge(
            "paused",
            "1 while changes are paused.",
            flag(status.paused.is_some()),
        );
        self.gauge(
            "metrics_unavailable",
            "1 while the account's metrics are unavailable.",
            flag(status.metrics_unavailable_since.is_some()),
        );
        self.gauge(
            "changes_running",
            "Changes in progress.",
            status.changes_in_progress.len(),
        );
        self.gauge(
            "changes_queued",
            "Changes waiting to start.",
            status.changes_queued,
        );
        let Some(figures) = &status.figures else { return };
        self.gauge(
            "dollars_per_hour",
            "Idle minimum of all namespaces in US dollars per hour, at the last evaluation.",
            figures.dollars_per_hour,
        );
        self.gauge(
            "planned_dollars_per_hour",
            "Idle minimum of all namespaces in US dollars per hour, after the changes of the last \
             evaluation.",
            figures.planned_dollars_per_hour,
        );
        self.gauge(
            "provisioned_namespaces",
            "Namespaces with provisioned capacity.",
            figures.provisioned_namespaces,
        );
        self.gauge("trus", "Total TRUs of all namespaces.", figures.trus);
        self.gauge(
            "throttled_namespaces",
            "Namespaces that were throttled in the newest minute.",
            figures.throttled_namespaces,
        );
        if let Some(seconds) = figures.newest_seconds() {
            self.gauge(
                "newest_metrics_timestamp_seconds",
                "Newest minute of the metrics that the last evaluation used, as a Unix timestamp in seconds.",
                seconds,
            );
        }
        self.family(
            "decisions",
            "gauge",
            "Decisions of the last evaluation, by action and reason code.",
        );
        for (action, reasons) in &figures.decisions {
            for (reason, count) in reasons {
                self.sample("decisions", &[("action", action), ("reason", reason)], count);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_attempts_that_fail_for_two_intervals_make_a_worker_not_ready() {
        assert!(not_failing_too_long(None).is_ok(), "it was never chosen");
        assert!(not_failing_too_long(Some(Duration::from_hours(2))).is_ok());
        let longer = Duration::from_hours(2) + Duration::from_secs(1);
        assert!(not_failing_too_long(Some(longer)).is_err());
    }
}
