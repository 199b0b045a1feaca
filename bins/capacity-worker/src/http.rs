//! `/metrics`, `/healthz` and `/readyz`.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use capacity_workflows::EvaluationHealth;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How the worker is.
#[derive(Debug, Clone)]
pub(crate) struct Health {
    sdk_metrics: SocketAddr,
    pub(crate) evaluations: EvaluationHealth,
    ready: watch::Sender<bool>,
    /// Why polls are refused, while they are.
    refused: watch::Sender<Option<String>>,
}

/// A worker whose own attempts have failed for two hourly intervals is not ready.
const FAILING_TOO_LONG: Duration = Duration::from_hours(2);

impl Health {
    pub(crate) fn new(sdk_metrics: SocketAddr, evaluations: EvaluationHealth) -> Self {
        Self {
            sdk_metrics,
            evaluations,
            ready: watch::Sender::new(false),
            refused: watch::Sender::new(None),
        }
    }

    pub(crate) fn set_ready(&self, ready: bool) {
        self.ready.send_replace(ready);
    }

    /// Says why the service refuses the polls of this worker; `None` while it accepts them.
    pub(crate) fn set_refused(&self, reason: Option<String>) {
        self.refused.send_replace(reason);
    }

    /// Returns why the service refuses the polls of this worker.
    pub(crate) fn refused(&self) -> Option<String> {
        self.refused.borrow().clone()
    }

    /// Fetches the text of the SDK's metrics.
    pub(crate) async fn sdk_text(&self) -> std::io::Result<String> {
        sdk_text(self.sdk_metrics).await
    }

    /// Waits until it was ready and is no more.
    pub(crate) async fn wait_until_not_ready(&self) {
        let mut ready = self.ready.subscribe();
        let _ = ready.wait_for(|ready| !ready).await;
    }

    /// Whether it polls, its polls are accepted, and its own attempts do not keep failing. A worker that is never chosen stays ready.
    fn is_ready(&self) -> bool {
        *self.ready.borrow() && !fails_too_long(self.evaluations.failing_for()) && self.refused().is_none()
    }
}

/// A worker that made no attempt, since others were chosen, does not fail.
fn fails_too_long(failing_for: Option<Duration>) -> bool {
    failing_for.is_some_and(|since| since > FAILING_TOO_LONG)
}

/// Serves on an address, and returns the one that was bound.
pub(crate) async fn serve(address: SocketAddr, health: Health) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}: is another worker there? (--listen)"))?;
    let bound = listener.local_addr()?;
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(health);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(bound)
}

async fn ready(State(health): State<Health>) -> impl IntoResponse {
    let is_ready = health.is_ready();
    let paused = health.evaluations.controller().and_then(|status| status.paused);
    let body = serde_json::json!({
        "ready": is_ready,
        "polls_refused": health.refused().is_some(),
        "last_evaluation_age_seconds": health.evaluations.age().as_secs(),
        "paused": paused,
    });
    let status = if is_ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (
        status,
        [(header::CONTENT_TYPE, "application/json")],
        format!("{body}\n"),
    )
}

async fn metrics(State(health): State<Health>) -> impl IntoResponse {
    let evaluations = &health.evaluations;
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
    match tokio::time::timeout(Duration::from_secs(2), health.sdk_text()).await {
        Ok(Ok(sdk)) => text.push_str(&sdk),
        Ok(Err(_)) | Err(_) => text.push_str("# the SDK's metrics could not be read\n"),
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}

/// Fetches the text of the SDK's exporter, over loopback and as plainly as can be.
async fn sdk_text(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream
        .write_all(b"GET /metrics HTTP/1.0\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    body.ok_or_else(|| std::io::Error::other("no body"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_attempts_that_fail_for_two_intervals_make_a_worker_not_ready() {
        assert!(!fails_too_long(None), "it was never chosen");
        assert!(!fails_too_long(Some(Duration::from_hours(2))));
        assert!(fails_too_long(Some(
            Duration::from_hours(2) + Duration::from_secs(1)
        )));
    }
}
