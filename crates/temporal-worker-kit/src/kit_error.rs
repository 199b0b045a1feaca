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
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The metrics address is not available.
    #[error("cannot listen on {address}; another process may use it, choose another address")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Signals cannot be received.
    #[error("cannot listen for signals")]
    Signals(#[source] std::io::Error),
    /// The SDK's runtime or metrics cannot be set up.
    #[error("cannot set up the SDK: {0}")]
    Sdk(String),
    /// A worker cannot start, or ended by itself.
    #[error("the worker of task queue `{task_queue}` ended: {text}")]
    Worker {
        /// Its task queue.
        task_queue: String,
        /// The cause.
        text: String,
    },
    /// The service refused the polls of this process until the SDK gave up.
    #[error("{0}, then start the worker again")]
    Refused(String),
    /// Workers did not end in time.
    #[error("{0} workers did not stop within the grace period; their activities are retried elsewhere")]
    NotDrained(usize),
}
