//! Tests that clients built on an existing HTTP client keep its configuration and still send what each
//! service needs.

use std::time::{Duration, Instant};

use cloud_ops_client::Client;
use cloud_simulator::{Account, Faults, SimulatorOptions};
use openmetrics_reader::scrape::Scraper;
use prometheus_reader::{PrometheusClient, PrometheusConfig};
use serde_json::json;
use slack_notifier::{Message, Webhook};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, ResponseTemplate};

/// Returns the HTTP client of an embedding program.
fn http() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::builder().no_proxy().user_agent("a-host/1.0");
    http.build().expect("a client")
}

/// Starts a server that returns this body for every request.
async fn server(body: &str) -> MockServer {
    let server = MockServer::start().await;
    let answer = ResponseTemplate::new(200).set_body_string(body);
    Mock::given(any()).respond_with(answer).mount(&server).await;
    server
}

/// Returns a header of the only request.
async fn header(server: &MockServer, name: &str) -> String {
    let requests = server.received_requests().await.expect("recorded");
    assert_eq!(requests.len(), 1, "{requests:?}");
    let value = requests[0].headers.get(name);
    value.map_or_else(String::new, |value| value.to_str().expect("text").to_owned())
}

#[tokio::test]
async fn a_ready_client_keeps_its_user_agent_and_sends_what_each_service_needs() {
    let ops = server(r#"{"regions":[]}"#).await;
    let config = cloud_ops_client::Config::try_new(&ops.uri(), "the-key".into()).expect("valid");
    Client::with_http(config, http())
        .regions()
        .await
        .expect("answered");
    assert_eq!(header(&ops, "user-agent").await, "a-host/1.0");
    assert_eq!(header(&ops, "authorization").await, "Bearer the-key");
    assert_eq!(
        header(&ops, "temporal-cloud-api-version").await,
        cloud_ops_client::API_VERSION
    );

    let metrics = server(r#"{"descriptors":[]}"#).await;
    let config =
        openmetrics_reader::scrape::Config::try_new(&metrics.uri(), "the-key".into()).expect("valid");
    Scraper::with_http(config, http())
        .families()
        .await
        .expect("answered");
    assert_eq!(header(&metrics, "user-agent").await, "a-host/1.0");
    assert_eq!(
        header(&metrics, "accept-encoding").await,
        "identity",
        "framing must be visible"
    );

    let slack = server("ok").await;
    let config =
        slack_notifier::Config::try_new(format!("{}/hook", slack.uri()).as_str().into()).expect("valid");
    let message = Message {
        title: "hello".to_owned(),
        ..Message::default()
    };
    Webhook::with_http(config, http())
        .post(&message)
        .await
        .expect("posted");
    assert_eq!(header(&slack, "user-agent").await, "a-host/1.0");

    let answer = json!({ "status": "success", "data": { "resultType": "matrix", "result": [] } });
    let prometheus = server(&answer.to_string()).await;
    let config = PrometheusConfig::builder(prometheus.uri())
        .tenant("team")
        .build()
        .expect("valid");
    let now = jiff::Timestamp::now();
    let query = prometheus_reader::Query {
        families: &["up"],
        namespaces: None,
        from: now - jiff::SignedDuration::from_mins(5),
        to: now,
    };
    let client = PrometheusClient::with_http(config, http());
    client.samples(&query, |_| ()).await.expect("answered");
    assert_eq!(header(&prometheus, "x-scope-orgid").await, "team");
}

#[tokio::test]
async fn the_simulator_can_send_retry_after_and_deny_routes() {
    let cloud = cloud_simulator::start(SimulatorOptions::new(Account::demo()))
        .await
        .expect("started");
    let mut config =
        cloud_ops_client::Config::try_new(&cloud.ops_url(), cloud.ops_key().into()).expect("valid");
    config.max_attempts = 1;
    config.max_rate_limited = Duration::ZERO;
    let client = Client::new(config);

    cloud.set_faults(Faults {
        denied_routes: vec!["GET /cloud/regions".to_owned()],
        ..Faults::default()
    });
    let error = client.regions().await.expect_err("denied");
    assert!(error.is_permission_denied(), "{error:#}");
    assert!(client.current_identity().await.is_ok(), "other routes answer");

    cloud.set_faults(Faults {
        too_many_requests: 1.0,
        retry_after: Some(60),
        ..Faults::default()
    });
    let begun = Instant::now();
    let error = client.regions().await.expect_err("refused");
    assert!(error.is_rate_limited(), "{error:#}");
    assert_eq!(error.retry_after(), Some(Duration::from_mins(1)));
    assert!(
        begun.elapsed() < Duration::from_secs(50),
        "a single attempt does not wait"
    );
    cloud.shutdown().await;
}
