//! Tests that the simulated cloud's responses contain only fields of Temporal's published definitions, and
//! that our clients can parse them.

use std::collections::BTreeSet;

use cloud_simulator::{Account, RunningSimulator, SimulatorOptions};
use jiff::SignedDuration;
use rstest::rstest;
use serde_json::{Value, json};

use crate::fixture;

/// Returns every path in a document in the format of `shapes.json`, with map keys as `*`.
pub(crate) fn paths(value: &Value, prefix: &str, known: &BTreeSet<String>, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            let is_map = known.contains(&format!("{prefix}.*"))
                || known.iter().any(|path| path.starts_with(&format!("{prefix}.*.")));
            for (name, member) in members {
                let name = if is_map { "*" } else { name };
                let path = if prefix.is_empty() {
                    name.to_owned()
                } else {
                    format!("{prefix}.{name}")
                };
                let path = if member.is_array() {
                    format!("{path}[]")
                } else {
                    path
                };
                // A map key is recognized by the paths below it.
                if name != "*" || known.contains(&path) {
                    found.insert(path.clone());
                }
                paths(member, &path, known, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| paths(item, prefix, known, found)),
        _ => {}
    }
}

pub(crate) fn known(shape: &str) -> BTreeSet<String> {
    let shapes: Value = serde_json::from_str(&fixture("cloud-ops/shapes.json")).expect("a fixture");
    let paths = shapes[shape].as_array().expect("a shape").iter();
    paths
        .filter_map(|path| path.as_str().map(str::to_owned))
        .collect()
}

async fn cloud() -> RunningSimulator {
    let options = SimulatorOptions {
        speed: 0.0,
        ..SimulatorOptions::new(Account::demo())
    };
    cloud_simulator::start(options).await.expect("started")
}

async fn answer(cloud: &RunningSimulator, path: &str, body: Option<Value>) -> Value {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let url = format!("{}{path}", cloud.ops_url());
    let request = match body {
        None => http.get(url),
        Some(body) => http.post(url).body(body.to_string()),
    };
    let answer = request
        .bearer_auth(cloud.ops_key())
        .send()
        .await
        .expect("answered");
    assert!(answer.status().is_success(), "{}", answer.status());
    serde_json::from_str(&answer.text().await.expect("a body")).expect("JSON")
}

#[rstest]
#[case::list("namespaces", "/cloud/namespaces")]
#[case::get("namespace", "/cloud/namespaces/orders.a1b2c")]
#[case::get_replicated("namespace", "/cloud/namespaces/ledger-eu.a1b2c")]
#[case::capacity_info("capacity-info", "/cloud/namespaces/orders.a1b2c/capacity-info")]
#[case::support_limits("capacity-info", "/cloud/namespaces/batch-legacy.a1b2c/capacity-info")]
#[case::identity("current-identity", "/cloud/current-identity")]
#[case::regions("regions", "/cloud/regions")]
#[tokio::test]
async fn responses_have_published_fields_only(#[case] shape: &str, #[case] path: &str) {
    let known = known(shape);
    let mut found = BTreeSet::new();
    paths(&answer(&cloud().await, path, None).await, "", &known, &mut found);
    // The only field that is intentionally newer than the definitions.
    let unknown: Vec<&String> = found
        .iter()
        .filter(|path| !path.ends_with("spec.description") && !known.contains(*path))
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    assert!(found.len() > 3, "{found:?}");
}

#[tokio::test]
async fn an_update_and_its_operation_have_published_fields_only() {
    let cloud = cloud().await;
    let mut namespace = answer(&cloud, "/cloud/namespaces/orders.a1b2c", None).await["namespace"].take();
    namespace["spec"]["capacitySpec"] = json!({ "onDemand": {} });
    let body = json!({ "spec": namespace["spec"], "resourceVersion": namespace["resourceVersion"], "asyncOperationId": "op-1" });
    let accepted = answer(&cloud, "/cloud/namespaces/orders.a1b2c", Some(body)).await;
    cloud.advance(SignedDuration::from_mins(5));
    let ended = answer(&cloud, "/cloud/operations/op-1", None).await;
    for (shape, document) in [("update", accepted), ("operation", ended)] {
        let known = known(shape);
        let mut found = BTreeSet::new();
        paths(&document, "", &known, &mut found);
        assert!(
            found.is_subset(&known),
            "{:?}",
            found.difference(&known).collect::<Vec<_>>()
        );
    }
    let changed = answer(&cloud, "/cloud/namespaces/orders.a1b2c", None).await;
    assert_eq!(
        changed["namespace"]["capacity"]["latestRequest"]["state"],
        "STATE_CAPACITY_REQUEST_COMPLETED"
    );
}

#[rstest]
#[case::no_key(None, "", 401, "Jwt is missing")]
#[case::invented_parameter(Some(()), "?namespace=orders", 200, "unsupported query parameter")]
#[tokio::test]
async fn an_invalid_scrape_gets_no_metrics(
    #[case] key: Option<()>,
    #[case] query: &str,
    #[case] status: u16,
    #[case] expected: &str,
) {
    let cloud = cloud().await;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let mut request = http.get(format!("{}/v1/metrics{query}", cloud.metrics_url()));
    if key.is_some() {
        request = request.bearer_auth(cloud.metrics_key());
    }
    let answer = request.send().await.expect("answered");
    assert_eq!(answer.status(), status);
    assert_eq!(answer.text().await.expect("a body"), expected);
}

#[tokio::test]
async fn the_hourly_scrape_limit_is_enforced_and_the_date_is_simulated() {
    let mut options = SimulatorOptions {
        speed: 0.0,
        ..SimulatorOptions::new(Account::demo())
    };
    options.start = "2031-01-01T00:00:00Z".parse().expect("a time");
    options.scrapes_per_hour = Some(2);
    let cloud = cloud_simulator::start(options).await.expect("started");
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let mut statuses = Vec::new();
    for _ in 0..3 {
        let url = format!("{}/v1/metrics", cloud.metrics_url());
        let answer = http
            .get(url)
            .bearer_auth(cloud.metrics_key())
            .send()
            .await
            .expect("answered");
        assert_eq!(answer.headers()["date"], "Wed, 01 Jan 2031 00:00:00 GMT");
        let retry_after = answer
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        statuses.push((answer.status().as_u16(), retry_after));
    }
    assert_eq!(
        statuses,
        [(200, None), (200, None), (429, Some("3601".to_owned()))]
    );
}
