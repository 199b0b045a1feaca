//! Tests of the ledger: hours of data, conditions that prevent scale-downs, and the request budget that all
//! processes share.

use std::sync::Arc;

use capacity_autopilot::{Autopilot, Evaluation, LedgerHandle, Sampler, Sampling, Scope, sampling_rule};
use capacity_engine::{Rules, ThresholdSettings};
use capacity_ledger::{Claim, Ledger, Location, Minute, NamespaceMinute};
use cloud_simulator::{
    Account, Faults, Load, MetricsFault, NamespaceSetup, RunningSimulator, SimulatorOptions,
};
use jiff::{SignedDuration, Timestamp};

use crate::harness::{self, options, outcomes};

const MINUTE: SignedDuration = SignedDuration::from_mins(1);

/// Returns default rules, which do not release capacity based on an estimate.
pub(crate) fn strict() -> Rules {
    Rules::default()
}

/// Returns three namespaces: idle with provisioned capacity, throttled, and quiet.
pub(crate) fn three() -> Account {
    Account::new(
        "a1b2c",
        vec![
            NamespaceSetup::new("checkout", Load::Steady(560.0)),
            NamespaceSetup::new("crm", Load::Steady(3.0)),
            NamespaceSetup::new("orders", Load::Steady(0.01)).with_trus(4),
        ],
    )
}

struct Remembering {
    cloud: RunningSimulator,
    autopilot: Autopilot,
    location: Location,
    folder: tempfile::TempDir,
}

impl Remembering {
    async fn new(account: Account) -> Self {
        let options = SimulatorOptions {
            speed: 0.0,
            ..options(account)
        };
        let cloud = cloud_simulator::start(options).await.expect("started");
        let folder = tempfile::tempdir().expect("a folder");
        let location = Location::Sqlite(folder.path().join("ledger.db"));
        let autopilot = harness::autopilot(&cloud, strict()).with_ledger(LedgerHandle::at(location.clone()));
        Self {
            cloud,
            autopilot,
            location,
            folder,
        }
    }

    async fn ledger(&self) -> Ledger {
        Ledger::open(&self.location).await.expect("opened")
    }

    /// Samples this number of minutes.
    async fn sample(&self, minutes: usize) {
        let mut sampler = Sampler::new(&self.autopilot);
        for _ in 0..minutes {
            self.cloud.advance(MINUTE);
            let round = sampler.round().await;
            assert_eq!(round.problem, None);
            assert!(round.recorded);
        }
    }

    async fn evaluate(&self) -> Evaluation {
        evaluate(&self.autopilot).await
    }
}

async fn evaluate(autopilot: &Autopilot) -> Evaluation {
    autopilot.evaluate(&Scope::All).await.expect("evaluated")
}

/// Returns the warnings, except the one about the clock, because these clouds have their own.
fn warnings(evaluation: &Evaluation) -> Vec<&str> {
    let warnings = evaluation.warnings.iter().map(String::as_str);
    let of_the_run = |warning: &&str| !warning.contains("clock") && !warning.contains("held on an estimate");
    warnings.filter(of_the_run).collect()
}

/// Returns the reason of a namespace's decision.
fn reason(evaluation: &Evaluation, name: &str) -> String {
    let judged = evaluation
        .decisions
        .iter()
        .find(|judged| judged.decision.namespace.name() == name);
    judged.expect("decided").decision.to_string()
}

#[tokio::test]
async fn nothing_is_given_back_before_48_minutes_are_known() {
    let world = Remembering::new(three()).await;
    let evaluation = world.evaluate().await;
    assert_eq!(evaluation.usage_source.as_str(), "ledger");
    assert_eq!(
        outcomes(&evaluation),
        [
            "checkout: Enable 6 TRUs throttled",
            "crm: Keep quiet",
            "orders: Hold estimate_only"
        ]
    );
    // The minute of the evaluation is the first one.
    world.sample(46).await;
    let evaluation = world.evaluate().await;
    let orders = reason(&evaluation, "orders");
    assert!(orders.contains("47 of 60 are known"), "{orders}");
    assert!(orders.contains("1 more minute of data needed"), "{orders}");
    world.sample(1).await;
    let evaluation = world.evaluate().await;
    let orders = reason(&evaluation, "orders");
    assert!(orders.starts_with("[orders.a1b2c] Disable: "), "{orders}");
    assert!(orders.contains("(from 48 of 60 minutes)"), "{orders}");
    world.sample(20).await;
    let orders = reason(&world.evaluate().await, "orders");
    assert!(orders.contains("actions in the last hour, below"), "{orders}");
}

#[tokio::test]
async fn a_peak_of_the_hour_keeps_the_capacity_that_carried_it() {
    // 640 actions per second for ten minutes of every hour exceed the on-demand limit. The hour as a whole is
    // not idle, so the threshold is set above its usage.
    let burst = Load::Bursty {
        base: 0.0,
        burst: 640.0,
        minutes: 10,
    };
    let account = Account::new("a1b2c", vec![NamespaceSetup::new("bulk", burst).with_trus(4)]);
    let world = Remembering::new(account).await;
    let mut settings = ThresholdSettings::default();
    settings.min_actions_per_hour = 1_000_000_000;
    let rules = strict().with_threshold(settings);
    let autopilot =
        harness::autopilot(&world.cloud, rules).with_ledger(LedgerHandle::at(world.location.clone()));
    world.sample(70).await;
    let evaluation = evaluate(&autopilot).await;
    let bulk = reason(&evaluation, "bulk");
    assert_eq!(
        outcomes(&evaluation),
        ["bulk: Hold on_demand_too_small"],
        "{bulk}"
    );
}

#[tokio::test]
async fn a_fresh_ledger_saves_the_scrape_and_lowering_looks_again() {
    let world = Remembering::new(Account::new(
        "a1b2c",
        vec![
            NamespaceSetup::new("checkout", Load::Steady(560.0)),
            NamespaceSetup::new("crm", Load::Steady(3.0)),
        ],
    ))
    .await;
    world.sample(50).await;
    let evaluation = world.evaluate().await;
    assert_eq!(
        evaluation.metrics_requests, 0,
        "the newest minute is in the ledger"
    );
    assert_eq!(
        outcomes(&evaluation),
        ["checkout: Enable 6 TRUs throttled", "crm: Keep quiet"]
    );
    let world = Remembering::new(three()).await;
    world.sample(50).await;
    let evaluation = world.evaluate().await;
    assert_eq!(
        evaluation.metrics_requests, 2,
        "releases are checked again, and so are the kinds of throttling"
    );
    assert!(outcomes(&evaluation).contains(&"orders: Disable idle".to_owned()));
    // Re-evaluations leave the hourly requests to the sampler.
    let again = capacity_autopilot::EvaluationRequest {
        ledger_is_enough: true,
        ..capacity_autopilot::EvaluationRequest::default()
    };
    let evaluation = world
        .autopilot
        .evaluate_on(&again, &|_| ())
        .await
        .expect("evaluated");
    assert_eq!(evaluation.metrics_requests, 0);
    assert!(outcomes(&evaluation).contains(&"orders: Disable idle".to_owned()));
    // If the ledger's newest minute is old, the metrics are read instead.
    world.cloud.advance(SignedDuration::from_mins(10));
    let evaluation = world.evaluate().await;
    assert_eq!(evaluation.metrics_requests, 1);
    assert!(evaluation.metrics_unavailable.is_none());
}

#[tokio::test]
async fn a_ledger_that_fails_stops_lowering_and_never_raising() {
    let nowhere = Location::Sqlite("/proc/none/ledger.db".into());
    let world = Remembering::new(three()).await;
    let garbage = Location::Sqlite(world.folder.path().join("garbage.db"));
    std::fs::write(world.folder.path().join("garbage.db"), [b'x'; 9_000]).expect("written");
    let silent = Location::parse("postgres://nobody:secret-word@127.0.0.1:1/none").expect("a location");
    for location in [nowhere, garbage, silent] {
        // An estimate would be sufficient here.
        for (rules, held) in [
            (strict(), "orders: Hold estimate_only"),
            (harness::on_estimates(), "orders: Hold ledger_unavailable"),
        ] {
            let autopilot =
                harness::autopilot(&world.cloud, rules).with_ledger(LedgerHandle::at(location.clone()));
            let evaluation = evaluate(&autopilot).await;
            assert_eq!(
                outcomes(&evaluation),
                ["checkout: Enable 6 TRUs throttled", "crm: Keep quiet", held],
                "{location}"
            );
            assert_eq!(warnings(&evaluation).len(), 1, "{location}");
            assert!(!warnings(&evaluation)[0].contains("secret-word"));
            assert_eq!(evaluation.usage_source.as_str(), "1 minute");
        }
    }
}

#[tokio::test]
async fn a_ledger_that_was_moved_away_is_begun_anew_without_a_restart() {
    let world = Remembering::new(three()).await;
    world.sample(2).await;
    let file = world.folder.path().join("ledger.db");
    let broken = LedgerHandle::at(world.location.clone());
    let autopilot = harness::autopilot(&world.cloud, strict()).with_ledger(broken);
    std::fs::write(&file, [b'x'; 9_000]).expect("written");
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(world.folder.path().join(format!("ledger.db{suffix}")));
    }
    assert_eq!(warnings(&evaluate(&autopilot).await).len(), 1);
    std::fs::rename(&file, world.folder.path().join("damaged.db")).expect("moved");
    let evaluation = evaluate(&autopilot).await;
    assert_eq!(warnings(&evaluation), Vec::<&str>::new());
    assert_eq!(evaluation.usage_source.as_str(), "ledger");
}

#[tokio::test]
async fn a_spent_budget_leaves_raising_to_what_the_ledger_knows() {
    let world = Remembering::new(three()).await;
    world.sample(50).await;
    // Other processes have used up the budget.
    let ledger = world.ledger().await;
    let claim = ledger
        .claim_requests("a1b2c", world.cloud.now(), 960, 1_100)
        .await
        .expect("claimed");
    assert_eq!(claim, Claim::Granted);
    let evaluation = world.evaluate().await;
    assert_eq!(evaluation.metrics_requests, 0);
    assert_eq!(
        outcomes(&evaluation),
        [
            "checkout: Enable 6 TRUs throttled",
            "crm: Keep quiet",
            "orders: Hold metrics_incomplete"
        ]
    );
    let orders = reason(&evaluation, "orders");
    assert!(orders.contains("METRICS_REQUESTS_PER_HOUR"), "{orders}");
    let mut sampler = Sampler::new(&world.autopilot);
    world.cloud.advance(MINUTE);
    let round = sampler.round().await;
    assert_eq!((round.minute, round.recorded), (None, false));
    assert!(round.problem.expect("refused").contains("available again at"));
}

#[tokio::test]
async fn refusals_make_sampling_rarer_and_an_answer_makes_it_usual_again() {
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
async fn what_is_short_is_told_once_and_throttling_again_when_nothing_helps() {
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
async fn a_report_of_the_first_hour_says_when_it_is_over() {
    let world = Remembering::new(three()).await;
    world.sample(3).await;
    let query = capacity_report::Query::last_week(world.cloud.now());
    let nothing = capacity_report::gather(&world.ledger().await, &query, |_| ()).await;
    let Err(error) = nothing else {
        panic!("no hour is over");
    };
    let said = error.to_string();
    assert!(
        said.ends_with("A report covers whole hours: the first one ends at 2026-11-24T11:00:00Z"),
        "{said}"
    );
}

#[tokio::test]
async fn what_was_close_to_a_limit_is_told_again_when_it_throttles() {
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
async fn a_large_account_gives_back_once_its_provisioned_namespaces_are_sampled_whole() {
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
async fn a_ledger_that_never_answers_does_not_hold_up_raising() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let silent = format!(
        "postgres://nobody@{}/none",
        listener.local_addr().expect("an address")
    );
    let world = Remembering::new(three()).await;
    let location = Location::parse(&silent).expect("a location");
    let autopilot = harness::autopilot(&world.cloud, strict()).with_ledger(LedgerHandle::at(location));
    let begun = std::time::Instant::now();
    let evaluation = evaluate(&autopilot).await;
    assert_eq!(outcomes(&evaluation)[0], "checkout: Enable 6 TRUs throttled");
    assert!(evaluation.ledger_problem.is_some());
    assert!(
        begun.elapsed() < std::time::Duration::from_mins(1),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn a_raise_is_decided_again_out_of_the_ledger_when_the_budget_is_spent() {
    let world = Remembering::new(three()).await;
    world.sample(50).await;
    let ledger = world.ledger().await;
    let claim = ledger.claim_requests("a1b2c", world.cloud.now(), 950, 1_000);
    assert_eq!(claim.await.expect("claimed"), Claim::Granted);
    let checkout = Scope::only(["checkout.a1b2c".parse().expect("an id")]);
    let evaluation = world.autopilot.evaluate(&checkout).await.expect("evaluated");
    assert_eq!(outcomes(&evaluation), ["checkout: Enable 6 TRUs throttled"]);
}

#[tokio::test]
async fn a_large_account_is_sampled_with_fewer_families_and_decided_on_what_is_known() {
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

#[tokio::test]
async fn minutes_that_lie_are_not_believed() {
    let world = Remembering::new(three()).await;
    world.sample(48).await;
    let ledger = world.ledger().await;
    let now = world.cloud.now();
    let minute = |minute: Timestamp, name: &str| Minute {
        minute,
        complete: true,
        source: "import".to_owned(),
        samples: vec![NamespaceMinute {
            namespace: Arc::from(name),
            reported: true,
            unread: [false; 3],
            served: [0; 3],
            throttled: [9_000_000_000; 3],
            limits: [Some(1); 3],
            envelopes: [Some(1); 3],
        }],
    };
    // A minute written by a process whose clock is ahead does not become the newest.
    let ahead = now + SignedDuration::from_mins(4);
    ledger
        .record_minute("a1b2c", &minute(ahead, "crm.a1b2c"), now)
        .await
        .expect("within tolerance");
    assert!(
        ledger
            .record_minute(
                "a1b2c",
                &minute(now + SignedDuration::from_mins(9), "crm.a1b2c"),
                now
            )
            .await
            .is_err()
    );
    // Minutes of another account, or of a namespace under a previous name, are not counted.
    ledger
        .record_minute(
            "zzzzz",
            &minute(now - SignedDuration::from_mins(4), "crm.zzzzz"),
            now,
        )
        .await
        .expect("written");
    ledger
        .record_minute(
            "a1b2c",
            &minute(now - SignedDuration::from_mins(5), "renamed.a1b2c"),
            now,
        )
        .await
        .expect("written");
    let evaluation = world.evaluate().await;
    assert_eq!(
        outcomes(&evaluation),
        [
            "checkout: Enable 6 TRUs throttled",
            "crm: Keep quiet",
            "orders: Disable idle"
        ]
    );
    assert_eq!(warnings(&evaluation), Vec::<&str>::new());
}

#[tokio::test]
async fn an_hour_without_metrics_is_unknown_and_not_idle() {
    let world = Remembering::new(three()).await;
    world.sample(60).await;
    world.cloud.set_faults(Faults {
        metrics: MetricsFault::Limited,
        ..Faults::default()
    });
    let mut sampler = Sampler::new(&world.autopilot);
    for _ in 0..3 {
        world.cloud.advance(SignedDuration::from_mins(20));
        assert!(!sampler.round().await.recorded);
    }
    assert!(world.evaluate().await.metrics_unavailable.is_some());
    world.cloud.set_faults(Faults::default());
    world.cloud.advance(SignedDuration::from_mins(10));
    let orders = reason(&world.evaluate().await, "orders");
    assert!(
        orders.contains("Hold") && orders.contains("estimated from 1 minute)"),
        "{orders}"
    );
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
async fn an_evaluation_of_some_namespaces_knows_their_hours_as_well() {
    let world = Remembering::new(three()).await;
    world.sample(50).await;
    let orders = "orders.a1b2c".parse().expect("an id");
    let evaluation = world
        .autopilot
        .evaluate(&Scope::only([orders]))
        .await
        .expect("evaluated");
    assert_eq!(outcomes(&evaluation), ["orders: Disable idle"]);
    assert_eq!(evaluation.decisions[0].decision.known_minutes, Some(50));
}

#[tokio::test]
async fn a_namespace_that_appears_is_sampled_from_the_next_round_on() {
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
