//! The client: one HTTP client, one key, one rate limit. Sends requests, classifies responses, retries where
//! that is harmless, and decodes.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use http::{HeaderValue, Method, header};
use http_edge::SharedPause;
use human_text::counted;
use jiff::Timestamp;
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use url::Url;

use crate::config::{API_VERSION, Config};
use crate::error::{Error, ErrorKind, GrpcCode, Refusal, excerpt};
use crate::identity::{CurrentIdentity, Identity};
use crate::namespaces::{
    AsyncOperation, CapacityInfo, Namespace, NamespaceUpdate, NamespacesPage, OneCapacityInfo, OneNamespace,
    OneOperation, Region, Regions,
};
use crate::retry::{self, LONGEST_ASKED};

/// The largest page that the service returns (Cloud Ops API, `GetNamespaces`).
const PAGE_SIZE: &str = "1000";

/// The minimum wait after a rate limit, even if the service requests less.
const SHORTEST_PAUSE: Duration = Duration::from_millis(250);

/// Maximum wait before a write. The caller has just checked the namespace, and the check becomes stale.
const LONGEST_BEFORE_ONE_POST: Duration = Duration::from_secs(2);

/// Maximum size of a response, far above any response of the API. A larger one is rejected without reading the rest.
const LARGEST_BODY: usize = 256 * 1024 * 1024;

/// Maximum time to download a file.
const LONGEST_DOWNLOAD: Duration = Duration::from_mins(10);

/// A client of the Cloud Ops API. Cheap to clone: clones share connections, rate limit and counters.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
    is_read_only: bool,
}

#[derive(Debug)]
struct Shared {
    http: reqwest::Client,
    config: Config,
    host: String,
    pace: DefaultDirectRateLimiter,
    /// After a 429, all requests wait, not only the rejected one.
    pause: SharedPause,
    requests: AtomicU64,
    /// Whether the latest response was a 429.
    is_rate_limited: AtomicBool,
    /// The `Date` of the latest response in seconds since 1970; 0 before the first response.
    server_time: AtomicI64,
}

/// Whether a call may be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// A read, which is harmless to repeat.
    Harmless,
    /// A write, which is repeated only if it certainly had no effect.
    OnlyIfNotDone,
    /// A write that is never repeated here; the caller decides.
    Never,
}

pub(crate) struct Call<'a> {
    /// Description of the call for error messages, such as "list namespaces".
    pub(crate) operation: String,
    pub(crate) method: Method,
    pub(crate) path: &'a [&'a str],
    pub(crate) query: Vec<(&'static str, String)>,
    pub(crate) body: Option<Vec<u8>>,
    pub(crate) repeat: Repeat,
}

impl Client {
    /// Creates a client.
    pub fn new(config: Config) -> Self {
        let http = http_edge::usual_client(config.connect_timeout, config.is_loopback());
        Self::with_http(config, http)
    }

    /// Creates a client that uses an existing HTTP client, with that client's proxies, certificates and user
    /// agent. The configured timeouts apply, except `connect_timeout`. The HTTP client should not follow
    /// redirects.
    pub fn with_http(config: Config, http: reqwest::Client) -> Self {
        // The rate limiter cannot be built for 0 requests.
        let per_second = NonZeroU32::new(config.requests_per_second).unwrap_or(NonZeroU32::MIN);
        let shared = Shared {
            http,
            host: config.base_url.host_str().unwrap_or_default().to_owned(),
            pace: RateLimiter::direct(Quota::per_second(per_second)),
            pause: SharedPause::default(),
            config,
            requests: AtomicU64::new(0),
            is_rate_limited: AtomicBool::new(false),
            server_time: AtomicI64::new(0),
        };
        Self {
            shared: Arc::new(shared),
            is_read_only: false,
        }
    }

    /// Returns a clone that cannot change anything: every call that would is refused before it is sent.
    #[must_use]
    pub fn read_only(&self) -> Self {
        Self {
            is_read_only: true,
            ..self.clone()
        }
    }

    /// Returns how many requests were sent, including retries.
    pub fn requests_made(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// Returns whether the latest response was a 429, so that all requests wait.
    pub fn is_rate_limited(&self) -> bool {
        self.shared.is_rate_limited.load(Ordering::Relaxed)
    }

    /// Returns whether the service runs on this machine (its address is loopback), like a simulated one.
    pub fn is_local(&self) -> bool {
        self.shared.config.is_loopback()
    }

    /// Returns the service's time from its latest response, in whole seconds.
    pub fn server_time(&self) -> Option<Timestamp> {
        match self.shared.server_time.load(Ordering::Relaxed) {
            0 => None,
            seconds => Timestamp::from_second(seconds).ok(),
        }
    }

    /// Passes every namespace of the account to `each`, page by page, so that at most one page is in memory.
    ///
    /// Returns the number of namespaces.
    ///
    /// # Errors
    ///
    /// If the list cannot be read completely. The namespaces passed so far are then *not* the whole account.
    pub async fn for_each_namespace(&self, mut each: impl FnMut(Namespace)) -> Result<usize, Error> {
        const OPERATION: &str = "list namespaces";
        let contradiction = |what: String| Err(Error::new(OPERATION, ErrorKind::Contradiction(what)));
        let mut tokens = BTreeSet::new();
        let mut ids = BTreeSet::new();
        let mut token: Option<String> = None;
        loop {
            let mut query = vec![("pageSize", PAGE_SIZE.to_owned())];
            query.extend(token.take().map(|token| ("pageToken", token)));
            let page: NamespacesPage = self.get(OPERATION, &["cloud", "namespaces"], query).await?;
            for namespace in page.namespaces {
                // A namespace that moves to another page while the list is being read appears twice.
                if ids.insert(namespace.namespace.clone()) {
                    each(namespace);
                }
            }
            let Some(next) = page.next_page_token else {
                return Ok(ids.len());
            };
            if !tokens.insert(next.clone()) {
                return contradiction(format!(
                    "the service returned a page of the list twice after {}, so the list is incomplete",
                    counted(ids.len(), "namespace")
                ));
            }
            token = Some(next);
        }
    }

    /// Reads one namespace.
    pub async fn namespace(&self, id: &str) -> Result<Namespace, Error> {
        let answer: OneNamespace = self
            .get(
                format!("read namespace {id}"),
                &["cloud", "namespaces", id],
                Vec::new(),
            )
            .await?;
        Ok(answer.namespace)
    }

    /// Reads which sizes are available to a namespace.
    pub async fn capacity_info(&self, id: &str) -> Result<CapacityInfo, Error> {
        let path = ["cloud", "namespaces", id, "capacity-info"];
        let answer: OneCapacityInfo = self
            .get(format!("read the capacity info of {id}"), &path, Vec::new())
            .await?;
        Ok(answer.capacity_info)
    }

    /// Replaces the spec of a namespace.
    ///
    /// The request is retried only if it certainly had no effect (no connection, or a 429).
    ///
    /// # Errors
    ///
    /// If [`Error::is_outcome_unknown`], read the namespace back before anything else. If
    /// [`Error::is_conflict`], read it and re-evaluate; never send the same request again.
    pub async fn update_namespace(
        &self,
        id: &str,
        update: &NamespaceUpdate,
    ) -> Result<AsyncOperation, Error> {
        self.update(id, update, Repeat::OnlyIfNotDone).await
    }

    /// Replaces the spec of a namespace with exactly one request, without retries.
    ///
    /// # Errors
    ///
    /// As [`Client::update_namespace`].
    pub async fn update_namespace_once(
        &self,
        id: &str,
        update: &NamespaceUpdate,
    ) -> Result<AsyncOperation, Error> {
        self.update(id, update, Repeat::Never).await
    }

    async fn update(
        &self,
        id: &str,
        update: &NamespaceUpdate,
        repeat: Repeat,
    ) -> Result<AsyncOperation, Error> {
        let body = serde_json::to_vec(update).expect("raw values and strings are JSON");
        let call = Call {
            operation: format!("update namespace {id}"),
            method: Method::POST,
            path: &["cloud", "namespaces", id],
            query: Vec::new(),
            body: Some(body),
            repeat,
        };
        let answer: OneOperation = self.call(call).await?;
        Ok(answer.async_operation)
    }

    /// Reads the state of an operation.
    pub async fn async_operation(&self, id: &str) -> Result<AsyncOperation, Error> {
        let path = ["cloud", "operations", id];
        let answer: OneOperation = self
            .get(format!("read operation {id}"), &path, Vec::new())
            .await?;
        Ok(answer.async_operation)
    }

    /// Reads the owner of the key.
    pub async fn current_identity(&self) -> Result<Identity, Error> {
        let path = ["cloud", "current-identity"];
        let answer: CurrentIdentity = self
            .get(
                "read the identity behind the Cloud Ops API key",
                &path,
                Vec::new(),
            )
            .await?;
        Ok(answer.into())
    }

    /// Reads all regions.
    pub async fn regions(&self) -> Result<Vec<Region>, Error> {
        let answer: Regions = self
            .get("list regions", &["cloud", "regions"], Vec::new())
            .await?;
        Ok(answer.regions)
    }

    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        operation: impl Into<String>,
        path: &[&str],
        query: Vec<(&'static str, String)>,
    ) -> Result<T, Error> {
        let operation = operation.into();
        self.call(Call {
            operation,
            method: Method::GET,
            path,
            query,
            body: None,
            repeat: Repeat::Harmless,
        })
        .await
    }

    /// Makes a call, and repeats it within limits where that is harmless and can help.
    pub(crate) async fn call<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<T, Error> {
        if self.is_read_only && call.method != Method::GET {
            return Err(Error::new(call.operation, ErrorKind::ReadOnly));
        }
        let url = self.url(call.path);
        let begun = Instant::now();
        let (mut attempts, mut refusals) = (0, 0);
        let mut key = self.shared.config.api_key.current();
        let mut key_was_renewed = false;
        loop {
            let error = match self.attempt(&call, url.clone(), &key).await {
                Ok(answer) => return Ok(answer),
                Err(kind) => Error::new(&call.operation, kind),
            };
            // A rejected key means that the request had no effect, so a write may be repeated too.
            if error.is_unauthenticated()
                && !key_was_renewed
                // The key is read again even for a call that is never repeated, so that the next call uses
                // the new key.
                && let Some(renewed) = self.renewed_key(&key)
                && call.repeat != Repeat::Never
            {
                (key, key_was_renewed) = (renewed, true);
                continue;
            }
            let harmless = match call.repeat {
                Repeat::Harmless => true,
                Repeat::OnlyIfNotDone => !error.is_outcome_unknown(),
                Repeat::Never => false,
            };
            let asked = error.retry_after();
            if error.is_rate_limited() {
                // The rate limit is the account's. Waiting for it is not a failure, so the wait is limited by
                // time and not by attempts.
                refusals += 1;
                let wait = asked
                    .unwrap_or_else(|| retry::backoff(refusals))
                    .max(SHORTEST_PAUSE);
                // Even if this call gives up: other calls must not run into the same limit.
                self.shared.pause.begin(wait);
                let in_time = begun.elapsed() + wait <= self.shared.config.max_rate_limited
                    // A short `max_rate_limited` still leaves the usual number of attempts.
                    || refusals < self.shared.config.max_attempts;
                if !(harmless && in_time && wait <= LONGEST_ASKED) {
                    return Err(error);
                }
                tracing::debug!(
                    operation = call.operation,
                    refusals,
                    ?wait,
                    // The next attempt waits for the shared pause, so there is no sleep here.
                    "rate limited; all requests wait"
                );
                continue;
            }
            attempts += 1;
            let wait = asked.unwrap_or_default().max(retry::backoff(attempts));
            let in_time = asked.is_none_or(|asked| asked <= LONGEST_ASKED)
                && begun.elapsed() + wait <= self.shared.config.max_elapsed;
            if !(error.is_retryable() && harmless && in_time && attempts < self.shared.config.max_attempts) {
                return Err(error);
            }
            tracing::debug!(operation = call.operation, attempts, ?wait, error = %error.kind(), "repeating a call");
            tokio::time::sleep(wait).await;
        }
    }

    /// Rereads a rejected key from its file.
    fn renewed_key(&self, refused: &SecretString) -> Option<SecretString> {
        let is_usable = |key: &SecretString| http_edge::bearer(key).is_some();
        self.shared.config.api_key.renew_if(refused, is_usable)
    }

    async fn attempt<T: DeserializeOwned>(
        &self,
        call: &Call<'_>,
        url: Url,
        key: &SecretString,
    ) -> Result<T, ErrorKind> {
        self.wait_for_a_turn().await;
        let longest = match call.repeat {
            Repeat::Harmless | Repeat::OnlyIfNotDone => LONGEST_ASKED,
            Repeat::Never => LONGEST_BEFORE_ONE_POST,
        };
        self.shared.pause.over(longest).await.map_err(paused)?;
        // Counted before it is sent: a request without a response counts toward the account's limit as well.
        self.shared.requests.fetch_add(1, Ordering::Relaxed);
        let mut request = self
            .shared
            .http
            .request(call.method.clone(), url)
            .header(
                "temporal-cloud-api-version",
                HeaderValue::from_static(API_VERSION),
            )
            .header(header::ACCEPT, HeaderValue::from_static("application/json"))
            .timeout(self.shared.config.request_timeout)
            .query(&call.query);
        if let Some(key) = http_edge::bearer(key) {
            request = request.header(header::AUTHORIZATION, key);
        }
        if let Some(body) = &call.body {
            request = request
                .header(header::CONTENT_TYPE, "application/json")
                .body(body.clone());
        }
        let response = request.send().await.map_err(|error| self.no_answer(error))?;
        let status = response.status();
        let headers = response.headers().clone();
        let header = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        // Without the query, which does not help to explain a response.
        let mut url = response.url().clone();
        url.set_query(None);
        let retry_after = http_edge::retry_after(response.headers());
        // Before the body is read, because a broken body says nothing about the clock or the rate limit.
        if let Some(time) = http_edge::server_time(response.headers()) {
            self.shared.server_time.store(time.as_second(), Ordering::Relaxed);
        }
        self.shared
            .is_rate_limited
            .store(status.as_u16() == 429, Ordering::Relaxed);
        let body = self.read_body(response).await?;
        tracing::trace!(
            operation = call.operation,
            status = status.as_u16(),
            bytes = body.len(),
            "answered"
        );
        if !status.is_success() {
            return Err(ErrorKind::Refused(Refusal::read(
                status.as_u16(),
                &body,
                retry_after,
                header(header::LOCATION)
                    .and_then(|location| url.join(location).ok())
                    .as_ref(),
            )));
        }
        serde_json::from_slice(&body).map_err(|source| ErrorKind::Unreadable {
            url: url.to_string(),
            content_type: header(header::CONTENT_TYPE)
                .map_or_else(|| "none".to_owned(), |value| value.chars().take(60).collect()),
            excerpt: excerpt(&body),
            source,
        })
    }

    /// Fetches a file from a URL that the service sent. The key is not sent there, and the URL is never shown, not even in an
    /// error.
    pub(crate) async fn fetch_file(&self, url: Url) -> Result<Vec<u8>, ErrorKind> {
        let may_be_fetched =
            // Only a simulated service, which is on loopback itself, sends plain http URLs.
            url.scheme() == "https" || (url.scheme() == "http" && self.shared.config.is_loopback());
        if !may_be_fetched {
            let text = "the service sent an unencrypted download URL, which was rejected".to_owned();
            return Err(ErrorKind::Contradiction(text));
        }
        let request = self.shared.http.get(url).timeout(LONGEST_DOWNLOAD);
        let response = request.send().await.map_err(|error| self.no_answer(error))?;
        let status = response.status().as_u16();
        let body = self.read_body(response).await?;
        match status {
            200 => Ok(body),
            // Object stores disagree on the status for an expired URL: S3 sends 403, Google Cloud Storage
            // 400.
            400 | 401 | 403 | 404 | 410 => Err(ErrorKind::Contradiction(format!(
                "the download was refused with {status}: download URLs are valid for a short time only. Run the command again"
            ))),
            _ => Err(ErrorKind::Refused(Refusal::read(status, &body, None, None))),
        }
    }

    async fn read_body(&self, mut response: reqwest::Response) -> Result<Vec<u8>, ErrorKind> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.no_answer(error))? {
            body.extend_from_slice(&chunk);
            if body.len() > LARGEST_BODY {
                return Err(ErrorKind::Contradiction(format!(
                    "{} sent more than {} MiB, which is not a response of this API",
                    self.shared.host,
                    LARGEST_BODY >> 20
                )));
            }
        }
        Ok(body)
    }

    fn no_answer(&self, error: reqwest::Error) -> ErrorKind {
        let (host, source) = (self.shared.host.clone(), error.without_url());
        // Without a connection nothing was sent, so that even a write can be repeated.
        if source.is_connect() {
            ErrorKind::Connect { host, source }
        } else {
            ErrorKind::Transport { host, source }
        }
    }

    async fn wait_for_a_turn(&self) {
        while let Err(not_until) = self.shared.pace.check() {
            let wait = not_until.wait_time_from(DefaultClock::default().now());
            // The limiter may report a wait of zero, which would turn this loop into a busy one.
            tokio::time::sleep(wait.max(Duration::from_millis(1))).await;
        }
    }

    /// Appends path segments to the base URL, each escaped, so that an id can never address another resource.
    fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.shared.config.base_url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            // A base URL without a path ends with an empty segment, which would become a double slash.
            path.pop_if_empty().extend(segments);
        }
        url
    }
}

/// Returns the error for a request that was not sent because the service requested a longer wait than a call may take.
fn paused(left: Duration) -> ErrorKind {
    ErrorKind::Refused(Refusal {
        status: 429,
        code: GrpcCode::ResourceExhausted,
        message: format!(
            "the service asked to wait another {} s, so nothing was sent",
            left.as_secs().max(1)
        ),
        retry_after: Some(left),
    })
}
