//! Tests of the webhook: what is posted, which responses are retried, and that its URL never appears in
//! messages.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rstest::rstest;
use slack_notifier::{Config, Message, Webhook};
use wiremock::matchers::{any, body_json, body_partial_json, header, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

fn webhook(server: &MockServer) -> Webhook {
    Webhook::new(Config::try_new(format!("{}/services/T0/B0/hunter2", server.uri()).into()).expect("valid"))
}

fn message() -> Message {
    Message {
        title: "2 changes".to_owned(),
        ..Message::default()
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    text
}

#[tokio::test]
async fn a_message_is_posted_as_json() {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(path("/services/T0/B0/hunter2"))
        .and(header("content-type", "application/json"))
        .and(body_partial_json(
            serde_json::json!({ "text": ":information_source: 2 changes" }),
        ))
        .respond_with(ResponseTemplate::new(200).set_body_string("ok"))
        .expect(1)
        .mount(&server)
        .await;
    webhook(&server).post(&message()).await.expect("delivered");
}

#[rstest]
#[case::removed(404, "no_service", 1, "the webhook was removed or disabled")]
#[case::payload(400, "invalid_payload", 2, "a bug in this program")]
#[case::other_400(400, "unexpected", 2, "refused with 400: `unexpected`")]
#[case::gone_with_400(400, "user_not_found", 1, "another channel")]
#[case::prohibited(403, "action_prohibited", 1, "ask a workspace administrator")]
#[case::prohibited_with_500(500, "action_prohibited", 1, "ask a workspace administrator")]
#[case::prohibited_as_json(500, r#"{"ok":false,"error":"action_prohibited"}"#, 1, "`action_prohibited`")]
#[case::archived(410, "channel_is_archived", 1, "another channel")]
#[case::not_ok(200, "<html>hello</html>", 1, "refused with 200: `<html>hello</html>`")]
#[case::redirect(302, "", 1, "refused with 302")]
#[case::unavailable(503, "upstream", 3, "refused with 503: `upstream`")]
#[case::busy(429, "rate_limited", 3, "too many messages")]
#[tokio::test]
async fn refusals_are_reported_and_transient_ones_are_retried(
    #[case] status: u16,
    #[case] body: &str,
    #[case] requests: u64,
    #[case] expected: &str,
) {
    let server = MockServer::start().await;
    let answer = ResponseTemplate::new(status).set_body_string(body);
    Mock::given(any())
        .respond_with(answer)
        .expect(requests)
        .mount(&server)
        .await;
    let error = webhook(&server).post(&message()).await.expect_err("refused");
    let text = chain(&error);
    assert!(text.contains(expected) && text.contains("127.0.0.1"), "{text}");
    assert!(!format!("{text} {error:?}").contains("hunter2"), "{error:?}");
}

#[tokio::test]
async fn retry_after_is_honored_within_a_bound() {
    let server = MockServer::start().await;
    let busy = |seconds: &str| ResponseTemplate::new(429).insert_header("retry-after", seconds);
    Mock::given(any())
        .respond_with(busy("1"))
        .up_to_n_times(1)
        .with_priority(1)
        .mount(&server)
        .await;
    Mock::given(any())
        .respond_with(ResponseTemplate::new(200).set_body_string("ok"))
        .expect(1)
        .mount(&server)
        .await;
    let begun = std::time::Instant::now();
    webhook(&server).post(&message()).await.expect("delivered");
    assert!(begun.elapsed() >= Duration::from_secs(1));

    let patient = MockServer::start().await;
    Mock::given(any())
        .respond_with(busy("600"))
        .expect(1)
        .mount(&patient)
        .await;
    assert!(webhook(&patient).post(&message()).await.is_err());
}

#[tokio::test]
async fn a_wait_in_the_body_is_honored() {
    let server = MockServer::start().await;
    let busy = ResponseTemplate::new(429)
        .set_body_json(serde_json::json!({ "ok": false, "error": "ratelimited", "retry_after": 1 }));
    Mock::given(any())
        .respond_with(busy)
        .up_to_n_times(1)
        .with_priority(1)
        .mount(&server)
        .await;
    Mock::given(any())
        .respond_with(ResponseTemplate::new(200).set_body_string("ok"))
        .expect(1)
        .mount(&server)
        .await;
    let begun = std::time::Instant::now();
    webhook(&server).post(&message()).await.expect("delivered");
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());

    let patient = MockServer::start().await;
    let busy = ResponseTemplate::new(429).set_body_json(serde_json::json!({ "retry_after": 600 }));
    Mock::given(any())
        .respond_with(busy)
        .expect(1)
        .mount(&patient)
        .await;
    assert!(webhook(&patient).post(&message()).await.is_err());
}

#[tokio::test]
async fn a_refused_payload_is_sent_once_more_as_plain_text() {
    let server = MockServer::start().await;
    Mock::given(body_partial_json(
        serde_json::json!({ "blocks": [{ "type": "header" }] }),
    ))
    .respond_with(ResponseTemplate::new(400).set_body_string("invalid_blocks"))
    .with_priority(1)
    .expect(1)
    .mount(&server)
    .await;
    Mock::given(body_json(
        serde_json::json!({ "text": ":information_source: 2 changes" }),
    ))
    .respond_with(ResponseTemplate::new(200).set_body_string("ok"))
    .expect(1)
    .mount(&server)
    .await;
    webhook(&server).post(&message()).await.expect("delivered");
}

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("not poisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Captures everything that this library and its dependencies log at the most detailed level.
#[test]
fn the_url_never_appears_in_a_log() {
    let captured = Captured::default();
    let writer = captured.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new("trace"))
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let server = MockServer::start().await;
            Mock::given(any())
                .respond_with(ResponseTemplate::new(503))
                .mount(&server)
                .await;
            tracing::trace!("the capture works");
            let _ = webhook(&server).post(&message()).await;
            let nobody = Config::try_new("http://127.0.0.1:1/services/hunter2".into()).expect("valid");
            let error = Webhook::new(nobody).post(&message()).await.expect_err("nobody");
            assert!(!chain(&error).contains("hunter2"));
        });
    });
    let log = String::from_utf8_lossy(&captured.0.lock().expect("not poisoned")).into_owned();
    assert!(log.contains("the capture works"));
    // The mock logs the requests it receives; its log is not ours.
    let ours: Vec<&str> = log
        .lines()
        .filter(|line| !line.contains("wiremock") && !line.contains("hyper::proto::h1::role"))
        .collect();
    assert!(
        !ours.iter().any(|line| line.contains("hunter2")),
        "{:?}",
        ours.iter().find(|line| line.contains("hunter2"))
    );
}
