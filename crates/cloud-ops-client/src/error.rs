//! Errors of a call: what was attempted, how it failed, and whether a retry can help.

use std::fmt;
use std::time::Duration;

use url::Url;

/// A Cloud Ops call that failed.
#[derive(Debug)]
pub struct Error {
    operation: String,
    kind: ErrorKind,
}

http_edge::client_error!(Error of ErrorKind, "failed to {}", operation);

/// How a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No connection was made: nothing was sent.
    #[error("{host} could not be reached: check the network, any proxy, and CLOUD_OPS_API_BASE_URL")]
    Connect {
        /// Host that the request was sent to.
        host: String,
        /// The HTTP library's error.
        #[source]
        source: reqwest::Error,
    },
    /// The request may have been sent, but no complete response arrived.
    #[error("the connection to {host} broke or timed out before the whole response arrived")]
    Transport {
        /// Host that the request was sent to.
        host: String,
        /// The HTTP library's error.
        #[source]
        source: reqwest::Error,
    },
    /// The service returned an error status, or the call was not sent because the service had asked for a pause.
    #[error("{0}")]
    Refused(Refusal),
    /// A successful response that does not come from this API.
    #[error(
        "{url} sent a response that is not from the Cloud Ops API (content type {content_type}), \
         beginning `{excerpt}`; check CLOUD_OPS_API_BASE_URL and any proxy in between"
    )]
    Unreadable {
        /// The URL that responded.
        url: String,
        /// Content type of the response, or `none`.
        content_type: String,
        /// The beginning of the response.
        excerpt: String,
        /// The JSON error.
        #[source]
        source: serde_json::Error,
    },
    /// A change by a read-only client. Nothing was sent.
    #[error("this client is read-only")]
    ReadOnly,
    /// A readable response that contradicts itself, for example pages that never end.
    #[error("{0}")]
    Contradiction(String),
}

/// An error response: status, code, message and requested wait. The client fills it in for a call that it holds back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The gRPC code from the body, or the one that corresponds to the HTTP status.
    pub code: GrpcCode,
    /// The service's message, truncated.
    pub message: String,
    /// Wait time that the service requested.
    pub retry_after: Option<Duration>,
}

macro_rules! grpc_codes {
    ($($variant:ident = $number:literal $words:literal,)+) => {
        /// gRPC status codes, which the API's error bodies contain.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum GrpcCode {
            $(#[doc = concat!("Code ", $number, ": ", $words, ".")] $variant,)+
        }

        impl GrpcCode {
            /// All error codes.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Returns the error with this number; `None` for 0, which means success, and for numbers that
            /// are not codes.
            pub const fn from_number(number: i64) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)+
                    _ => None,
                }
            }

            const fn words(self) -> &'static str {
                match self { $(Self::$variant => $words,)+ }
            }
        }
    };
}

grpc_codes! {
    Cancelled = 1 "cancelled",
    Unknown = 2 "unknown error",
    InvalidArgument = 3 "invalid argument",
    DeadlineExceeded = 4 "deadline exceeded",
    NotFound = 5 "not found",
    AlreadyExists = 6 "already exists",
    PermissionDenied = 7 "permission denied",
    ResourceExhausted = 8 "resource exhausted",
    FailedPrecondition = 9 "failed precondition",
    Aborted = 10 "aborted",
    OutOfRange = 11 "out of range",
    Unimplemented = 12 "unimplemented",
    Internal = 13 "internal error",
    Unavailable = 14 "unavailable",
    DataLoss = 15 "data loss",
    Unauthenticated = 16 "unauthenticated",
}

impl GrpcCode {
    /// Returns the code for an HTTP status if the body has none (grpc-gateway, runtime/errors.go; older
    /// gateways answered 408, 412 and 403 where newer ones answer 499, 400 and 429).
    pub(crate) const fn from_status(status: u16) -> Self {
        match status {
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 => Self::NotFound,
            408 | 499 => Self::Cancelled,
            409 => Self::Aborted,
            412 => Self::FailedPrecondition,
            429 => Self::ResourceExhausted,
            501 => Self::Unimplemented,
            502 | 503 => Self::Unavailable,
            504 => Self::DeadlineExceeded,
            500..=599 => Self::Internal,
            _ => Self::InvalidArgument,
        }
    }

    /// Returns what an operator can do about it.
    const fn remedy(self) -> Option<&'static str> {
        match self {
            Self::Unauthenticated => {
                Some("the Cloud Ops API key is wrong, expired or disabled: check TEMPORAL_CLOUD_OPS_API_KEY")
            }
            Self::PermissionDenied => Some(
                "the key's role does not allow this; if only one namespace is affected, it is new (wait a minute) or the key lacks Namespace Admin on it",
            ),
            Self::NotFound => Some("it does not exist, or the key has no access to it"),
            // The gateway sends this for a path or version that it does not have.
            Self::Unimplemented => {
                Some("check that CLOUD_OPS_API_BASE_URL is the address of the Cloud Ops API")
            }
            _ => None,
        }
    }
}

impl fmt::Display for GrpcCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused with {} ({})", self.status, self.code)?;
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        let of_key = http_edge::key_remedy(
            &self.message,
            "TEMPORAL_CLOUD_OPS_API_KEY",
            "CLOUD_OPS_API_BASE_URL",
        );
        match (of_key, self.code.remedy()) {
            (Some(remedy), _) => write!(f, "; {remedy}"),
            (None, Some(remedy)) => write!(f, "; {remedy}"),
            (None, None) => Ok(()),
        }
    }
}

/// The meaning of a failed call, from its code or its kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// A retry cannot help.
    Permanent,
    /// The resource has changed in the meantime, or its state does not allow the call: read it again.
    Conflict,
    /// Refused without effect; it may be allowed later.
    NotNow,
    /// The call may or may not have had an effect.
    OutcomeUnknown,
}

impl Error {
    pub(crate) fn new(operation: impl Into<String>, kind: ErrorKind) -> Self {
        Self {
            operation: operation.into(),
            kind,
        }
    }

    /// Returns the kind of failure.
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// Returns the service's refusal, if it sent one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match &self.kind {
            ErrorKind::Refused(refusal) => Some(refusal),
            ErrorKind::Connect { .. }
            | ErrorKind::Transport { .. }
            | ErrorKind::Unreadable { .. }
            | ErrorKind::ReadOnly
            | ErrorKind::Contradiction(_) => None,
        }
    }

    fn meaning(&self) -> Meaning {
        match &self.kind {
            ErrorKind::Connect { .. } => Meaning::NotNow,
            // A proxy may have replaced the service's response to a request that was carried out.
            ErrorKind::Transport { .. } | ErrorKind::Unreadable { .. } => Meaning::OutcomeUnknown,
            ErrorKind::ReadOnly | ErrorKind::Contradiction(_) => Meaning::Permanent,
            ErrorKind::Refused(refusal) => match refusal.code {
                GrpcCode::ResourceExhausted => Meaning::NotNow,
                // A 400 can be a conflict too: code 9 is sent while another capacity request is in progress.
                GrpcCode::AlreadyExists | GrpcCode::Aborted | GrpcCode::FailedPrecondition => {
                    Meaning::Conflict
                }
                // A gateway sends these also after it has forwarded the request.
                GrpcCode::Cancelled
                | GrpcCode::Unknown
                | GrpcCode::DeadlineExceeded
                | GrpcCode::Internal
                | GrpcCode::Unavailable
                | GrpcCode::DataLoss => Meaning::OutcomeUnknown,
                GrpcCode::InvalidArgument
                | GrpcCode::NotFound
                | GrpcCode::PermissionDenied
                | GrpcCode::OutOfRange
                | GrpcCode::Unimplemented
                | GrpcCode::Unauthenticated => Meaning::Permanent,
            },
        }
    }

    /// Returns whether repeating the same *read* may succeed. A write must be read back first, unless
    /// [`Error::is_outcome_unknown`] is false. A response that cannot be parsed will not be parsed on a retry
    /// either.
    pub fn is_retryable(&self) -> bool {
        let unreadable = matches!(self.kind, ErrorKind::Unreadable { .. });
        !unreadable && matches!(self.meaning(), Meaning::NotNow | Meaning::OutcomeUnknown)
    }

    /// Returns whether a write that failed this way may still have been carried out.
    pub fn is_outcome_unknown(&self) -> bool {
        self.meaning() == Meaning::OutcomeUnknown
    }

    /// Returns whether the resource has changed in the meantime, or its state does not allow the call: read
    /// it and re-evaluate.
    pub fn is_conflict(&self) -> bool {
        self.meaning() == Meaning::Conflict
    }

    /// Returns whether the service reports that there is nothing to change. Confirm it with a read-back.
    pub fn is_nothing_to_change(&self) -> bool {
        self.refusal().is_some_and(|refusal| {
            refusal.code == GrpcCode::InvalidArgument
                // The service has no code of its own for this. Temporal's CLI tools compare the same words.
                && refusal.message.to_ascii_lowercase().contains("nothing to change")
        })
    }

    /// Returns whether the account has reached its limit of asynchronous operations (10), so that the call
    /// had no effect.
    pub fn is_too_many_operations(&self) -> bool {
        self.refusal().is_some_and(|refusal| {
            let message = refusal.message.to_ascii_lowercase();
            // Neither message is documented, but only that of this limit can be about operations.
            refusal.code == GrpcCode::ResourceExhausted && message.contains("operation")
        })
    }

    /// Returns whether the key's role does not allow the call.
    pub fn is_permission_denied(&self) -> bool {
        self.has_code(GrpcCode::PermissionDenied)
    }

    /// Returns whether the key was rejected.
    pub fn is_unauthenticated(&self) -> bool {
        self.has_code(GrpcCode::Unauthenticated)
    }

    /// Returns whether the account has made too many requests, so that all of them have to wait.
    pub fn is_rate_limited(&self) -> bool {
        self.has_code(GrpcCode::ResourceExhausted)
    }

    /// Returns whether the resource does not exist, or the key has no access to it.
    pub fn is_not_found(&self) -> bool {
        self.has_code(GrpcCode::NotFound)
    }

    fn has_code(&self, code: GrpcCode) -> bool {
        self.refusal().is_some_and(|refusal| refusal.code == code)
    }

    /// Returns how long the service asks to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        self.refusal().and_then(|refusal| refusal.retry_after)
    }
}

/// Maximum length of the service's message, enough for its whole sentence.
const MESSAGE_CAP: usize = 1_000;

/// Maximum number of characters of another service's response in an error.
const EXCERPT: usize = 60;

/// Maximum length of a plain-text refusal, such as one from a proxy.
const PLAIN_MESSAGE: usize = 300;

#[derive(serde::Deserialize)]
struct Body {
    #[serde(default)]
    code: Option<serde_json::Value>,
    #[serde(default)]
    message: Option<String>,
}

impl Refusal {
    /// Parses a refusal: the status first, and the body leniently, because proxies respond with HTML.
    ///
    /// `redirect` is the target of a redirect.
    pub(crate) fn read(
        status: u16,
        body: &[u8],
        retry_after: Option<Duration>,
        redirect: Option<&Url>,
    ) -> Self {
        // The code in the body comes first, because codes 3, 9 and 11 share the status 400.
        let parsed: Option<Body> = serde_json::from_slice(body).ok();
        let code = parsed
            .as_ref()
            .and_then(|body| body.code.as_ref())
            .and_then(serde_json::Value::as_i64)
            .and_then(GrpcCode::from_number)
            .unwrap_or(GrpcCode::from_status(status));
        let message = match parsed.and_then(|body| body.message) {
            Some(message) => printable(&message, MESSAGE_CAP),
            None => match beginning(body, PLAIN_MESSAGE) {
                // Error pages start the same way for any error.
                page if page.starts_with('<') => "(an HTML page)".to_owned(),
                text => text,
            },
        };
        let message = if (300..400).contains(&status) {
            redirected_to(redirect)
        } else {
            message
        };
        Self {
            status,
            code,
            message,
            retry_after,
        }
    }
}

/// Explains a redirect. Shows its target without parts that may contain a secret.
fn redirected_to(target: Option<&Url>) -> String {
    let target = target.cloned().map_or_else(
        || "another address".to_owned(),
        |mut target| {
            target.set_query(None);
            target.set_fragment(None);
            // This fails only for URLs that cannot have a user.
            let _ = target.set_username("");
            let _ = target.set_password(None);
            format!("`{}`", printable(target.as_str(), 200))
        },
    );
    format!(
        "it redirects to {target}, which is not followed with a key: if that is the Cloud Ops API, set CLOUD_OPS_API_BASE_URL to it"
    )
}

/// Returns the beginning of a response that is not from this API.
pub(crate) fn excerpt(body: &[u8]) -> String {
    beginning(body, EXCERPT)
}

/// Returns the beginning of a response in one printable line.
fn beginning(body: &[u8], longest: usize) -> String {
    if body.starts_with(&[0x1f, 0x8b]) {
        return "(gzip-compressed data without a `Content-Encoding` header)".to_owned();
    }
    // A character has up to four bytes.
    let text = String::from_utf8_lossy(&body[..body.len().min(4 * longest)]);
    match printable(text.trim_start_matches('\u{feff}'), longest) {
        nothing if nothing.is_empty() => "(nothing)".to_owned(),
        text => text,
    }
}

fn printable(text: &str, cap: usize) -> String {
    let text: String = text
        .chars()
        .map(|character| if character.is_control() { ' ' } else { character })
        .collect();
    let mut line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() > cap {
        line = line.chars().take(cap).collect();
        line.push_str("...");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[test]
    fn the_alternate_form_shows_the_causes() {
        let refusal = Refusal {
            status: 429,
            code: GrpcCode::ResourceExhausted,
            message: "slow down".to_owned(),
            retry_after: None,
        };
        let error = Error::new("list regions", ErrorKind::Refused(refusal));
        assert_eq!(error.to_string(), "failed to list regions");
        let whole = format!("{error:#}");
        assert!(
            whole.starts_with("failed to list regions: ") && whole.contains("slow down"),
            "{whole}"
        );
        assert!(error.is_rate_limited());
    }

    fn refused(status: u16, body: &str) -> Error {
        Error::new(
            "list namespaces",
            ErrorKind::Refused(Refusal::read(status, body.as_bytes(), None, None)),
        )
    }

    #[rstest]
    #[case::the_bodys_code_decides(
        400,
        r#"{"code":9,"message":"x","details":[]}"#,
        GrpcCode::FailedPrecondition
    )]
    #[case::out_of_range(400, r#"{"code":11}"#, GrpcCode::OutOfRange)]
    #[case::old_gateway_exhausted(403, r#"{"code":8}"#, GrpcCode::ResourceExhausted)]
    #[case::no_code(400, r#"{"message":"x"}"#, GrpcCode::InvalidArgument)]
    #[case::a_number_that_is_no_code(503, r#"{"code":503}"#, GrpcCode::Unavailable)]
    #[case::a_code_of_another_shape(429, r#"{"code":"RATE"}"#, GrpcCode::ResourceExhausted)]
    #[case::html(502, "<html><body>Bad gateway</body></html>", GrpcCode::Unavailable)]
    #[case::plain(401, "Jwt is missing", GrpcCode::Unauthenticated)]
    #[case::nothing(504, "", GrpcCode::DeadlineExceeded)]
    fn the_body_is_read_leniently_and_the_status_stands_in(
        #[case] status: u16,
        #[case] body: &str,
        #[case] expected: GrpcCode,
    ) {
        assert_eq!(
            refused(status, body).refusal().map(|refusal| refusal.code),
            Some(expected)
        );
    }

    #[test]
    fn what_each_code_means() {
        let table: Vec<String> = GrpcCode::ALL
            .iter()
            .zip(1..)
            .map(|(code, number)| {
                let error = refused(400, &format!(r#"{{"code":{number}}}"#));
                assert_eq!(error.refusal().map(|refusal| refusal.code), Some(*code));
                let words = [
                    (error.is_retryable(), "retry"),
                    (error.is_outcome_unknown(), "unknown outcome"),
                    (error.is_conflict(), "conflict"),
                ];
                let words: Vec<&str> = words
                    .into_iter()
                    .filter(|(is, _)| *is)
                    .map(|(_, word)| word)
                    .collect();
                format!("{code}: {}", words.join(", "))
            })
            .collect();
        insta::assert_snapshot!(table.join("\n"), @r"
        cancelled: retry, unknown outcome
        unknown error: retry, unknown outcome
        invalid argument: 
        deadline exceeded: retry, unknown outcome
        not found: 
        already exists: conflict
        permission denied: 
        resource exhausted: retry
        failed precondition: conflict
        aborted: conflict
        out of range: 
        unimplemented: 
        internal error: retry, unknown outcome
        unavailable: retry, unknown outcome
        data loss: retry, unknown outcome
        unauthenticated: 
        ");
    }

    #[test]
    fn nothing_to_change_is_recognized() {
        assert!(refused(400, r#"{"code":3,"message":"Nothing to change"}"#).is_nothing_to_change());
        assert!(!refused(400, r#"{"code":3,"message":"invalid retention days: 0"}"#).is_nothing_to_change());
    }

    #[rstest]
    #[case::empty(
        "Jwt is missing",
        "the service found no usable key in the request: check TEMPORAL_CLOUD_OPS_API_KEY"
    )]
    #[case::expired("Jwt is expired", "the key has expired: create a new one")]
    #[case::no_key(
        "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections",
        "this is not an API key: check TEMPORAL_CLOUD_OPS_API_KEY for quotes, a line break, or another secret"
    )]
    #[case::revoked(
        "Jwt verification fails",
        "the key was revoked, or belongs to another environment"
    )]
    #[case::other("no such key", "is wrong, expired or disabled")]
    fn errors_tell_an_operator_what_to_do(#[case] body: &str, #[case] remedy: &str) {
        let error = refused(401, body);
        let source = std::error::Error::source(&error).expect("a cause").to_string();
        assert_eq!(error.to_string(), "failed to list namespaces");
        assert!(
            source.starts_with(&format!("refused with 401 (unauthenticated): {body}; ")),
            "{source}"
        );
        assert!(source.contains(remedy), "{source}");
    }

    #[test]
    fn long_and_wild_explanations_are_capped_and_printable() {
        let wild = format!("\u{1b}[31m{}", "x".repeat(3_000));
        let body = serde_json::json!({ "code": 3, "message": wild }).to_string();
        let error = refused(400, &body);
        let message = &error.refusal().expect("refused").message;
        assert!(
            message.len() <= MESSAGE_CAP + 3 && !message.contains('\u{1b}'),
            "{message}"
        );
    }
}
