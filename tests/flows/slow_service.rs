//! Tests with a slow service: time limits count elapsed time, not only the planned delays.

use std::time::{Duration, Instant};

use capacity_autopilot::{
    Autopilot, AutopilotSettings, CHANGE_TIMEOUT, CarryOut, ChangeOrder, ChangeResult, Outcome, Stop,
};
use capacity_engine::{Capacity, Rules};
use cloud_ops_client::Client;
use jiff::Timestamp;
use openmetrics_reader::scrape::Scraper;
use wiremock::matchers::{method, path, path_regex};
use wiremock::{Mock, MockServer, ResponseTemplate};

const OPERATION: &str = "7ca9ac17-9999-8222-8333-444455556666";

/// Returns a body built from Temporal's published definitions.
fn fixture(name: &str) -> String {
    let path = format!("{}/../fixtures/cloud-ops/{name}.json", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).expect("a fixture")
}

/// Starts a service that accepts a change at once and takes a minute to report its operation.
async fn service() -> MockServer {
    let server = MockServer::start().await;
    let json = |name: &str| ResponseTemplate::new(200).set_body_raw(fixture(name), "application/json");
    Mock::given(method("GET"))
        .and(path("/cloud/namespaces/orders.a1b2c"))
        .respond_with(json("namespace.omitted"))
        .mount(&server)
        .await;
    let accepted = fixture("update.omitted").replace("\"10s\"", "\"0.05s\"");
    Mock::given(method("POST"))
        .and(path("/cloud/namespaces/orders.a1b2c"))
        .respond_with(ResponseTemplate::new(200).set_body_raw(accepted, "application/json"))
        .expect(1)
        .mount(&server)
        .await;
    Mock::given(method("GET"))
        .and(path_regex("^/cloud/operations/"))
        .respond_with(json("operation-fulfilled.omitted").set_delay(Duration::from_mins(1)))
        .mount(&server)
        .await;
    server
}

async fn release(server: &MockServer, change_timeout: Duration, stop: &Stop) -> ChangeResult {
    let ops = cloud_ops_client::Config::try_new(&server.uri(), "key".into()).expect("valid");
    let metrics = openmetrics_reader::scrape::Config::try_new(&server.uri(), "key".into()).expect("valid");
    let settings = AutopilotSettings::new(Rules::default());
    let autopilot = Autopilot::new(Client::new(ops), Scraper::new(metrics), settings);
    let order = ChangeOrder {
        namespace: "orders.a1b2c".parse().expect("an id"),
        from: Capacity::from_trus(4),
        to: Capacity::OnDemand,
        operation_id: OPERATION.to_owned(),
        resource_version: "5d1a6c1e-64d7-4f0e-9a55-5a83f4d6d0a1".to_owned(),
        sample_minute: Some(Timestamp::now()),
    };
    let how = CarryOut::new()
        .with_max_concurrent(1)
        .with_refuse_moved(true)
        .with_change_timeout(change_timeout);
    let mut results = autopilot.carry_out(vec![order], how, stop, |_| ()).await;
    results.remove(0)
}

#[tokio::test]
async fn a_change_times_out_by_elapsed_time() {
    let server = service().await;
    let begun = Instant::now();
    let result = release(&server, Duration::from_secs(2), &Stop::new()).await;
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert_eq!(result.outcome, Outcome::Failed);
    let error = result.error.expect("a reason");
    assert!(
        error.contains("still not done after 2 seconds") && error.contains(OPERATION),
        "{error}"
    );
}

#[tokio::test]
async fn a_stop_does_not_wait_for_an_informational_response() {
    let server = service().await;
    let stop = Stop::new();
    let begun = Instant::now();
    let halt = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        stop.now("stopped by SIGTERM");
    };
    let (result, ()) = tokio::join!(release(&server, CHANGE_TIMEOUT, &stop), halt);
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert_eq!(result.outcome, Outcome::InProgress);
    assert!(
        result
            .error
            .expect("a reason")
            .starts_with("stopped by SIGTERM; ")
    );
}
