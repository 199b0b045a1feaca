//! Tests of the Cloud Ops client against bodies built from Temporal's published definitions: method, path,
//! query, headers, body, and every status code.

use std::time::Duration;

use cloud_ops_client::{
    AccountRole, CapacityMode, CapacityRequestState, Client, Config, Error, NamespacePermission,
    NamespaceUpdate, OperationState, ResourceState, Spec, WantedCapacity,
};
use rstest::rstest;
use serde_json::Value;
use wiremock::matchers::{any, body_json, header, method, path, query_param, query_param_is_missing};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::fixture;

const KEY: &str = "the-secret-key";

/// Starts a service that fails loudly on every unexpected request.
async fn service() -> MockServer {
    let server = MockServer::start().await;
    Mock::given(any())
        .respond_with(ResponseTemplate::new(418).set_body_string("this request was not expected"))
        .with_priority(250)
        .expect(0)
        .mount(&server)
        .await;
    server
}

fn client(server: &MockServer) -> Client {
    let mut config = Config::try_new(&server.uri(), KEY.into()).expect("valid");
    config.max_attempts = 3;
    config.requests_per_second = 1_000;
    Client::new(config)
}

fn json(body: String) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_raw(body, "application/json")
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

#[rstest]
#[case::defaults_omitted("omitted")]
#[case::defaults_printed("printed")]
#[tokio::test]
async fn all_pages_of_the_list_are_read(#[case] form: &str) {
    let server = service().await;
    let page = |name: &str| json(fixture(&format!("cloud-ops/{name}.{form}.json")));
    Mock::given(method("GET"))
        .and(path("/cloud/namespaces"))
        .and(query_param("pageSize", "1000"))
        .and(query_param_is_missing("pageToken"))
        .and(header("authorization", format!("Bearer {KEY}")))
        .and(header("temporal-cloud-api-version", "v0.19.1"))
        .respond_with(page("namespaces"))
        .expect(1)
        .mount(&server)
        .await;
    Mock::given(method("GET"))
        .and(path("/cloud/namespaces"))
        .and(query_param("pageToken", "bmV4dA=="))
        .respond_with(page("namespaces-last-page"))
        .expect(1)
        .mount(&server)
        .await;
    let mut namespaces = Vec::new();
    let client = client(&server);
    let count = client
        .for_each_namespace(|namespace| namespaces.push(namespace))
        .await
        .expect("listed");
    assert_eq!((count, client.requests_made()), (4, 2));

    let orders = &namespaces[0];
    assert_eq!(orders.namespace, "orders.a1b2c");
    assert_eq!(orders.state, ResourceState::Active);
    assert_eq!(orders.async_operation_id, None);
    assert_eq!(orders.spec.capacity(), CapacityMode::Provisioned(Some(4.0)));
    let capacity = orders.capacity.as_ref().expect("a capacity");
    assert_eq!(capacity.mode, CapacityMode::Provisioned(Some(4.0)));
    let request = capacity.latest_request.as_ref().expect("a request");
    assert_eq!(request.state, CapacityRequestState::Completed);
    assert_eq!(
        request.end_time.expect("ended").to_string(),
        "2026-11-20T10:01:35.25Z"
    );

    let pay = &namespaces[1];
    assert_eq!(pay.state, ResourceState::Updating);
    assert!(pay.async_operation_id.is_some());
    let capacity = pay.capacity.as_ref().expect("a capacity");
    assert_eq!(capacity.mode, CapacityMode::OnDemand);
    assert_eq!(
        capacity.latest_request.as_ref().map(|it| it.state.clone()),
        Some(CapacityRequestState::InProgress)
    );

    let quiet = &namespaces[2];
    assert_eq!(quiet.capacity, None);
    assert_eq!(quiet.spec.capacity(), CapacityMode::Absent);
    assert_eq!(namespaces[3].namespace, "zeta.a1b2c");
}

#[tokio::test]
async fn a_list_whose_pages_never_end_is_an_error() {
    let server = service().await;
    Mock::given(path("/cloud/namespaces"))
        .respond_with(json(fixture("cloud-ops/namespaces.omitted.json")))
        .expect(2)
        .mount(&server)
        .await;
    let error = client(&server)
        .for_each_namespace(|_| ())
        .await
        .expect_err("never ends");
    assert!(
        chain(&error).contains("returned a page of the list twice after 3 namespaces"),
        "{}",
        chain(&error)
    );
    assert!(!error.is_retryable());
}

#[rstest]
#[case::defaults_omitted("omitted")]
#[case::defaults_printed("printed")]
#[tokio::test]
async fn the_available_sizes_are_read(#[case] form: &str) {
    let server = service().await;
    Mock::given(method("GET"))
        .and(path("/cloud/namespaces/orders.a1b2c/capacity-info"))
        .respond_with(json(fixture(&format!("cloud-ops/capacity-info.{form}.json"))))
        .expect(1)
        .mount(&server)
        .await;
    let info = client(&server).capacity_info("orders.a1b2c").await.expect("read");
    assert!(!info.has_legacy_limits);
    assert_eq!(
        info.mode_options.provisioned.valid_tru_values,
        [2.0, 3.0, 4.0, 6.0, 8.0, 10.0, 12.0]
    );
    assert_eq!(info.mode_options.provisioned.max_available_tru_value, Some(8.0));
    assert_eq!(info.mode_options.on_demand.aps_limit, Some(800.0));
    let mode = info.current_capacity.map(|capacity| capacity.mode);
    assert_eq!(mode, Some(CapacityMode::Provisioned(Some(4.0))));
}

#[rstest]
#[case::defaults_omitted("omitted")]
#[case::defaults_printed("printed")]
#[tokio::test]
async fn an_update_sends_the_whole_spec_and_nothing_else(#[case] form: &str) {
    let server = service().await;
    let received: Value =
        serde_json::from_str(&fixture(&format!("cloud-ops/namespace.{form}.json"))).expect("a fixture");
    let mut expected = received["namespace"]["spec"].clone();
    expected["capacitySpec"] = serde_json::json!({ "onDemand": {} });
    Mock::given(method("GET"))
        .and(path("/cloud/namespaces/orders.a1b2c"))
        .respond_with(json(received.to_string()))
        .expect(1)
        .mount(&server)
        .await;
    Mock::given(method("POST"))
        .and(path("/cloud/namespaces/orders.a1b2c"))
        .and(header("content-type", "application/json"))
        .and(body_json(serde_json::json!({
            "spec": expected,
            "resourceVersion": "5d1a6c1e-64d7-4f0e-9a55-5a83f4d6d0a1",
            "asyncOperationId": "7ca9ac17-1111-8222-8333-444455556666",
        })))
        .respond_with(json(fixture(&format!("cloud-ops/update.{form}.json"))))
        .expect(1)
        .mount(&server)
        .await;
    let client = client(&server);
    let namespace = client.namespace("orders.a1b2c").await.expect("read");
    let update = NamespaceUpdate {
        spec: namespace.spec.with_capacity(WantedCapacity::OnDemand),
        resource_version: namespace.resource_version,
        async_operation_id: "7ca9ac17-1111-8222-8333-444455556666".to_owned(),
    };
    let operation = client
        .update_namespace("orders.a1b2c", &update)
        .await
        .expect("accepted");
    assert_eq!(operation.state, OperationState::Pending);
    assert_eq!(operation.check_duration, Some(Duration::from_secs(10)));
}

/// Compares the body we send with the one that the published definitions produce for the same request.
#[test]
fn our_update_matches_the_published_definitions() {
    let published: Value =
        serde_json::from_str(&fixture("cloud-ops/update-request.json")).expect("a fixture");
    let namespace: Value =
        serde_json::from_str(&fixture("cloud-ops/namespace.omitted.json")).expect("a fixture");
    let spec = Spec::from_json(&namespace["namespace"]["spec"].to_string()).expect("a spec");
    let update = NamespaceUpdate {
        spec: spec.with_capacity(WantedCapacity::OnDemand),
        resource_version: "5d1a6c1e-64d7-4f0e-9a55-5a83f4d6d0a1".to_owned(),
        async_operation_id: "7ca9ac17-1111-8222-8333-444455556666".to_owned(),
    };
    assert_eq!(serde_json::to_value(&update).expect("JSON"), published);
}

#[test]
fn the_two_forms_of_a_spec_mean_the_same() {
    let spec = |form: &str| {
        let text = fixture(&format!("cloud-ops/namespace.{form}.json"));
        let namespace: Value = serde_json::from_str(&text).expect("a fixture");
        Spec::from_json(&namespace["namespace"]["spec"].to_string()).expect("a spec")
    };
    assert_eq!(
        spec("omitted").differences_but_for_capacity(&spec("printed")),
        Vec::<String>::new()
    );
}

#[rstest]
#[case::fulfilled("operation-fulfilled.omitted", OperationState::Fulfilled, None)]
#[case::failed(
    "operation-failed.printed",
    OperationState::Failed,
    Some("no capacity in the region")
)]
#[tokio::test]
async fn the_state_of_an_operation_is_read(
    #[case] name: &str,
    #[case] state: OperationState,
    #[case] reason: Option<&str>,
) {
    let server = service().await;
    Mock::given(method("GET"))
        .and(path("/cloud/operations/7ca9ac17-1111-8222-8333-444455556666"))
        .respond_with(json(fixture(&format!("cloud-ops/{name}.json"))))
        .expect(1)
        .mount(&server)
        .await;
    let operation = client(&server)
        .async_operation("7ca9ac17-1111-8222-8333-444455556666")
        .await
        .expect("read");
    assert_eq!(
        (operation.state, operation.failure_reason.as_deref()),
        (state, reason)
    );
}

#[rstest]
#[case::defaults_omitted("omitted")]
#[case::defaults_printed("printed")]
#[tokio::test]
async fn the_permissions_of_an_identity_are_read(#[case] form: &str) {
    let server = service().await;
    Mock::given(path("/cloud/current-identity"))
        .respond_with(json(fixture(&format!("cloud-ops/current-identity.{form}.json"))))
        .expect(1)
        .mount(&server)
        .await;
    let identity = client(&server).current_identity().await.expect("read");
    assert_eq!(
        (identity.name.as_str(), identity.is_service_account),
        ("capacity-ops", true)
    );
    assert_eq!(identity.account_role, AccountRole::Read);
    assert_eq!(
        identity.namespace_permissions["pay.a1b2c"],
        NamespacePermission::Write
    );
    assert_eq!(identity.may_change("orders.a1b2c"), Some(true));
    assert_eq!(identity.may_change("pay.a1b2c"), Some(false));
    assert_eq!(
        identity.key_expires_at.expect("expires").to_string(),
        "2027-06-01T00:00:00Z"
    );
    assert!(!identity.key_is_disabled);
}

#[tokio::test]
async fn regions_are_listed() {
    let server = service().await;
    Mock::given(path("/cloud/regions"))
        .respond_with(json(fixture("cloud-ops/regions.printed.json")))
        .mount(&server)
        .await;
    let regions = client(&server).regions().await.expect("read");
    assert_eq!(regions[0].id, "aws-us-east-1");
}

#[tokio::test]
async fn an_id_cannot_reach_another_resource() {
    let server = service().await;
    Mock::given(path("/cloud/namespaces/..%2F..%2Foperations%2Fx%3Fy"))
        .respond_with(json(fixture("cloud-ops/namespace.omitted.json")))
        .expect(1)
        .mount(&server)
        .await;
    client(&server)
        .namespace("../../operations/x?y")
        .await
        .expect("read");
}

/// Checks which status codes are retried, for reads and for writes.
#[tokio::test]
async fn every_status_code() {
    let mut table = Vec::new();
    for status in (300..=308).chain(400..=431).chain([499]).chain(500..=511) {
        let server = MockServer::start().await;
        Mock::given(any())
            .respond_with(ResponseTemplate::new(status))
            .mount(&server)
            .await;
        let mut config = Config::try_new(&server.uri(), KEY.into()).expect("valid");
        config.max_attempts = 2;
        config.max_rate_limited = Duration::ZERO;
        config.requests_per_second = 1_000;
        let client = Client::new(config);
        let read = client.namespace("orders.a1b2c").await.expect_err("refused");
        let reads = client.requests_made();
        let update = NamespaceUpdate {
            spec: Spec::from_json("{}").expect("a spec"),
            resource_version: "1".to_owned(),
            async_operation_id: "2".to_owned(),
        };
        let write = client
            .update_namespace("orders.a1b2c", &update)
            .await
            .expect_err("refused");
        let writes = client.requests_made() - reads;
        assert_eq!(read.is_retryable(), reads == 2, "{status}");
        let outcome = if write.is_outcome_unknown() {
            "read back"
        } else if write.is_conflict() {
            "re-evaluate"
        } else {
            "nothing done"
        };
        let row = format!("reads {reads}, writes {writes}, {outcome}");
        match table.last_mut() {
            Some((_, last, known)) if *known == row => *last = status,
            _ => table.push((status, status, row)),
        }
    }
    let table: Vec<String> = table
        .into_iter()
        .map(|(from, to, row)| format!("{from}-{to}: {row}"))
        .collect();
    insta::assert_snapshot!(table.join("\n"), @r"
    300-407: reads 1, writes 1, nothing done
    408-408: reads 2, writes 1, read back
    409-409: reads 1, writes 1, re-evaluate
    410-411: reads 1, writes 1, nothing done
    412-412: reads 1, writes 1, re-evaluate
    413-428: reads 1, writes 1, nothing done
    429-429: reads 2, writes 2, nothing done
    430-431: reads 1, writes 1, nothing done
    499-500: reads 2, writes 1, read back
    501-501: reads 1, writes 1, nothing done
    502-511: reads 2, writes 1, read back
    ");
}

#[tokio::test]
async fn a_redirect_is_not_followed_with_the_key() {
    let elsewhere = MockServer::start().await;
    Mock::given(any())
        .respond_with(ResponseTemplate::new(200))
        .expect(0)
        .mount(&elsewhere)
        .await;
    let server = MockServer::start().await;
    let redirect = ResponseTemplate::new(307).insert_header("location", elsewhere.uri().as_str());
    Mock::given(any())
        .respond_with(redirect)
        .expect(1)
        .mount(&server)
        .await;
    let error = client(&server)
        .namespace("orders.a1b2c")
        .await
        .expect_err("not followed");
    assert!(
        chain(&error).contains("not followed with a key"),
        "{}",
        chain(&error)
    );
}

#[tokio::test]
async fn an_html_page_with_status_200_is_an_error_with_address_and_content_type() {
    let server = MockServer::start().await;
    let page = format!("<html>{}</html>", "x".repeat(300));
    Mock::given(any())
        .respond_with(ResponseTemplate::new(200).set_body_raw(page, "text/html"))
        .mount(&server)
        .await;
    let error = client(&server).namespace("pay.a1b2c").await.expect_err("a page");
    let text = chain(&error);
    let shown = text.split('`').nth(1).expect("an excerpt");
    assert_eq!(shown.trim_end_matches("...").chars().count(), 60, "{text}");
    assert!(
        text.contains(&format!("{}/cloud/namespaces/pay.a1b2c", server.uri()))
            && text.contains("(content type text/html)")
            && text.contains("check CLOUD_OPS_API_BASE_URL"),
        "{text}"
    );
}

#[tokio::test]
async fn a_redirect_names_its_target_without_secrets() {
    let server = MockServer::start().await;
    let answer =
        ResponseTemplate::new(302).insert_header("location", "https://login.example/sso?token=hunter2");
    Mock::given(any()).respond_with(answer).mount(&server).await;
    let error = client(&server)
        .namespace("pay.a1b2c")
        .await
        .expect_err("a redirect");
    let text = chain(&error);
    assert!(
        text.contains("it redirects to `https://login.example/sso`"),
        "{text}"
    );
    assert!(!text.contains("hunter2"), "{text}");
}

#[tokio::test]
async fn an_error_message_of_the_service_is_kept_up_to_1000_characters() {
    let server = MockServer::start().await;
    let sentence = "word ".repeat(190).trim_end().to_owned();
    let body = serde_json::json!({ "code": 3, "message": sentence });
    Mock::given(any())
        .respond_with(ResponseTemplate::new(400).set_body_json(body))
        .mount(&server)
        .await;
    let error = client(&server).namespace("pay.a1b2c").await.expect_err("refused");
    assert!(chain(&error).contains(&sentence), "{}", chain(&error));
}

#[rstest]
#[case::wrong_key(
    401,
    r#"{"code":16,"message":"invalid api key","details":[]}"#,
    "the Cloud Ops API key is wrong, expired or disabled"
)]
#[case::no_role(
    403,
    r#"{"code":7,"message":"permission denied","details":[]}"#,
    "it is new (wait a minute) or the key lacks Namespace Admin on it"
)]
#[case::expired_key(401, "Jwt is expired", "the key has expired: create a new one")]
#[case::not_a_key(
    401,
    "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections",
    "this is not an API key"
)]
#[case::html(
    502,
    "<html>Bad gateway</html>",
    "refused with 502 (unavailable): (an HTML page)"
)]
#[case::plain(503, "upstream connect error", "upstream connect error")]
#[tokio::test]
async fn a_refusal_is_reported_with_its_remedy_and_without_the_key(
    #[case] status: u16,
    #[case] body: &str,
    #[case] expected: &str,
) {
    let server = MockServer::start().await;
    Mock::given(any())
        .respond_with(ResponseTemplate::new(status).set_body_string(body))
        .mount(&server)
        .await;
    let client = client(&server);
    let error = client.namespace("orders.a1b2c").await.expect_err("refused");
    assert!(chain(&error).contains(expected), "{}", chain(&error));
    assert!(!format!("{error:?} {} {client:?}", chain(&error)).contains(KEY));
}

#[rstest]
#[case::html("<html>Welcome</html>")]
#[case::another_shape(r#"{"items":[]}"#)]
#[case::cut(r#"{"namespace":{"namespace":"orders.a1b2c","spec":{"name":"#)]
#[case::nothing("")]
#[tokio::test]
async fn an_unexpected_response_is_an_error(#[case] body: &str) {
    let server = MockServer::start().await;
    Mock::given(any())
        .respond_with(ResponseTemplate::new(200).set_body_string(body))
        .expect(1)
        .mount(&server)
        .await;
    let error = client(&server)
        .namespace("orders.a1b2c")
        .await
        .expect_err("unreadable");
    assert!(
        chain(&error).contains("is not from the Cloud Ops API"),
        "{}",
        chain(&error)
    );
    assert!(!error.is_retryable() && error.is_outcome_unknown());
}

#[tokio::test]
async fn transient_failures_are_retried_and_retry_after_is_honored() {
    let server = service().await;
    let busy = ResponseTemplate::new(429).insert_header("retry-after", "1");
    Mock::given(path("/cloud/namespaces/orders.a1b2c"))
        .respond_with(busy)
        .up_to_n_times(1)
        .with_priority(1)
        .mount(&server)
        .await;
    Mock::given(path("/cloud/namespaces/orders.a1b2c"))
        .respond_with(json(fixture("cloud-ops/namespace.omitted.json")))
        .expect(1)
        .mount(&server)
        .await;
    let begun = std::time::Instant::now();
    client(&server)
        .namespace("orders.a1b2c")
        .await
        .expect("outlasted");
    assert!(begun.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_long_retry_after_is_left_to_the_caller() {
    let server = service().await;
    Mock::given(any())
        .respond_with(ResponseTemplate::new(429).insert_header("retry-after", "600"))
        .with_priority(1)
        .expect(1)
        .mount(&server)
        .await;
    let error = client(&server)
        .namespace("orders.a1b2c")
        .await
        .expect_err("refused");
    assert_eq!(error.retry_after(), Some(Duration::from_mins(10)));
}

#[tokio::test]
async fn a_refused_connection_is_reported() {
    let mut config = Config::try_new("http://127.0.0.1:1", KEY.into()).expect("valid");
    config.max_attempts = 1;
    let error = Client::new(config)
        .namespace("orders.a1b2c")
        .await
        .expect_err("nobody");
    assert!(
        chain(&error).contains("127.0.0.1 could not be reached"),
        "{}",
        chain(&error)
    );
    assert!(error.is_retryable() && !error.is_outcome_unknown());
}
