//! Tests of billing reports with bodies built from Temporal's published definitions, a file with the
//! documented columns, and error cases.

use std::collections::BTreeSet;

use capacity_report::{ReportError, fetch_bill};
use cloud_ops_client::{Client, Config};
use cloud_simulator::{
    Account, BillingFault, Faults, Load, NamespaceSetup, RunningSimulator, SimulatorOptions,
};
use jiff::{SignedDuration, Timestamp};
use rstest::rstest;
use serde_json::Value;
use wiremock::matchers::{any, header, header_exists, method, path, query_param};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use crate::fixture;
use crate::simulator::{known, paths};

const KEY: &str = "the-finance-key";

/// The columns of Temporal's documentation.
const FILE: &str = "BillingAccountID,BillingAccountName,BillingCurrency,BillingPeriodEnd,BillingPeriodStart,ChargeCategory,ChargeDescription,ChargeFrequency,ChargePeriodEnd,ChargePeriodStart,ContractedCost,ContractedUnitPrice,InvoiceID,InvoiceIssuer,PricingQuantity,PricingUnit,Provider,Publisher,ResourceID,ResourceName,ResourceType,ServiceCategory,ServiceName,ServiceSubcategory,SKUID,SKUMeter,Tags
a1b2c,acme,USD (cents),2026-12-01T00:00:00Z,2026-11-01T00:00:00Z,Usage,Actions - Tier 1,Usage-Based,2026-11-18T11:00:00.000Z,2026-11-18T10:00:00.000Z,5400.00,5000.00,,stripe,1.08,1 Million Actions,Temporal Technologies,Temporal Technologies,orders.a1b2c,orders.a1b2c,Namespace,Temporal Cloud,Temporal Cloud,Actions,business-actions,Actions,\"{\"\"team\"\":[\"\"orders, pay\"\"]}\"
a1b2c,acme,USD (cents),2026-12-01T00:00:00Z,2026-11-01T00:00:00Z,Usage,Active Storage,Usage-Based,2026-11-18T11:00:00.000Z,2026-11-18T10:00:00.000Z,12.00,4.20,,stripe,2.857,1 GBh,Temporal Technologies,Temporal Technologies,orders.a1b2c,orders.a1b2c,Namespace,Temporal Cloud,Temporal Cloud,Storage,business-active-storage,Active Storage,
";

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn client(url: &str, key: &str) -> Client {
    let mut config = Config::try_new(url, key.into()).expect("valid");
    config.max_attempts = 2;
    config.requests_per_second = 1_000;
    Client::new(config)
}

async fn service() -> MockServer {
    let server = MockServer::start().await;
    Mock::given(any())
        .respond_with(ResponseTemplate::new(418).set_body_string("this request was not expected"))
        .with_priority(250)
        .mount(&server)
        .await;
    server
}

fn json(body: String) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_raw(body, "application/json")
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

/// Returns the response with the location of the file, on the same service.
fn generated(server: &MockServer, form: &str, bytes: usize) -> String {
    fixture(&format!("cloud-ops/billing-report-generated.{form}.json"))
        .replace("https://downloads.example.com", &server.uri())
        .replace("4711", &bytes.to_string())
}

#[rstest]
#[case::defaults_omitted("omitted")]
#[case::defaults_printed("printed")]
#[tokio::test]
async fn a_report_is_requested_awaited_downloaded_and_parsed(#[case] form: &str) {
    let server = service().await;
    let name = |name: &str| fixture(&format!("cloud-ops/{name}.{form}.json"));
    let same_as_published = |request: &Request| {
        let expected: Value =
            serde_json::from_str(&fixture("cloud-ops/create-billing-report-request.json")).expect("JSON");
        let given: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let has_id = given["asyncOperationId"]
            .as_str()
            .is_some_and(|id| id.len() == 36);
        given["spec"] == expected["spec"] && has_id && given.as_object().is_some_and(|it| it.len() == 2)
    };
    Mock::given(method("POST"))
        .and(path("/cloud/billing-reports"))
        .and(header("authorization", format!("Bearer {KEY}")))
        .and(header("temporal-cloud-api-version", "v0.19.1"))
        .and(same_as_published)
        .respond_with(json(name("billing-report-created")))
        .expect(1)
        .mount(&server)
        .await;
    Mock::given(method("GET"))
        .and(path("/cloud/billing-reports/br-7ca9ac17"))
        .respond_with(json(name("billing-report-in-progress")))
        .up_to_n_times(1)
        .with_priority(1)
        .expect(1)
        .mount(&server)
        .await;
    Mock::given(method("GET"))
        .and(path("/cloud/billing-reports/br-7ca9ac17"))
        .respond_with(json(generated(&server, form, FILE.len())))
        .expect(1)
        .mount(&server)
        .await;
    Mock::given(header_exists("authorization"))
        .and(path("/report.csv"))
        .respond_with(ResponseTemplate::new(400).set_body_string("the key was sent to the download"))
        .with_priority(1)
        .expect(0)
        .mount(&server)
        .await;
    Mock::given(method("GET"))
        .and(path("/report.csv"))
        .and(query_param("signature", "secret"))
        .respond_with(ResponseTemplate::new(200).set_body_raw(FILE, "text/csv"))
        .expect(1)
        .mount(&server)
        .await;
    let mut told = Vec::new();
    let fetched = fetch_bill(
        &client(&server.uri(), KEY),
        at("2026-11-13T10:00:00Z"),
        at("2026-11-20T10:00:00Z"),
        at("2026-11-20T10:00:05Z"),
        |what| told.push(what),
    )
    .await
    .expect("fetched");
    assert_eq!(fetched.billing_report_id, "br-7ca9ac17");
    assert_eq!(fetched.made, at("2026-11-20T10:01:05Z"));
    let hour = fetched
        .bill
        .hour("orders.a1b2c", at("2026-11-18T10:00:00Z"))
        .expect("billed");
    assert_eq!(
        (hour.actions.to_string(), hour.cost_usd.to_string()),
        ("1080000.00".into(), "54".into())
    );
    assert!(
        told.contains(&"waiting for billing report br-7ca9ac17: in progress".to_owned()),
        "{told:?}"
    );
}

async fn fails(server: &MockServer) -> ReportError {
    fetch_bill(
        &client(&server.uri(), KEY),
        at("2026-11-13T10:00:00Z"),
        at("2026-11-20T10:00:00Z"),
        at("2026-11-20T10:00:05Z"),
        |_| (),
    )
    .await
    .expect_err("fails")
}

#[tokio::test]
async fn a_key_without_the_role_is_refused_with_the_key_to_use() {
    let server = service().await;
    let body = r#"{"code":7,"message":"permission denied: cloud.billingreport.create","details":[]}"#;
    Mock::given(method("POST"))
        .respond_with(ResponseTemplate::new(403).set_body_raw(body, "application/json"))
        .expect(1)
        .mount(&server)
        .await;
    let error = chain(&fails(&server).await);
    assert!(error.contains("account role Finance Admin or Owner"), "{error}");
    assert!(
        error.contains("TEMPORAL_CLOUD_OPS_API_KEY=... temporal-capacity report --reconcile"),
        "{error}"
    );
    assert!(error.contains("cloud.billingreport.create"), "{error}");
}

/// Mocks all requests before the download, which returns this response.
async fn with_download(bytes: usize, download: ResponseTemplate) -> MockServer {
    let server = service().await;
    Mock::given(method("POST"))
        .respond_with(json(fixture("cloud-ops/billing-report-created.omitted.json")))
        .mount(&server)
        .await;
    Mock::given(path("/cloud/billing-reports/br-7ca9ac17"))
        .respond_with(json(generated(&server, "omitted", bytes)))
        .mount(&server)
        .await;
    Mock::given(path("/report.csv"))
        .respond_with(download)
        .mount(&server)
        .await;
    server
}

#[rstest]
#[case::cut_off(FILE.len(), ResponseTemplate::new(200).set_body_string(&FILE[..900]), "the file is truncated: 900 of")]
#[case::cut_off_and_no_size(0, ResponseTemplate::new(200).set_body_string(&FILE[..900]), "columns: the file is truncated")]
#[case::expired(FILE.len(), ResponseTemplate::new(403).set_body_string("<Error>Request has expired</Error>"), "valid for a short time only. Run the command again")]
#[case::another_currency(0, ResponseTemplate::new(200).set_body_string(FILE.replace("USD (cents)", "EUR")), "line 2: the account is billed in `EUR`")]
#[case::renamed_column(0, ResponseTemplate::new(200).set_body_string(FILE.replace("ContractedCost", "BilledCost")), "the column `ContractedCost` is missing; the file has: BillingAccountID")]
#[case::nothing_billed(0, ResponseTemplate::new(200).set_body_string(FILE.lines().next().map(|it| format!("{it}\n")).unwrap_or_default()), "br-7ca9ac17 is empty")]
#[tokio::test]
async fn an_unusable_download_is_refused_with_the_remedy(
    #[case] bytes: usize,
    #[case] download: ResponseTemplate,
    #[case] problem: &str,
) {
    let error = chain(&fails(&with_download(bytes, download).await).await);
    assert!(error.contains(problem), "{error}");
    assert!(!error.contains("signature"), "the address is a secret: {error}");
}

#[tokio::test]
async fn a_failed_report_is_an_error_with_its_id() {
    let server = service().await;
    Mock::given(method("POST"))
        .respond_with(json(fixture("cloud-ops/billing-report-created.omitted.json")))
        .mount(&server)
        .await;
    Mock::given(method("GET"))
        .respond_with(json(fixture("cloud-ops/billing-report-failed.omitted.json")))
        .mount(&server)
        .await;
    let error = chain(&fails(&server).await);
    assert!(
        error.contains("could not generate billing report br-7ca9ac17"),
        "{error}"
    );
}

/// Returns a cloud with a stopped clock and 36 h of history.
async fn cloud() -> RunningSimulator {
    let account = Account::new(
        "a1b2c",
        vec![NamespaceSetup::new("orders", Load::Steady(10.0)).with_trus(4)],
    );
    let options = SimulatorOptions {
        speed: 0.0,
        start: at("2026-11-10T00:00:00Z"),
        billing_report_lag: SignedDuration::ZERO,
        ..SimulatorOptions::new(account)
    };
    let cloud = cloud_simulator::start(options).await.expect("started");
    cloud.advance(SignedDuration::from_hours(36));
    cloud
}

async fn fetch(cloud: &RunningSimulator, key: String) -> Result<capacity_report::FetchedBill, String> {
    let (from, now) = (at("2026-11-10T00:00:00Z"), cloud.now());
    fetch_bill(&client(&cloud.ops_url(), &key), from, now, now, |_| ())
        .await
        .map_err(|error| chain(&error))
}

#[tokio::test]
async fn the_simulated_cloud_bills_the_hours_up_to_a_day_ago() {
    let cloud = cloud().await;
    let fetched = fetch(&cloud, cloud.billing_key()).await.expect("fetched");
    let bills = cloud.bills();
    for (hour, bill) in &bills["orders.a1b2c"] {
        let start = Timestamp::from_second(hour * 3_600).expect("a time");
        let billed = fetched.bill.hour("orders.a1b2c", start);
        let is_over = start + SignedDuration::from_hours(25) <= cloud.now();
        assert_eq!(billed.is_some(), is_over, "{start}");
        if let Some(billed) = billed {
            assert_eq!(
                billed.actions,
                bill.actions().max(bill.minimum()).into(),
                "{start}"
            );
            assert_eq!(billed.cost_usd.to_string(), "54", "{start}");
        }
    }
    assert!(bills["orders.a1b2c"].len() >= 36);
}

#[rstest]
#[case::failed(BillingFault::Failed, "could not generate billing report")]
#[case::cut(BillingFault::CutShort, "the file is truncated")]
#[case::columns(BillingFault::OtherColumns, "the column `ContractedCost` is missing")]
#[case::currency(BillingFault::OtherCurrency, "billed in `EUR`")]
#[case::expired(BillingFault::ExpiredAddress, "valid for a short time only")]
#[tokio::test]
async fn the_simulated_cloud_can_return_a_wrong_bill(#[case] billing: BillingFault, #[case] problem: &str) {
    let cloud = cloud().await;
    cloud.set_faults(Faults {
        billing,
        ..Faults::default()
    });
    let error = fetch(&cloud, cloud.billing_key()).await.expect_err("fails");
    assert!(error.contains(problem), "{error}");
}

#[tokio::test]
async fn the_simulated_cloud_is_as_strict_as_the_service() {
    let cloud = cloud().await;
    let error = fetch(&cloud, cloud.ops_key()).await.expect_err("not permitted");
    assert!(error.contains("Finance Admin"), "{error}");
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let post = async |body: &str| {
        let request = http.post(format!("{}/cloud/billing-reports", cloud.ops_url()));
        let answer = request
            .bearer_auth(cloud.billing_key())
            .body(body.to_owned())
            .send()
            .await;
        let answer = answer.expect("answered");
        (answer.status().as_u16(), answer.text().await.expect("a body"))
    };
    let spec = |start: &str, end: &str, more: &str| {
        format!(
            r#"{{"spec":{{"startTimeInclusive":"{start}","endTimeExclusive":"{end}"{more}}},"asyncOperationId":"one"}}"#
        )
    };
    let november = ("2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z");
    for (body, status, problem) in [
        (
            spec("2026-11-02T00:00:00Z", november.1, ""),
            400,
            "month boundaries",
        ),
        (
            spec("2026-09-01T00:00:00Z", "2026-10-01T00:00:00Z", ""),
            400,
            "previous billing month only",
        ),
        (
            spec(
                november.0,
                november.1,
                r#","downloadUrlExpirationDuration":"7200s""#,
            ),
            400,
            "at most 1 hour",
        ),
        (
            spec(november.0, november.1, r#","format":"csv""#),
            400,
            "invalid body",
        ),
    ] {
        let (given, text) = post(&body).await;
        assert_eq!(given, status, "{text}");
        assert!(text.contains(problem), "{text}");
    }
    // The same operation id returns the same report.
    let (first, again) = (
        post(&spec(november.0, november.1, "")).await,
        post(&spec(november.0, november.1, "")).await,
    );
    assert_eq!((first.0, &first.1), (200, &again.1));
    let created: Value = serde_json::from_str(&first.1).expect("JSON");
    let id = created["billingReportId"].as_str().expect("an id");
    let got = http
        .get(format!("{}/cloud/billing-reports/{id}", cloud.ops_url()))
        .bearer_auth(cloud.billing_key())
        .send()
        .await
        .expect("answered");
    let report: Value = serde_json::from_str(&got.text().await.expect("a body")).expect("JSON");
    assert_eq!(report["billingReport"]["state"], "BILLING_REPORT_STATE_GENERATED");
    for (shape, document) in [("billing-report-created", &created), ("billing-report", &report)] {
        let known = known(shape);
        let mut found = BTreeSet::new();
        paths(document, "", &known, &mut found);
        assert!(
            found.is_subset(&known),
            "{:?}",
            found.difference(&known).collect::<Vec<_>>()
        );
    }
    // Object storage accepts either the signed URL or a key, but not both.
    let url = report["billingReport"]["downloadInfo"][0]["url"]
        .as_str()
        .expect("a url");
    let both = http
        .get(url)
        .bearer_auth(cloud.billing_key())
        .send()
        .await
        .expect("answered");
    assert_eq!(both.status().as_u16(), 403);
}

#[tokio::test]
async fn reports_are_made_one_after_another() {
    let account = Account::new("a1b2c", vec![NamespaceSetup::new("orders", Load::Steady(10.0))]);
    let options = SimulatorOptions {
        speed: 0.0,
        start: at("2026-11-10T00:00:00Z"),
        ..SimulatorOptions::new(account)
    };
    let cloud = cloud_simulator::start(options).await.expect("started");
    let client = client(&cloud.ops_url(), &cloud.billing_key());
    let spec = cloud_ops_client::BillingReportSpec {
        start_time_inclusive: at("2026-11-01T00:00:00Z"),
        end_time_exclusive: at("2026-12-01T00:00:00Z"),
        granularity: cloud_ops_client::BillingGranularity::Hourly,
        download_url_expiration_duration: String::new(),
        description: String::new(),
    };
    let mut ids = Vec::new();
    for operation in ["one", "two"] {
        let created = client
            .create_billing_report(&spec, operation)
            .await
            .expect("created");
        ids.push(created.billing_report_id);
    }
    let states = async || {
        let mut states = Vec::new();
        for id in &ids {
            states.push(client.billing_report(id).await.expect("read").state.to_string());
        }
        states
    };
    assert_eq!(states().await, ["in progress", "in progress"]);
    cloud.advance(SignedDuration::from_secs(21));
    assert_eq!(states().await, ["generated", "in progress"]);
    cloud.advance(SignedDuration::from_secs(20));
    assert_eq!(states().await, ["generated", "generated"]);
}
