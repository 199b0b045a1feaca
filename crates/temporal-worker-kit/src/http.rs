//! Serves `/metrics`, `/healthz` and `/readyz`, next to the routes of the application.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use serde_json::{Map, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::backlog::Backlog;
use crate::health::{Health, NotReady};
use crate::metrics::{self, QueueMetrics};

/// Metrics of the application, in the Prometheus text format.
pub(crate) type ExtraMetrics = Arc<dyn Fn() -> String + Send + Sync>;

/// Additional keys of `/readyz`.
pub(crate) type ExtraReadiness = Arc<dyn Fn() -> Map<String, Value> + Send + Sync>;

/// A readiness condition of the application; the error is why it is not met.
pub(crate) type ExtraCondition = Arc<dyn Fn() -> Result<(), NotReady> + Send + Sync>;

/// Data for the routes.
#[derive(Clone)]
pub(crate) struct Shown {
    pub(crate) sdk_metrics: SocketAddr,
    pub(crate) health: Health,
    pub(crate) queues: Vec<Arc<QueueMetrics>>,
    pub(crate) backlog: Backlog,
    pub(crate) metrics: Vec<ExtraMetrics>,
    pub(crate) readiness: Vec<ExtraReadiness>,
    pub(crate) conditions: Vec<ExtraCondition>,
}

/// Maximum time for requests in progress when the process ends.
const LAST_REQUESTS: Duration = Duration::from_secs(5);

/// The HTTP server of the process. It stops when this is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<std::io::Result<()>>,
}

impl Server {
    /// Stops accepting requests, and finishes those in progress.
    pub(crate) async fn finish(self) {
        // A stopped server accepts no requests.
        let _ = self.stop.send(());
        if tokio::time::timeout(LAST_REQUESTS, self.task).await.is_err() {
            tracing::warn!("requests did not end within {} s", LAST_REQUESTS.as_secs());
        }
    }
}

/// Serves the routes of the process and of the application.
pub(crate) async fn serve(address: SocketAddr, shown: Shown, routes: Router) -> std::io::Result<Server> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let all = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(shown)
        .merge(routes);
    let (stop, stopped) = oneshot::channel();
    let stopped = async {
        // A dropped sender counts as a request.
        let _ = stopped.await;
    };
    let server = axum::serve(listener, all).with_graceful_shutdown(stopped);
    let task = tokio::spawn(async move { server.await });
    Ok(Server { address, stop, task })
}

async fn ready(State(shown): State<Shown>) -> impl IntoResponse {
    let (phase, mut answer) = shown.health.check().await;
    for condition in &shown.conditions {
        // A condition that panics counts as met, because the worker itself still works.
        answer = answer.and_then(|()| contained(|| Some(condition())).unwrap_or(Ok(())));
    }
    let mut body = Map::new();
    body.insert("ready".to_owned(), answer.is_ok().into());
    body.insert("phase".to_owned(), phase.name().into());
    body.insert(
        "polls_refused".to_owned(),
        shown.health.refused().is_some().into(),
    );
    if let Err(problem) = &answer {
        body.insert("problem".to_owned(), problem.to_string().into());
    }
    for extra in &shown.readiness {
        body.extend(contained(|| extra()));
    }
    let status = if answer.is_ok() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let text = format!("{}\n", Value::Object(body));
    (status, [(header::CONTENT_TYPE, "application/json")], text)
}

async fn metrics(State(shown): State<Shown>) -> impl IntoResponse {
    let mut text = String::new();
    metrics::write(&mut text, &shown.queues);
    shown.backlog.write(&mut text);
    for extra in &shown.metrics {
        text.push_str(&contained(|| extra()));
        if !text.ends_with('\n') {
            text.push('\n');
        }
    }
    // A scrape with some metrics is better than none, so a failure is a comment in the text.
    match tokio::time::timeout(Duration::from_secs(2), sdk_text(shown.sdk_metrics)).await {
        Ok(Ok(sdk)) => text.push_str(&sdk),
        Ok(Err(_)) | Err(_) => text.push_str("# cannot read the SDK's metrics\n"),
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}

/// Runs the application's callback. A panic in it must not hide all other metrics.
fn contained<T: Default>(call: impl FnOnce() -> T) -> T {
    std::panic::catch_unwind(AssertUnwindSafe(call)).unwrap_or_default()
}

/// Reads the SDK's exporter, which listens on its own loopback port.
pub(crate) async fn sdk_text(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream
        // HTTP/1.0, so that the body is neither chunked nor followed by another response.
        .write_all(b"GET /metrics HTTP/1.0\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    body.ok_or_else(|| std::io::Error::other("no body"))
}
