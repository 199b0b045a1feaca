//! The client of a running process, for activities and for background work.

use std::sync::{Arc, Mutex, PoisonError};

use temporalio_client::Client;
use tokio::sync::watch;

/// The client of a process once it is connected. It is replaced when certificates are reloaded. Clones share
/// it.
///
/// [`Registry::client`](crate::Registry::client) returns one before the connection exists, for activities
/// that need a client.
#[derive(Debug, Clone)]
pub struct SharedClient(Arc<watch::Sender<Option<Client>>>);

impl Default for SharedClient {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
}

impl From<Client> for SharedClient {
    fn from(client: Client) -> Self {
        Self(Arc::new(watch::Sender::new(Some(client))))
    }
}

impl SharedClient {
    /// Returns the current client. Call it for each use.
    ///
    /// # Panics
    ///
    /// If the process is not connected yet, which is impossible inside an activity.
    pub fn get(&self) -> Client {
        self.0
            .borrow()
            .clone()
            .expect("activities run after the process has connected")
    }

    /// Waits until the process is connected.
    pub async fn connected(&self) -> Client {
        let mut changes = self.0.subscribe();
        loop {
            let client = changes.borrow_and_update().clone();
            if let Some(client) = client {
                return client;
            }
            // The sender lives in `self`, so the channel cannot close.
            let _ = changes.changed().await;
        }
    }

    pub(crate) fn set(&self, client: Client) {
        self.0.send_replace(Some(client));
    }
}

/// The clients currently in use, whose key can be replaced.
#[derive(Clone, Default)]
pub(crate) struct InUse(Arc<Mutex<Vec<Client>>>);

impl InUse {
    pub(crate) fn get(&self) -> Vec<Client> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set(&self, clients: Vec<Client>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = clients;
    }
}
