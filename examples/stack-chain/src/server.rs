//! The HTTP server, which receives webhooks and serves metrics.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures::StreamExt as _;
use jiff::Timestamp;
use serde_json::json;
use temporal_worker_kit::{Lenient, SharedClient};
use temporalio_client::errors::WorkflowStartError;
use temporalio_client::{Client, WorkflowIdReusePolicy, WorkflowListOptions, WorkflowStartOptions};

use crate::metrics::Metrics;
use crate::progress::Outcome;
use crate::provider::RunRef;
use crate::webhook::{MOST_BYTES, Received, Receiver, SIGNATURE_HEADER};
use crate::workflows::{ChainSettings, OPEN_CHAINS, RunEvent, RunFinished, TASK_QUEUE, run_workflow_id};

/// Timeout for storing an event. Spacelift's own timeout is not documented; an event that is not stored by
/// then is rejected and delivered again.
const STORE: Duration = Duration::from_secs(5);

/// Interval between counts of the open chains.
const COUNT_EVERY: Duration = Duration::from_secs(15);

/// State of the webhook receiver.
#[derive(Clone)]
pub struct Server {
    /// Connection to Temporal.
    pub client: SharedClient,
    /// Verifies the signatures and ages of webhooks.
    pub receiver: Arc<Receiver>,
    /// Settings of chains started by webhooks.
    pub settings: ChainSettings,
    /// Counters of this process.
    pub metrics: Arc<Metrics>,
}

/// Returns the routes for webhooks.
pub fn routes(server: Server) -> Router {
    Router::new()
        .route("/webhooks/spacelift", post(webhook))
        .layer(DefaultBodyLimit::max(MOST_BYTES))
        .with_state(server)
}

/// Only verifies and stores the event. A workflow decides what to do, because that takes durable steps.
async fn webhook(State(server): State<Server>, headers: HeaderMap, body: Bytes) -> Response {
    let count = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
    let signature = headers.get(SIGNATURE_HEADER).and_then(|it| it.to_str().ok());
    match server.receiver.receive(signature, &body, Timestamp::now()) {
        Err(refusal) => {
            count(&server.metrics.refused);
            tracing::warn!(%refusal, "webhook refused");
            let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
            (status, axum::Json(json!({ "error": refusal.to_string() }))).into_response()
        }
        Ok(Received::Ignored(why)) => {
            // With a success status: Spacelift disables a webhook after 10 failures in a row.
            count(&server.metrics.ignored);
            axum::Json(json!({ "ignored": why })).into_response()
        }
        Ok(Received::RunEnded { run, outcome }) => match store(&server, &run, outcome).await {
            Ok(is_new) => {
                count(if is_new {
                    &server.metrics.accepted
                } else {
                    &server.metrics.duplicate
                });
                let answer = json!({ "workflow_id": run_workflow_id(&run.run), "duplicate": !is_new });
                (StatusCode::ACCEPTED, axum::Json(answer)).into_response()
            }
            Err(error) => {
                count(&server.metrics.failed);
                let problem = error.to_string();
                tracing::error!(problem, run = run.run, stack = run.stack, "webhook not stored");
                (
                    // Spacelift repeats a delivery only after a status of 500 or higher.
                    StatusCode::SERVICE_UNAVAILABLE,
                    axum::Json(json!({ "error": problem })),
                )
                    .into_response()
            }
        },
    }
}

/// Why an event was not stored.
#[derive(Debug, thiserror::Error)]
enum StoreError {
    #[error("Temporal did not accept the event within {} s", STORE.as_secs())]
    TooSlow,
    #[error("Temporal did not accept the event: {0}")]
    NotAccepted(#[source] WorkflowStartError),
}

/// Starts the workflow for the end of a run. Returns whether it did not exist yet.
async fn store(server: &Server, run: &RunRef, outcome: Outcome) -> Result<bool, StoreError> {
    let event = RunEvent {
        run: run.clone(),
        outcome,
        claimed_by: None,
        settings: server.settings.clone(),
    };
    let options = WorkflowStartOptions::new(TASK_QUEUE, run_workflow_id(&run.run))
        // A second delivery may arrive after the workflow for the first one has ended.
        .id_reuse_policy(WorkflowIdReusePolicy::RejectDuplicate)
        .static_summary(format!("end of a run of {}", run.stack))
        .build();
    let started = async {
        // Events are not stored before the first connection either.
        let client = server.client.connected().await;
        client
            .start_workflow(RunFinished::run, Lenient::from(event), options)
            .await
    };
    match tokio::time::timeout(STORE, started).await {
        Err(_) => Err(StoreError::TooSlow),
        Ok(Ok(_)) => Ok(true),
        Ok(Err(WorkflowStartError::AlreadyStarted { .. })) => Ok(false),
        Ok(Err(error)) => Err(StoreError::NotAccepted(error)),
    }
}

/// Counts the open chains periodically. Never returns.
pub async fn count_open_chains(client: SharedClient, metrics: Arc<Metrics>) -> Infallible {
    loop {
        let open = open_chains(&client.connected().await).await;
        *metrics.open.lock().unwrap_or_else(PoisonError::into_inner) = open;
        tokio::time::sleep(COUNT_EVERY).await;
    }
}

/// Returns the number of open chains and the age of the oldest in seconds; `None` if Temporal does not
/// respond.
async fn open_chains(client: &Client) -> Option<(u64, u64)> {
    let listed = async {
        let mut open = client.list_workflows(OPEN_CHAINS, WorkflowListOptions::default());
        let (mut count, mut oldest) = (0, Duration::ZERO);
        while let Some(chain) = open.next().await {
            let started = chain.ok()?.start_time();
            count += 1;
            let age = started.and_then(|started| SystemTime::now().duration_since(started).ok());
            oldest = oldest.max(age.unwrap_or_default());
        }
        Some((count, oldest.as_secs()))
    };
    tokio::time::timeout(Duration::from_secs(5), listed)
        .await
        .ok()
        .flatten()
}
