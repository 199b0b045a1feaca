//! Why a worker process ended or did not start.

use std::net::SocketAddr;

use crate::connect_error::ConnectError;
use crate::mistake::Mistakes;

/// Why a worker process ended or did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KitError {
    /// Configuration and registrations do not match.
    #[error(transparent)]
    Mistakes(#[from] Mistakes),
    /// The connection failed.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The metrics address is not available.
    #[error("cannot listen on {address}, which another process may be using; choose another address")]
    Listen {
        /// Address to listen on.
        address: SocketAddr,
        /// Why the address is not available.
        #[source]
        source: std::io::Error,
    },
    /// Signals cannot be received.
    #[error("cannot listen for signals")]
    Signals(#[source] std::io::Error),
    /// The SDK's runtime or metrics cannot be set up.
    #[error("cannot set up the SDK: {0}")]
    Sdk(String),
    /// A worker could not start, or stopped unexpectedly.
    #[error("the worker of task queue `{task_queue}` ended: {text}")]
    Worker {
        /// Task queue of the worker.
        task_queue: String,
        /// Why the worker ended.
        text: String,
    },
    /// The service rejected this process's polls until the SDK gave up.
    #[error("{0}, then start the worker again")]
    Refused(String),
    /// Workers did not stop in time.
    #[error("{} did not stop within the grace period; running activities are retried elsewhere", human_text::counted(*.0, "worker"))]
    NotDrained(usize),
}
