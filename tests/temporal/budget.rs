//! Tests of the budget of metrics requests, on a worker whose account needs several requests per minute to
//! sample.

use std::collections::BTreeMap;
use std::time::Duration;

use capacity_autopilot::{MetricsSource, SamplingRule, sampling_rule};
use capacity_engine::NamespaceId;
use capacity_ledger::{Claim, Ledger, Location};
use capacity_workflows::controller::Controller;
use cloud_simulator::{Account, Faults, Load, NamespaceSetup};
use jiff::{SignedDuration, Timestamp};
use rstest::rstest;

use crate::harness::{Setup, World, throttled, with_worker};

const PATIENT: Duration = Duration::from_mins(2);
const NAMESPACES: usize = 40;
/// Requests per hour that the endpoint allows per account.
const REQUESTS_AN_HOUR: u32 = 180;

/// Returns how an account is sampled if a response holds this number of points.
fn rule_at(points: usize) -> SamplingRule {
    let mut config =
        openmetrics_reader::scrape::Config::try_new("http://127.0.0.1:9", "key".into()).expect("valid");
    (config.requests_per_hour, config.points_per_answer) = (REQUESTS_AN_HOUR, points);
    let source = MetricsSource::from(openmetrics_reader::scrape::Scraper::new(config));
    let names: Vec<NamespaceId> = (0..NAMESPACES)
        .map(|number| format!("idle-{number:02}.a1b2c").parse().expect("an id"))
        .collect();
    sampling_rule(&source, &names, &names)
}

fn scrapes(world: &World) -> u64 {
    world
        .cloud
        .requests()
        .get("GET /v1/metrics")
        .copied()
        .unwrap_or_default()
}

/// Summarizes the changes so far in one line, for the failure message of a test that takes minutes.
async fn state_of(world: &World, released: usize) -> String {
    let told = Controller::new(&world.client, &world.installation)
        .status(PATIENT)
        .await
        .unwrap_or_default();
    let last = Controller::new(&world.client, &world.installation)
        .last_evaluation(PATIENT)
        .await
        .unwrap_or_default();
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    for change in last.last_changes() {
        let code = change.code.as_deref().map(|code| format!(" {code}"));
        *outcomes
            .entry(format!("{}{}", change.outcome, code.unwrap_or_default()))
            .or_default() += 1;
    }
    let mut held: BTreeMap<&str, usize> = BTreeMap::new();
    for decision in &last.decisions {
        *held.entry(&decision.reason_code).or_default() += 1;
    }
    format!(
        "{released} released, {} queued, {} in progress; evaluated {}: {outcomes:?}, decisions {held:?} + {} left out, {:?} {:?}",
        told.changes_queued,
        told.changes_in_progress.len(),
        last.evaluated_at,
        last.decisions_left_out,
        last.error,
        last.metrics_unavailable,
    )
}

/// The newest minute's age varies with the second within the minute, and the account's budget with the hour.
#[rstest]
#[case::from_the_beginning_of_a_minute("2026-11-20T10:41:00Z")]
#[case::from_the_middle_of_a_minute("2026-11-20T10:41:30Z")]
#[case::over_the_end_of_an_hour("2026-11-20T10:52:45Z")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forty_slow_releases_leave_the_sampler_all_its_requests(#[case] start: Timestamp) {
    let folder = tempfile::tempdir().expect("a folder");
    let location = Location::Sqlite(folder.path().join("ledger.db"));
    let ledger = Ledger::open(&location).await.expect("opened");
    // With such small responses, forty namespaces cost as much as thousands: a sample takes three requests,
    // the most that the hour allows.
    let (points, rule) = (1..100)
        .map(|hundreds| (hundreds * 100, rule_at(hundreds * 100)))
        .find(|(_, rule)| rule.is_enough())
        .expect("a large response holds everything");
    assert!(rule.requests >= 3, "several requests a minute: {rule:?}");
    let idle = |number| NamespaceSetup::new(format!("idle-{number:02}"), Load::Idle).with_trus(4);
    let setup = Setup {
        account: Account::new("a1b2c", (0..NAMESPACES).map(idle).collect()),
        ledger: Some(location),
        sampled: true,
        points_per_answer: Some(points),
        operation_lag: SignedDuration::from_mins(1),
        start: Some(start),
        ..Setup::default()
    };
    with_worker(&format!("budget-{}", start.as_second()), setup, async |world| {
        // As after an hour of sampling: three requests are left for evaluations, and more only if the sampler
        // skips some.
        let now = world.cloud.now();
        let rounds = 3_600 / rule.every.as_secs();
        for round in (1..=rounds).rev() {
            let at = now - rule.every * i32::try_from(round).expect("few");
            let claimed = ledger
                .claim_requests("a1b2c", at, rule.requests, REQUESTS_AN_HOUR)
                .await;
            assert!(matches!(claimed, Ok(Claim::Granted)), "{claimed:?}");
        }
        world
            .until("sampled", PATIENT, async || {
                ledger.info().await.expect("read").rows["minutes"] >= 1
            })
            .await;
        let (begun, before) = (world.cloud.now(), scrapes(world));
        let controller = Controller::new(&world.client, &world.installation);
        let first = controller.decide("first", Duration::from_mins(1));
        let first = first.await.expect("a report");
        assert_eq!(first.changes.len(), NAMESPACES, "{}", first.summary);
        let told = std::sync::Mutex::new(String::new());
        world
            .until("all released", Duration::from_mins(4), async || {
                let released = world.cloud.changes().len();
                let line = state_of(world, released).await;
                let mut last = told.lock().expect("unpoisoned");
                if *last != line {
                    println!("{} {line}", world.cloud.now().strftime("%H:%M:%S"));
                    *last = line;
                }
                released == NAMESPACES
            })
            .await;
        let lived = world.cloud.now().duration_since(begun);
        let evaluations = u64::try_from(ledger.info().await.expect("read").rows["evaluations"]).expect("positive");
        let rounds = u64::try_from(lived.as_secs() / rule.every.as_secs()).expect("positive") + 2;
        let (made, failed) = (scrapes(world) - before, world.health.samples_failed());
        println!(
            "{lived:#}: {evaluations} evaluations, {made} requests, {} of them for {rounds} samples at most; {failed} samples failed",
            rounds * u64::from(rule.requests)
        );
        assert!(evaluations >= 2, "the last ones were re-evaluated");
        assert!(
            made <= (rounds + evaluations) * u64::from(rule.requests),
            "at most one scrape for each evaluation"
        );
        assert_eq!(failed, 0, "the sampler was never refused");
        assert_eq!(world.cloud.incidents(), []);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_limit_during_capacity_reads_fails_no_evaluation_and_the_next_continues() {
    with_worker("rate-limited", throttled(&["checkout"]), async |world| {
        world.cloud.set_faults(Faults {
            rate_limited_route: Some("GET /cloud/namespaces/{id}/capacity-info".to_owned()),
            ..Faults::default()
        });
        let report = world.evaluate("first").await;
        assert_eq!(report.error, None);
        assert_eq!(
            report.decisions[0].reason_code, "capacity_info_unavailable",
            "{report:?}"
        );
        assert!(
            report.warnings.iter().any(|it| it.contains(
                "the capacity info of 1 of 1 candidate was not read, because the Cloud Ops API limits the rate of requests"
            )),
            "{:?}",
            report.warnings
        );
        world.cloud.set_faults(Faults::default());
        let next = world.evaluate("second").await;
        assert_eq!(next.changes.len(), 1, "{next:?}");
    })
    .await;
}
