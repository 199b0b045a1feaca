//! Tests that usage from a real Prometheus, which scrapes the simulated cloud, leads to the same decisions as a
//! ledger, and tests of Prometheus errors.

#[path = "../../crates/prometheus-reader/tests/suite/server.rs"]
pub(crate) mod server;

use std::time::Duration;

use capacity_autopilot::{
    Autopilot, AutopilotSettings, Evaluation, LedgerHandle, MetricsSource, Sampler, Scope,
};
use capacity_ledger::Location;
use cloud_simulator::{Account, RunningSimulator, SimulatorOptions};
use jiff::{SignedDuration, Timestamp};
use prometheus_reader::{PrometheusClient, PrometheusConfig};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::harness;
use crate::memory::{strict, three};
use server::Prometheus;

const MINUTE: SignedDuration = SignedDuration::from_mins(1);

fn config(cloud: &RunningSimulator, families: &[&str]) -> String {
    let families: Vec<String> = families.iter().map(|family| format!("'{family}'")).collect();
    format!(
        "global: {{ scrape_interval: 100ms, scrape_timeout: 100ms }}\n\
         storage: {{ tsdb: {{ out_of_order_time_window: 2d }} }}\nscrape_configs:\n  - job_name: cloud\n    \
         metrics_path: /v1/metrics\n    honor_timestamps: true\n    authorization: {{ credentials: '{}' }}\n    \
         params: {{ metrics: [{}] }}\n    static_configs: [{{ targets: ['{}'] }}]\n",
        cloud.metrics_key(),
        families.join(", "),
        cloud.metrics_url().trim_start_matches("http://"),
    )
}

/// Waits for a scrape that starts after now to finish.
async fn scraped_again(cloud: &RunningSimulator) {
    let scrapes = || {
        cloud
            .requests()
            .get("GET /v1/metrics")
            .copied()
            .unwrap_or_default()
    };
    let before = scrapes();
    for _ in 0..2_000 {
        if scrapes() >= before + 2 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("Prometheus does not scrape");
}

async fn cloud(account: Account, minutes: i64) -> RunningSimulator {
    // Prometheus rejects samples much newer than its own time, and accepts older samples only if configured
    // to.
    let now = Timestamp::now().as_second();
    let start = Timestamp::from_second(now - now % 60 - (minutes + 30) * 60).expect("a time");
    cloud_simulator::start(SimulatorOptions {
        start,
        speed: 0.0,
        scrapes_per_hour: None,
        ..SimulatorOptions::new(account)
    })
    .await
    .expect("started")
}

fn through(cloud: &RunningSimulator, url: &str) -> Autopilot {
    let config = PrometheusConfig::builder(url)
        .max_attempts(1)
        .timeout(Duration::from_secs(8))
        .build()
        .expect("valid");
    let ops = cloud_ops_client::Config::try_new(&cloud.ops_url(), cloud.ops_key().into()).expect("valid");
    let client = PrometheusClient::new(config).expect("a client");
    let settings = AutopilotSettings::new(strict());
    Autopilot::new(cloud_ops_client::Client::new(ops), client, settings)
}

/// Returns every decision with its reason and the number of known minutes in the hour.
fn told(evaluation: &Evaluation) -> Vec<(String, Option<usize>)> {
    let decisions = evaluation.decisions.iter().map(|judged| &judged.decision);
    decisions.map(|it| (it.to_string(), it.known_minutes)).collect()
}

async fn evaluate(autopilot: &Autopilot) -> Evaluation {
    autopilot.evaluate(&Scope::All).await.expect("evaluated")
}

/// Simulates minutes of the demo's account, sampled into a ledger and scraped by a Prometheus. Compares the
/// decisions based on both in selected minutes, and returns the number of comparisons.
async fn compare(minutes: i64, is_compared: impl Fn(i64) -> bool) -> Option<usize> {
    let cloud = cloud(Account::demo(), minutes).await;
    let families = capacity_autopilot::metric_families();
    let prometheus = Prometheus::start(&config(&cloud, &families), &[]).await?;
    let folder = tempfile::tempdir().expect("a folder");
    let location = Location::Sqlite(folder.path().join("ledger.db"));
    // A day passes within minutes of real time, which the scraper counts.
    let remembering =
        harness::autopilot_within(&cloud, strict(), 10_000).with_ledger(LedgerHandle::at(location));
    let stored = through(&cloud, &prometheus.url());
    let mut sampler = Sampler::new(&remembering);
    let mut compared = 0;
    for minute in 1..=minutes {
        cloud.advance(MINUTE);
        assert_eq!(sampler.round().await.problem, None);
        scraped_again(&cloud).await;
        if is_compared(minute) {
            let (one, other) = (evaluate(&remembering).await, evaluate(&stored).await);
            assert_eq!(
                (
                    one.account.usage_source.as_str(),
                    other.account.usage_source.as_str()
                ),
                ("ledger", "prometheus")
            );
            assert_eq!(told(&one), told(&other), "minute {minute}");
            assert_eq!(
                other.account.metrics_requests, 0,
                "the request budget of the endpoint is not used"
            );
            compared += 1;
        }
    }
    let last = told(&evaluate(&stored).await);
    assert!(
        last.iter()
            .any(|(line, known)| line.contains("Disable") && *known == Some(60)),
        "{last:?}"
    );
    Some(compared)
}

#[tokio::test]
async fn ledger_and_prometheus_lead_to_the_same_decisions() {
    // With one minute, fewer than enough, just enough, a full hour, and later.
    let when = [1, 30, 48, 62, 95];
    if let Some(compared) = compare(95, |minute| when.contains(&minute)).await {
        assert_eq!(compared, 5);
    }
}

#[tokio::test]
#[ignore = "takes minutes: cargo test -p capacity-tests --test flows -- --ignored a_whole_day"]
async fn a_whole_day_leads_to_the_same_decisions_from_both_sources() {
    if let Some(compared) = compare(24 * 60, |minute| minute % 15 == 0).await {
        assert_eq!(compared, 96);
    }
}

#[tokio::test]
async fn a_family_missing_from_prometheus_prevents_releases_and_a_missing_limit_holds() {
    let cloud = cloud(three(), 100).await;
    let all = capacity_autopilot::metric_families();
    let without = |left_out: &str| -> Vec<&'static str> {
        all.iter()
            .copied()
            .filter(|family| !family.ends_with(left_out))
            .collect()
    };
    let Some(no_usage) = Prometheus::start(&config(&cloud, &without("service_request_count")), &[]).await
    else {
        return;
    };
    let no_limits = Prometheus::start(&config(&cloud, &without("v1_action_limit")), &[]).await;
    let no_limits = no_limits.expect("a second one");
    for _ in 0..55 {
        cloud.advance(MINUTE);
        scraped_again(&cloud).await;
        scraped_again(&cloud).await;
    }
    let outcomes = harness::outcomes(&evaluate(&through(&cloud, &no_usage.url())).await);
    assert_eq!(
        outcomes,
        [
            "checkout: Enable 6 TRUs throttled",
            "crm: Keep quiet",
            "orders: Hold metrics_family_missing"
        ]
    );
    let outcomes = harness::outcomes(&evaluate(&through(&cloud, &no_limits.url())).await);
    assert_eq!(
        outcomes,
        [
            "checkout: Hold limits_unknown",
            "crm: Hold limits_unknown",
            "orders: Hold limits_unknown"
        ]
    );
}

#[tokio::test]
async fn infrequent_scrapes_or_a_gap_make_the_usage_an_estimate() {
    let cloud = cloud(three(), 100).await;
    let families = capacity_autopilot::metric_families();
    let Some(prometheus) = Prometheus::start(&config(&cloud, &families), &[]).await else {
        return;
    };
    for _ in 0..15 {
        cloud.advance(SignedDuration::from_mins(4));
        scraped_again(&cloud).await;
    }
    let evaluation = evaluate(&through(&cloud, &prometheus.url())).await;
    let orders = &evaluation.decisions[2].decision;
    assert_eq!(orders.known_minutes, Some(15));
    assert_eq!(orders.reason_code.as_str(), "estimate_only");
    // After 15 minutes without a scrape, the data is too old for a decision.
    cloud.advance(SignedDuration::from_mins(15));
    let stopped = prometheus.url();
    drop(prometheus);
    let evaluation = evaluate(&through(&cloud, &stopped)).await;
    assert!(evaluation.metrics_unavailable.is_some());
}

#[tokio::test]
async fn a_slow_or_failing_prometheus_makes_metrics_unavailable_with_the_reason() {
    let cloud = cloud(three(), 100).await;
    let error = r#"{"status":"error","errorType":"execution","error":"out of memory"}"#;
    let partial =
        r#"{"status":"success","data":{"resultType":"vector","result":[]},"warnings":["store is down"]}"#;
    let answers = [
        ResponseTemplate::new(422).set_body_raw(error, "application/json"),
        ResponseTemplate::new(503),
        ResponseTemplate::new(200).set_body_string("<html>login</html>"),
        ResponseTemplate::new(200).set_body_raw(partial, "application/json"),
        ResponseTemplate::new(200).set_delay(Duration::from_secs(20)),
    ];
    for answer in answers {
        let server = MockServer::start().await;
        Mock::given(any()).respond_with(answer).mount(&server).await;
        let autopilot = through(&cloud, &server.uri());
        assert!(matches!(autopilot.metrics(), MetricsSource::Prometheus(_)));
        let evaluation = evaluate(&autopilot).await;
        assert!(evaluation.metrics_unavailable.is_some());
        assert_eq!(evaluation.decisions[0].decision.reason, "metrics unavailable");
        let warnings = evaluation.account.warnings.iter().map(ToString::to_string);
        let why: Vec<String> = warnings
            .filter(|it| it.starts_with("metrics unavailable: "))
            .collect();
        assert_eq!(why.len(), 1, "said once: {:?}", evaluation.account.warnings);
    }
}
