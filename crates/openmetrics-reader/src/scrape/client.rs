//! Makes one request: key, budget, retries, and a check that the response is complete.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http_edge::{SharedPause, retry_after, server_time};
use jiff::Timestamp;
use reqwest::header::{self, HeaderMap};
use secrecy::SecretString;
use url::Url;

use super::config::Config;
use super::error::{EXCERPT, Error, ErrorKind, MESSAGE, beginning, redirect};
use crate::{Event, Options, Reader, Summary};

/// Maximum wait that is honored if the endpoint asks for one. Longer waits are left to the caller.
const LONGEST_ASKED: Duration = Duration::from_secs(20);
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// Maximum size of a response, in bytes. 30,000 points with long labels take a tenth of this.
const LARGEST_BODY: usize = 128 * 1024 * 1024;

/// Scrapes the endpoint within a request budget.
#[derive(Debug)]
pub struct Scraper {
    http: reqwest::Client,
    pub(super) config: Config,
    pub(super) host: String,
    /// Times of the requests in the last hour.
    recent: Mutex<VecDeque<Instant>>,
    /// After a 429, all requests wait, not only the rejected one.
    pause: SharedPause,
    requests: AtomicU64,
    server_time_ms: AtomicI64,
    /// Whether this endpoint ends its documents with the end marker. If so, a document without one was
    /// truncated.
    ends_with_marker: AtomicBool,
}

/// The parameters of a scrape.
#[derive(Debug, Clone, Copy, Default)]
pub struct Query<'a> {
    /// Full names of metric families; empty means all.
    pub metrics: &'a [&'a str],
    /// Names or wildcards of namespaces; empty means all.
    pub namespaces: &'a [String],
}

/// What the endpoint reports about its own response, in `X-Completeness`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Completeness {
    /// Everything that was requested is there.
    Complete,
    /// Truncated at the size limit.
    Limited,
    /// The endpoint does not know.
    Unknown,
    /// The header is missing or has an unknown value: not complete.
    Undeclared,
}

/// A whole document, and what the endpoint reports about it.
#[derive(Debug)]
pub struct Answer {
    /// The document as received.
    pub body: Vec<u8>,
    /// Whether it contains everything that was requested.
    pub completeness: Completeness,
    /// The newest timestamp in the document; `None` if no sample has one.
    pub newest: Option<Timestamp>,
    /// Number of lines and samples, and how the document ended.
    pub summary: Summary,
    /// Number of requests, including retries.
    pub requests: u32,
}

/// A response as received.
struct Answered {
    /// The URL that responded.
    url: Url,
    headers: HeaderMap,
    body: Vec<u8>,
    /// Whether its length or end was declared.
    framed: bool,
}

impl Scraper {
    /// Creates a scraper.
    pub fn new(config: Config) -> Self {
        let http = http_edge::usual_client(config.connect_timeout, config.is_loopback());
        Self::with_http(config, http)
    }

    /// Creates a scraper that uses an existing HTTP client, with that client's proxies, certificates and user
    /// agent. The configured timeouts apply, except `connect_timeout`. The HTTP client should not follow
    /// redirects.
    pub fn with_http(config: Config, http: reqwest::Client) -> Self {
        Self {
            http,
            host: config.base_url.host_str().unwrap_or_default().to_owned(),
            config,
            recent: Mutex::new(VecDeque::new()),
            pause: SharedPause::default(),
            requests: AtomicU64::new(0),
            // Out of the range of `Timestamp`, so that it means no response yet.
            server_time_ms: AtomicI64::new(i64::MIN),
            ends_with_marker: AtomicBool::new(false),
        }
    }

    /// Returns the configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Returns how many requests were sent, including retries.
    pub fn requests_made(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Returns the endpoint's time from its latest response, in whole seconds.
    pub fn server_time(&self) -> Option<Timestamp> {
        Timestamp::from_millisecond(self.server_time_ms.load(Ordering::Relaxed)).ok()
    }

    /// Makes one request, and retries within limits if it fails for a transient reason.
    ///
    /// The whole document is parsed: unreadable lines, truncation and anything other than metrics are errors here.
    /// The caller checks whether it is *complete*.
    pub async fn scrape(&self, query: &Query<'_>) -> Result<Answer, Error> {
        let url = self.url("metrics");
        let mut pairs: Vec<(&str, &str)> = query.metrics.iter().map(|metric| ("metrics", *metric)).collect();
        pairs.extend(
            query
                .namespaces
                .iter()
                .map(|namespace| ("namespaces", namespace.as_str())),
        );
        let (answered, requests) = self.repeated("scrape the metrics", &url, &pairs).await?;
        self.answer(answered, requests)
            .map_err(|kind| Error::new("scrape the metrics", kind).after(requests))
    }

    /// Returns the names of all metric families that the endpoint offers.
    pub async fn families(&self) -> Result<Vec<String>, Error> {
        #[derive(serde::Deserialize)]
        struct Page {
            #[serde(default)]
            descriptors: Vec<Descriptor>,
        }
        #[derive(serde::Deserialize)]
        struct Descriptor {
            name: String,
        }
        const OPERATION: &str = "list the metric families";
        const PAGE: usize = 100;
        let url = self.url("descriptors");
        let mut names = Vec::new();
        loop {
            let offset = names.len().to_string();
            let pairs = [("limit", "100"), ("offset", offset.as_str())];
            let (Answered { headers, body, .. }, _) = self.repeated(OPERATION, &url, &pairs).await?;
            let page: Page = serde_json::from_slice(&body)
                .map_err(|_| Error::new(OPERATION, not_metrics(&url, &headers, &body)))?;
            let count = page.descriptors.len();
            names.extend(page.descriptors.into_iter().map(|descriptor| descriptor.name));
            // The bound stops at a server that ignores the offset and returns the same page forever.
            if count < PAGE || names.len() > 10_000 {
                return Ok(names);
            }
        }
    }

    fn answer(&self, answered: Answered, requests: u32) -> Result<Answer, ErrorKind> {
        let Answered {
            url,
            headers,
            body,
            framed,
        } = answered;
        let host = || self.host.clone();
        let foreign = || not_metrics(&url, &headers, &body);
        let completeness = match headers
            .get("x-completeness")
            .and_then(|value| value.to_str().ok())
        {
            Some(word) if word.trim().eq_ignore_ascii_case("complete") => Completeness::Complete,
            Some(word) if word.trim().eq_ignore_ascii_case("limited") => Completeness::Limited,
            Some(word) if word.trim().eq_ignore_ascii_case("unknown") => Completeness::Unknown,
            Some(_) | None => Completeness::Undeclared,
        };
        let mut reader = Reader::new(&body, Options::lenient());
        let mut newest: Option<i64> = None;
        let mut metrics_seen = false;
        for event in reader.by_ref() {
            match event {
                Ok(Event::Sample(sample)) => {
                    metrics_seen = true;
                    newest = newest.max(sample.timestamp_ms());
                }
                Ok(Event::Type { .. } | Event::Help { .. } | Event::Unit { .. } | Event::End) => {
                    metrics_seen = true;
                }
                Ok(Event::Comment(_)) => {}
                // Nothing valid before it: this is the page of a proxy or a message about the key, not a
                // damaged document.
                Err(_) if !metrics_seen => return Err(foreign()),
                Err(source) => return Err(ErrorKind::Unreadable { host: host(), source }),
            }
        }
        let summary = reader.summary().clone();
        if !metrics_seen {
            return Err(foreign());
        }
        if summary.end_marker_seen {
            self.ends_with_marker.store(true, Ordering::Relaxed);
        } else if self.ends_with_marker.load(Ordering::Relaxed) {
            let why = "it lacks the end marker that earlier documents from this endpoint had";
            return Err(ErrorKind::Cut { host: host(), why });
        } else if !framed {
            let why = "it has neither an end marker nor a declared length";
            return Err(ErrorKind::Cut { host: host(), why });
        }
        let newest = newest.and_then(|milliseconds| Timestamp::from_millisecond(milliseconds).ok());
        Ok(Answer {
            body,
            completeness,
            newest,
            summary,
            requests,
        })
    }

    async fn repeated(
        &self,
        operation: &'static str,
        url: &Url,
        pairs: &[(&str, &str)],
    ) -> Result<(Answered, u32), Error> {
        let mut attempts = 0;
        let mut key = self.config.api_key.current();
        let mut key_was_renewed = false;
        loop {
            if let Err(left) = self.pause.over(LONGEST_ASKED).await {
                return Err(Error::new(operation, self.paused(left)).after(attempts));
            }
            attempts += 1;
            let kind = match self.attempt(url, pairs, &key).await {
                Ok(answer) => return Ok((answer, attempts)),
                Err(kind) => kind,
            };
            if matches!(kind, ErrorKind::Refused { status: 401, .. })
                && !key_was_renewed
                && let Some(renewed) = self.renewed_key(&key)
            {
                (key, key_was_renewed) = (renewed, true);
                continue;
            }
            let asked = kind.retry_after();
            let wait = FIRST_WAIT
                .saturating_mul(1 << (attempts - 1).min(6))
                // Spread, so that several workers that were rejected together do not come back together.
                .mul_f64(0.5 + fastrand::f64() / 2.0);
            let wait = asked.unwrap_or_default().max(wait);
            if matches!(kind, ErrorKind::Refused { status: 429, .. }) {
                self.pause.begin(wait);
            }
            let patient = asked.is_none_or(|asked| asked <= LONGEST_ASKED);
            if !(kind.is_passing() && patient && attempts < self.config.max_attempts) {
                // A request rejected by the budget was not made.
                let made = attempts - u32::from(matches!(kind, ErrorKind::OverBudget { .. }));
                return Err(Error::new(operation, kind).after(made));
            }
            tracing::debug!(operation, attempts, error = %kind, "repeating a request");
            tokio::time::sleep(wait).await;
        }
    }

    /// Rereads a rejected key from its file.
    fn renewed_key(&self, refused: &SecretString) -> Option<SecretString> {
        let is_usable = |key: &SecretString| http_edge::bearer(key).is_some();
        self.config.api_key.renew_if(refused, is_usable)
    }

    async fn attempt(
        &self,
        url: &Url,
        pairs: &[(&str, &str)],
        key: &SecretString,
    ) -> Result<Answered, ErrorKind> {
        // Before each attempt, because failed requests count toward the account's budget as well.
        self.spend()?;
        self.requests.fetch_add(1, Ordering::Relaxed);
        let no_answer = |error: reqwest::Error| ErrorKind::Transport {
            host: self.host.clone(),
            source: error.without_url(),
        };
        let mut request = self
            .http
            .get(url.clone())
            // Decompressing would hide how a response was framed, and thus whether it was truncated.
            .header(header::ACCEPT_ENCODING, "identity")
            .timeout(self.config.request_timeout)
            .query(pairs);
        if let Some(key) = http_edge::bearer(key) {
            request = request.header(header::AUTHORIZATION, key);
        }
        let mut response = request.send().await.map_err(no_answer)?;
        let status = response.status();
        let headers = response.headers().clone();
        if let Some(time) = server_time(&headers) {
            self.server_time_ms
                .store(time.as_millisecond(), Ordering::Relaxed);
        }
        // In HTTP/1 without a length or chunks, a broken connection looks like the end of the body.
        let framed = response.version() >= reqwest::Version::HTTP_2
            || headers.contains_key(header::CONTENT_LENGTH)
            || headers.contains_key(header::TRANSFER_ENCODING);
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(no_answer)? {
            body.extend_from_slice(&chunk);
            if body.len() > LARGEST_BODY {
                return Err(not_metrics(url, &headers, &body));
            }
        }
        tracing::trace!(status = status.as_u16(), bytes = body.len(), "answered");
        if status.is_success() {
            return Ok(Answered {
                url: url.clone(),
                headers,
                body,
                framed,
            });
        }
        let message = if status.is_redirection() {
            let location = headers
                .get(header::LOCATION)
                .and_then(|value| value.to_str().ok());
            redirect(url, location)
        } else {
            beginning(&body, MESSAGE)
        };
        let retry_after = retry_after(&headers);
        // By the endpoint's clock, because messages show the time next to minutes of its metrics.
        let retry_at = retry_after.and_then(|wait| server_time(&headers)?.checked_add(wait).ok());
        Err(ErrorKind::Refused {
            host: self.host.clone(),
            status: status.as_u16(),
            message,
            retry_after,
            retry_at,
        })
    }

    /// Returns the error for a request that was not sent because the endpoint requested a longer wait than a request may take.
    fn paused(&self, left: Duration) -> ErrorKind {
        ErrorKind::Refused {
            host: self.host.clone(),
            status: 429,
            message: format!(
                "it asked to wait another {} s, so nothing was sent",
                left.as_secs().max(1)
            ),
            retry_after: Some(left),
            retry_at: None,
        }
    }

    /// Takes one request out of the hourly budget.
    fn spend(&self) -> Result<(), ErrorKind> {
        let (now, hour) = (Instant::now(), self.config.hour);
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        while recent
            .front()
            .is_some_and(|made| now.duration_since(*made) >= hour)
        {
            recent.pop_front();
        }
        let budget = self.config.requests_per_hour;
        if recent.len() >= budget as usize {
            let free_in = recent
                .front()
                .map_or(hour, |made| hour.saturating_sub(now.duration_since(*made)));
            return Err(ErrorKind::OverBudget {
                requests_per_hour: budget,
                free_in,
            });
        }
        recent.push_back(now);
        Ok(())
    }

    fn url(&self, last: &str) -> Url {
        let mut url = self.config.base_url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["v1", last]);
        }
        url
    }
}

fn not_metrics(url: &Url, headers: &HeaderMap, body: &[u8]) -> ErrorKind {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .map_or_else(|| "none".to_owned(), |value| value.chars().take(60).collect());
    ErrorKind::NotMetrics {
        url: url.to_string(),
        content_type,
        excerpt: beginning(body, EXCERPT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spent_budget_reports_when_a_request_is_available_again() {
        let mut config = Config::try_new("http://127.0.0.1:9", "key".into()).expect("valid");
        config.requests_per_hour = 2;
        let scraper = Scraper::new(config);
        assert!(scraper.spend().is_ok());
        assert!(scraper.spend().is_ok());
        let error = scraper.spend().expect_err("spent");
        assert!(error.to_string().contains("available again in 60 min"), "{error}");
    }
}
