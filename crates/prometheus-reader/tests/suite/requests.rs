//! Tests of the requests: route, form, and credentials.

use std::collections::HashMap;

use prometheus_reader::{Auth, Query, ServerInfo};
use wiremock::matchers::{any, basic_auth, bearer_token, body_string_contains, header, method, path};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use super::{FAMILY, actions, builder, client, time};

const EMPTY: &str = r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#;

fn form(request: &Request) -> HashMap<String, String> {
    let url = format!("http://form/?{}", String::from_utf8_lossy(&request.body));
    let url = wiremock::http::Url::parse(&url).expect("a form");
    url.query_pairs().into_owned().collect()
}

#[tokio::test]
async fn a_query_is_one_instant_query_of_a_range() {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(path("/prometheus/api/v1/query"))
        .and(bearer_token("the-token"))
        .and(header("x-scope-orgid", "team-a"))
        .and(header("user-agent", "a test"))
        .and(header("content-type", "application/x-www-form-urlencoded"))
        .respond_with(ResponseTemplate::new(200).set_body_string(EMPTY))
        .expect(1)
        .mount(&server)
        .await;
    let config = builder(&format!("{}/prometheus/", server.uri()))
        .auth(Auth::Bearer("the-token".into()))
        .extra_label("cluster", "eu")
        .tenant("team-a")
        .user_agent("a test");
    let query = Query {
        namespaces: Some(&["orders.a1b2c"]),
        ..actions(1_764_000_000, 1_764_003_600)
    };
    client(config).samples(&query, |_| {}).await.expect("a response");
    let received = server.received_requests().await.expect("recorded");
    let form = form(&received[0]);
    assert_eq!(
        form["query"],
        format!(r#"{FAMILY}{{temporal_namespace=~"orders|orders\\.a1b2c",cluster="eu"}}[3600000ms]"#)
    );
    assert_eq!(form["time"], "1764003599.999");
}

#[tokio::test]
async fn a_user_and_a_password_are_sent_as_basic_authentication() {
    let server = MockServer::start().await;
    Mock::given(basic_auth("me", "pass:word"))
        .respond_with(ResponseTemplate::new(200).set_body_string(EMPTY))
        .expect(1)
        .mount(&server)
        .await;
    let auth = Auth::Basic {
        user: "me".to_owned(),
        password: "pass:word".into(),
    };
    let client = client(builder(&server.uri()).auth(auth));
    client.samples(&actions(0, 60), |_| {}).await.expect("a response");
}

#[tokio::test]
async fn a_sample_on_a_boundary_is_returned_once_whichever_end_the_server_includes() {
    // Ten times per second, and just before.
    let stored = || (1..6_000).flat_map(|tenth| [tenth * 100 - 1, tenth * 100]);
    // Prometheus 2 includes both ends of a range, Prometheus 3 and VictoriaMetrics only the later one.
    for left_included in [true, false] {
        let server = MockServer::start().await;
        let answer = move |request: &Request| {
            let form = form(request);
            let end: i64 = form["time"].replace('.', "").parse().expect("seconds");
            let (_, range) = form["query"].rsplit_once('[').expect("a range");
            let span: i64 = range.trim_end_matches("ms]").parse().expect("milliseconds");
            let start = end - span + i64::from(!left_included);
            let values: Vec<String> = stored()
                .filter(|ms| (start..=end).contains(ms))
                .map(|ms| format!(r#"[{}.{:03},"1"]"#, ms / 1_000, ms % 1_000))
                .collect();
            let body = format!(
                r#"{{"status":"success","data":{{"result":[{{"metric":{{}},"values":[{}]}}]}}}}"#,
                values.join(",")
            );
            ResponseTemplate::new(200).set_body_string(body)
        };
        Mock::given(any()).respond_with(answer).mount(&server).await;
        let config = builder(&server.uri()).longest_span(jiff::SignedDuration::from_mins(1));
        let mut times = Vec::new();
        let coverage = client(config)
            .samples(&actions(60, 240), |sample| {
                times.push(sample.time.as_millisecond());
            })
            .await
            .expect("answers");
        let expected: Vec<i64> = stored().filter(|ms| (60_000..240_000).contains(ms)).collect();
        assert_eq!(times, expected);
        assert_eq!((coverage.samples, coverage.requests), (3_600, 3));
        assert_eq!(coverage.families[0].first, Some(time(60)));
    }
}

#[tokio::test]
async fn a_server_that_does_not_report_its_version_is_accepted() {
    let server = MockServer::start().await;
    Mock::given(path("/api/v1/query"))
        .and(body_string_contains("vector"))
        .respond_with(ResponseTemplate::new(200).set_body_string(
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"1"]}]}}"#,
        ))
        .mount(&server)
        .await;
    let info = client(builder(&server.uri()))
        .check()
        .await
        .expect("a Prometheus API");
    assert_eq!(info, ServerInfo::default());
    Mock::given(path("/api/v1/status/buildinfo"))
        .respond_with(ResponseTemplate::new(200).set_body_string(
            r#"{"status":"success","data":{"application":"Grafana Mimir","version":"2.14.0","features":{}}}"#,
        ))
        .mount(&server)
        .await;
    let info = client(builder(&server.uri()))
        .check()
        .await
        .expect("a Prometheus API");
    assert_eq!(info.application.as_deref(), Some("Grafana Mimir"));
    assert_eq!(info.version.as_deref(), Some("2.14.0"));
}
