//! Checks whether the process can do its work: polling, server reachable, namespace described.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use temporalio_client::grpc::WorkflowService;
use temporalio_client::tonic::IntoRequest;
use temporalio_client::{Client, NamespacedClient};
use temporalio_common::protos::temporal::api::workflowservice::v1::DescribeNamespaceRequest;
use tokio::sync::Mutex;

use crate::client::SharedClient;

/// Why a process is not ready, as `/readyz` shows it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotReady(String);

impl NotReady {
    /// Creates a reason.
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

/// Maximum time for the server to respond.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Time for which a response is reused, so that probes do not load the server.
const REUSE: Duration = Duration::from_secs(1);

/// The lifecycle phase of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Connecting,
    Polling,
    /// No workers: the process only serves routes.
    Serving,
    Draining,
    Stopped,
}

impl Phase {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Polling => "polling",
            Self::Serving => "serving",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
        }
    }
}

/// The health of the process.
#[derive(Clone)]
pub(crate) struct Health(Arc<State>);

struct State {
    phase: RwLock<(Phase, Option<SharedClient>)>,
    /// Why the service rejects polls; `None` while it accepts them.
    refused: RwLock<Option<String>>,
    // An asynchronous lock, because it is held while the server is asked.
    last: Mutex<Option<(Instant, Result<(), NotReady>)>>,
}

impl Health {
    pub(crate) fn new() -> Self {
        Self(Arc::new(State {
            phase: RwLock::new((Phase::Connecting, None)),
            refused: RwLock::new(None),
            last: Mutex::new(None),
        }))
    }

    pub(crate) fn work(&self, phase: Phase, client: SharedClient) {
        *self.0.phase.write().unwrap_or_else(PoisonError::into_inner) = (phase, Some(client));
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.0.phase.write().unwrap_or_else(PoisonError::into_inner).0 = phase;
    }

    /// Sets why the service rejects this process's polls; `None` while it accepts them.
    pub(crate) fn set_refused(&self, reason: Option<String>) {
        *self.0.refused.write().unwrap_or_else(PoisonError::into_inner) = reason;
    }

    /// Returns why the service rejects polls, if it does.
    pub(crate) fn refused(&self) -> Option<String> {
        self.0
            .refused
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Returns the phase, and why the process is not ready.
    pub(crate) async fn check(&self) -> (Phase, Result<(), NotReady>) {
        let (phase, client) = self
            .0
            .phase
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let (Phase::Polling | Phase::Serving, Some(client)) = (phase, client) else {
            return (
                phase,
                Err(NotReady::new(format!("the worker is {}", phase.name()))),
            );
        };
        // Before the server is asked: a key may describe the namespace and still not poll.
        if let Some(reason) = self.refused() {
            return (phase, Err(NotReady::new(reason)));
        }
        // One probe at a time; the others wait for its response.
        let mut last = self.0.last.lock().await;
        if let Some((at, answer)) = &*last
            && at.elapsed() < REUSE
        {
            return (phase, answer.clone());
        }
        let answer = describe_namespace(&client.get()).await;
        *last = Some((Instant::now(), answer.clone()));
        (phase, answer)
    }
}

async fn describe_namespace(client: &Client) -> Result<(), NotReady> {
    let namespace = client.namespace();
    let request = DescribeNamespaceRequest {
        namespace: namespace.clone(),
        ..Default::default()
    };
    let mut service = client.clone();
    let call = WorkflowService::describe_namespace(&mut service, request.into_request());
    match tokio::time::timeout(TIMEOUT, call).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(status)) => Err(NotReady::new(format!(
            "cannot describe namespace `{namespace}`: {}",
            status.message()
        ))),
        Err(_) => Err(NotReady::new(format!(
            "Temporal did not respond within {} s",
            TIMEOUT.as_secs()
        ))),
    }
}
