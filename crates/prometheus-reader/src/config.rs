//! The configuration of a client, validated once, with all mistakes reported together.

use std::time::Duration;

use http_edge::pem::{CertificateDer, PemProblem};
use http_edge::{AddressProblem, Secret};
use jiff::SignedDuration;
use secrecy::ExposeSecret;
use url::Url;

use crate::selector::is_label_name;

/// The shortest span of one request. A response that is still too large cannot be split further.
pub(crate) const SHORTEST_SPAN: SignedDuration = SignedDuration::from_mins(1);
/// The longest timeout that makes sense for a request.
const LONGEST_TIMEOUT: Duration = Duration::from_mins(30);

/// How the client authenticates to the server. `Debug` never shows a secret.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum Auth {
    /// No authentication.
    #[default]
    None,
    /// A bearer token.
    Bearer(Secret),
    /// A user and a password for HTTP basic authentication.
    Basic {
        /// Name of the user.
        user: String,
        /// Password of the user.
        password: Secret,
    },
}

/// The address of a Prometheus-compatible API, and how to query it. Built by [`PrometheusConfig::builder`].
#[derive(Debug, Clone)]
pub struct PrometheusConfig {
    pub(crate) base_url: Url,
    pub(crate) auth: Auth,
    pub(crate) extra_labels: Vec<(String, String)>,
    pub(crate) certificates: Vec<CertificateDer<'static>>,
    pub(crate) tenant: Option<String>,
    pub(crate) timeout: Duration,
    pub(crate) user_agent: String,
    pub(crate) max_attempts: u32,
    pub(crate) largest_answer: usize,
    pub(crate) longest_span: SignedDuration,
}

/// A mistake in a configuration. Never contains a value that may be secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The address is not a URL.
    #[error("the base URL is not a URL; it should look like https://prometheus.example.com/prefix")]
    NotAUrl,
    /// A user or password in the URL.
    #[error("the base URL contains a user or password; put them into their own settings")]
    Credentials,
    /// A query or fragment in the URL.
    #[error("the base URL contains a query or a fragment; remove it")]
    QueryOrFragment,
    /// The URL of one route instead of the base URL.
    #[error("the base URL ends in a route of the API; remove /api/v1 and everything after it")]
    Route,
    /// Plain http to another machine.
    #[error(
        "the base URL is not encrypted; use https, or allow plain http explicitly for a network you trust"
    )]
    NotEncrypted,
    /// The token is empty, or cannot be sent in a header.
    #[error("the bearer token is empty, or contains a character that cannot be sent in a header")]
    Token,
    /// The user is empty, or cannot be sent with basic authentication.
    #[error(
        "the user is empty, or contains a colon or a control character, which basic authentication does not support"
    )]
    User,
    /// The password is empty, or cannot be sent.
    #[error("the password is empty, or contains a control character")]
    Password,
    /// An additional label whose name is invalid.
    #[error("`{0}` is not a label name: use letters, digits and underscores, not beginning with a digit")]
    LabelName(String),
    /// A certificate authority cannot be used.
    #[error("the CA certificate {0}")]
    Certificates(PemProblem),
    /// A tenant or user agent that cannot be sent in a header.
    #[error("the {0} is empty, or contains a character that cannot be sent in a header")]
    Header(&'static str),
    /// A value is out of range.
    #[error("the {what} is out of range: {bounds}")]
    OutOfBounds {
        /// Name of the setting.
        what: &'static str,
        /// The allowed range.
        bounds: &'static str,
    },
}

/// All mistakes in a configuration; at least one.
pub type ConfigErrors = http_edge::ConfigErrors<ConfigError>;

/// Collects a configuration; [`PrometheusConfigBuilder::build`] validates it.
#[derive(Debug, Clone)]
pub struct PrometheusConfigBuilder {
    base_url: String,
    auth: Auth,
    extra_labels: Vec<(String, String)>,
    custom_ca: Option<Vec<u8>>,
    tenant: Option<String>,
    allow_plain_http: bool,
    timeout: Duration,
    user_agent: String,
    max_attempts: u32,
    largest_answer: usize,
    longest_span: SignedDuration,
}

impl PrometheusConfig {
    /// Starts a configuration with its defaults: no authentication, no additional labels, the system's
    /// certificate authorities, a timeout of 60 s, 4 attempts, responses of at most 64 MiB, and at most 6 h
    /// per request.
    ///
    /// The base URL is the part before `/api/v1`. It may have a path, as in
    /// `https://mimir.example.com/prometheus`.
    pub fn builder(base_url: impl Into<String>) -> PrometheusConfigBuilder {
        PrometheusConfigBuilder {
            base_url: base_url.into(),
            auth: Auth::None,
            extra_labels: Vec::new(),
            custom_ca: None,
            tenant: None,
            allow_plain_http: false,
            timeout: Duration::from_mins(1),
            user_agent: concat!("temporal-capacity/", env!("CARGO_PKG_VERSION")).to_owned(),
            max_attempts: 4,
            largest_answer: 64 * 1024 * 1024,
            longest_span: SignedDuration::from_hours(6),
        }
    }

    /// Returns the address, for messages. It contains no credentials.
    pub fn base_url(&self) -> &str {
        self.base_url.as_str()
    }

    /// Returns the labels that are added to every selector.
    pub fn extra_labels(&self) -> &[(String, String)] {
        &self.extra_labels
    }

    pub(crate) fn is_loopback(&self) -> bool {
        http_edge::is_loopback(&self.base_url)
    }
}

impl PrometheusConfigBuilder {
    /// Sets the credentials.
    #[must_use]
    pub fn auth(mut self, auth: Auth) -> Self {
        self.auth = auth;
        self
    }

    /// Adds a label that every series must have, such as `cluster="eu"` if several Prometheus servers share
    /// one storage.
    #[must_use]
    pub fn extra_label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.extra_labels.push((name.into(), value.into()));
        self
    }

    /// Adds certificate authorities, as PEM text, that are trusted in addition to the system's.
    #[must_use]
    pub fn custom_ca(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.custom_ca = Some(pem.into());
        self
    }

    /// Sets the tenant, which Mimir and other shared storages require as `X-Scope-OrgID`.
    #[must_use]
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// Allows plain http beyond loopback: anyone on the network path can read the credentials.
    #[must_use]
    pub fn allow_plain_http(mut self, allow: bool) -> Self {
        self.allow_plain_http = allow;
        self
    }

    /// Sets the maximum time for one request, including its response; above zero, at most 30 min.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the user agent that the server sees.
    #[must_use]
    pub fn user_agent(mut self, user_agent: impl Into<String>) -> Self {
        self.user_agent = user_agent.into();
        self
    }

    /// Sets the maximum number of attempts for a request that fails for a transient reason; 1 to 10.
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// Sets the maximum size of one (decompressed) response in bytes; 4 KiB to 1 GiB. This bounds the memory
    /// of a read.
    #[must_use]
    pub fn largest_answer(mut self, bytes: usize) -> Self {
        self.largest_answer = bytes;
        self
    }

    /// Sets the maximum span of one request; 1 min to 31 days. It is halved if the server reports that a part
    /// is too large.
    #[must_use]
    pub fn longest_span(mut self, span: SignedDuration) -> Self {
        self.longest_span = span;
        self
    }

    /// Validates the configuration.
    ///
    /// # Errors
    ///
    /// All mistakes: a URL that is not https (or http to loopback, or explicitly allowed), or that contains
    /// credentials, a query or a route; credentials that cannot be sent; labels, certificates and bounds.
    pub fn build(self) -> Result<PrometheusConfig, ConfigErrors> {
        let mut errors = Vec::new();
        let base_url = base_url(&self.base_url, self.allow_plain_http)
            .map_err(|error| errors.push(error))
            .ok();
        check_auth(&self.auth, &mut errors);
        let names = self.extra_labels.iter().map(|(name, _)| name);
        errors.extend(
            names
                .filter(|name| !is_label_name(name))
                .map(|name| ConfigError::LabelName(name.chars().take(60).collect())),
        );
        let certificates = self
            .custom_ca
            .as_deref()
            .map_or_else(|| Ok(Vec::new()), http_edge::tls::authorities)
            .map_err(|problem| errors.push(ConfigError::Certificates(problem)))
            .ok();
        if self.tenant.as_deref().is_some_and(|tenant| !is_sendable(tenant)) {
            errors.push(ConfigError::Header("tenant"));
        }
        if !is_sendable(&self.user_agent) {
            errors.push(ConfigError::Header("user agent"));
        }
        let mut bound = |is_inside: bool, what, bounds| {
            if !is_inside {
                errors.push(ConfigError::OutOfBounds { what, bounds });
            }
        };
        bound(
            !self.timeout.is_zero() && self.timeout <= LONGEST_TIMEOUT,
            "timeout",
            "above zero, at most 30 min",
        );
        bound(
            (1..=10).contains(&self.max_attempts),
            "number of attempts",
            "1 to 10",
        );
        bound(
            (4 * 1024..=1024 * 1024 * 1024).contains(&self.largest_answer),
            "largest response",
            "4 KiB to 1 GiB",
        );
        bound(
            self.longest_span >= SHORTEST_SPAN && self.longest_span <= SignedDuration::from_hours(24 * 31),
            "longest span",
            "1 min to 31 days",
        );
        match (base_url, certificates) {
            (Some(base_url), Some(certificates)) if errors.is_empty() => Ok(PrometheusConfig {
                base_url,
                auth: self.auth,
                extra_labels: self.extra_labels,
                certificates,
                tenant: self.tenant,
                timeout: self.timeout,
                user_agent: self.user_agent,
                max_attempts: self.max_attempts,
                largest_answer: self.largest_answer,
                longest_span: self.longest_span,
            }),
            _ => Err(ConfigErrors::of(errors)),
        }
    }
}

fn base_url(text: &str, allow_plain_http: bool) -> Result<Url, ConfigError> {
    let url = http_edge::base_url(text.trim(), allow_plain_http).map_err(|problem| match problem {
        AddressProblem::Credentials => ConfigError::Credentials,
        AddressProblem::QueryOrFragment => ConfigError::QueryOrFragment,
        AddressProblem::NotEncrypted => ConfigError::NotEncrypted,
        _ => ConfigError::NotAUrl,
    })?;
    let path = url.path().trim_end_matches('/');
    // Rejected instead of dropped: the path in front of it may belong to the route as well.
    if path.ends_with("/api/v1") || path.contains("/api/v1/") {
        return Err(ConfigError::Route);
    }
    Ok(url)
}

fn check_auth(auth: &Auth, errors: &mut Vec<ConfigError>) {
    match auth {
        Auth::None => {}
        Auth::Bearer(token) => {
            if http_edge::bearer(&token.current()).is_none() {
                errors.push(ConfigError::Token);
            }
        }
        Auth::Basic { user, password } => {
            // The first colon ends the user, so a user with a colon would be another user.
            if user.is_empty() || user.chars().any(|c| c == ':' || c.is_control()) {
                errors.push(ConfigError::User);
            }
            if !is_password(password.current().expose_secret()) {
                errors.push(ConfigError::Password);
            }
        }
    }
}

/// Returns whether basic authentication supports a password.
pub(crate) fn is_password(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(char::is_control)
}

fn is_sendable(text: &str) -> bool {
    !text.trim().is_empty() && text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::https("https://prometheus.example.com", None)]
    #[case::path_prefix("https://mimir.example.com/prometheus/", None)]
    #[case::loopback("http://127.0.0.1:9090", None)]
    #[case::loopback_v6("http://[::1]:9090", None)]
    #[case::plain_http("http://prometheus.example.com", Some(ConfigError::NotEncrypted))]
    #[case::credentials("https://me:hunter2@example.com", Some(ConfigError::Credentials))]
    #[case::query("https://example.com?token=hunter2", Some(ConfigError::QueryOrFragment))]
    #[case::route("https://example.com/api/v1/query", Some(ConfigError::Route))]
    #[case::no_url("prometheus.example.com", Some(ConfigError::NotAUrl))]
    #[case::other_scheme("ftp://prometheus.example.com", Some(ConfigError::NotAUrl))]
    fn only_an_address_that_protects_secrets_is_accepted(
        #[case] url: &str,
        #[case] expected: Option<ConfigError>,
    ) {
        let errors = PrometheusConfig::builder(url).build().err();
        assert_eq!(errors, expected.map(|error| ConfigErrors::of(vec![error])));
    }

    #[test]
    fn plain_http_is_accepted_if_allowed() {
        let builder =
            PrometheusConfig::builder("http://prometheus.monitoring.svc:9090").allow_plain_http(true);
        assert!(builder.build().is_ok());
    }

    #[test]
    fn all_mistakes_are_reported_together() {
        let errors = PrometheusConfig::builder("nowhere")
            .auth(Auth::Basic {
                user: "a:b".to_owned(),
                password: "".into(),
            })
            .extra_label("0bad", "x")
            .custom_ca("no certificate")
            .tenant("a\nb")
            .user_agent("")
            .timeout(Duration::ZERO)
            .max_attempts(0)
            .largest_answer(1)
            .longest_span(SignedDuration::from_secs(1))
            .build()
            .expect_err("all of it is wrong");
        assert_eq!(errors.errors().len(), 11, "{errors}");
    }

    #[rstest]
    #[case::bearer(Auth::Bearer("hunter2".into()))]
    #[case::basic(Auth::Basic { user: "me".to_owned(), password: "hunter2".into() })]
    fn debug_does_not_show_the_secret(#[case] auth: Auth) {
        let config = PrometheusConfig::builder("https://example.com")
            .auth(auth)
            .build()
            .expect("valid");
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
