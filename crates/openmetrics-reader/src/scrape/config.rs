//! The configuration of a scraper, validated once.

use std::time::Duration;

use http_edge::{AddressProblem, Secret};
use url::Url;

/// The public address of the metrics endpoint (Temporal's documentation, OpenMetrics API reference).
pub const PUBLIC_BASE_URL: &str = "https://metrics.temporal.io";

/// The endpoint's address, key and request budget.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    pub(super) base_url: Url,
    pub(super) api_key: Secret,
    /// Maximum time to establish a connection.
    pub connect_timeout: Duration,
    /// Maximum time for a request, including its response.
    pub request_timeout: Duration,
    /// Maximum number of attempts for a request that fails for a transient reason.
    pub max_attempts: u32,
    /// Maximum number of requests per hour from this scraper. The limit of an account is 180, of which another scraper with an
    /// interval of 30 seconds uses 120.
    pub requests_per_hour: u32,
    /// Length of the budget's hour: shorter for a simulated service whose time runs faster.
    pub hour: Duration,
    /// Maximum number of points in one response before the endpoint truncates it.
    pub points_per_answer: usize,
}

/// An invalid base URL or key. Never contains a value that may be secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The address is not a URL.
    #[error("this is not a URL; it should look like {PUBLIC_BASE_URL}")]
    NotAUrl,
    /// A user or password in the URL.
    #[error("the URL contains a user or password; put the key into its own setting")]
    Credentials,
    /// A query or fragment in the URL.
    #[error("the URL contains a query or a fragment; remove it")]
    QueryOrFragment,
    /// Plain http to another machine.
    #[error("the URL is not encrypted; use https (plain http is for loopback addresses only)")]
    NotEncrypted,
    /// The key is empty, or cannot be sent in a header.
    #[error("the metrics key is empty, or contains a character that cannot be sent in a header")]
    Key,
}

impl Config {
    /// Creates a configuration with a budget of 55 requests an hour. A `/v1/metrics` or `/v1` at the end of
    /// the URL, as in a Prometheus configuration, is accepted and dropped.
    ///
    /// # Errors
    ///
    /// Unless the URL is https (or http to loopback) without credentials, query and fragment, and the key can
    /// be sent in a header.
    pub fn try_new(base_url: &str, api_key: Secret) -> Result<Self, ConfigError> {
        let mut base_url = http_edge::base_url(base_url, false).map_err(|problem| match problem {
            AddressProblem::Credentials => ConfigError::Credentials,
            AddressProblem::QueryOrFragment => ConfigError::QueryOrFragment,
            AddressProblem::NotEncrypted => ConfigError::NotEncrypted,
            _ => ConfigError::NotAUrl,
        })?;
        if http_edge::bearer(&api_key.current()).is_none() {
            return Err(ConfigError::Key);
        }
        let path = base_url.path().trim_end_matches('/').to_owned();
        if let Some(before) = path.strip_suffix("/v1/metrics").or(path.strip_suffix("/v1")) {
            base_url.set_path(before);
        }
        Ok(Self {
            base_url,
            api_key,
            connect_timeout: Duration::from_secs(10),
            // The longer of the two timeouts that Temporal documents for scrapers (10 s and 30 s).
            request_timeout: Duration::from_secs(30),
            max_attempts: 4,
            requests_per_hour: 55,
            hour: Duration::from_hours(1),
            points_per_answer: 30_000,
        })
    }

    /// Returns the address, for messages.
    pub fn base_url(&self) -> &str {
        self.base_url.as_str()
    }

    pub(super) fn is_loopback(&self) -> bool {
        http_edge::is_loopback(&self.base_url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::public(PUBLIC_BASE_URL, None)]
    #[case::loopback("http://127.0.0.1:9090", None)]
    #[case::loopback_v6("http://[::1]:9090", None)]
    #[case::plain_http("http://metrics.temporal.io", Some(ConfigError::NotEncrypted))]
    #[case::credentials("https://hunter2@metrics.temporal.io", Some(ConfigError::Credentials))]
    #[case::query("https://metrics.temporal.io?key=hunter2", Some(ConfigError::QueryOrFragment))]
    #[case::no_url("metrics.temporal.io", Some(ConfigError::NotAUrl))]
    fn what_could_leak_the_key_is_refused(#[case] url: &str, #[case] expected: Option<ConfigError>) {
        assert_eq!(Config::try_new(url, "key".into()).err(), expected);
    }

    #[rstest]
    #[case::as_documented("https://metrics.temporal.io", "https://metrics.temporal.io/")]
    #[case::with_the_path_of_metrics(
        "https://metrics.temporal.io/v1/metrics",
        "https://metrics.temporal.io/"
    )]
    #[case::with_a_slash("https://metrics.temporal.io/v1/metrics/", "https://metrics.temporal.io/")]
    #[case::version_alone("https://proxy.example/temporal/v1", "https://proxy.example/temporal")]
    #[case::another_word("https://proxy.example/temporal-v1", "https://proxy.example/temporal-v1")]
    fn the_path_of_metrics_is_not_doubled(#[case] url: &str, #[case] expected: &str) {
        let config = Config::try_new(url, "key".into()).expect("valid");
        assert_eq!(config.base_url(), expected);
    }

    #[test]
    fn debug_does_not_show_the_key() {
        let config = Config::try_new(PUBLIC_BASE_URL, "hunter2".into()).expect("valid");
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
