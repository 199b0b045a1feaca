//! Errors of a read: what was attempted, how it failed, and whether a retry can help.

use std::time::Duration;

/// A read that failed.
#[derive(Debug)]
pub struct Error {
    operation: &'static str,
    kind: Box<ErrorKind>,
}

http_edge::client_error!(Error of ErrorKind, "failed to {}", operation);

/// The kind of failure. Texts never contain credentials; the server's messages are truncated, and our secrets
/// are removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An invalid query, which was not sent.
    #[error("{0}")]
    Question(String),
    /// No connection, or a connection that ended before a response began.
    #[error("no response from {host}{}", connection_remedy(source))]
    Unreachable {
        /// Host that the request was sent to.
        host: String,
        /// The HTTP library's error.
        #[source]
        source: reqwest::Error,
    },
    /// No complete response in time, according to our timeout or the server's.
    #[error("{host} did not respond in time: {message}")]
    Timeout {
        /// Host that the request was sent to.
        host: String,
        /// Which timeout expired.
        message: String,
    },
    /// A truncated response.
    #[error("{host} sent a truncated response: {why}")]
    CutShort {
        /// Host that the request was sent to.
        host: String,
        /// How the truncation was detected.
        why: String,
    },
    /// The credentials were rejected.
    #[error(
        "{host} refused {} with {status}: {message}; the token or password is missing, wrong or expired, or lacks permission to read metrics{}",
        if *.status == 403 { "POST and GET of /api/v1/query" } else { "the credentials" },
        if *.has_tenant { "" } else { " (multi-tenant storage may also require a tenant)" }
    )]
    Unauthorized {
        /// Host that the request was sent to.
        host: String,
        /// The HTTP status: 401 or 403.
        status: u16,
        /// The beginning of the server's message.
        message: String,
        /// Whether a tenant was set.
        has_tenant: bool,
    },
    /// A response that is not from a Prometheus API.
    #[error(
        "{host} responded with {status}, but not like a Prometheus API; the response begins with `{excerpt}`; {}",
        not_prometheus_remedy(*.status)
    )]
    NotPrometheus {
        /// Host that the request was sent to.
        host: String,
        /// The HTTP status.
        status: u16,
        /// The beginning of the response.
        excerpt: String,
    },
    /// The server rejected the query.
    #[error("{host} cannot answer the query ({error_type}): {message}")]
    BadQuery {
        /// Host that the request was sent to.
        host: String,
        /// The API's name for the kind of error.
        error_type: String,
        /// The server's message.
        message: String,
    },
    /// More data than the server or the client allows, even over the shortest span.
    #[error(
        "{host} has more data than fits into one response: {message}; query fewer namespaces or \
             families"
    )]
    TooLarge {
        /// Host that the request was sent to.
        host: String,
        /// Which limit was exceeded.
        message: String,
    },
    /// The server refused the request for another reason.
    #[error("{host} refused with {status}: {message}{}", remedy(*.status))]
    Refused {
        /// Host that the request was sent to.
        host: String,
        /// The HTTP status.
        status: u16,
        /// The beginning of the server's message.
        message: String,
        /// Wait time that the service requested.
        retry_after: Option<Duration>,
    },
    /// A successful response with an unexpected structure.
    #[error("{host} sent a response that cannot be read: {why}")]
    Unreadable {
        /// Host that the request was sent to.
        host: String,
        /// Position and kind of the problem. Contains nothing else from the response.
        why: String,
    },
}

fn not_prometheus_remedy(status: u16) -> &'static str {
    match status {
        405 => "it allows neither POST nor GET of /api/v1/query: let the gateway in front of it allow GET",
        _ => "check the base URL: it must include the server's path prefix, if there is one, but not /api/v1",
    }
}

fn remedy(status: u16) -> &'static str {
    match status {
        300..=399 => {
            "; it redirects to another address, and credentials are not sent there: set the base URL to that address"
        }
        429 => "; it limits the request rate",
        _ => "",
    }
}

fn connection_remedy(source: &reqwest::Error) -> &'static str {
    let mut cause: Option<&dyn std::error::Error> = Some(source);
    while let Some(error) = cause {
        let text = error.to_string();
        // The HTTP library does not expose the TLS error, so its text is matched.
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

    /// Returns the kind of failure.
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// Returns whether the same read may succeed if it is repeated soon.
    pub fn is_retryable(&self) -> bool {
        match *self.kind {
            // Not repeated at once (see `is_passing`), but worth another attempt when the server is less
            // busy.
            ErrorKind::Timeout { .. } => true,
            ref kind => kind.is_passing(),
        }
    }

    /// Returns whether the server rejected the credentials.
    pub fn is_unauthorized(&self) -> bool {
        matches!(*self.kind, ErrorKind::Unauthorized { .. })
    }

    /// Returns whether the server has received too many requests, so that all of them have to wait.
    pub fn is_rate_limited(&self) -> bool {
        matches!(*self.kind, ErrorKind::Refused { status: 429, .. })
    }

    /// Returns how long the server asks to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        self.kind.retry_after()
    }
}

impl ErrorKind {
    /// Returns whether another method may succeed, because a gateway may allow GET only.
    pub(crate) fn may_be_the_method(&self) -> bool {
        matches!(
            self,
            // Some gateways reject a method with 403 instead of 405.
            Self::NotPrometheus { status: 405, .. } | Self::Unauthorized { status: 403, .. }
        )
    }

    /// Returns whether to retry the same request immediately. A request that timed out would take as long again.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::CutShort { .. } => true,
            Self::Refused { status, .. } => matches!(status, 408 | 429 | 499 | 500..=599) && *status != 501,
            Self::Question(_)
            | Self::Timeout { .. }
            | Self::Unauthorized { .. }
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
            | Self::Unauthorized { .. }
            | Self::NotPrometheus { .. }
            | Self::BadQuery { .. }
            | Self::TooLarge { .. }
            | Self::Unreadable { .. } => None,
        }
    }
}
