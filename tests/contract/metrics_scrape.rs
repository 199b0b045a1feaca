//! Tests of the scrape client against a mocked endpoint: query, headers, completeness, truncation, and
//! accounts that need several responses.

use std::time::Duration;

use openmetrics_reader::scrape::{
    AccountQuery, Completeness, Config, Error, ErrorKind, FamilyQuery, Query, Scraper,
};
use rstest::rstest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wiremock::matchers::{any, header, method, path, query_param};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

const KEY: &str = "the-secret-key";
const MINUTE: i64 = 1_790_000_040;

fn scraper(uri: &str) -> Scraper {
    let mut config = Config::try_new(uri, KEY.into()).expect("valid");
    config.max_attempts = 2;
    Scraper::new(config)
}

fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    text
}

fn document(families: &[String], namespaces: &[&str], minute: i64) -> String {
    let mut lines = Vec::new();
    for family in families {
        lines.push(format!("# TYPE {family} gauge\n"));
        let series =
            |name: &&str| format!("{family}{{temporal_namespace=\"{name}.a1b2c\"}} 1.000 {minute}\n");
        lines.extend(namespaces.iter().map(series));
    }
    lines.concat() + "# EOF\n"
}

fn complete(body: impl Into<String>) -> ResponseTemplate {
    ResponseTemplate::new(200)
        .insert_header("x-completeness", "complete")
        .set_body_string(body)
}

#[tokio::test]
async fn one_request_has_repeated_parameters_and_the_api_key() {
    let server = MockServer::start().await;
    Mock::given(method("GET"))
        .and(path("/v1/metrics"))
        .and(header("authorization", format!("Bearer {KEY}")))
        .respond_with(|request: &Request| {
            assert_eq!(request.url.query(), Some("metrics=a&metrics=b&namespaces=pay-*"));
            complete(document(&["a".to_owned()], &["pay-eu"], MINUTE))
        })
        .expect(1)
        .mount(&server)
        .await;
    let scraper = scraper(&server.uri());
    let query = Query {
        metrics: &["a", "b"],
        namespaces: &["pay-*".to_owned()],
    };
    let answer = scraper.scrape(&query).await.expect("scraped");
    assert_eq!(answer.completeness, Completeness::Complete);
    assert_eq!(answer.newest.map(jiff::Timestamp::as_second), Some(MINUTE));
    assert_eq!((answer.summary.samples, scraper.requests_made()), (1, 1));
}

#[rstest]
#[case::complete(Some("complete"), Completeness::Complete)]
#[case::limited(Some("limited"), Completeness::Limited)]
#[case::unknown(Some("unknown"), Completeness::Unknown)]
#[case::new_word(Some("mostly"), Completeness::Undeclared)]
#[case::absent(None, Completeness::Undeclared)]
#[tokio::test]
async fn a_response_is_complete_only_if_it_is_marked_complete(
    #[case] word: Option<&str>,
    #[case] expected: Completeness,
) {
    let server = MockServer::start().await;
    let mut answer = ResponseTemplate::new(200).set_body_string("a 1 1790000040\n# EOF\n");
    if let Some(word) = word {
        answer = answer.insert_header("x-completeness", word);
    }
    Mock::given(any()).respond_with(answer).mount(&server).await;
    let answer = scraper(&server.uri())
        .scrape(&Query::default())
        .await
        .expect("scraped");
    assert_eq!(answer.completeness, expected);
}

#[rstest]
#[case::no_key(
    200,
    "Jwt is missing",
    "beginning `Jwt is missing`; the service found no usable key"
)]
#[case::no_key_with_a_status(
    401,
    "Jwt is missing",
    "refused with 401: Jwt is missing; the service found no usable key in the request: check TEMPORAL_CLOUD_METRICS_API_KEY"
)]
#[case::expired_key(
    401,
    "Jwt is expired",
    "refused with 401: Jwt is expired; the key has expired: create a new one"
)]
#[case::not_a_key(
    401,
    "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections",
    "; this is not an API key: check TEMPORAL_CLOUD_METRICS_API_KEY for quotes, a line break, or another secret"
)]
#[case::revoked_key(
    401,
    "Jwt verification fails",
    "; the key was revoked, or belongs to another environment"
)]
#[case::unknown_refusal(403, "RBAC: access denied", "lacks the account role Metrics Read-Only")]
#[case::html(
    200,
    "<html>Welcome</html>",
    "/v1/metrics returned something other than metrics (content type text/plain), beginning \
     `<html>Welcome</html>` (an HTML page)"
)]
#[case::json(200, r#"{"error":"x"}"#, "something other than metrics")]
#[case::nothing(200, "", "beginning `(nothing)`")]
#[case::cut_in_a_line(200, "# TYPE a gauge\na{temporal_namesp", "cannot be read")]
#[case::unreadable_line(200, "# TYPE a gauge\na{b=c} 1\n# EOF\n", "cannot be read")]
#[tokio::test]
async fn anything_but_a_metrics_document_is_an_error(
    #[case] status: u16,
    #[case] body: &str,
    #[case] expected: &str,
) {
    let server = MockServer::start().await;
    let answer = ResponseTemplate::new(status)
        .insert_header("x-completeness", "complete")
        .set_body_string(body);
    Mock::given(any()).respond_with(answer).mount(&server).await;
    let scraper = scraper(&server.uri());
    let error = scraper.scrape(&Query::default()).await.expect_err("no metrics");
    assert!(chain(&error).contains(expected), "{}", chain(&error));
    assert!(!format!("{error:?} {} {scraper:?}", chain(&error)).contains(KEY));
}

#[tokio::test]
async fn gzip_without_its_header_is_reported() {
    let server = MockServer::start().await;
    let answer = ResponseTemplate::new(200)
        .insert_header("x-completeness", "complete")
        .set_body_raw(vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0], "application/openmetrics-text");
    Mock::given(any()).respond_with(answer).mount(&server).await;
    let error = scraper(&server.uri())
        .scrape(&Query::default())
        .await
        .expect_err("compressed");
    let text = chain(&error);
    assert!(
        text.contains("(content type application/openmetrics-text)")
            && text.contains("gzip-compressed data without a `Content-Encoding` header")
            && text.contains("a proxy in between compresses responses"),
        "{text}"
    );
}

#[tokio::test]
async fn a_long_unexpected_response_is_shown_in_60_printable_characters() {
    let server = MockServer::start().await;
    let page = format!("<html>\u{1b}[31m{}</html>", "x".repeat(500));
    let answer = ResponseTemplate::new(200).set_body_raw(page, "text/html; charset=utf-8");
    Mock::given(any()).respond_with(answer).mount(&server).await;
    let error = scraper(&server.uri())
        .scrape(&Query::default())
        .await
        .expect_err("a page");
    let text = chain(&error);
    let shown = text.split('`').nth(1).expect("an excerpt");
    assert_eq!(shown.chars().count(), 60, "{text}");
    assert!(!shown.chars().any(char::is_control), "{text}");
    assert!(text.contains("(content type text/html; charset=utf-8)"), "{text}");
    assert!(text.contains(&format!("{}/v1/metrics", server.uri())), "{text}");
}

#[rstest]
#[case::absolute(
    "https://login.example/sso?token=hunter2",
    "redirects to `https://login.example/sso`"
)]
#[case::with_credentials(
    "https://user:hunter2@login.example/",
    "redirects to `https://login.example/`"
)]
#[case::relative("/login", "/login`, which is not followed with a key")]
#[tokio::test]
async fn a_redirect_names_its_target_without_secrets(#[case] location: &str, #[case] expected: &str) {
    let server = MockServer::start().await;
    let answer = ResponseTemplate::new(302).insert_header("location", location);
    Mock::given(any()).respond_with(answer).mount(&server).await;
    let error = scraper(&server.uri())
        .scrape(&Query::default())
        .await
        .expect_err("a redirect");
    let text = chain(&error);
    assert!(
        text.contains(expected) && text.contains("CLOUD_METRICS_API_BASE_URL"),
        "{text}"
    );
    assert!(!text.contains("hunter2"), "{text}");
}

#[tokio::test]
async fn a_malformed_line_is_reported_with_its_family_and_namespace() {
    let server = MockServer::start().await;
    let document = "# TYPE temporal_cloud_v1_action_limit gauge\n\
        temporal_cloud_v1_action_limit{temporal_namespace=\"pay.a1b2c\"} abc 1790000040\n# EOF\n";
    Mock::given(any())
        .respond_with(complete(document))
        .mount(&server)
        .await;
    let error = scraper(&server.uri())
        .scrape(&Query::default())
        .await
        .expect_err("malformed");
    let text = chain(&error);
    assert!(
        text.contains(
            "line 2, column 64 (family `temporal_cloud_v1_action_limit`, namespace `pay.a1b2c`): cannot parse the line"
        ) && text.contains("abc 1790000040"),
        "{text}"
    );
}

#[tokio::test]
async fn an_html_page_instead_of_the_families_is_reported() {
    let server = MockServer::start().await;
    let answer = ResponseTemplate::new(200).set_body_raw("<html>Sign in</html>", "text/html");
    Mock::given(any()).respond_with(answer).mount(&server).await;
    let text = chain(&scraper(&server.uri()).families().await.expect_err("a page"));
    assert!(
        text.contains("/v1/descriptors")
            && text.contains("text/html")
            && text.contains("`<html>Sign in</html>`"),
        "{text}"
    );
}

/// Sends raw bytes to every connection and closes it.
async fn raw(answers: Vec<&'static str>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let uri = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        for answer in answers {
            let Ok((mut stream, _)) = listener.accept().await else {
                return;
            };
            let mut request = [0; 4_096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    uri
}

#[tokio::test]
async fn a_body_shorter_than_declared_is_an_error() {
    let cut = "HTTP/1.1 200 OK\r\nx-completeness: complete\r\ncontent-length: 100\r\n\r\na 1 1790000040\n";
    let error = scraper(&raw(vec![cut, cut]).await)
        .scrape(&Query::default())
        .await
        .expect_err("cut");
    assert!(matches!(error.kind(), ErrorKind::Transport { .. }), "{error:?}");
}

#[tokio::test]
async fn a_body_truncated_at_a_line_end_is_detected_without_a_declared_length() {
    let cut = "HTTP/1.1 200 OK\r\nx-completeness: complete\r\nconnection: close\r\n\r\na 1 1790000040\n";
    let error = scraper(&raw(vec![cut]).await)
        .scrape(&Query::default())
        .await
        .expect_err("cut");
    assert!(
        chain(&error).contains("neither an end marker nor a declared length"),
        "{}",
        chain(&error)
    );
}

#[tokio::test]
async fn a_document_without_the_end_marker_of_earlier_ones_is_truncated() {
    let server = MockServer::start().await;
    let first = complete("a 1 1790000040\n# EOF\n");
    Mock::given(any())
        .respond_with(first)
        .up_to_n_times(1)
        .with_priority(1)
        .mount(&server)
        .await;
    Mock::given(any())
        .respond_with(complete("a 1 1790000100\n"))
        .mount(&server)
        .await;
    let scraper = scraper(&server.uri());
    scraper.scrape(&Query::default()).await.expect("whole");
    let error = scraper.scrape(&Query::default()).await.expect_err("cut");
    assert!(chain(&error).contains("end marker"), "{}", chain(&error));
}

#[tokio::test]
async fn an_endpoint_that_never_sends_the_marker_is_read() {
    let server = MockServer::start().await;
    Mock::given(any())
        .respond_with(complete("a 1 1790000040\n"))
        .mount(&server)
        .await;
    let answer = scraper(&server.uri())
        .scrape(&Query::default())
        .await
        .expect("whole");
    assert!(!answer.summary.end_marker_seen);
}

#[tokio::test]
async fn a_long_retry_after_is_reported_and_not_waited_for() {
    let server = MockServer::start().await;
    let busy = ResponseTemplate::new(429).insert_header("retry-after", "1800");
    Mock::given(any())
        .respond_with(busy)
        .expect(1)
        .mount(&server)
        .await;
    let error = scraper(&server.uri())
        .scrape(&Query::default())
        .await
        .expect_err("refused");
    assert_eq!(error.retry_after(), Some(Duration::from_mins(30)));
    let text = chain(&error);
    assert!(text.contains("180 requests an hour"), "{text}");
    let (_, at) = text
        .split_once("the next attempt will be made at ")
        .expect("the time of the next attempt");
    // In this test, the endpoint uses this machine's clock.
    let earliest = jiff::Timestamp::now() + Duration::from_mins(29);
    let expected: Vec<String> = (0..120)
        .map(|second| {
            (earliest + Duration::from_secs(second))
                .strftime("%Y-%m-%d %H:%M:%S UTC")
                .to_string()
        })
        .collect();
    assert!(expected.iter().any(|time| time == at), "{text}");
}

#[tokio::test]
async fn the_budget_counts_retries_too() {
    let server = MockServer::start().await;
    Mock::given(any())
        .respond_with(ResponseTemplate::new(503))
        .expect(3)
        .mount(&server)
        .await;
    let mut config = Config::try_new(&server.uri(), KEY.into()).expect("valid");
    config.max_attempts = 2;
    config.requests_per_hour = 3;
    let scraper = Scraper::new(config);
    assert!(scraper.scrape(&Query::default()).await.is_err());
    let error = scraper.scrape(&Query::default()).await.expect_err("over budget");
    assert!(
        chain(&error).contains("3 requests an hour is used up"),
        "{}",
        chain(&error)
    );
}

const FAMILIES: [FamilyQuery<'_>; 3] = [
    FamilyQuery {
        name: "limit",
        points_per_namespace: 1.0,
        is_rate: false,
    },
    FamilyQuery {
        name: "served",
        points_per_namespace: 1.0,
        is_rate: true,
    },
    FamilyQuery {
        name: "throttled",
        points_per_namespace: 1.0,
        is_rate: true,
    },
];

/// A mocked endpoint that truncates responses above a maximum size.
struct Endpoint {
    namespaces: Vec<&'static str>,
    largest: usize,
    /// The minute in each response; the last one repeats.
    minutes: Vec<i64>,
    asked: std::sync::atomic::AtomicUsize,
}

impl wiremock::Respond for Endpoint {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let number = self.asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let minute = self.minutes[number.min(self.minutes.len() - 1)];
        let values = |key: &str| -> Vec<String> {
            request
                .url
                .query_pairs()
                .filter(|(name, _)| name == key)
                .map(|(_, value)| value.into_owned())
                .collect()
        };
        let (families, filters) = (values("metrics"), values("namespaces"));
        let shown: Vec<&str> = self
            .namespaces
            .iter()
            .copied()
            .filter(|name| {
                filters.is_empty()
                    || filters
                        .iter()
                        .any(|filter| name.starts_with(filter.trim_end_matches('*')))
            })
            .collect();
        let fits = shown.len() * families.len() <= self.largest;
        let word = if fits { "complete" } else { "limited" };
        let body = if fits {
            document(&families, &shown, minute)
        } else {
            "# EOF\n".to_owned()
        };
        ResponseTemplate::new(200)
            .insert_header("x-completeness", word)
            .set_body_string(body)
    }
}

async fn endpoint(largest: usize, minutes: Vec<i64>) -> (MockServer, Vec<&'static str>) {
    let namespaces = vec!["ab", "abc", "b-one", "b-two", "c", "d-eins", "d-zwei"];
    let server = MockServer::start().await;
    let endpoint = Endpoint {
        namespaces: namespaces.clone(),
        largest,
        minutes,
        asked: 0.into(),
    };
    Mock::given(query_param("metrics", "served"))
        .respond_with(endpoint)
        .mount(&server)
        .await;
    (server, namespaces)
}

fn samples(documents: &[Vec<u8>]) -> Vec<String> {
    let mut samples: Vec<String> = documents
        .iter()
        .flat_map(|body| {
            String::from_utf8_lossy(body)
                .lines()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .filter(|line| !line.starts_with('#'))
        .collect();
    samples.sort();
    samples
}

#[tokio::test]
async fn an_account_too_large_for_one_response_is_read_in_parts() {
    let server = MockServer::start().await;
    let namespaces = vec!["ab", "abc", "b-one", "b-two", "c", "d-eins", "d-zwei"];
    let endpoint = Endpoint {
        namespaces: namespaces.clone(),
        largest: 7,
        minutes: vec![MINUTE],
        asked: 0.into(),
    };
    Mock::given(any()).respond_with(endpoint).mount(&server).await;
    let scraper = scraper(&server.uri());
    let query = AccountQuery {
        families: &FAMILIES,
        namespaces: &namespaces,
        only_these: false,
    };
    let answer = scraper.read_account(&query).await.expect("read");
    let read = samples(&answer.documents);
    let mut once = read.clone();
    once.dedup();
    assert_eq!((read.len(), once.len()), (3 * 7, 3 * 7));
}

#[tokio::test]
async fn a_part_that_cannot_be_split_further_leaves_the_account_incomplete() {
    let (server, namespaces) = endpoint(0, vec![MINUTE]).await;
    let query = AccountQuery {
        families: &FAMILIES[1..2],
        namespaces: &namespaces,
        only_these: false,
    };
    let error = scraper(&server.uri())
        .read_account(&query)
        .await
        .expect_err("too large");
    assert!(
        chain(&error).contains("marks its responses as limited"),
        "{}",
        chain(&error)
    );
}

#[rstest]
#[case::older_first(vec![MINUTE, MINUTE + 60], true)]
#[case::ever_new(vec![MINUTE, MINUTE + 60, MINUTE + 120, MINUTE + 180, MINUTE + 240, MINUTE + 300], false)]
#[tokio::test]
async fn all_parts_must_be_of_the_same_minute(#[case] minutes: Vec<i64>, #[case] expected: bool) {
    let (server, namespaces) = endpoint(1_000, minutes).await;
    let mut config = Config::try_new(&server.uri(), KEY.into()).expect("valid");
    // Half of the namespaces fit into one response.
    config.points_per_answer = 100;
    let scraper = Scraper::new(config);
    let families = [FamilyQuery {
        name: "served",
        points_per_namespace: 24.0,
        is_rate: true,
    }];
    let query = AccountQuery {
        families: &families,
        namespaces: &namespaces,
        only_these: false,
    };
    let read = scraper.read_account(&query).await;
    assert_eq!(read.is_ok(), expected, "{read:?}");
    if let Ok(answer) = read {
        let minute = format!(" {}", MINUTE + 60);
        assert_eq!(answer.minute.map(jiff::Timestamp::as_second), Some(MINUTE + 60));
        assert!(
            samples(&answer.documents)
                .iter()
                .all(|line| line.ends_with(&minute))
        );
    }
}

#[tokio::test]
async fn available_families_are_listed_page_by_page() {
    let server = MockServer::start().await;
    let page = |from: usize, count: usize| {
        let descriptors: Vec<_> = (from..from + count)
            .map(|number| serde_json::json!({ "name": format!("family_{number}") }))
            .collect();
        ResponseTemplate::new(200).set_body_json(serde_json::json!({
            "meta": { "pagination": { "total": 103, "limit": 100, "offset": from } },
            "descriptors": descriptors,
        }))
    };
    for (offset, answer) in [("0", page(0, 100)), ("100", page(100, 3))] {
        Mock::given(path("/v1/descriptors"))
            .and(query_param("limit", "100"))
            .and(query_param("offset", offset))
            .respond_with(answer)
            .expect(1)
            .mount(&server)
            .await;
    }
    assert_eq!(
        scraper(&server.uri()).families().await.expect("listed").len(),
        103
    );
}
