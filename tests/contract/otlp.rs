//! Tests of the trace exporter: against failing collectors, and of its requests, which OpenTelemetry's own types and
//! collector decode.

use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use capacity_tests::collector::Collector;
use http_edge::Secret;
use otlp_spans::{
    Collector as Target, Counts, ErrorKind, OtlpConfig, OtlpConfigBuilder, Service, Span, Spans, Trace,
};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, ResponseTemplate};

/// Timeout that only a hang exceeds.
const PATIENT: Duration = Duration::from_mins(2);

fn target(config: OtlpConfigBuilder) -> Target {
    let service = Service {
        name: "capacity-worker",
        version: "1.2.3",
        instance: "host/1",
    };
    Target::new(&config.build().expect("valid"), service).expect("set up")
}

fn span(trace: &str, key: &str) -> Span {
    let now = SystemTime::now();
    Trace::of(trace).span(key, key.to_owned(), now - Duration::from_secs(2), now)
}

#[tokio::test]
async fn processes_that_share_only_a_name_contribute_to_one_trace() {
    let collector = Collector::start().await;
    let config = || {
        OtlpConfig::builder(collector.url())
            .headers("x-scope-orgid=capacity%20team")
            .attribute("deployment.environment.name", "test")
    };
    let (one, other) = (Spans::to(target(config())), Spans::to(target(config())));
    one.send(
        span("plan-1", "read")
            .under("change")
            .with("attempt", 2)
            .with("flag", true),
    );
    one.send(span("plan-1", "request").under("change").failed(Some("refused")));
    other.send(span("plan-1", "change").with("namespace", "pay.a1b2c"));
    other.send(span("plan-2", "change"));
    one.flush(PATIENT).await;
    other.flush(PATIENT).await;

    let spans = collector.spans();
    let named = |name: &str| spans.iter().find(|span| span.name == name).expect("received");
    let (read, request, change) = (named("read"), named("request"), named("change"));
    assert_eq!((&read.trace, &request.trace), (&change.trace, &change.trace));
    assert_eq!((&read.parent, &request.parent), (&change.id, &change.id));
    assert_eq!(change.parent, "");
    assert_eq!(change.trace, Trace::of("plan-1").to_string());
    assert_eq!((change.trace.len(), change.id.len()), (32, 16));
    assert_eq!(read.until - read.from, 2_000_000_000);
    assert_eq!(
        (
            read.attributes["attempt"].as_str(),
            read.attributes["flag"].as_str()
        ),
        ("2", "true")
    );
    assert_eq!((&read.error, request.error.as_deref()), (&None, Some("refused")));
    assert_eq!(
        spans.iter().filter(|span| span.trace != change.trace).count(),
        1,
        "{spans:#?}"
    );
    assert_eq!(one.counts(), Counts { sent: 2, dropped: 0 });

    let sent = &collector.requests()[0];
    assert_eq!(sent.headers["content-type"], "application/x-protobuf");
    assert_eq!(sent.headers["x-scope-orgid"], "capacity team");
    let resource: Vec<String> = sent
        .resource
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let expected = [
        "deployment.environment.name=test",
        "service.instance.id=host/1",
        "service.name=capacity-worker",
        "service.version=1.2.3",
    ];
    assert_eq!(resource, expected);
}

/// The captured log of a thread.
#[derive(Debug, Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    /// Captures the log of this thread until the guard is dropped.
    fn gather(&self) -> tracing::subscriber::DefaultGuard {
        let writer = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::INFO)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::set_default(subscriber)
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("alive").clone()).expect("text")
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("alive").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// URL of a port that nothing listens on and that the system never assigns to another test.
const NOBODY: &str = "http://127.0.0.1:1";

// Use one thread, so that the log of the sending task is captured.
#[tokio::test(flavor = "current_thread")]
async fn an_unreachable_collector_drops_spans_with_one_line_in_the_log() {
    let lines = Lines::default();
    let _guard = lines.gather();
    let spans = Spans::to(target(
        OtlpConfig::builder(NOBODY).headers("authorization=hunter22"),
    ));
    for round in 0..3 {
        // More than the queue holds; the rest is dropped at once.
        for number in 0..3_000 {
            spans.send(span("plan-1", &format!("{round} {number}")));
        }
        spans.flush(PATIENT).await;
    }
    assert_eq!(
        spans.counts(),
        Counts {
            sent: 0,
            dropped: 9_000
        }
    );
    let log = lines.text();
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(
        log.contains("dropping spans for") && log.contains(NOBODY),
        "{log}"
    );
    assert!(!log.contains("hunter22"), "{log}");
}

#[tokio::test(flavor = "current_thread")]
async fn an_unresponsive_collector_delays_nothing_and_is_used_again_later() {
    let lines = Lines::default();
    let _guard = lines.gather();
    let collector = Collector::start().await;
    collector.answer(0);
    let config = OtlpConfig::builder(collector.url()).timeout(Duration::from_secs(1));
    let spans = Spans::to(target(config));
    for number in 0..6_000 {
        spans.send(span("plan-1", &number.to_string()));
    }
    assert_eq!(
        spans.counts().dropped,
        6_000 - 2_048,
        "the queue is bounded, and full"
    );
    // As at a shutdown, the flush gives up.
    spans.flush(Duration::from_millis(50)).await;
    spans.flush(PATIENT).await;
    assert_eq!(
        spans.counts(),
        Counts {
            sent: 0,
            dropped: 6_000
        }
    );
    collector.answer(200);
    let begun = Instant::now();
    while spans.counts().sent == 0 {
        // On a slow machine, a response may take longer than this timeout.
        assert!(begun.elapsed() < PATIENT, "{:?}", spans.counts());
        spans.send(span("plan-2", "evaluation"));
        spans.flush(PATIENT).await;
    }
    let log = lines.text();
    assert_eq!(log.lines().count(), 2, "{log}");
    assert!(
        log.contains("no response") && log.contains("accepts spans again"),
        "{log}"
    );
}

#[tokio::test]
async fn requests_to_an_overloaded_collector_are_retried() {
    let collector = Collector::start().await;
    collector.be_busy(2);
    let spans = Spans::to(target(OtlpConfig::builder(collector.url())));
    spans.send(span("plan-1", "evaluation"));
    spans.flush(PATIENT).await;
    assert_eq!(spans.counts(), Counts { sent: 1, dropped: 0 });
    assert_eq!(collector.requests().len(), 3);
}

#[tokio::test]
async fn a_collector_may_request_a_delay_in_seconds_or_until_a_time() {
    for (delay, expected) in [("7", 7), ("Fri, 20 Nov 2026 10:00:30 GMT", 30)] {
        let server = MockServer::start().await;
        let busy = ResponseTemplate::new(503)
            .insert_header("date", "Fri, 20 Nov 2026 10:00:00 GMT")
            .insert_header("retry-after", delay);
        Mock::given(any()).respond_with(busy).mount(&server).await;
        let refused = target(OtlpConfig::builder(server.uri())).check().await;
        let refused = refused.expect_err("busy");
        assert_eq!(refused.retry_after(), Some(Duration::from_secs(expected)));
        assert!(refused.is_retryable());
        let agent = server.received_requests().await.expect("recorded")[0].headers["user-agent"].clone();
        assert!(agent.as_bytes().starts_with(b"otlp-spans/"), "{agent:?}");
    }
}

#[tokio::test]
async fn rejected_spans_are_not_sent_again() {
    let collector = Collector::start().await;
    collector.answer(400);
    let spans = Spans::to(target(OtlpConfig::builder(collector.url())));
    spans.send(span("plan-1", "evaluation"));
    spans.flush(PATIENT).await;
    assert_eq!(collector.requests().len(), 1);
    collector.answer(200);
    collector.reject(1);
    spans.send(span("plan-1", "one"));
    spans.send(span("plan-1", "two"));
    spans.flush(PATIENT).await;
    assert_eq!(spans.counts(), Counts { sent: 1, dropped: 2 });
}

#[tokio::test]
async fn a_rejected_key_is_read_again_from_its_file() {
    let collector = Collector::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("headers");
    std::fs::write(&file, "authorization=Bearer%20one").expect("written");
    let headers = Secret::from("authorization=Bearer%20one").kept_in(&file);
    let spans = Spans::to(target(OtlpConfig::builder(collector.url()).headers(headers)));
    spans.send(span("plan-1", "one"));
    spans.flush(PATIENT).await;
    std::fs::write(&file, "authorization=Bearer%20two").expect("written");
    collector.require("Bearer two");
    spans.send(span("plan-1", "two"));
    spans.flush(PATIENT).await;
    assert_eq!(spans.counts(), Counts { sent: 2, dropped: 0 });
}

#[tokio::test]
async fn a_check_reports_the_problem_and_the_remedy() {
    let collector = Collector::start().await;
    target(OtlpConfig::builder(collector.url()))
        .check()
        .await
        .expect("accepted");
    let failed = async |config| format!("{:#}", target(config).check().await.expect_err("refused"));
    let elsewhere = failed(OtlpConfig::builder_at(format!("{}/traces", collector.url()))).await;
    assert!(
        elsewhere.contains("404") && elsewhere.contains("/v1/traces"),
        "{elsewhere}"
    );
    collector.answer(401);
    let refused = failed(OtlpConfig::builder(collector.url())).await;
    assert!(
        refused.contains("401 (not now!); check OTEL_EXPORTER_OTLP_HEADERS"),
        "{refused}"
    );
    let absent = target(OtlpConfig::builder(NOBODY))
        .check()
        .await
        .expect_err("nobody listens");
    assert!(matches!(absent.kind(), ErrorKind::Transport(_)) && absent.is_retryable());
}

/// Returns the path of the OpenTelemetry Collector built by `scripts/otelcol/build`; `None`, which skips the test, if it does
/// not exist.
#[expect(clippy::print_stdout, reason = "a skipped test is visible in its output")]
fn real_collector() -> Option<PathBuf> {
    let built = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/tmp/otelcol");
    let program = std::env::var_os("OTELCOL").map_or(built, PathBuf::from);
    if program.is_file() {
        return Some(program);
    }
    println!("skipped: no OpenTelemetry collector; build one with scripts/otelcol/build");
    None
}

#[tokio::test]
async fn the_opentelemetry_collector_accepts_our_requests() {
    let Some(program) = real_collector() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let (config, written) = (
        folder.path().join("config.yaml"),
        folder.path().join("spans.json"),
    );
    let text = format!(
        "receivers: {{otlp: {{protocols: {{http: {{endpoint: \"{address}\"}}}}}}}}\n\
         exporters: {{file: {{path: \"{}\", flush_interval: 100ms}}}}\n\
         service: {{telemetry: {{metrics: {{level: none}}}}, pipelines: {{traces: {{receivers: [otlp], exporters: [file]}}}}}}\n",
        written.display()
    );
    std::fs::write(&config, text).expect("written");
    let mut process = Command::new(program)
        .arg(format!("--config=file:{}", config.display()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("started");
    let target = target(OtlpConfig::builder(format!("http://{address}")));
    let begun = Instant::now();
    while let Err(error) = target.check().await {
        assert!(begun.elapsed() < PATIENT, "{error:#}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let spans = Spans::to(target);
    spans.send(span("plan-1", "evaluation").with("capacity.account", "a1b2c"));
    spans.send(
        span("plan-1", "decide")
            .under("evaluation")
            .failed(Some("refused")),
    );
    spans.flush(PATIENT).await;
    let counts = spans.counts();
    let mut text = String::new();
    while !text.ends_with('\n') && begun.elapsed() < PATIENT {
        tokio::time::sleep(Duration::from_millis(100)).await;
        text = std::fs::read_to_string(&written).unwrap_or_default();
    }
    process.kill().and_then(|()| process.wait()).expect("ended");
    assert_eq!(counts, Counts { sent: 2, dropped: 0 });
    let document: serde_json::Value =
        serde_json::from_str(text.lines().next().unwrap_or_default()).expect("a document");
    let resource = &document["resourceSpans"][0];
    let received = resource["scopeSpans"][0]["spans"].as_array().expect("spans");
    let [evaluation, decide] = &received[..] else {
        panic!("{document:#}")
    };
    assert_eq!(evaluation["traceId"], Trace::of("plan-1").to_string());
    assert_eq!(decide["traceId"], evaluation["traceId"]);
    assert_eq!(decide["parentSpanId"], evaluation["spanId"]);
    assert_eq!(evaluation["attributes"][0]["value"]["stringValue"], "a1b2c");
    assert_eq!(
        (&decide["status"]["code"], &decide["status"]["message"]),
        (&2.into(), &"refused".into())
    );
    assert_eq!(
        resource["resource"]["attributes"][0]["value"]["stringValue"],
        "capacity-worker"
    );
}
