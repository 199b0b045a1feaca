//! Errors of requests to Spacelift.

use std::time::Duration;

use crate::provider::{ProviderError, Trouble};

/// Invalid settings of the connection to Spacelift.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The endpoint is not a URL.
    #[error(
        "SPACELIFT_API_KEY_ENDPOINT is `{0}`, which is not a URL such as https://example.app.spacelift.io"
    )]
    Endpoint(String),
    /// A user or password in the endpoint.
    #[error(
        "SPACELIFT_API_KEY_ENDPOINT contains a user or a password; set SPACELIFT_API_KEY_ID and SPACELIFT_API_KEY_SECRET instead"
    )]
    Credentials,
    /// The endpoint is not encrypted.
    #[error("SPACELIFT_API_KEY_ENDPOINT is `{0}`; use https, since the API key is sent there")]
    NotEncrypted(String),
    /// A variable is not set.
    #[error("{0} is empty; create an API key in Spacelift, then set this variable")]
    Empty(&'static str),
}

/// A failed request to Spacelift.
#[derive(Debug, thiserror::Error)]
#[error("failed to {does}")]
pub struct Error {
    does: &'static str,
    #[source]
    kind: ErrorKind,
}

/// The kind of failure.
#[derive(Debug, thiserror::Error)]
pub enum ErrorKind {
    /// There was no response.
    #[error("no response from Spacelift")]
    Transport(#[source] reqwest::Error),
    /// An HTTP status other than 200, from Spacelift or a proxy in front of it.
    #[error("status {status}: `{answer}`")]
    Status {
        /// HTTP status.
        status: u16,
        /// Beginning of the response.
        answer: String,
        /// Wait time that the server requested.
        retry_after: Option<Duration>,
    },
    /// Status 200 without JSON, such as the login page of a proxy.
    #[error(
        "the response is not JSON but `{0}`; check SPACELIFT_API_KEY_ENDPOINT and proxies in front of it"
    )]
    NotJson(String),
    /// Spacelift rejected the query.
    #[error("Spacelift returned an error: {0}")]
    GraphQl(String),
    /// The API key was rejected.
    #[error("not logged in: {0}. Check SPACELIFT_API_KEY_ID and SPACELIFT_API_KEY_SECRET")]
    Login(String),
    /// The API key lacks a permission.
    #[error("the API key has no permission for this: {0}")]
    Permission(String),
    /// The object does not exist.
    #[error("{0}; it does not exist, or the API key has no access to it")]
    NotFound(String),
    /// The response does not match the documentation.
    #[error("unexpected response")]
    Decode(#[source] serde_json::Error),
}

impl Error {
    pub(super) fn new(does: &'static str, kind: ErrorKind) -> Self {
        Self { does, kind }
    }

    /// Returns the kind of failure.
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }
}

impl From<Error> for ProviderError {
    fn from(error: Error) -> Self {
        let mut retry = None;
        let trouble = match &error.kind {
            // Without a connection, nothing was sent.
            ErrorKind::Transport(cause) if cause.is_connect() => Trouble::Transient,
            // A run may have started although its response cannot be read.
            ErrorKind::Transport(_)
            | ErrorKind::NotJson(_)
            | ErrorKind::Decode(_)
            | ErrorKind::Status { status: 500.., .. } => Trouble::Ambiguous,
            ErrorKind::Status {
                status: 429,
                retry_after,
                ..
            } => {
                retry = *retry_after;
                Trouble::Transient
            }
            ErrorKind::Status { .. } | ErrorKind::GraphQl(_) => Trouble::Permanent,
            ErrorKind::Login(_) => Trouble::Login,
            ErrorKind::Permission(_) => Trouble::Permission,
            ErrorKind::NotFound(_) => Trouble::NotFound,
        };
        let mut text = format!("{error}: {}", error.kind);
        let mut cause = std::error::Error::source(&error.kind);
        while let Some(next) = cause {
            text = format!("{text}: {next}");
            cause = next.source();
        }
        Self {
            trouble,
            text,
            retry_after: retry,
        }
    }
}
