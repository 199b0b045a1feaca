//! The configuration of a client, validated once.

use std::time::Duration;

use http_edge::{AddressProblem, Secret};
use url::Url;

/// The public address of the Cloud Ops API (Temporal's documentation, Cloud Ops API page).
pub const PUBLIC_BASE_URL: &str = "https://saas-api.tmprl.cloud";

/// The version of the API that this client was written for. Without the header, the service assumes the
/// latest version, and that the caller knows every field of it.
pub const API_VERSION: &str = "v0.19.1";

/// The address of the API, the key, the timeouts and the retries.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    pub(crate) base_url: Url,
    pub(crate) api_key: Secret,
    /// Maximum time to establish a connection.
    pub connect_timeout: Duration,
    /// Maximum time for a request, including its response.
    pub request_timeout: Duration,
    /// Maximum number of attempts for a call that may be retried.
    pub max_attempts: u32,
    /// Maximum time for retries of a call.
    pub max_elapsed: Duration,
    /// Maximum time that a call waits for the account's rate limit, regardless of how many requests are
    /// rejected in the meantime.
    pub max_rate_limited: Duration,
    /// Maximum number of requests per second from this client. The service allows 40 for a user and 80 for a
    /// service account, over all of their clients.
    pub requests_per_second: u32,
}

/// An invalid base URL or key. Never contains a rejected value that may be secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The address is not a URL.
    #[error("`{0}` is not a URL; it should look like {PUBLIC_BASE_URL}")]
    NotAUrl(String),
    /// A user or password in the URL.
    #[error("the URL contains a user or password; put the key into its own setting")]
    Credentials,
    /// A query or fragment in the URL.
    #[error("the URL contains a query or a fragment; remove it")]
    QueryOrFragment,
    /// Plain http to another machine.
    #[error("`{0}` is not encrypted; use https (plain http is for loopback addresses only)")]
    NotEncrypted(String),
    /// The key is empty, or cannot be sent in a header.
    #[error("the API key is empty, or contains a character that cannot be sent in a header")]
    Key,
}

impl Config {
    /// Creates a configuration with default timeouts and retries. A `/cloud` at the end of the URL, with
    /// which every path of the API starts, is accepted and dropped.
    ///
    /// # Errors
    ///
    /// Unless the URL is https (or http to loopback) without credentials, query and fragment, and the key can
    /// be sent in a header.
    pub fn try_new(base_url: &str, api_key: Secret) -> Result<Self, ConfigError> {
        let base_url = parse_base_url(base_url)?;
        if http_edge::bearer(&api_key.current()).is_none() {
            return Err(ConfigError::Key);
        }
        Ok(Self {
            base_url,
            api_key,
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            max_attempts: 6,
            max_elapsed: Duration::from_secs(90),
            max_rate_limited: Duration::from_mins(5),
            requests_per_second: 30,
        })
    }

    /// Returns the address without its path, for messages.
    pub fn base_url(&self) -> &str {
        self.base_url.as_str()
    }

    pub(crate) fn is_loopback(&self) -> bool {
        http_edge::is_loopback(&self.base_url)
    }
}

fn parse_base_url(text: &str) -> Result<Url, ConfigError> {
    http_edge::base_url(text, false)
        .map(without_prefix_of_paths)
        .map_err(|problem| match problem {
            AddressProblem::Credentials => ConfigError::Credentials,
            AddressProblem::QueryOrFragment => ConfigError::QueryOrFragment,
            AddressProblem::NotEncrypted => ConfigError::NotEncrypted(without_secrets(text)),
            _ => ConfigError::NotAUrl(without_secrets(text)),
        })
}

/// Drops the `/cloud` with which every path of the API starts.
fn without_prefix_of_paths(mut url: Url) -> Url {
    let path = url.path().trim_end_matches('/').to_owned();
    if let Some(before) = path.strip_suffix("/cloud") {
        url.set_path(before);
    }
    url
}

/// Removes the part before any `@` and the part after any `?`, because text that is not a URL may contain anything.
fn without_secrets(text: &str) -> String {
    let hidden = text.contains(['@', '?', '#']);
    if hidden {
        "(hidden)".to_owned()
    } else {
        text.chars().take(100).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::public(PUBLIC_BASE_URL)]
    #[case::with_a_path("https://proxy.example/cloud-ops/")]
    #[case::loopback("http://127.0.0.1:8080")]
    #[case::loopback_v6("http://[::1]:8080")]
    #[case::localhost("http://localhost:8080")]
    fn https_and_loopback_are_accepted(#[case] url: &str) {
        assert!(Config::try_new(url, "key".into()).is_ok());
    }

    #[rstest]
    #[case::as_documented("https://saas-api.tmprl.cloud", "https://saas-api.tmprl.cloud/")]
    #[case::with_the_prefix_of_paths("https://saas-api.tmprl.cloud/cloud", "https://saas-api.tmprl.cloud/")]
    #[case::with_a_slash("https://proxy.example/ops/cloud/", "https://proxy.example/ops")]
    #[case::another_word("https://proxy.example/mycloud", "https://proxy.example/mycloud")]
    fn the_prefix_of_all_paths_is_not_doubled(#[case] url: &str, #[case] expected: &str) {
        let config = Config::try_new(url, "key".into()).expect("valid");
        assert_eq!(config.base_url(), expected);
    }

    #[rstest]
    #[case::plain_http("http://saas-api.tmprl.cloud")]
    #[case::credentials("https://user:hunter2@saas-api.tmprl.cloud")]
    #[case::user_only("https://hunter2@saas-api.tmprl.cloud")]
    #[case::query("https://saas-api.tmprl.cloud?key=hunter2")]
    #[case::no_url("saas-api.tmprl.cloud")]
    #[case::broken_with_credentials("https//user:hunter2@host")]
    #[case::other_scheme("ftp://127.0.0.1")]
    fn what_could_leak_the_key_is_refused_without_showing_it(#[case] url: &str) {
        let error = Config::try_new(url, "key".into()).expect_err("refused");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[rstest]
    #[case::empty("")]
    #[case::line_end("secret\n")]
    fn a_key_that_cannot_be_sent_is_refused(#[case] key: &str) {
        assert_eq!(
            Config::try_new(PUBLIC_BASE_URL, key.into()).err(),
            Some(ConfigError::Key)
        );
    }

    #[test]
    fn debug_does_not_show_the_key() {
        let config = Config::try_new(PUBLIC_BASE_URL, "hunter2".into()).expect("valid");
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
