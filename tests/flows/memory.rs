//! Tests of the ledger: hours of data, and conditions that put scale-downs on hold.

use std::sync::Arc;

use capacity_autopilot::{Autopilot, Evaluation, LedgerHandle, Sampler, Scope};
use capacity_engine::{Rules, ThresholdSettings};
use capacity_ledger::{Claim, Ledger, Location, Minute, NamespaceMinute};
use cloud_simulator::{
    Account, Faults, Load, MetricsFault, NamespaceSetup, RunningSimulator, SimulatorOptions,
};
use jiff::{SignedDuration, Timestamp};

use crate::harness::{self, options, outcomes};

pub(crate) const MINUTE: SignedDuration = SignedDuration::from_mins(1);

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

pub(crate) struct Remembering {
    pub(crate) cloud: RunningSimulator,
    pub(crate) autopilot: Autopilot,
    pub(crate) location: Location,
    pub(crate) folder: tempfile::TempDir,
}

impl Remembering {
    pub(crate) async fn new(account: Account) -> Self {
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

    pub(crate) async fn ledger(&self) -> Ledger {
        Ledger::open(&self.location).await.expect("opened")
    }

    /// Samples this number of minutes.
    pub(crate) async fn sample(&self, minutes: usize) {
        let mut sampler = Sampler::new(&self.autopilot);
        for _ in 0..minutes {
            self.cloud.advance(MINUTE);
            let round = sampler.round().await;
            assert_eq!(round.problem, None);
            assert!(round.recorded);
        }
    }

    pub(crate) async fn evaluate(&self) -> Evaluation {
        evaluate(&self.autopilot).await
    }
}

pub(crate) async fn evaluate(autopilot: &Autopilot) -> Evaluation {
    autopilot.evaluate(&Scope::All).await.expect("evaluated")
}

/// Returns the warnings, except the one about the clock, because these clouds have their own.
fn warnings(evaluation: &Evaluation) -> Vec<String> {
    let warnings = evaluation.account.warnings.iter().map(ToString::to_string);
    let of_the_run =
        |warning: &String| !warning.contains("clock") && !warning.contains("held on an estimate");
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
async fn nothing_is_released_before_48_minutes_are_known() {
    let world = Remembering::new(three()).await;
    let evaluation = world.evaluate().await;
    assert_eq!(evaluation.account.usage_source.as_str(), "ledger");
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
async fn a_peak_within_the_hour_prevents_a_release_below_it() {
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
async fn recent_ledger_data_saves_the_scrape_and_a_release_checks_again() {
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
        evaluation.account.metrics_requests, 0,
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
        evaluation.account.metrics_requests, 2,
        "releases are checked again, and so are the kinds of throttling"
    );
    assert!(outcomes(&evaluation).contains(&"orders: Disable idle".to_owned()));
    // Re-evaluations leave the hourly requests to the sampler.
    let again = capacity_autopilot::EvaluationRequest::default().with_ledger_is_enough(true);
    let evaluation = world
        .autopilot
        .evaluate_on(&again, &|_| ())
        .await
        .expect("evaluated");
    assert_eq!(evaluation.account.metrics_requests, 0);
    assert!(outcomes(&evaluation).contains(&"orders: Disable idle".to_owned()));
    // If the ledger's newest minute is old, the metrics are read instead.
    world.cloud.advance(SignedDuration::from_mins(10));
    let evaluation = world.evaluate().await;
    assert_eq!(evaluation.account.metrics_requests, 1);
    assert!(evaluation.metrics_unavailable.is_none());
}

#[tokio::test]
async fn a_failing_ledger_stops_scaling_down_but_never_scaling_up() {
    let nowhere = Location::Sqlite("/proc/none/ledger.db".into());
    let world = Remembering::new(three()).await;
    let garbage = Location::Sqlite(world.folder.path().join("garbage.db"));
    std::fs::write(world.folder.path().join("garbage.db"), [b'x'; 9_000]).expect("written");
    let silent = Location::parse("postgres://nobody:secret-word@127.0.0.1:1/none").expect("a location");
    for location in [nowhere, garbage, silent] {
        // The second set of rules accepts estimates, so only the ledger is missing.
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
            assert_eq!(evaluation.account.usage_source.as_str(), "1 minute");
        }
    }
}

#[tokio::test]
async fn a_ledger_that_was_moved_away_is_recreated_without_a_restart() {
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
    assert_eq!(evaluation.account.usage_source.as_str(), "ledger");
}

#[tokio::test]
async fn with_the_budget_used_up_scaling_up_relies_on_the_ledger() {
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
    assert_eq!(evaluation.account.metrics_requests, 0);
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
async fn a_report_in_the_first_hour_says_when_the_hour_ends() {
    let world = Remembering::new(three()).await;
    world.sample(3).await;
    let query = capacity_report::Query::last_week(world.cloud.now());
    let nothing = capacity_report::gather(&world.ledger().await, &query, |_| ()).await;
    let Err(error) = nothing else {
        panic!("no hour is over");
    };
    let said = error.to_string();
    assert!(
        said.ends_with("A report covers complete hours: the first one ends at 2026-11-24 11:00 UTC"),
        "{said}"
    );
}

#[tokio::test]
async fn an_unresponsive_ledger_does_not_delay_scaling_up() {
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
    assert!(evaluation.account.ledger_problem.is_some());
    assert!(
        begun.elapsed() < std::time::Duration::from_mins(1),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn a_scale_up_is_re_evaluated_from_the_ledger_when_the_budget_is_used_up() {
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
async fn wrong_minutes_are_ignored() {
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
async fn an_evaluation_of_some_namespaces_uses_their_full_hours() {
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
