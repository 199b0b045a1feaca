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
use capacity_workflows::Pulse;
use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How the worker is.
#[derive(Debug, Clone)]
pub(crate) struct Health {
    sdk_metrics: SocketAddr,
    pub(crate) pulse: Pulse,
    ready: watch::Sender<bool>,
}

impl Health {
    pub(crate) fn new(sdk_metrics: SocketAddr, pulse: Pulse) -> Self {
        Self {
            sdk_metrics,
            pulse,
            ready: watch::Sender::new(false),
        }
    }

    pub(crate) fn set_ready(&self, ready: bool) {
        self.ready.send_replace(ready);
    }

    /// Waits until it was ready and is no more.
    pub(crate) async fn wait_until_not_ready(&self) {
        let mut ready = self.ready.subscribe();
        let _ = ready.wait_for(|ready| !ready).await;
    }

    fn age_seconds(&self) -> Option<i64> {
        self.pulse
            .last()
            .map(|last| Timestamp::now().duration_since(last).as_secs().max(0))
    }
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
    let age = health
        .age_seconds()
        .map_or_else(|| "null".to_owned(), |age| age.to_string());
    let is_ready = *health.ready.borrow();
    let body = format!("{{\"ready\":{is_ready},\"last_evaluation_age_seconds\":{age}}}\n");
    let status = if is_ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, [(header::CONTENT_TYPE, "application/json")], body)
}

async fn metrics(State(health): State<Health>) -> impl IntoResponse {
    let mut text = String::new();
    let evaluations = health.pulse.evaluations();
    let _ = writeln!(
        text,
        "# HELP temporal_capacity_evaluations_total Evaluations this worker observed well."
    );
    let _ = writeln!(text, "# TYPE temporal_capacity_evaluations_total counter");
    let _ = writeln!(text, "temporal_capacity_evaluations_total {evaluations}");
    if let Some(age) = health.age_seconds() {
        let _ = writeln!(
            text,
            "# HELP temporal_capacity_last_evaluation_age_seconds Age of the last of them."
        );
        let _ = writeln!(text, "# TYPE temporal_capacity_last_evaluation_age_seconds gauge");
        let _ = writeln!(text, "temporal_capacity_last_evaluation_age_seconds {age}");
    }
    match tokio::time::timeout(Duration::from_secs(2), sdk_text(health.sdk_metrics)).await {
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
