//! Failures of a scrape.

use std::time::Duration;

/// A scrape that failed.
#[derive(Debug, thiserror::Error)]
#[error("failed to {operation}")]
pub struct Error {
    operation: &'static str,
    #[source]
    kind: ErrorKind,
    requests: u32,
}

/// How a scrape failed.
#[derive(Debug, thiserror::Error)]
pub enum ErrorKind {
    /// No whole answer arrived.
    #[error("no whole answer from {host}")]
    Transport {
        /// The host asked.
        host: String,
        /// What the HTTP library says.
        #[source]
        source: reqwest::Error,
    },
    /// The endpoint refused.
    #[error("{host} refused with {status}: {message}{}", remedy(*.status))]
    Refused {
        /// The host asked.
        host: String,
        /// The HTTP status.
        status: u16,
        /// The beginning of its explanation.
        message: String,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
    /// An answer that is no metrics document, whatever its status.
    #[error(
        "{host} answered with something else than metrics, beginning `{excerpt}`: are the base URL and the metrics key right?"
    )]
    NotMetrics {
        /// The host asked.
        host: String,
        /// The beginning of the answer.
        excerpt: String,
    },
    /// A document that holds something unreadable.
    #[error("{host} sent a document that cannot be read")]
    Unreadable {
        /// The host asked.
        host: String,
        /// Where and what.
        #[source]
        source: crate::Error,
    },
    /// A document that ends before its end.
    #[error("{host} sent a document that was cut: {why}")]
    Cut {
        /// The host asked.
        host: String,
        /// How that was noticed.
        why: &'static str,
    },
    /// Not everything that was asked for was there.
    #[error("{0}")]
    Incomplete(String),
    /// The budget of requests is spent.
    #[error(
        "the budget of {requests_per_hour} requests an hour is spent (METRICS_REQUESTS_PER_HOUR); free again in {} min",
        free_in.as_secs().div_ceil(60)
    )]
    OverBudget {
        /// The budget.
        requests_per_hour: u32,
        /// When a request is free again.
        free_in: Duration,
    },
    /// An answer of another shape than documented.
    #[error("{host} gave a list of metrics that cannot be read")]
    Descriptors {
        /// The host asked.
        host: String,
    },
}

fn remedy(status: u16) -> &'static str {
    match status {
        401 | 403 => {
            "; the metrics key is wrong, expired or disabled, or lacks the account role Metrics Read-Only"
        }
        404 => "; is the base URL that of the metrics endpoint?",
        429 => "; the account has 180 requests an hour, shared by everyone who scrapes it",
        _ => "",
    }
}

impl Error {
    pub(super) fn new(operation: &'static str, kind: ErrorKind) -> Self {
        Self {
            operation,
            kind,
            requests: 0,
        }
    }

    /// Adds requests that were made before it.
    pub(super) fn after(mut self, requests: u32) -> Self {
        self.requests += requests;
        self
    }

    /// Returns how many requests were made in vain, repetitions included.
    pub fn requests(&self) -> u32 {
        self.requests
    }

    /// Returns how it failed.
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// Returns whether the same scrape may succeed if it is repeated soon.
    pub fn is_retryable(&self) -> bool {
        self.kind.is_passing()
    }

    /// Returns how long the endpoint asks to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        self.kind.retry_after()
    }
}

impl ErrorKind {
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Transport { .. } | Self::Cut { .. } => true,
            Self::Refused { status, .. } => matches!(status, 408 | 429 | 499 | 500..=599) && *status != 501,
            Self::NotMetrics { .. }
            | Self::Unreadable { .. }
            | Self::Incomplete(_)
            | Self::OverBudget { .. }
            | Self::Descriptors { .. } => false,
        }
    }

    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            Self::OverBudget { free_in, .. } => Some(*free_in),
            Self::Transport { .. }
            | Self::Cut { .. }
            | Self::NotMetrics { .. }
            | Self::Unreadable { .. }
            | Self::Incomplete(_)
            | Self::Descriptors { .. } => None,
        }
    }
}

/// The beginning of an answer, in one printable line.
pub(super) fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(400)]);
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.is_empty() {
        return "(nothing)".to_owned();
    }
    if line.starts_with('<') {
        return "(an HTML page)".to_owned();
    }
    line.chars().filter(|c| !c.is_control()).take(100).collect()
}
