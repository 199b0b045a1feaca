//! Failures: each is classified, and none shows a secret.

use std::time::{Duration, Instant};

use prometheus_reader::{Auth, Error, ErrorKind, Presence};
use rstest::rstest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use super::{FAMILY, actions, builder, chain, client, time};

const EMPTY: &str = r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#;

async fn answering(answer: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(answer).mount(&server).await;
    server
}

fn json(status: u16, body: &str) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_raw(body.to_owned(), "application/json")
}

async fn failure(server: &MockServer) -> Error {
    let client = client(builder(&server.uri()));
    let mut handed_out = 0;
    let result = client.samples(&actions(0, 60), |_| handed_out += 1).await;
    assert_eq!(handed_out, 0);
    result.expect_err("it goes wrong")
}

fn word(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Question(_) => "question",
        ErrorKind::Unreachable { .. } => "unreachable",
        ErrorKind::Timeout { .. } => "timeout",
        ErrorKind::CutShort { .. } => "cut short",
        ErrorKind::Unauthorized { .. } => "unauthorized",
        ErrorKind::NotPrometheus { .. } => "not prometheus",
        ErrorKind::BadQuery { .. } => "bad query",
        ErrorKind::TooLarge { .. } => "too large",
        ErrorKind::Refused { .. } => "refused",
        ErrorKind::Unreadable { .. } => "unreadable",
        _ => "another",
    }
}

#[rstest]
#[case::no_token(401, "no", "unauthorized", false)]
#[case::may_not_read(403, r#"{"status":"error","error":"rbac"}"#, "unauthorized", false)]
#[case::another_route(404, "404 page not found", "not prometheus", false)]
#[case::get_only(405, "", "not prometheus", false)]
#[case::moved(302, "", "refused", false)]
#[case::a_web_page(200, "<!doctype html><title>Log in</title>", "not prometheus", false)]
#[case::another_api(200, r#"{"hello":"world"}"#, "not prometheus", false)]
#[case::no_json(200, "fine", "not prometheus", false)]
#[case::nothing(200, "", "not prometheus", false)]
#[case::half_of_it(200, &EMPTY[..40], "cut short", true)]
#[case::no_result(200, r#"{"status":"success","data":{}}"#, "unreadable", false)]
#[case::another_shape(
    200,
    r#"{"status":"success","data":{"result":[{"metric":{},"values":[["x"]]}]}}"#,
    "unreadable",
    false
)]
#[case::syntax(
    400,
    r#"{"status":"error","errorType":"bad_data","error":"1:3: parse error: oh"}"#,
    "bad query",
    false
)]
#[case::execution(
    422,
    r#"{"status":"error","errorType":"execution","error":"unknown"}"#,
    "bad query",
    false
)]
#[case::error_in_a_success(
    200,
    r#"{"status":"error","errorType":"bad_data","error":"oh"}"#,
    "bad query",
    false
)]
#[case::too_many_samples(422, r#"{"status":"error","errorType":"execution","error":"query processing would load too many samples into memory in query execution"}"#, "too large", false)]
#[case::entity(413, "", "too large", false)]
#[case::slow_query(
    503,
    r#"{"status":"error","errorType":"timeout","error":"query timed out in expression evaluation"}"#,
    "timeout",
    true
)]
#[case::slow_proxy(504, "<html>", "timeout", true)]
#[case::starting(503, "Service Unavailable", "refused", true)]
#[case::broken(
    500,
    r#"{"status":"error","errorType":"internal","error":"oh"}"#,
    "refused",
    true
)]
#[case::bad_gateway(502, "<html>", "refused", true)]
#[case::too_many_requests(429, r#"{"status":"error","errorType":"too_many_requests","error":"the request has been rejected because the tenant exceeded the request rate limit"}"#, "refused", true)]
#[case::unknown_operation(501, "", "refused", false)]
#[tokio::test]
async fn every_kind_of_response_is_classified(
    #[case] status: u16,
    #[case] body: &str,
    #[case] expected: &str,
    #[case] retryable: bool,
) {
    let server = answering(json(status, body)).await;
    let error = failure(&server).await;
    assert_eq!(word(error.kind()), expected, "{}", chain(&error));
    assert_eq!(error.is_retryable(), retryable);
    assert_eq!(error.is_unauthorized(), expected == "unauthorized");
}

#[tokio::test]
async fn texts_name_the_host_and_the_remedy() {
    let server = answering(json(401, "Jwt is missing")).await;
    let text = chain(&failure(&server).await);
    let host = server.address().to_string();
    assert!(text.contains(&host) && text.contains("Jwt is missing"), "{text}");
    assert!(text.contains("token or password"), "{text}");
    let server = answering(json(200, "<html>")).await;
    let text = chain(&failure(&server).await);
    assert!(
        text.contains("an HTML page") && text.contains("not /api/v1"),
        "{text}"
    );
}

#[tokio::test]
async fn a_refused_connection_is_unreachable_with_its_cause() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let client = client(builder(&format!("http://{address}")));
    let error = client.samples(&actions(0, 60), |_| {}).await.expect_err("nobody");
    assert!(matches!(error.kind(), ErrorKind::Unreachable { .. }));
    let text = chain(&error);
    assert!(text.contains("refused") && !text.contains("/api/v1"), "{text}");
}

/// Answers one connection after the other with the same bytes, and closes it.
async fn raw(answer: &'static [u8]) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(answer).await;
            let _ = stream.shutdown().await;
        }
    });
    format!("http://{address}")
}

#[rstest]
#[case::less_than_declared(
    b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"status\":\"success\",\"data\":{\"result\":[{\"metric\":{},\"values\":[[1,\"1\"]"
)]
#[case::chunks_without_end(
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n14\r\n{\"status\":\"success\",\r\n"
)]
#[case::no_length(
    b"HTTP/1.1 200 OK\r\n\r\n{\"status\":\"success\",\"data\":{\"result\":[{\"metric\":{},\"values\":[[1,\"1\"]"
)]
#[tokio::test]
async fn a_truncated_response_returns_no_samples(#[case] answer: &'static [u8]) {
    let client = client(builder(&raw(answer).await));
    let result = client
        .samples(&actions(0, 60), |sample| panic!("yielded {sample:?}"))
        .await;
    let error = result.expect_err("cut");
    assert!(
        matches!(error.kind(), ErrorKind::CutShort { .. }),
        "{}",
        chain(&error)
    );
}

#[tokio::test]
async fn a_slow_response_is_a_timeout() {
    let server = answering(json(200, EMPTY).set_delay(Duration::from_secs(30))).await;
    let client = client(builder(&server.uri()).timeout(Duration::from_millis(200)));
    let begun = Instant::now();
    let error = client.samples(&actions(0, 60), |_| {}).await.expect_err("slow");
    assert!(
        matches!(error.kind(), ErrorKind::Timeout { .. }),
        "{}",
        chain(&error)
    );
    assert!(error.is_retryable() && begun.elapsed() < Duration::from_secs(25));
}

#[tokio::test]
async fn slow_parts_are_halved_as_often_as_there_are_attempts() {
    let server = answering(json(200, EMPTY).set_delay(Duration::from_secs(30))).await;
    let slow = builder(&server.uri())
        .timeout(Duration::from_millis(100))
        .max_attempts(3);
    let error = client(slow)
        .samples(&actions(0, 86_400), |_| {})
        .await
        .expect_err("slow");
    assert!(
        matches!(error.kind(), ErrorKind::Timeout { .. }),
        "{}",
        chain(&error)
    );
    assert_eq!(server.received_requests().await.map(|all| all.len()), Some(3));
}

#[tokio::test]
async fn a_requested_wait_is_honored() {
    let server = MockServer::start().await;
    Mock::given(any())
        .respond_with(json(429, "slow down").insert_header("retry-after", "1"))
        .up_to_n_times(1)
        .mount(&server)
        .await;
    Mock::given(any())
        .respond_with(json(200, EMPTY))
        .mount(&server)
        .await;
    let begun = Instant::now();
    let client = client(builder(&server.uri()).max_attempts(2));
    let coverage = client
        .samples(&actions(0, 60), |_| {})
        .await
        .expect("the second time");
    assert_eq!(coverage.requests, 2);
    assert!(begun.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_long_wait_is_left_to_the_caller() {
    let server = answering(json(429, "slow down").insert_header("retry-after", "3600")).await;
    let client = client(builder(&server.uri()).max_attempts(4));
    let error = client
        .samples(&actions(0, 60), |_| {})
        .await
        .expect_err("too long");
    assert_eq!(error.retry_after(), Some(Duration::from_hours(1)));
    assert_eq!(server.received_requests().await.map(|all| all.len()), Some(1));
}

#[tokio::test]
async fn attempts_are_bounded() {
    let server = answering(json(502, "oh")).await;
    let client = client(builder(&server.uri()).max_attempts(2));
    let error = client.samples(&actions(0, 60), |_| {}).await.expect_err("always");
    assert!(error.is_retryable());
    assert_eq!(server.received_requests().await.map(|all| all.len()), Some(2));
}

#[tokio::test]
async fn a_partial_response_is_reported_with_its_family_and_span() {
    let body = r#"{"status":"success","warnings":["store 10.0.0.7 is away"],"infos":["PromQL info: x"],
        "data":{"resultType":"matrix","result":[{"metric":{"n":"a"},"values":[[30,"1"]]}]}}"#;
    let server = answering(json(200, body)).await;
    let client = client(builder(&server.uri()));
    let mut handed_out = 0;
    let coverage = client
        .samples(&actions(0, 60), |_| handed_out += 1)
        .await
        .expect("a response");
    assert!(coverage.partial && handed_out == 1);
    assert_eq!(coverage.warnings, ["store 10.0.0.7 is away"]);
    assert_eq!(coverage.infos, ["PromQL info: x"]);
    let partial = &coverage.families[0].partial;
    assert_eq!(
        (partial.len(), partial[0].from, partial[0].to),
        (1, time(0), time(60))
    );
}

#[tokio::test]
async fn absent_from_a_partial_response_is_unknown() {
    let body = r#"{"status":"success","warnings":["away"],"data":{"resultType":"vector","result":[]}}"#;
    let server = answering(json(200, body)).await;
    let found = client(builder(&server.uri()))
        .families_present(&[FAMILY], time(60))
        .await;
    assert_eq!(found.expect("a response"), [Presence::Unknown]);
}

#[rstest]
#[case::bearer(Auth::Bearer("hunter2-token".into()), "hunter2")]
#[case::basic(Auth::Basic { user: "me".to_owned(), password: "hunter2".into() }, "hunter2")]
#[case::basic_as_sent(Auth::Basic { user: "me".to_owned(), password: "hunter2".into() }, "bWU6aHVudGVyMg==")]
#[tokio::test]
async fn a_secret_is_never_shown_even_if_the_server_echoes_it(#[case] auth: Auth, #[case] secret: &str) {
    let server = MockServer::start().await;
    let echo = |request: &Request| {
        let sent = format!(
            "{:?} hunter2",
            request.headers.get("authorization").map(|it| it.to_str())
        );
        let body = format!(
            r#"{{"status":"error","errorType":"{0}","error":"{0}"}}"#,
            sent.replace('"', "'")
        );
        ResponseTemplate::new(422).set_body_string(body)
    };
    Mock::given(any()).respond_with(echo).mount(&server).await;
    let is_token = matches!(auth, Auth::Bearer(_));
    let client = client(builder(&server.uri()).auth(auth));
    let error = client
        .samples(&actions(0, 60), |_| {})
        .await
        .expect_err("refused");
    let shown = format!("{} {error:?} {client:?}", chain(&error));
    // The token is longer than any word that the server adds on its own.
    let secret = if is_token { "hunter2-token" } else { secret };
    assert!(shown.contains("***") && !shown.contains(secret), "{shown}");
}

#[tokio::test]
async fn an_invalid_query_is_not_sent() {
    let server = answering(json(200, EMPTY)).await;
    let client = client(builder(&server.uri()));
    let mut query = actions(60, 0);
    assert!(client.samples(&query, |_| {}).await.is_err());
    query = actions(0, 60);
    query.families = &["up} or vector(1"];
    assert!(client.samples(&query, |_| {}).await.is_err());
    query.families = &["up", "up"];
    assert!(client.samples(&query, |_| {}).await.is_err());
    assert!(client.families_present(&["a b"], time(0)).await.is_err());
    query.families = &["up"];
    query.namespaces = Some(&[]);
    let nothing = client.samples(&query, |_| {}).await.expect("nothing to ask");
    assert_eq!(
        (nothing.samples, nothing.requests, nothing.families.len()),
        (0, 0, 1)
    );
    assert_eq!(server.received_requests().await.map(|all| all.len()), Some(0));
}
