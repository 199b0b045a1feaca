//! Reads a year of minutes in bounded memory, from a server with its own limits.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures::stream;
use jiff::SignedDuration;
use url::form_urlencoded;

use super::{FAMILY, actions, builder, client};

const YEAR: i64 = 365 * 24 * 3_600;
const SERIES: i64 = 2;

/// The behavior of the mock server.
#[derive(Debug, Default)]
struct Played {
    /// Maximum number of samples that it loads for one query.
    most_samples: i64,
    refused: AtomicU64,
}

async fn start(most_samples: i64) -> (String, Arc<Played>) {
    let played = Arc::new(Played {
        most_samples,
        refused: AtomicU64::new(0),
    });
    let router = Router::new()
        .route("/api/v1/query", post(answer))
        .with_state(Arc::clone(&played));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, router).await });
    (format!("http://{address}"), played)
}

/// Each series has a sample every minute since 1970, whose value is its minute. Streams series by series.
async fn answer(State(played): State<Arc<Played>>, body: String) -> Response {
    let form: Vec<(String, String)> = form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    let value = |name: &str| {
        form.iter()
            .find(|(key, _)| key == name)
            .expect("a parameter")
            .1
            .as_str()
    };
    let (_, range) = value("query").rsplit_once('[').expect("a range");
    let span: i64 = range.trim_end_matches("ms]").parse().expect("milliseconds");
    let end: i64 = value("time").replace('.', "").parse().expect("seconds");
    let (first, last) = ((end - span + 59_999).div_euclid(60_000), end.div_euclid(60_000));
    if (last - first + 1) * SERIES > played.most_samples {
        played.refused.fetch_add(1, Ordering::Relaxed);
        let body = r#"{"status":"error","errorType":"execution","error":"query processing would load too many samples into memory in query execution"}"#;
        return (StatusCode::UNPROCESSABLE_ENTITY, body).into_response();
    }
    let series = (0..SERIES).map(move |number| {
        let comma = if number == 0 { "" } else { "," };
        let mut text = format!(r#"{comma}{{"metric":{{"__name__":"{FAMILY}","n":"{number}"}},"values":["#);
        for minute in first..=last {
            let comma = if minute == first { "" } else { "," };
            let _ = write!(text, r#"{comma}[{},"{minute}"]"#, minute * 60);
        }
        text + "]}"
    });
    let begin = r#"{"status":"success","data":{"resultType":"matrix","result":["#.to_owned();
    let parts = std::iter::once(begin).chain(series).chain(["]}}".to_owned()]);
    let parts: Vec<Result<String, std::io::Error>> = parts.map(Ok).collect();
    Body::from_stream(stream::iter(parts)).into_response()
}

/// Reads a year, and checks that each minute of each series is returned once.
async fn read(builder: prometheus_reader::PrometheusConfigBuilder) -> prometheus_reader::Coverage {
    let mut seen = 0_i64;
    let mut sum = 0.0;
    let coverage = client(builder)
        .samples(&actions(0, YEAR), |sample| {
            seen += 1;
            sum += sample.value;
        })
        .await
        .expect("a year");
    let minutes = YEAR / 60;
    assert_eq!(seen, minutes * SERIES);
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let expected = (minutes * (minutes - 1) / 2 * SERIES) as f64;
    assert!(
        (sum - expected).abs() < 0.5,
        "every minute once: {sum} for {expected}"
    );
    coverage
}

#[tokio::test]
async fn a_year_is_never_in_memory_at_once() {
    let (url, played) = start(i64::MAX / 4).await;
    let coverage = read(builder(&url)).await;
    assert_eq!(coverage.requests, 4 * 365);
    assert_eq!(played.refused.load(Ordering::Relaxed), 0);
    // 6 h of 2 series.
    assert!(coverage.largest_answer < 20 * 1024, "{}", coverage.largest_answer);
}

#[tokio::test]
async fn a_response_above_our_limit_is_requested_in_smaller_parts() {
    let (url, _) = start(i64::MAX / 4).await;
    let bounded = builder(&url)
        .longest_span(SignedDuration::from_hours(24 * 7))
        .largest_answer(64 * 1024);
    let coverage = read(bounded).await;
    assert!(
        coverage.largest_answer <= 64 * 1024,
        "{}",
        coverage.largest_answer
    );
    assert!(coverage.requests < 1_000, "{}", coverage.requests);
}

#[tokio::test]
async fn a_query_that_is_too_large_for_the_server_is_halved() {
    let (url, played) = start(1_500).await;
    let coverage = read(builder(&url).longest_span(SignedDuration::from_hours(24))).await;
    let refused = played.refused.load(Ordering::Relaxed);
    assert!(refused > 0);
    // Growing again costs at most one rejection in seventeen requests.
    assert!(
        refused * 16 <= coverage.requests,
        "{refused} of {}",
        coverage.requests
    );
}

#[tokio::test]
async fn a_minute_that_is_too_large_is_an_error_with_the_servers_message() {
    let (url, played) = start(1).await;
    let error = client(builder(&url))
        .samples(&actions(0, YEAR), |_| {})
        .await
        .expect_err("too much");
    let text = super::chain(&error);
    assert!(
        text.contains("too many samples") && text.contains("fewer namespaces"),
        "{text}"
    );
    // 6 h, halved down to a minute.
    assert_eq!(played.refused.load(Ordering::Relaxed), 10);
}
