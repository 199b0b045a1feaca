//! Tests that a 429 applies to the whole account: all requests to that host wait together, and every one
//! succeeds in the end.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::StreamExt;
use openmetrics_reader::scrape::{Query, Scraper};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

use crate::fixture;

/// Which requests a server rejects.
#[derive(Debug, Clone, Copy)]
enum Limit {
    /// All but one per second, with `Retry-After: 1`.
    OnePerSecond,
    /// The second one, with a `Retry-After` in which even a slow machine sends the others.
    Second,
}

/// Rejects some requests and counts both kinds.
#[derive(Debug, Clone)]
struct Limited {
    limit: Limit,
    accepted: Arc<Mutex<Vec<Instant>>>,
    refused: Arc<Mutex<Vec<Instant>>>,
    answer: Arc<str>,
}

impl Limited {
    async fn start(limit: Limit, answer: String) -> (MockServer, Self) {
        let limited = Self {
            limit,
            accepted: Arc::default(),
            refused: Arc::default(),
            answer: answer.into(),
        };
        let server = MockServer::start().await;
        Mock::given(any())
            .respond_with(limited.clone())
            .mount(&server)
            .await;
        (server, limited)
    }

    fn counts(&self) -> (usize, usize) {
        let count = |times: &Mutex<Vec<Instant>>| times.lock().expect("not poisoned").len();
        (count(&self.accepted), count(&self.refused))
    }

    async fn until_refused(&self) {
        let begun = Instant::now();
        while self.counts().1 == 0 {
            assert!(begun.elapsed() < Duration::from_mins(1), "{:?}", self.counts());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(self.counts(), (1, 1), "the second was refused");
    }
}

impl Respond for Limited {
    fn respond(&self, _: &Request) -> ResponseTemplate {
        let now = Instant::now();
        let mut accepted = self.accepted.lock().expect("not poisoned");
        let mut refused = self.refused.lock().expect("not poisoned");
        let second = Duration::from_millis(900);
        let (is_over_limit, wait) = match self.limit {
            Limit::OnePerSecond => (accepted.iter().any(|at| now.duration_since(*at) < second), "1"),
            Limit::Second => (accepted.len() == 1 && refused.is_empty(), "5"),
        };
        if !is_over_limit {
            accepted.push(now);
            return ResponseTemplate::new(200)
                .insert_header("x-completeness", "complete")
                .set_body_raw(self.answer.as_bytes(), "application/json");
        }
        refused.push(now);
        ResponseTemplate::new(429).insert_header("retry-after", wait)
    }
}

fn ops(server: &MockServer) -> cloud_ops_client::Client {
    let mut config = cloud_ops_client::Config::try_new(&server.uri(), "key".into()).expect("valid");
    config.requests_per_second = 1_000;
    cloud_ops_client::Client::new(config)
}

#[tokio::test]
async fn a_rate_limited_account_is_read_completely() {
    // Eight concurrent requests, as in an evaluation, of which one per second is accepted. Most of them are
    // rejected more often than a call is retried.
    let (server, limited) = Limited::start(
        Limit::OnePerSecond,
        fixture("cloud-ops/capacity-info.omitted.json"),
    )
    .await;
    let client = ops(&server);
    let reads = (0..14).map(|number| {
        let client = client.clone();
        async move { client.capacity_info(&format!("n{number}.a1b2c")).await }
    });
    let read: Vec<_> = futures::stream::iter(reads).buffer_unordered(8).collect().await;
    for result in read {
        result.expect("read in the end");
    }
    assert_eq!(limited.counts().0, 14);
}

#[tokio::test]
async fn while_one_request_waits_no_other_is_sent() {
    let (server, limited) =
        Limited::start(Limit::Second, fixture("cloud-ops/capacity-info.omitted.json")).await;
    let client = ops(&server);
    client.capacity_info("first.a1b2c").await.expect("accepted");
    let refused = client.capacity_info("second.a1b2c");
    let later = async {
        limited.until_refused().await;
        let others: Vec<String> = (0..5).map(|number| format!("n{number}.a1b2c")).collect();
        let others = futures::future::join_all(others.iter().map(|id| client.capacity_info(id)));
        let sent_meanwhile = async {
            tokio::time::sleep(Duration::from_millis(400)).await;
            limited.counts()
        };
        let (others, sent_meanwhile) = tokio::join!(others, sent_meanwhile);
        assert_eq!(
            sent_meanwhile,
            (1, 1),
            "the others waited without sending a request"
        );
        for other in others {
            other.expect("read in the end");
        }
    };
    let (refused, ()) = tokio::join!(refused, later);
    refused.expect("read in the end");
}

#[tokio::test]
async fn no_request_is_sent_during_a_pause_that_is_too_long_to_wait_for() {
    let server = MockServer::start().await;
    Mock::given(any())
        .respond_with(ResponseTemplate::new(429).insert_header("retry-after", "600"))
        .expect(1)
        .mount(&server)
        .await;
    let client = ops(&server);
    for namespace in ["first.a1b2c", "second.a1b2c"] {
        let error = client.namespace(namespace).await.expect_err("rate limited");
        assert!(error.is_rate_limited() && error.is_retryable() && !error.is_outcome_unknown());
        let wait = error.retry_after().expect("how long");
        assert!(
            wait > Duration::from_secs(590) && wait <= Duration::from_mins(10),
            "{wait:?}"
        );
    }
}

#[tokio::test]
async fn scrapes_wait_together_as_well() {
    let metrics = "temporal_cloud_v1_action_limit{temporal_namespace=\"a.b\"} 500 1790000040\n# EOF\n";
    let (server, limited) = Limited::start(Limit::Second, metrics.to_owned()).await;
    let mut config = openmetrics_reader::scrape::Config::try_new(&server.uri(), "key".into()).expect("valid");
    config.requests_per_hour = 1_000;
    let scraper = Scraper::new(config);
    let query = Query::default();
    scraper.scrape(&query).await.expect("accepted");
    let later = async {
        limited.until_refused().await;
        let sent_meanwhile = async {
            tokio::time::sleep(Duration::from_millis(400)).await;
            limited.counts()
        };
        let (third, sent_meanwhile) = tokio::join!(scraper.scrape(&query), sent_meanwhile);
        assert_eq!(
            sent_meanwhile,
            (1, 1),
            "the third waited without sending a request"
        );
        third.expect("scraped in the end");
    };
    let (second, ()) = tokio::join!(scraper.scrape(&query), later);
    second.expect("scraped in the end");

    let server = MockServer::start().await;
    Mock::given(any())
        .respond_with(ResponseTemplate::new(429).insert_header("retry-after", "600"))
        .expect(1)
        .mount(&server)
        .await;
    let config = openmetrics_reader::scrape::Config::try_new(&server.uri(), "key".into()).expect("valid");
    let scraper = Scraper::new(config);
    for _ in 0..2 {
        let error = scraper.scrape(&query).await.expect_err("rate limited");
        assert!(
            error
                .retry_after()
                .is_some_and(|wait| wait > Duration::from_secs(590))
        );
    }
    assert_eq!(scraper.requests_made(), 1);
}
