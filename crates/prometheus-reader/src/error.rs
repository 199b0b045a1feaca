//! Failures of a read: what was tried, how it failed, and whether a retry can help.

use std::fmt;
use std::time::Duration;

/// A read that failed.
#[derive(Debug)]
pub struct Error {
    operation: &'static str,
    kind: Box<ErrorKind>,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed to {}", self.operation)?;
        http_edge::write_causes(f, &*self.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.kind)
    }
}

/// How a read failed. No text holds a credential, and what the server says is cut and cleaned of ours.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A question that no server need be asked.
    #[error("{0}")]
    Question(String),
    /// No connection, or one that ended before an answer began.
    #[error("no answer from {host}{}", connection_remedy(source))]
    Unreachable {
        /// The host asked.
        host: String,
        /// What the HTTP library says.
        #[source]
        source: reqwest::Error,
    },
    /// No complete answer in time, by our clock or by the server's.
    #[error("{host} did not answer in time: {message}")]
    Timeout {
        /// The host asked.
        host: String,
        /// Whose clock it was.
        message: String,
    },
    /// An answer that ends before its end.
    #[error("{host} sent an answer that was cut short: {why}")]
    CutShort {
        /// The host asked.
        host: String,
        /// How that was noticed.
        why: String,
    },
    /// The credentials are not taken.
    #[error(
        "{host} refused {} with {status}: {message}; the token or password is missing, wrong or expired, or may not read metrics{}",
        if *.status == 403 { "POST and GET of /api/v1/query" } else { "the credentials" },
        if *.has_tenant { "" } else { " (multi-tenant storage may also require a tenant)" }
    )]
    Unauthorised {
        /// The host asked.
        host: String,
        /// The HTTP status: 401 or 403.
        status: u16,
        /// The beginning of its explanation.
        message: String,
        /// Whether a tenant was named.
        has_tenant: bool,
    },
    /// Something answers, but not a Prometheus API.
    #[error(
        "{host} answered with {status}, but not as a Prometheus API does, beginning `{excerpt}`; {}",
        not_prometheus_remedy(*.status)
    )]
    NotPrometheus {
        /// The host asked.
        host: String,
        /// The HTTP status.
        status: u16,
        /// The beginning of the answer.
        excerpt: String,
    },
    /// The server does not take the query.
    #[error("{host} cannot answer the query ({error_type}): {message}")]
    BadQuery {
        /// The host asked.
        host: String,
        /// The API's word for the kind of error.
        error_type: String,
        /// Its explanation.
        message: String,
    },
    /// More than the server gives or we hold, even over the shortest span.
    #[error("{host} has more data than fits one answer: {message}; query fewer namespaces or families")]
    TooLarge {
        /// The host asked.
        host: String,
        /// Whose limit it is.
        message: String,
    },
    /// The server refuses for another reason.
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
    /// A successful answer of another shape than documented.
    #[error("{host} sent an answer that cannot be read: {why}")]
    Unreadable {
        /// The host asked.
        host: String,
        /// Where and what; contains nothing from the answer but the place.
        why: String,
    },
}

fn not_prometheus_remedy(status: u16) -> &'static str {
    match status {
        405 => "it allows neither POST nor GET of /api/v1/query: let the gateway in front of it allow GET",
        _ => "is the base URL right, with its path and without /api/v1?",
    }
}

fn remedy(status: u16) -> &'static str {
    match status {
        300..=399 => {
            "; it points to another address, which is not followed with credentials: use that address"
        }
        429 => "; it limits the request rate",
        _ => "",
    }
}

fn connection_remedy(source: &reqwest::Error) -> &'static str {
    let mut cause: Option<&dyn std::error::Error> = Some(source);
    while let Some(error) = cause {
        let text = error.to_string();
        if text.contains("certificate") || text.contains("UnknownIssuer") {
            return " with a trusted certificate; set the CA certificate if your own authority signed it";
        }
        cause = error.source();
    }
    ""
}

impl Error {
    pub(crate) fn new(operation: &'static str, kind: ErrorKind) -> Self {
        Self {
            operation,
            kind: Box::new(kind),
        }
    }

    /// Returns how it failed.
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// Returns whether the same read may succeed if it is repeated soon.
    pub fn is_retryable(&self) -> bool {
        match *self.kind {
            ErrorKind::Timeout { .. } => true,
            ref kind => kind.is_passing(),
        }
    }

    /// Returns whether the server does not take the credentials.
    pub fn is_unauthorised(&self) -> bool {
        matches!(*self.kind, ErrorKind::Unauthorised { .. })
    }

    /// Returns whether the server has had too many requests: all of them have to wait.
    pub fn is_rate_limited(&self) -> bool {
        matches!(*self.kind, ErrorKind::Refused { status: 429, .. })
    }

    /// Returns how long the server asks to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        self.kind.retry_after()
    }
}

impl ErrorKind {
    /// Whether another method may succeed: a gateway may allow GET only.
    pub(crate) fn may_be_the_method(&self) -> bool {
        matches!(
            self,
            Self::NotPrometheus { status: 405, .. } | Self::Unauthorised { status: 403, .. }
        )
    }

    /// Whether to retry the same request immediately. A request that takes too long would take as long again.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::CutShort { .. } => true,
            Self::Refused { status, .. } => matches!(status, 408 | 429 | 499 | 500..=599) && *status != 501,
            Self::Question(_)
            | Self::Timeout { .. }
            | Self::Unauthorised { .. }
            | Self::NotPrometheus { .. }
            | Self::BadQuery { .. }
            | Self::TooLarge { .. }
            | Self::Unreadable { .. } => false,
        }
    }

    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            Self::Question(_)
            | Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::CutShort { .. }
            | Self::Unauthorised { .. }
            | Self::NotPrometheus { .. }
            | Self::BadQuery { .. }
            | Self::TooLarge { .. }
            | Self::Unreadable { .. } => None,
        }
    }
}
