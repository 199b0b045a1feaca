//! Makes one request: credentials, retries, a bounded body, and the kind of response.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http_edge::{Secret, retry_after};
use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use reqwest::{RequestBuilder, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use url::{Url, form_urlencoded};

use crate::answer::{self, Envelope};
use crate::config::{Auth, PrometheusConfig, is_password};
use crate::error::{Error, ErrorKind};

/// Maximum wait that a server can request. Longer waits are left to the caller.
const LONGEST_ASKED: Duration = Duration::from_secs(20);
const FIRST_WAIT: Duration = Duration::from_millis(500);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum number of characters of a server's message in an error.
const LONGEST_MESSAGE: usize = 300;

/// A client for a Prometheus-compatible API.
#[derive(Debug)]
pub struct PrometheusClient {
    http: reqwest::Client,
    pub(crate) config: PrometheusConfig,
    pub(crate) host: String,
    /// Headers of every request.
    headers: HeaderMap,
    /// Secrets that must not appear in any text, in addition to those that were read again since.
    secrets: Vec<SecretString>,
    /// Whether a gateway rejects POST and allows GET.
    get_only: AtomicBool,
}

/// A complete, successful response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) body: Vec<u8>,
    pub(crate) envelope: Envelope,
}

impl PrometheusClient {
    /// Creates a client. It connects with its first request.
    ///
    /// # Errors
    ///
    /// If the HTTP library rejects the certificate authorities.
    ///
    /// # Panics
    ///
    /// Never for a valid configuration: its authorities were checked when it was built.
    pub fn new(config: PrometheusConfig) -> Result<Self, Error> {
        let tls = http_edge::tls::client_config(&config.certificates)
            .expect("the configuration was built with usable authorities only");
        let is_https = config.base_url.scheme() == "https";
        let http = http_edge::client(tls, CONNECT_TIMEOUT, config.is_loopback())
            .https_only(is_https && !config.is_loopback());
        let http = http.build().map_err(|source| {
            let kind = ErrorKind::Unreachable {
                host: host(&config),
                source: source.without_url(),
            };
            Error::new("prepare the connection", kind)
        })?;
        Ok(Self::with_http(config, http))
    }

    /// Creates a client that uses an existing HTTP client, with that client's proxies and certificates. The
    /// configured certificates (`custom_ca`) are not used. The HTTP client should not follow redirects.
    pub fn with_http(config: PrometheusConfig, http: reqwest::Client) -> Self {
        let secrets = secret(&config.auth)
            .map(|secret| Credentials::of(&config.auth, secret.current()).secrets)
            .unwrap_or_default();
        Self {
            http,
            host: host(&config),
            headers: headers(&config),
            config,
            secrets,
            get_only: AtomicBool::new(false),
        }
    }

    /// Returns the configuration.
    pub fn config(&self) -> &PrometheusConfig {
        &self.config
    }

    /// Sends a query for a time in seconds. Adds the number of requests to `requests`.
    pub(crate) async fn query(
        &self,
        query: &str,
        time: &str,
        requests: &mut u64,
    ) -> Result<Answer, ErrorKind> {
        self.ask("query", &[("query", query), ("time", time)], requests)
            .await
    }

    /// Calls an endpoint of the API, by POST if that is allowed. Adds the number of requests to `requests`.
    pub(crate) async fn ask(
        &self,
        endpoint: &str,
        parameters: &[(&str, &str)],
        requests: &mut u64,
    ) -> Result<Answer, ErrorKind> {
        let form = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(parameters)
            .finish();
        // POST first: a query with many namespaces can be longer than a request line.
        if !self.get_only.load(Ordering::Relaxed) {
            let post = || {
                self.http
                    .post(self.url(&[endpoint]))
                    .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                    .body(form.clone())
            };
            match self.repeated(post, requests).await {
                // A gateway may allow only reading, which it recognizes by the method.
                Err(kind) if kind.may_be_the_method() => {}
                result => return result,
            }
        }
        let mut url = self.url(&[endpoint]);
        url.set_query(Some(&form));
        let answer = self.repeated(|| self.http.get(url.clone()), requests).await?;
        // Only after a GET was accepted: if both are rejected, the method is not the reason.
        if !self.get_only.swap(true, Ordering::Relaxed) {
            tracing::debug!(host = self.host, "POST was refused, sending queries with GET");
        }
        Ok(answer)
    }

    /// Reads a status page of the API.
    pub(crate) async fn status(&self, page: &str) -> Result<Answer, ErrorKind> {
        let request = || self.http.get(self.url(&["status", page]));
        self.repeated(request, &mut 0).await
    }

    async fn repeated(
        &self,
        request: impl Fn() -> RequestBuilder,
        requests: &mut u64,
    ) -> Result<Answer, ErrorKind> {
        let mut attempts = 0;
        let secret = secret(&self.config.auth);
        let mut given = secret.map(|secret| Credentials::of(&self.config.auth, secret.current()));
        let mut was_renewed = false;
        loop {
            attempts += 1;
            *requests += 1;
            let authorization = given.as_ref().and_then(|given| given.header.clone());
            let kind = match self.attempt(authorized(request(), authorization)).await {
                Ok(answer) => return Ok(answer),
                Err(kind) => kind,
            };
            if matches!(kind, ErrorKind::Unauthorized { status: 401, .. })
                && !was_renewed
                && let (Some(secret), Some(refused)) = (secret, &given)
                && let Some(renewed) = secret.renew_if(&refused.secret, |secret| {
                    Credentials::of(&self.config.auth, secret.clone())
                        .header
                        .is_some()
                })
            {
                given = Some(Credentials::of(&self.config.auth, renewed));
                was_renewed = true;
                continue;
            }
            let asked = kind.retry_after();
            let patient = asked.is_none_or(|asked| asked <= LONGEST_ASKED);
            if !(kind.is_passing() && patient && attempts < self.config.max_attempts) {
                return Err(kind);
            }
            let wait = FIRST_WAIT
                .saturating_mul(1 << (attempts - 1).min(6))
                .mul_f64(0.5 + fastrand::f64() / 2.0);
            tracing::debug!(attempts, error = %kind, "retrying a request to Prometheus");
            tokio::time::sleep(asked.unwrap_or_default().max(wait)).await;
        }
    }

    async fn attempt(&self, request: RequestBuilder) -> Result<Answer, ErrorKind> {
        let request = request.headers(self.headers.clone()).timeout(self.config.timeout);
        let mut response = request.send().await.map_err(|error| self.no_answer(error))?;
        let status = response.status();
        let headers = response.headers().clone();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.no_end(error))? {
            // Before the chunk is added, so that the limit bounds the memory.
            if body.len() + chunk.len() > self.config.largest_answer {
                return Err(ErrorKind::TooLarge {
                    host: self.host.clone(),
                    message: format!("a response is larger than {} bytes", self.config.largest_answer),
                });
            }
            grow(&mut body, chunk.len(), self.config.largest_answer);
            body.extend_from_slice(&chunk);
        }
        tracing::trace!(status = status.as_u16(), bytes = body.len(), "answered");
        self.classify(status, &headers, body)
    }

    /// Classifies by status first and parses the body leniently: an HTML 502 stays a 502, and a JSON refusal
    /// keeps its message.
    fn classify(&self, status: StatusCode, headers: &HeaderMap, body: Vec<u8>) -> Result<Answer, ErrorKind> {
        let envelope = answer::inspect(&body);
        let host = self.host.clone();
        if status.is_success() {
            return match envelope {
                Ok(envelope) if envelope.status == "success" => Ok(Answer { body, envelope }),
                Ok(envelope) if envelope.status == "error" => {
                    Err(self.refusal(status, headers, &body, &envelope))
                }
                // JSON that was cut off can be complete the next time. Anything other than JSON is from
                // another service.
                Err(error) if error.is_eof() && body.first() == Some(&b'{') => Err(ErrorKind::CutShort {
                    host,
                    why: format!("it breaks off after {} bytes", body.len()),
                }),
                Err(error) if error.is_data() && body.first() == Some(&b'{') => Err(ErrorKind::Unreadable {
                    host,
                    why: self.cleaned(&error.to_string()),
                }),
                Ok(_) | Err(_) => Err(ErrorKind::NotPrometheus {
                    host,
                    status: status.as_u16(),
                    excerpt: self.excerpt(&body),
                }),
            };
        }
        Err(self.refusal(status, headers, &body, &envelope.unwrap_or_default()))
    }

    fn refusal(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
        envelope: &Envelope,
    ) -> ErrorKind {
        let host = self.host.clone();
        let is_api = envelope.status == "error";
        let message = if is_api {
            self.cleaned(&envelope.error)
        } else {
            self.excerpt(body)
        };
        let status = status.as_u16();
        match status {
            401 | 403 => ErrorKind::Unauthorized {
                host,
                status,
                message,
                has_tenant: self.config.tenant.is_some(),
            },
            429 => ErrorKind::Refused {
                host,
                status,
                message,
                retry_after: retry_after(headers),
            },
            413 => ErrorKind::TooLarge { host, message },
            504 => ErrorKind::Timeout { host, message },
            // By type: Prometheus answers a query that timed out with 503, like a server that is down.
            _ if is_api && matches!(envelope.error_type.as_str(), "timeout" | "canceled") => {
                ErrorKind::Timeout { host, message }
            }
            _ if is_api && is_too_large(&envelope.error) => ErrorKind::TooLarge { host, message },
            400 | 422 | 200..=299 => ErrorKind::BadQuery {
                host,
                error_type: if is_api {
                    self.cleaned(&envelope.error_type)
                } else {
                    status.to_string()
                },
                message,
            },
            404 | 405 => ErrorKind::NotPrometheus {
                host,
                status,
                excerpt: message,
            },
            _ => ErrorKind::Refused {
                host,
                status,
                message,
                retry_after: retry_after(headers),
            },
        }
    }

    fn no_answer(&self, error: reqwest::Error) -> ErrorKind {
        // A connection that cannot be made in time is a server that is unreachable, not a slow query.
        if error.is_timeout() && !error.is_connect() {
            return self.out_of_time();
        }
        ErrorKind::Unreachable {
            host: self.host.clone(),
            source: error.without_url(),
        }
    }

    fn no_end(&self, error: reqwest::Error) -> ErrorKind {
        if error.is_timeout() {
            return self.out_of_time();
        }
        let error = error.without_url();
        // The HTTP library only says that a body could not be decoded. The innermost cause says why.
        let cause = std::iter::successors(std::error::Error::source(&error), |cause| cause.source()).last();
        ErrorKind::CutShort {
            host: self.host.clone(),
            why: self.cleaned(&cause.map_or_else(|| error.to_string(), ToString::to_string)),
        }
    }

    fn out_of_time(&self) -> ErrorKind {
        ErrorKind::Timeout {
            host: self.host.clone(),
            message: format!(
                "the response was incomplete after {} s",
                self.config.timeout.as_secs_f64()
            ),
        }
    }

    /// Returns the beginning of a body in one printable line.
    pub(crate) fn excerpt(&self, body: &[u8]) -> String {
        let text = String::from_utf8_lossy(&body[..body.len().min(4 * 1024)]);
        if text.trim_start().starts_with('<') {
            return "(an HTML page)".to_owned();
        }
        let cleaned = self.cleaned(&text);
        if cleaned.is_empty() {
            "(nothing)".to_owned()
        } else {
            cleaned
        }
    }

    /// Returns a server's message in one printable line, truncated, and without our secrets: some servers
    /// echo what they received.
    pub(crate) fn cleaned(&self, text: &str) -> String {
        let mut text = text.to_owned();
        let current = secret(&self.config.auth)
            .map(|secret| Credentials::of(&self.config.auth, secret.current()).secrets)
            .unwrap_or_default();
        for secret in self.secrets.iter().chain(&current) {
            if text.contains(secret.expose_secret()) {
                text = text.replace(secret.expose_secret(), "***");
            }
        }
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        line.chars()
            .filter(|c| !c.is_control())
            .take(LONGEST_MESSAGE)
            .collect()
    }

    fn url(&self, last: &[&str]) -> Url {
        let mut url = self.config.base_url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["api", "v1"]).extend(last);
        }
        url
    }
}

/// Grows the buffer like a `Vec`, by doubling, but never beyond the limit.
fn grow(body: &mut Vec<u8>, by: usize, bound: usize) {
    let needed = body.len() + by;
    if needed > body.capacity() {
        let capacity = (body.capacity() * 2).max(needed).min(bound.max(needed));
        body.reserve_exact(capacity - body.len());
    }
}

/// The credentials of a request.
struct Credentials {
    /// The token or password itself.
    secret: SecretString,
    /// The header; `None` if the secret contains characters that are not allowed in a header.
    header: Option<HeaderValue>,
    /// Secrets that must not appear in any text.
    secrets: Vec<SecretString>,
}

impl Credentials {
    fn of(auth: &Auth, secret: SecretString) -> Self {
        let (header, as_sent) = match auth {
            Auth::None | Auth::Bearer(_) => (http_edge::bearer(&secret), None),
            Auth::Basic { user, .. } => {
                let password = secret.expose_secret();
                let pair = base64(format!("{user}:{password}").as_bytes());
                let header = HeaderValue::from_str(&format!("Basic {pair}")).ok();
                let header = header.filter(|_| is_password(password)).map(|mut header| {
                    header.set_sensitive(true);
                    header
                });
                (header, Some(pair.into()))
            }
        };
        let secrets = as_sent.into_iter().chain([secret.clone()]).collect();
        Self {
            secret,
            header,
            secrets,
        }
    }
}

/// Returns the secret of the credentials, if there is one.
fn secret(auth: &Auth) -> Option<&Secret> {
    match auth {
        Auth::None => None,
        Auth::Bearer(token) => Some(token),
        Auth::Basic { password, .. } => Some(password),
    }
}

fn authorized(request: RequestBuilder, header: Option<HeaderValue>) -> RequestBuilder {
    match header {
        Some(header) => request.header(header::AUTHORIZATION, header),
        None => request,
    }
}

/// Returns the host and port, for messages.
fn host(config: &PrometheusConfig) -> String {
    match (config.base_url.host_str(), config.base_url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (host, _) => host.unwrap_or_default().to_owned(),
    }
}

/// Returns the headers of every request: the user agent, and the tenant if there is one.
fn headers(config: &PrometheusConfig) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let user_agent = HeaderValue::from_str(&config.user_agent)
        .expect("the configuration accepts only user agents that fit a header");
    headers.insert(header::USER_AGENT, user_agent);
    if let Some(tenant) = &config.tenant {
        let value =
            HeaderValue::from_str(tenant).expect("the configuration accepts only tenants that fit a header");
        headers.insert(HeaderName::from_static("x-scope-orgid"), value);
    }
    headers
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group
            .iter()
            .chain(std::iter::repeat(&0))
            .take(3)
            .fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
        for place in 0..4 {
            // 24 bits are four digits of six bits. A group of n bytes fills n + 1 of them.
            text.push(if place <= group.len() {
                char::from(ALPHABET[bits >> (18 - 6 * place) & 63])
            } else {
                '='
            });
        }
    }
    text
}

/// Returns whether an error means that a query is too large, based on the messages of Prometheus, `VictoriaMetrics`,
/// Thanos and Mimir. The API has no error code for it.
fn is_too_large(error: &str) -> bool {
    let error = error.to_ascii_lowercase();
    let says = |words: &str| error.contains(words);
    // A parse error quotes the query, which can contain any of these words.
    !says("parse error")
        && [
            "too many samples",
            "too many points",
            "too many series",
            "too large",
            "too long",
            "exceed",
            "maxsamples",
            "not enough memory",
        ]
        .into_iter()
        .any(says)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::prometheus(
        "query processing would load too many samples into memory in query execution",
        true
    )]
    #[case::victoria(
        "cannot select more than -search.maxSamplesPerQuery=1000000000 samples; possible solutions: ...",
        true
    )]
    #[case::mimir(
        "the query exceeded the maximum number of chunks (limit: 2000000 chunks)",
        true
    )]
    #[case::thanos("exceeded series limit: limit 1 violated (got 2)", true)]
    #[case::syntax("1:9: parse error: exceeded something", false)]
    #[case::other("unknown function", false)]
    fn a_query_that_is_too_large_is_recognized_by_the_message(#[case] error: &str, #[case] expected: bool) {
        assert_eq!(is_too_large(error), expected);
    }

    #[rstest]
    #[case("", "")]
    #[case("f", "Zg==")]
    #[case("fo", "Zm8=")]
    #[case("foo", "Zm9v")]
    #[case("foob", "Zm9vYg==")]
    #[case("Aladdin:open sesame", "QWxhZGRpbjpvcGVuIHNlc2FtZQ==")]
    fn base64_is_that_of_rfc_4648(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(base64(text.as_bytes()), expected);
    }

    #[test]
    fn a_body_never_takes_more_memory_than_its_bound() {
        let (mut body, bound) = (Vec::new(), 1_000);
        while body.len() < bound {
            grow(&mut body, 8, bound);
            body.extend_from_slice(&[0; 8]);
            assert!(body.capacity() <= bound, "{}", body.capacity());
        }
    }

    #[rstest]
    #[case::root("https://example.com", "https://example.com/api/v1/query")]
    #[case::prefix(
        "https://example.com/prometheus/",
        "https://example.com/prometheus/api/v1/query"
    )]
    fn the_path_prefix_is_kept(#[case] base: &str, #[case] expected: &str) {
        let config = PrometheusConfig::builder(base).build().expect("valid");
        let client = PrometheusClient::new(config).expect("a client");
        assert_eq!(client.url(&["query"]).as_str(), expected);
    }
}
