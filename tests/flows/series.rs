//! Tests of series altered by a scrape pipeline, limits unknown to this version, and responses that are too
//! large.

use capacity_autopilot::{Autopilot, AutopilotSettings, Evaluation, Scope};
use capacity_engine::Rules;
use cloud_simulator::{Account, Faults, MetricsFault, RunningSimulator, ScrapeJobFault, SimulatorOptions};
use jiff::SignedDuration;
use prometheus_reader::{PrometheusClient, PrometheusConfig};
use rstest::rstest;

use crate::harness::{self, outcomes};
use crate::memory::three;

/// Returns a cloud with an hour of history and a stopped clock.
async fn cloud(account: Account, faults: Faults) -> RunningSimulator {
    let options = SimulatorOptions {
        speed: 0.0,
        past_minutes: 75,
        faults,
        ..SimulatorOptions::new(account)
    };
    cloud_simulator::start(options).await.expect("started")
}

fn through_prometheus(cloud: &RunningSimulator) -> Autopilot {
    let ops = cloud_ops_client::Config::try_new(&cloud.ops_url(), cloud.ops_key().into()).expect("valid");
    let config = PrometheusConfig::builder(cloud.prometheus_url())
        .max_attempts(1)
        .build()
        .expect("valid");
    let settings = AutopilotSettings::new(Rules::default());
    let client = PrometheusClient::new(config).expect("a client");
    Autopilot::new(cloud_ops_client::Client::new(ops), client, settings)
}

async fn evaluate(autopilot: &Autopilot) -> Evaluation {
    autopilot.evaluate(&Scope::All).await.expect("evaluated")
}

async fn with_scrape_job(fault: ScrapeJobFault) -> (RunningSimulator, Evaluation) {
    let faults = Faults {
        scrape_job: fault,
        ..Faults::default()
    };
    let cloud = cloud(three(), faults).await;
    let evaluation = evaluate(&through_prometheus(&cloud)).await;
    (cloud, evaluation)
}

const EXPECTED: [&str; 3] = [
    "checkout: Enable 6 TRUs throttled",
    "crm: Keep quiet",
    "orders: Disable idle",
];

fn of_job(evaluation: &Evaluation) -> Vec<String> {
    let warnings = evaluation.account.warnings.iter().map(ToString::to_string);
    warnings
        .filter(|warning| warning.contains("scrape job"))
        .collect()
}

#[tokio::test]
async fn two_scrapers_of_one_endpoint_do_not_double_usage() {
    let (_one, alone) = with_scrape_job(ScrapeJobFault::None).await;
    let (_other, twice) = with_scrape_job(ScrapeJobFault::TwoPods).await;
    assert_eq!(outcomes(&alone), EXPECTED);
    let sentences = |evaluation: &Evaluation| -> Vec<String> {
        let decisions = evaluation.decisions.iter();
        decisions.map(|judged| judged.decision.reason.clone()).collect()
    };
    assert_eq!(sentences(&alone), sentences(&twice));
    assert_eq!(of_job(&twice), Vec::<String>::new());
}

#[tokio::test]
async fn samples_with_the_time_of_the_scrape_count_as_four_minutes_older() {
    let (cloud, evaluation) = with_scrape_job(ScrapeJobFault::ScrapeTimes).await;
    assert_eq!(outcomes(&evaluation), EXPECTED);
    let newest = evaluation.decisions[0].decision.sample_minute.expect("known");
    assert!(
        cloud.now().duration_since(newest) >= SignedDuration::from_mins(4),
        "{newest}"
    );
    let warnings = of_job(&evaluation);
    assert!(
        warnings.len() == 1 && warnings[0].contains("honor_timestamps: true"),
        "{warnings:?}"
    );
}

#[tokio::test]
async fn series_with_an_overwritten_namespace_label_are_ignored_and_reported() {
    let (_cloud, evaluation) = with_scrape_job(ScrapeJobFault::OverwrittenNamespace).await;
    assert!(evaluation.metrics_unavailable.is_some());
    assert!(
        evaluation
            .decisions
            .iter()
            .all(|judged| !judged.decision.action.is_change())
    );
    let warnings = of_job(&evaluation);
    assert!(
        warnings.len() == 1
            && warnings[0].contains("exported_temporal_namespace")
            && warnings[0].contains("honor_labels: true"),
        "{warnings:?}"
    );
}

#[rstest]
#[case::method_not_allowed(405)]
#[case::forbidden(403)]
#[tokio::test]
async fn a_gateway_that_only_allows_get_works(#[case] status: u16) {
    let (cloud, evaluation) = with_scrape_job(ScrapeJobFault::GetOnly(status)).await;
    assert_eq!(
        outcomes(&evaluation),
        EXPECTED,
        "{:?}",
        evaluation.account.warnings
    );
    let posts = cloud.requests().get("POST /api/v1/query").copied();
    assert_eq!(posts, Some(1), "it is remembered");
}

#[rstest]
#[case::endpoint(false)]
#[case::prometheus(true)]
#[tokio::test]
async fn unknown_throttling_prevents_scaling_down_and_is_reported(#[case] is_stored: bool) {
    const FAMILY: &str = "namespace_bandwidth_throttled_bytes";
    let fault = |name: &str| Faults {
        unknown_throttling: Some((FAMILY.to_owned(), name.to_owned())),
        ..Faults::default()
    };
    let cloud = cloud(three(), fault("orders")).await;
    let autopilot = if is_stored {
        through_prometheus(&cloud)
    } else {
        harness::autopilot(&cloud, harness::on_estimates())
    };
    let evaluation = evaluate(&autopilot).await;
    assert_eq!(
        outcomes(&evaluation),
        [EXPECTED[0], EXPECTED[1], "orders: Hold unknown_throttling"],
        "{:?}",
        evaluation.account.warnings
    );
    let orders = &evaluation.decisions[2].decision;
    assert!(
        orders
            .reason
            .contains("temporal_cloud_v1_namespace_bandwidth_throttled_bytes"),
        "{}",
        orders.reason
    );
    assert!(orders.announce, "it is announced in Slack");
    // Throttling of another namespace does not affect this one.
    cloud.set_faults(fault("crm"));
    assert_eq!(outcomes(&self::evaluate(&autopilot).await), EXPECTED);
}

#[tokio::test]
async fn a_response_that_is_too_large_is_narrowed_in_four_requests() {
    let options = SimulatorOptions {
        speed: 0.0,
        points_per_answer: 700,
        ..SimulatorOptions::new(Account::demo())
    };
    let cloud = cloud_simulator::start(options).await.expect("started");
    let evaluation = evaluate(&harness::autopilot(&cloud, harness::on_estimates())).await;
    assert!(
        evaluation.metrics_unavailable.is_none(),
        "{:?}",
        evaluation.account.warnings
    );
    assert!(outcomes(&evaluation).contains(&"orders: Disable idle".to_owned()));
    let scrapes = cloud.requests().get("GET /v1/metrics").copied();
    assert_eq!(scrapes, Some(4));
}

#[tokio::test]
async fn an_endpoint_that_marks_every_response_as_limited_gets_at_most_four_requests() {
    let faults = Faults {
        metrics: MetricsFault::Limited,
        ..Faults::default()
    };
    let cloud = cloud(three(), faults).await;
    let evaluation = evaluate(&harness::autopilot(&cloud, harness::on_estimates())).await;
    assert!(evaluation.metrics_unavailable.is_some());
    let scrapes = cloud
        .requests()
        .get("GET /v1/metrics")
        .copied()
        .unwrap_or_default();
    assert!((1..=4).contains(&scrapes), "{scrapes}");
}
