//! Whether a worker is shutting down.

use std::sync::Arc;

use tokio::sync::watch;

/// Whether a worker is shutting down. Clones share the state.
#[derive(Debug, Clone)]
pub(crate) struct Shutdown(Arc<watch::Sender<bool>>);

impl Default for Shutdown {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }
}

impl Shutdown {
    /// Stops work that would otherwise run forever, so that another worker takes over immediately.
    pub(crate) fn begin(&self) {
        // `send` would fail, and change nothing, while no one waits.
        self.0.send_replace(true);
    }

    /// Waits until the worker shuts down.
    pub(crate) async fn begun(&self) {
        // The sender lives in `self`, so the channel cannot close.
        let _ = self.0.subscribe().wait_for(|begun| *begun).await;
    }
}
