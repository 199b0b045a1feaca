//! What this worker adds to `/metrics` and `/readyz`.

use std::fmt::Write as _;
use std::time::Duration;

use capacity_workflows::EvaluationHealth;
use serde_json::{Map, Value};

/// A worker whose own attempts have failed for two hourly intervals is not ready.
const FAILING_TOO_LONG: Duration = Duration::from_hours(2);

/// Returns why this worker is not ready. A worker that is never chosen stays ready.
pub(crate) fn condition(evaluations: &EvaluationHealth) -> Result<(), String> {
    not_failing_too_long(evaluations.failing_for())
}

/// A worker that made no attempt, because others were chosen, does not fail.
fn not_failing_too_long(failing_for: Option<Duration>) -> Result<(), String> {
    match failing_for {
        Some(since) if since > FAILING_TOO_LONG => Err(format!(
            "the evaluations of this worker have failed for {} min",
            since.as_secs() / 60
        )),
        Some(_) | None => Ok(()),
    }
}

/// Returns the keys of `/readyz`.
pub(crate) fn keys(evaluations: &EvaluationHealth) -> Map<String, Value> {
    let paused = evaluations.controller().and_then(|status| status.paused);
    let age = evaluations.age().as_secs();
    Map::from_iter([
        ("last_evaluation_age_seconds".to_owned(), age.into()),
        ("paused".to_owned(), serde_json::json!(paused)),
    ])
}

/// Returns the metrics, in the Prometheus text format.
pub(crate) fn metrics(evaluations: &EvaluationHealth) -> String {
    let controller = evaluations.controller();
    let flag = u64::from;
    let own = [
        (
            "temporal_capacity_evaluations_total",
            "counter",
            "Evaluations with usable metrics made by this worker.",
            evaluations.evaluations(),
        ),
        (
            "temporal_capacity_samples_failed_total",
            "counter",
            "Usage samples that failed on this worker.",
            evaluations.samples_failed(),
        ),
        (
            "temporal_capacity_last_evaluation_age_seconds",
            "gauge",
            "Age of the controller's last evaluation with usable metrics; until the first one, the age of this process.",
            evaluations.age().as_secs(),
        ),
    ];
    let told = controller.iter().flat_map(|status| {
        [
            (
                "temporal_capacity_paused",
                "gauge",
                "1 while changes are paused.",
                flag(status.paused.is_some()),
            ),
            (
                "temporal_capacity_metrics_unavailable",
                "gauge",
                "1 while the account's metrics are unavailable.",
                flag(status.metrics_unavailable_since.is_some()),
            ),
            (
                "temporal_capacity_changes_running",
                "gauge",
                "Changes in progress.",
                u64::try_from(status.changes_in_progress.len()).unwrap_or(u64::MAX),
            ),
            (
                "temporal_capacity_changes_queued",
                "gauge",
                "Changes waiting for their turn.",
                u64::try_from(status.changes_queued).unwrap_or(u64::MAX),
            ),
        ]
    });
    let mut text = String::new();
    for (name, kind, help, value) in own.into_iter().chain(told) {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
    }
    text
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
