//! Events that stop a command early: a signal or `--command-timeout`.

use std::time::Duration;

use anyhow::Context;
use process_edge::{Signal, Signals};
use tokio::time::Instant;

use crate::exit::Exit;

/// Waits for an event that stops a command early.
#[derive(Debug)]
pub(crate) struct Stops {
    signals: Signals,
    limit: Option<(Instant, Duration)>,
}

/// The event that stopped a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// A signal from the user or from the service manager.
    By(Signal),
    /// The time limit of `--command-timeout`.
    AfterLimit(Duration),
}

impl Stops {
    /// Starts to listen for signals and starts the timeout.
    pub(crate) fn listen(limit: Option<Duration>) -> anyhow::Result<Self> {
        Ok(Self {
            signals: Signals::listen().context("cannot listen for signals")?,
            limit: limit.map(|limit| (Instant::now() + limit, limit)),
        })
    }

    /// Waits until something stops the command.
    pub(crate) async fn first(&self) -> Stopped {
        let limit = async {
            match self.limit {
                Some((at, limit)) => {
                    tokio::time::sleep_until(at).await;
                    limit
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            signal = self.signals.first() => Stopped::By(signal),
            limit = limit => Stopped::AfterLimit(limit),
        }
    }

    /// Lets the next signal end the process immediately, because only output remains to be written.
    pub(crate) fn work_is_done(&self) {
        self.signals.work_is_done();
    }
}

impl Stopped {
    /// Describes what stopped the command.
    pub(crate) fn why(self) -> String {
        match self {
            Self::By(signal) => format!("stopped by {}", signal.as_str()),
            Self::AfterLimit(limit) => {
                format!(
                    "did not finish within {} s (--command-timeout)",
                    limit.as_secs_f64()
                )
            }
        }
    }

    /// Returns the exit code of a command that was stopped early.
    pub(crate) fn exit(self) -> Exit {
        match self {
            Self::By(signal) => Exit::Stopped(signal),
            Self::AfterLimit(_) => Exit::Failed,
        }
    }
}
