//! The address of a collector and how to connect to it. All mistakes are reported together.

use std::time::Duration;

use http_edge::Secret;
use http_edge::pem::{CertificateDer, PemProblem};
use percent_encoding::percent_decode_str;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

/// Path that is appended to a collector's base URL.
const TRACES: &str = "v1/traces";
/// The port of OTLP over gRPC.
const GRPC_PORT: u16 = 4317;
const LONGEST_TIMEOUT: Duration = Duration::from_mins(1);

/// How to connect to a collector, and the resource attributes of this process. Built by [`OtlpConfig::builder`].
#[derive(Debug, Clone)]
pub struct OtlpConfig {
    pub(crate) url: Url,
    pub(crate) headers: Option<Secret>,
    pub(crate) certificates: Vec<CertificateDer<'static>>,
    pub(crate) timeout: Duration,
    pub(crate) service_name: Option<String>,
    pub(crate) attributes: Vec<(String, String)>,
}

/// A mistake in a configuration. Its text never contains values that may be secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The URL is not that of a collector.
    #[error("this is not a collector URL; include the scheme, for example http://localhost:4318")]
    Url,
    /// The URL contains a user or a password.
    #[error("the URL contains a user or a password; send them in a header instead")]
    Credentials,
    /// The URL contains a fragment, or a base URL contains a query.
    #[error("the URL contains a query or a fragment; remove it")]
    QueryOrFragment,
    /// The headers cannot be sent.
    #[error(
        "the headers cannot be sent; use name=value, separated by commas, with special characters percent-encoded (`authorization=Bearer%20...`)"
    )]
    Headers,
    /// A certificate authority cannot be used.
    #[error("the CA certificate {0}")]
    Certificates(PemProblem),
    /// The timeout is too short or too long.
    #[error("the timeout is out of range; use 1 ms to 60,000 ms")]
    Timeout,
}

/// All mistakes in a configuration; at least one.
pub type ConfigErrors = http_edge::ConfigErrors<ConfigError>;

/// Builds a configuration; [`OtlpConfigBuilder::build`] validates it.
#[derive(Debug, Clone)]
#[must_use]
pub struct OtlpConfigBuilder {
    url: String,
    is_base: bool,
    headers: Option<Secret>,
    certificate: Option<Vec<u8>>,
    timeout: Duration,
    service_name: Option<String>,
    attributes: Vec<(String, String)>,
}

impl OtlpConfig {
    /// Starts with the base URL of a collector, to which `/v1/traces` is appended. By default, no headers are sent, only the
    /// system's certificate authorities are trusted, and requests time out after 10 s.
    pub fn builder(base_url: impl Into<String>) -> OtlpConfigBuilder {
        OtlpConfigBuilder {
            url: base_url.into(),
            is_base: true,
            headers: None,
            certificate: None,
            timeout: Duration::from_secs(10),
            service_name: None,
            attributes: Vec::new(),
        }
    }

    /// Like [`OtlpConfig::builder`], with a URL that is used unchanged.
    pub fn builder_at(traces_url: impl Into<String>) -> OtlpConfigBuilder {
        OtlpConfigBuilder {
            is_base: false,
            ..Self::builder(traces_url)
        }
    }

    /// Returns the URL that spans are posted to. It never contains credentials.
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// Returns a warning about a valid but unusual configuration.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.url.port() == Some(GRPC_PORT) {
            warnings.push(format!(
                "spans are sent to {} over HTTP, but port {GRPC_PORT} usually accepts gRPC only; the port for HTTP is usually 4318",
                self.url
            ));
        }
        if self.headers.is_some() && self.url.scheme() == "http" && !self.is_loopback() {
            warnings.push(format!(
                "headers are sent to {} unencrypted; use https if they contain a key",
                self.url
            ));
        }
        warnings
    }

    pub(crate) fn is_loopback(&self) -> bool {
        http_edge::is_loopback(&self.url)
    }
}

impl OtlpConfigBuilder {
    /// Sets headers as `name=value` separated by commas, percent-encoded, such as `authorization=Bearer%20...`. If they come from
    /// a file, the file is read again when the collector rejects them.
    pub fn headers(mut self, headers: impl Into<Secret>) -> Self {
        self.headers = Some(headers.into());
        self
    }

    /// Sets certificate authorities, as PEM text, that are trusted in addition to the system's.
    pub fn certificate(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.certificate = Some(pem.into());
        self
    }

    /// Sets the timeout of a request; at most one minute.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Overrides the program's service name.
    pub fn service_name(mut self, name: impl Into<String>) -> Self {
        self.service_name = Some(name.into());
        self
    }

    /// Adds a resource attribute, such as `deployment.environment.name`.
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.attributes.push((name.into(), value.into()));
        self
    }

    /// Validates the configuration.
    ///
    /// # Errors
    ///
    /// All mistakes: a URL that is not http or https or contains credentials, and invalid headers, certificates or timeouts.
    pub fn build(self) -> Result<OtlpConfig, ConfigErrors> {
        let mut errors = Vec::new();
        let url = traces_url(&self.url, self.is_base)
            .map_err(|error| errors.push(error))
            .ok();
        if let Some(headers) = &self.headers
            && read_headers(&headers.current()).is_none()
        {
            errors.push(ConfigError::Headers);
        }
        let certificates = self
            .certificate
            .as_deref()
            .map_or_else(|| Ok(Vec::new()), http_edge::tls::authorities)
            .map_err(|problem| errors.push(ConfigError::Certificates(problem)))
            .ok();
        if self.timeout.is_zero() || self.timeout > LONGEST_TIMEOUT {
            errors.push(ConfigError::Timeout);
        }
        match (url, certificates) {
            (Some(url), Some(certificates)) if errors.is_empty() => Ok(OtlpConfig {
                url,
                headers: self.headers,
                certificates,
                timeout: self.timeout,
                service_name: self.service_name,
                attributes: self.attributes,
            }),
            _ => Err(ConfigErrors::of(errors)),
        }
    }
}

fn traces_url(text: &str, is_base: bool) -> Result<Url, ConfigError> {
    let mut url = Url::parse(text.trim()).map_err(|_| ConfigError::Url)?;
    // Plain http is allowed to any host: collectors usually run in the same cluster, without TLS.
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(ConfigError::Url);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(ConfigError::Credentials);
    }
    if url.fragment().is_some() || (is_base && url.query().is_some()) {
        return Err(ConfigError::QueryOrFragment);
    }
    if is_base {
        let path = format!("{}/{TRACES}", url.path().trim_end_matches('/'));
        url.set_path(&path);
    }
    Ok(url)
}

/// Parses `name=value, name=value`; `None` if one of them is not a valid header.
pub(crate) fn read_headers(text: &SecretString) -> Option<HeaderMap> {
    // The format of `OTEL_EXPORTER_OTLP_HEADERS`, so that values of other exporters can be reused.
    let items = text.expose_secret().split(',').map(str::trim);
    let mut headers = HeaderMap::new();
    for item in items.filter(|item| !item.is_empty()) {
        let (name, value) = item.split_once('=')?;
        let name: HeaderName = name.trim().parse().ok()?;
        let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
        let mut value = HeaderValue::from_str(&value).ok()?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    (!headers.is_empty()).then_some(headers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::base("http://127.0.0.1:4318", Ok("http://127.0.0.1:4318/v1/traces"))]
    #[case::base_with_slash("https://otlp.example.com/", Ok("https://otlp.example.com/v1/traces"))]
    #[case::base_with_path(
        "https://otlp.example.com/otlp/",
        Ok("https://otlp.example.com/otlp/v1/traces")
    )]
    #[case::in_a_cluster("http://otel-collector:4318", Ok("http://otel-collector:4318/v1/traces"))]
    #[case::no_scheme("otel-collector:4318", Err(ConfigError::Url))]
    #[case::grpc("grpc://otel-collector:4317", Err(ConfigError::Url))]
    #[case::words("not a url", Err(ConfigError::Url))]
    #[case::credentials("https://me:hunter2@otlp.example.com", Err(ConfigError::Credentials))]
    #[case::query("https://otlp.example.com?key=hunter2", Err(ConfigError::QueryOrFragment))]
    fn the_traces_path_is_appended_to_a_base_url(
        #[case] url: &str,
        #[case] expected: Result<&str, ConfigError>,
    ) {
        let built = OtlpConfig::builder(url).build();
        let built = built.as_ref().map(OtlpConfig::url).map_err(ConfigErrors::errors);
        match expected {
            Ok(url) => assert_eq!(built, Ok(url)),
            Err(error) => assert_eq!(built, Err(&[error][..])),
        }
    }

    #[test]
    fn a_traces_url_is_used_unchanged() {
        let url = "https://otlp.example.com/api/traces?tenant=a";
        assert_eq!(OtlpConfig::builder_at(url).build().expect("valid").url(), url);
    }

    #[test]
    fn headers_are_decoded_and_never_shown() {
        let text = SecretString::from("authorization=Bearer%20hunter2, x-scope-orgid=a,".to_owned());
        let headers = read_headers(&text).expect("headers");
        assert_eq!(headers["authorization"], "Bearer hunter2");
        assert_eq!(headers["x-scope-orgid"], "a");
        let config = OtlpConfig::builder("http://collector:4318")
            .headers(Secret::from(text))
            .build()
            .expect("valid");
        assert!(
            !format!("{config:?} {headers:?}").contains("hunter2"),
            "{config:?}"
        );
        assert_eq!(config.warnings().len(), 1, "{:?}", config.warnings());
    }

    #[rstest]
    #[case("hunter2")]
    #[case("a b=hunter2")]
    #[case("authorization=hunter2%0A")]
    #[case(" , ")]
    fn headers_that_cannot_be_sent_are_refused_and_not_shown(#[case] headers: &str) {
        let errors = OtlpConfig::builder("nowhere")
            .headers(headers)
            .certificate("hunter2")
            .timeout(Duration::ZERO)
            .build()
            .expect_err("wrong");
        assert_eq!(errors.errors().len(), 4, "{errors}");
        assert!(!errors.to_string().contains("hunter2"), "{errors}");
    }

    #[test]
    fn the_grpc_port_causes_a_warning() {
        let config = OtlpConfig::builder("http://localhost:4317")
            .build()
            .expect("valid");
        assert!(config.warnings()[0].contains("4318"), "{:?}", config.warnings());
    }
}
