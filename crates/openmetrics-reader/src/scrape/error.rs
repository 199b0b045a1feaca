//! Errors of a scrape.

use std::time::Duration;

use jiff::Timestamp;
use url::Url;

/// A scrape that failed.
#[derive(Debug)]
pub struct Error {
    operation: &'static str,
    kind: ErrorKind,
    requests: u32,
}

http_edge::client_error!(Error of ErrorKind, "failed to {}", operation);

/// The kind of failure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No complete response arrived.
    #[error("no complete response from {host}")]
    Transport {
        /// Host that the request was sent to.
        host: String,
        /// The HTTP library's error.
        #[source]
        source: reqwest::Error,
    },
    /// The endpoint refused the request.
    #[error("{host} refused with {status}: {message}{}", remedy(*.status, .message, *.retry_at, *.retry_after))]
    Refused {
        /// Host that the request was sent to.
        host: String,
        /// The HTTP status.
        status: u16,
        /// The beginning of the endpoint's message.
        message: String,
        /// Wait time that the service requested.
        retry_after: Option<Duration>,
        /// End of the wait, by the endpoint's own clock.
        retry_at: Option<Timestamp>,
    },
    /// A response that is not a metrics document, with any status.
    #[error(
        "{url} returned something other than metrics (content type {content_type}), beginning `{excerpt}`{}; {}",
        if .excerpt.starts_with('<') { " (an HTML page)" } else { "" },
        not_metrics_remedy(.excerpt)
    )]
    NotMetrics {
        /// The URL that responded.
        url: String,
        /// Content type of the response, or `none`.
        content_type: String,
        /// The beginning of the response.
        excerpt: String,
    },
    /// A document that cannot be parsed.
    #[error("{host} sent a document that cannot be read")]
    Unreadable {
        /// Host that the request was sent to.
        host: String,
        /// Position and kind of the error.
        #[source]
        source: crate::Error,
    },
    /// A truncated document.
    #[error("{host} sent a truncated document: {why}")]
    Cut {
        /// Host that the request was sent to.
        host: String,
        /// How the truncation was detected.
        why: &'static str,
    },
    /// Part of the requested data is missing.
    #[error("{0}")]
    Incomplete(String),
    /// The request budget is used up.
    #[error(
        "the budget of {requests_per_hour} requests an hour is used up (METRICS_REQUESTS_PER_HOUR); \
         available again in {} min",
        free_in.as_secs().div_ceil(60)
    )]
    OverBudget {
        /// The budget, in requests per hour.
        requests_per_hour: u32,
        /// Time until a request is available again.
        free_in: Duration,
    },
}

/// Returns the remedy for a refusal, based on its status and the endpoint's own message.
fn remedy(status: u16, message: &str, retry_at: Option<Timestamp>, retry_after: Option<Duration>) -> String {
    if let Some(remedy) = key_remedy(message) {
        return format!("; {remedy}");
    }
    let remedy = match status {
        401 | 403 => {
            "; the metrics key is wrong, expired or disabled, or lacks the account role Metrics Read-Only: check TEMPORAL_CLOUD_METRICS_API_KEY"
        }
        404 => "; check that CLOUD_METRICS_API_BASE_URL is the address of the metrics endpoint",
        429 => "; the limit is 180 requests an hour for the whole account, shared by everyone who scrapes it",
        _ => "",
    };
    let next = match (retry_at, retry_after) {
        (Some(at), _) => format!(
            "; the next attempt will be made at {}",
            at.strftime("%Y-%m-%d %H:%M:%S UTC")
        ),
        (None, Some(after)) => format!("; the next attempt will be made in {} s", after.as_secs()),
        (None, None) => String::new(),
    };
    format!("{remedy}{next}")
}

fn key_remedy(message: &str) -> Option<String> {
    http_edge::key_remedy(
        message,
        "TEMPORAL_CLOUD_METRICS_API_KEY",
        "CLOUD_METRICS_API_BASE_URL",
    )
}

fn not_metrics_remedy(excerpt: &str) -> String {
    if excerpt.starts_with(GZIP) {
        return "a proxy in between compresses responses without declaring it: turn that off".to_owned();
    }
    key_remedy(excerpt).unwrap_or_else(|| {
        "check CLOUD_METRICS_API_BASE_URL and TEMPORAL_CLOUD_METRICS_API_KEY, and any proxy in between"
            .to_owned()
    })
}

impl Error {
    pub(super) fn new(operation: &'static str, kind: ErrorKind) -> Self {
        Self {
            operation,
            kind,
            requests: 0,
        }
    }

    /// Adds requests that were made before the failed one.
    pub(super) fn after(mut self, requests: u32) -> Self {
        self.requests += requests;
        self
    }

    /// Returns how many requests failed, including retries.
    pub fn requests(&self) -> u32 {
        self.requests
    }

    /// Returns the kind of failure.
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// Returns whether the same scrape may succeed if it is repeated soon.
    pub fn is_retryable(&self) -> bool {
        self.kind.is_passing()
    }

    /// Returns whether the account has made too many requests, so that all of them have to wait.
    pub fn is_rate_limited(&self) -> bool {
        matches!(self.kind, ErrorKind::Refused { status: 429, .. })
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
            // 408 and 499 are canceled requests in the two versions of the gateway. 501 means a wrong path.
            Self::Refused { status, .. } => matches!(status, 408 | 429 | 499 | 500..=599) && *status != 501,
            Self::NotMetrics { .. }
            | Self::Unreadable { .. }
            | Self::Incomplete(_)
            | Self::OverBudget { .. } => false,
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
            | Self::Incomplete(_) => None,
        }
    }
}

const GZIP: &str = "(gzip-compressed data";

/// Maximum number of characters of another service's response in an error.
pub(super) const EXCERPT: usize = 60;

/// Maximum length of the message of a refusal.
pub(super) const MESSAGE: usize = 300;

/// Returns the beginning of a response in one printable line of limited length.
pub(super) fn beginning(body: &[u8], longest: usize) -> String {
    if body.starts_with(&[0x1f, 0x8b]) {
        return format!("{GZIP} without a `Content-Encoding` header)");
    }
    let text = String::from_utf8_lossy(&body[..body.len().min(4 * longest)]);
    let text: String = text
        .chars()
        .map(|character| if character.is_control() { ' ' } else { character })
        .collect();
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.is_empty() {
        return "(nothing)".to_owned();
    }
    line.chars().take(longest).collect()
}

/// Explains a redirect. Shows its target without parts that may contain a secret.
pub(super) fn redirect(asked: &Url, location: Option<&str>) -> String {
    let target = location
        .and_then(|location| asked.join(location).ok())
        .map_or_else(
            || "another address".to_owned(),
            |mut target| {
                target.set_query(None);
                target.set_fragment(None);
                // This fails only for URLs that cannot have a user.
                let _ = target.set_username("");
                let _ = target.set_password(None);
                format!("`{}`", target.as_str().chars().take(200).collect::<String>())
            },
        );
    format!(
        "it redirects to {target}, which is not followed with a key: if that is the metrics endpoint, set CLOUD_METRICS_API_BASE_URL to it"
    )
}
