//! Tests of sampling: extent and interval, the request budget that all processes share, and signals.

use std::sync::Arc;

use capacity_autopilot::{LedgerHandle, Sampler, Sampling, sampling_rule};
use capacity_ledger::Location;
use cloud_simulator::{Account, Faults, Load, NamespaceSetup};
use jiff::SignedDuration;

use crate::harness::{self, outcomes};
use crate::memory::{MINUTE, Remembering, evaluate, strict, three};

#[tokio::test]
async fn refusals_make_sampling_less_frequent_until_a_request_succeeds() {
    let world = Remembering::new(three()).await;
    let mut sampler = Sampler::new(&world.autopilot);
    let usual = sampler.round().await.next_in;
    world.cloud.set_faults(Faults {
        too_many_requests: 1.0,
        ..Faults::default()
    });
    let waits = [sampler.round().await.next_in, sampler.round().await.next_in];
    assert!(
        waits[0] >= usual && waits[1] > waits[0],
        "{waits:?} after {usual:?}"
    );
    world.cloud.set_faults(Faults::default());
    world.cloud.advance(MINUTE);
    assert_eq!(sampler.round().await.next_in, usual);
}

#[tokio::test]
async fn a_shortage_is_signaled_once_and_ongoing_throttling_again() {
    let account = Account::new(
        "a1b2c",
        vec![
            NamespaceSetup::new("checkout", Load::Steady(560.0)),
            NamespaceSetup::new("close", Load::Steady(430.0)),
            NamespaceSetup::new("crm", Load::Steady(3.0)),
        ],
    );
    let world = Remembering::new(account).await;
    let mut sampler = Sampler::new(&world.autopilot);
    let mut told = async |minutes: i64| -> Vec<String> {
        world.cloud.advance(SignedDuration::from_mins(minutes));
        let round = sampler.round().await;
        round.short.iter().map(|name| name.name().to_owned()).collect()
    };
    assert_eq!(told(0).await, ["checkout", "close"]);
    assert_eq!(told(1).await, Vec::<String>::new());
    assert!(world.cloud.set_capacity_by_others("checkout.a1b2c", 6));
    assert_eq!(told(9).await, Vec::<String>::new());
    // The cloud recovers, and the capacity is unchanged: nothing was scaled up.
    assert!(world.cloud.set_capacity_by_others("checkout.a1b2c", 0));
    assert_eq!(told(9).await, ["checkout"]);
    assert_eq!(told(9).await, Vec::<String>::new());
    assert_eq!(told(9).await, ["checkout"]);
}

#[tokio::test]
async fn a_namespace_close_to_its_limit_is_signaled_again_when_throttled() {
    let trace = "aps,peak10s\n".to_owned() + &"450,450\n".repeat(10) + &"700,700\n".repeat(50);
    assert_eq!(signals(trace, 14).await, 2, "close, then throttled");
}

#[tokio::test]
async fn a_load_around_80_percent_is_signaled_again_once_it_was_below_70() {
    let rows = [
        "450,450\n380,380\n".repeat(10),
        "300,300\n".repeat(10),
        "450,450\n".repeat(60),
    ];
    let trace = "aps,peak10s\n".to_owned() + &rows.concat();
    assert_eq!(
        signals(trace, 30).await,
        2,
        "at first, and after the quiet ten minutes"
    );
}

/// Returns how often a namespace with this load is reported as short of capacity.
async fn signals(trace: String, minutes: usize) -> usize {
    let trace = cloud_simulator::Trace::read(trace.as_bytes()).expect("a trace");
    // Without `usual`, the start of an hour within the test would raise the envelope.
    let growing = NamespaceSetup {
        usual: Some(100.0),
        ..NamespaceSetup::new("growing", Load::Replay(Arc::new(trace)))
    };
    let world = Remembering::new(Account::new("a1b2c", vec![growing])).await;
    let mut sampler = Sampler::new(&world.autopilot);
    let mut signals = 0;
    for _ in 0..minutes {
        world.cloud.advance(MINUTE);
        signals += sampler.round().await.short.len();
    }
    signals
}

#[tokio::test]
async fn a_large_account_releases_once_its_provisioned_namespaces_are_fully_sampled() {
    let world = Remembering::new(Account::generate(600, 0.05, 7)).await;
    let autopilot = harness::autopilot_within(&world.cloud, strict(), 110)
        .with_ledger(LedgerHandle::at(world.location.clone()));
    let mut sampler = Sampler::new(&autopilot);
    for _ in 0..51 {
        world.cloud.advance(SignedDuration::from_secs(68));
        assert_eq!(sampler.round().await.problem, None);
    }
    let evaluation = evaluate(&autopilot).await;
    let given_back = outcomes(&evaluation)
        .iter()
        .filter(|outcome| outcome.ends_with("Disable idle"))
        .count();
    assert!(
        given_back > 5,
        "{given_back} of {:?}",
        outcomes(&evaluation).len()
    );
}

#[tokio::test]
async fn a_large_account_is_sampled_with_fewer_families_and_decided_on_known_data() {
    let world = Remembering::new(Account::generate(600, 0.05, 7)).await;
    let names: Vec<_> = world
        .cloud
        .namespaces()
        .iter()
        .map(|namespace| namespace.id.parse().expect("an id"))
        .collect();
    let mut narrow = openmetrics_reader::scrape::Config::try_new(
        &world.cloud.metrics_url(),
        world.cloud.metrics_key().into(),
    )
    .expect("valid");
    narrow.requests_per_hour = 55;
    let source = openmetrics_reader::scrape::Scraper::new(narrow).into();
    let rule = sampling_rule(&source, &names, &[]);
    assert_eq!((rule.sampling, rule.requests), (Sampling::Fewer, 1), "{rule:?}");
    assert_eq!(rule.enough_requests_an_hour, Some(107));

    let mut sampler = Sampler::new(&world.autopilot);
    world.cloud.advance(MINUTE);
    assert!(sampler.round().await.recorded);
    let evaluation = world.evaluate().await;
    assert!(evaluation.metrics_unavailable.is_none());
    let raised = evaluation
        .decisions
        .iter()
        .filter(|judged| judged.decision.reason_code.as_str() == "throttled")
        .count();
    let plain = evaluate(&harness::autopilot(&world.cloud, strict())).await;
    let expected = plain
        .decisions
        .iter()
        .filter(|judged| judged.decision.reason_code.as_str() == "throttled")
        .count();
    assert!(expected > 5);
    assert_eq!(raised, expected, "the ledger's minute raises as a scrape does");
}

/// Evaluations every five minutes, `plan` and `doctor` use the same budget of 55 requests an hour. At its usual
/// interval, the sampler would use up the rest in 47 minutes, and read nothing for 13.
#[tokio::test]
async fn a_budget_that_others_use_is_spread_and_never_used_up() {
    let world = Remembering::new(three()).await;
    let autopilot = harness::autopilot_within(&world.cloud, strict(), 55)
        .with_ledger(LedgerHandle::at(world.location.clone()));
    let ledger = world.ledger().await;
    let mut sampler = Sampler::new(&autopilot);
    let begun = world.cloud.now();
    let (mut last, mut others, mut longest) = (begun, begun, SignedDuration::ZERO);
    while world.cloud.now().duration_since(begun) < SignedDuration::from_hours(3) {
        let now = world.cloud.now();
        if others <= now {
            ledger.claim_requests("a1b2c", now, 1, 55).await.expect("asked");
            others += SignedDuration::from_mins(5);
        }
        let round = sampler.round().await;
        if round.recorded {
            longest = longest.max(now.duration_since(last));
            last = now;
        }
        world
            .cloud
            .advance(SignedDuration::try_from(round.next_in).expect("in range"));
    }
    assert!(longest <= SignedDuration::from_mins(5), "{longest:#}");
}

#[tokio::test]
async fn two_workers_share_a_minute_and_a_budget() {
    let world = Remembering::new(three()).await;
    let second =
        harness::autopilot(&world.cloud, strict()).with_ledger(LedgerHandle::at(world.location.clone()));
    let (mut one, mut other) = (Sampler::new(&world.autopilot), Sampler::new(&second));
    let (first, same) = tokio::join!(one.round(), other.round());
    assert_eq!(first.minute, same.minute);
    assert!(
        first.recorded && same.recorded,
        "{:?}, {:?}",
        first.problem,
        same.problem
    );
    assert_eq!(
        world.ledger().await.info().await.expect("read").rows["minutes"],
        1
    );
}

#[tokio::test]
async fn a_new_namespace_is_sampled_from_the_next_round_on() {
    let world = Remembering::new(three()).await;
    let mut sampler = Sampler::new(&world.autopilot);
    assert!(sampler.round().await.recorded);
    world
        .cloud
        .add_namespace(NamespaceSetup::new("newcomer", Load::Steady(900.0)));
    let mut short = Vec::new();
    for _ in 0..6 {
        world.cloud.advance(MINUTE);
        let round = sampler.round().await;
        short.extend(round.short.iter().map(|name| name.name().to_owned()));
    }
    assert!(short.contains(&"newcomer".to_owned()), "{short:?}");
    let evaluation = world.evaluate().await;
    assert!(outcomes(&evaluation).contains(&"newcomer: Enable 6 TRUs throttled".to_owned()));
}

#[tokio::test]
async fn sampling_without_a_usable_ledger_leaves_requests_to_evaluations() {
    let world = Remembering::new(three()).await;
    let nowhere = LedgerHandle::at(Location::Sqlite("/proc/none/ledger.db".into()));
    let autopilot = harness::autopilot(&world.cloud, strict()).with_ledger(nowhere);
    let mut sampler = Sampler::new(&autopilot);
    let round = sampler.round().await;
    assert!(!round.recorded && round.problem.is_some());
    assert_eq!(round.short.len(), 1, "throttling is still seen");
    let usual = Sampler::new(&world.autopilot).round().await.next_in;
    assert_eq!(round.next_in, usual * 2);
}
