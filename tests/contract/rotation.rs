//! Tests the rotation of a key in a file: after the service rejects the old key, the file is read once more,
//! and the new key is used from then on without a restart.

use std::path::Path;

use capacity_settings::{Inputs, Needs, Settings};
use jiff::Timestamp;
use rstest::rstest;
use tempfile::TempDir;
use wiremock::matchers::{header, method};
use wiremock::{Mock, MockServer, ResponseTemplate};

/// Starts a service that accepts only the new key.
async fn service(answer: ResponseTemplate, authorization: &str) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(header("authorization", authorization))
        .respond_with(answer)
        .with_priority(1)
        .mount(&server)
        .await;
    Mock::given(wiremock::matchers::any())
        .respond_with(ResponseTemplate::new(401).set_body_string("Jwt is expired"))
        .with_priority(5)
        .mount(&server)
        .await;
    server
}

fn settings(folder: &Path, environment: &[(&str, &str)]) -> Settings {
    let pairs = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let inputs = Inputs {
        environment: pairs.collect(),
        directory: Some(folder.to_owned()),
        ..Inputs::default()
    };
    capacity_settings::load(&inputs, Needs::default()).expect("valid settings")
}

fn key_file(text: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("key"), text).expect("written");
    folder
}

fn rotate(folder: &TempDir) {
    std::fs::write(folder.path().join("key"), "\u{feff}\"new\"\r\n").expect("written");
}

async fn requests(server: &MockServer) -> usize {
    server.received_requests().await.expect("recorded").len()
}

#[tokio::test]
async fn the_cloud_ops_client_reads_its_key_again() {
    let answer = ResponseTemplate::new(200).set_body_string(r#"{"regions":[]}"#);
    let server = service(answer, "Bearer new").await;
    let folder = key_file("old\n");
    let environment = [
        ("TEMPORAL_CLOUD_OPS_API_KEY_FILE", "key"),
        ("CLOUD_OPS_API_BASE_URL", &server.uri()),
    ];
    let config = settings(folder.path(), &environment).cloud_ops.expect("a key");
    let client = cloud_ops_client::Client::new(config);
    let refused = client
        .regions()
        .await
        .expect_err("the file holds the old key still");
    assert!(refused.is_unauthenticated());
    assert_eq!(requests(&server).await, 1, "not repeated with the same key");
    rotate(&folder);
    client.regions().await.expect("the new key");
    assert_eq!(requests(&server).await, 3, "refused once, then the new key");
    client.clone().regions().await.expect("the new key is kept");
    assert_eq!(requests(&server).await, 4);
}

#[tokio::test]
async fn a_new_key_that_is_refused_as_well_is_not_tried_for_ever() {
    let server = service(ResponseTemplate::new(200), "Bearer another").await;
    let folder = key_file("old");
    let environment = [
        ("TEMPORAL_CLOUD_OPS_API_KEY_FILE", "key"),
        ("CLOUD_OPS_API_BASE_URL", &server.uri()),
    ];
    let config = settings(folder.path(), &environment).cloud_ops.expect("a key");
    let client = cloud_ops_client::Client::new(config);
    rotate(&folder);
    let refused = client.regions().await.expect_err("refused").to_string();
    assert!(!refused.contains("new"));
    assert_eq!(requests(&server).await, 2);
}

#[tokio::test]
async fn the_metrics_client_reads_its_key_again() {
    let answer = ResponseTemplate::new(200).set_body_string(r#"{"descriptors":[]}"#);
    let server = service(answer, "Bearer new").await;
    let folder = key_file("old\n");
    let environment = [
        ("TEMPORAL_CLOUD_METRICS_API_KEY_FILE", "key"),
        ("CLOUD_METRICS_API_BASE_URL", &server.uri()),
    ];
    let config = settings(folder.path(), &environment).metrics.expect("a key");
    let scraper = openmetrics_reader::scrape::Scraper::new(config);
    scraper
        .families()
        .await
        .expect_err("the file holds the old key still");
    assert_eq!(requests(&server).await, 1);
    rotate(&folder);
    scraper.families().await.expect("the new key");
    assert_eq!(requests(&server).await, 3);
}

#[rstest]
#[case::token("PROMETHEUS_BEARER_TOKEN_FILE", None, "Bearer new")]
#[case::password("PROMETHEUS_PASSWORD_FILE", Some(("PROMETHEUS_USER", "me")), "Basic bWU6bmV3")]
#[tokio::test]
async fn the_prometheus_client_reads_token_and_password_again(
    #[case] name: &str,
    #[case] user: Option<(&str, &str)>,
    #[case] authorization: &str,
) {
    let answer = r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;
    let server = service(ResponseTemplate::new(200).set_body_string(answer), authorization).await;
    let folder = key_file("old\n");
    let url = server.uri();
    let mut environment = vec![
        (name, "key"),
        ("METRICS_SOURCE", "prometheus"),
        ("PROMETHEUS_URL", &url),
    ];
    environment.extend(user);
    let config = settings(folder.path(), &environment)
        .prometheus
        .expect("an address");
    let client = prometheus_reader::PrometheusClient::new(config).expect("a client");
    let now = Timestamp::from_second(1_790_000_040).expect("a time");
    let ask = async || client.families_present(&["up"], now).await.map(drop);
    ask().await.expect_err("the file holds the old secret still");
    assert_eq!(requests(&server).await, 1);
    rotate(&folder);
    ask().await.expect("the new secret");
    assert_eq!(requests(&server).await, 3);
}

#[tokio::test]
async fn the_webhook_reads_its_address_again_when_slack_has_removed_it() {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(wiremock::matchers::path("/services/old"))
        .respond_with(ResponseTemplate::new(404).set_body_string("no_service"))
        .expect(2)
        .mount(&server)
        .await;
    Mock::given(method("POST"))
        .and(wiremock::matchers::path("/services/new"))
        .respond_with(ResponseTemplate::new(200).set_body_string("ok"))
        .expect(2)
        .mount(&server)
        .await;
    let address = |which: &str| format!("{}/services/{which}\n", server.uri());
    let folder = key_file(&address("old"));
    let config = settings(folder.path(), &[("SLACK_WEBHOOK_URL_FILE", "key")])
        .slack
        .expect("an address");
    let webhook = slack_notifier::Webhook::new(config);
    let message = slack_notifier::Message::default();
    webhook
        .post(&message)
        .await
        .expect_err("the file holds the old address still");
    std::fs::write(folder.path().join("key"), address("new")).expect("written");
    webhook.post(&message).await.expect("the new address");
    webhook.post(&message).await.expect("the new address is kept");
}
