//! Tests of the sampler: minutes in the ledger, scale-up-only evaluations, and a small history.

use std::time::{Duration, Instant};

use capacity_ledger::{HistoryFilter, Ledger, Location, Minute, NamespaceMinute};
use capacity_workflows::controller::{Controller, Trigger};
use capacity_workflows::{ControllerPhase, UsageSampler};
use cloud_simulator::{Account, Faults, Load, NamespaceSetup, Trace};
use jiff::SignedDuration;
use temporalio_client::{WorkflowCancelOptions, WorkflowDescribeOptions, WorkflowGetResultOptions};

use crate::harness::{Setup, World, with_worker};

const PATIENT: Duration = Duration::from_mins(2);

/// Returns a throttled namespace, and an idle one with provisioned capacity.
fn sampled(folder: &tempfile::TempDir) -> Setup {
    Setup {
        account: Account::new(
            "a1b2c",
            vec![
                NamespaceSetup::new("checkout", Load::Steady(560.0)),
                NamespaceSetup::new("orders", Load::Steady(0.0)).with_trus(4),
            ],
        ),
        ledger: Some(Location::Sqlite(folder.path().join("ledger.db"))),
        sampled: true,
        ..Setup::default()
    }
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < PATIENT, "not {what} within {PATIENT:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn trus(world: &World, id: &str) -> u32 {
    world.cloud.namespace(id).expect("listed").trus
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throttling_triggers_a_scale_up_only_evaluation() {
    let folder = tempfile::tempdir().expect("a folder");
    let setup = sampled(&folder);
    let location = setup.ledger.clone().expect("set");
    with_worker("sampler-triggers", setup, async |world| {
        // No trigger is sent; the sampler's observations are sufficient.
        until("raised", async || trus(world, "checkout.a1b2c") == 6).await;
        assert_eq!(trus(world, "orders.a1b2c"), 4);
        let told = Controller::new(&world.client, &world.installation)
            .status(PATIENT)
            .await
            .expect("told");
        assert!(told.evaluations <= 1, "one trigger, one evaluation");
        let report = world.evaluate("scheduled").await;
        assert!(!report.scale_up_only);
        assert!(report.coverage.starts_with("ledger, "), "{}", report.coverage);
        assert_eq!(trus(world, "orders.a1b2c"), 0);
    })
    .await;
    let ledger = Ledger::open(&location).await.expect("opened");
    let history = ledger
        .history(None, &HistoryFilter::default())
        .await
        .expect("read");
    let codes: Vec<String> = history
        .iter()
        .filter(|row| row.decision.namespace == "orders.a1b2c")
        .map(|row| format!("{} {}", row.decision.action, row.decision.reason_code))
        .collect();
    assert!(codes.contains(&"Hold scale_up_only".to_owned()), "{codes:?}");
    assert!(codes.contains(&"Disable idle".to_owned()), "{codes:?}");
}

/// The sampler reports a throttled namespace once, and again 15 minutes later, which is 45 s of real time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throttling_whose_evaluation_failed_is_handled_as_soon_as_the_cloud_responds() {
    let folder = tempfile::tempdir().expect("a folder");
    // Eight minutes have passed when the cloud starts.
    let rows = ["20,25"; 10].into_iter().chain(["560,600"; 200]);
    let rows: Vec<&str> = std::iter::once("aps,peak10s").chain(rows).collect();
    let trace = Trace::read(rows.join("\n").as_bytes()).expect("a load");
    let setup = Setup {
        attempts: 1,
        account: Account::new(
            "a1b2c",
            vec![NamespaceSetup {
                // Without `usual`, the start of an hour within the test would raise the envelope.
                usual: Some(20.0),
                ..NamespaceSetup::new("checkout", Load::Replay(trace.into()))
            }],
        ),
        ..sampled(&folder)
    };
    with_worker("sampler-in-vain", setup, async |world| {
        let samples = || {
            world
                .cloud
                .requests()
                .get("GET /v1/metrics")
                .copied()
                .unwrap_or(0)
        };
        until("sampled", async || samples() > 0).await;
        world.cloud.set_faults(Faults {
            ops_unavailable: true,
            ..Faults::default()
        });
        until("failed", async || {
            let last = Controller::new(&world.client, &world.installation)
                .last_evaluation(PATIENT)
                .await;
            last.is_ok_and(|report| report.error.is_some())
        })
        .await;
        world.cloud.set_faults(Faults::default());
        let answers = Instant::now();
        until("posted", async || world.posts() == 1).await;
        let took = answers.elapsed();
        assert!(
            took < Duration::from_secs(40),
            "scaled up {took:?} after the cloud responded"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_during_a_scale_up_only_evaluation_is_not_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let setup = Setup {
        // Five seconds of real time: the change keeps the evaluation busy.
        operation_lag: SignedDuration::from_secs(100),
        ..sampled(&folder)
    };
    with_worker("sampler-meanwhile", setup, async |world| {
        Controller::new(&world.client, &world.installation)
            .trigger(Trigger::CapacityIsShort)
            .await
            .expect("signaled");
        let report = world.evaluate("scheduled").await;
        assert!(!report.scale_up_only, "{}", report.summary);
        assert_eq!(trus(world, "orders.a1b2c"), 0);
        // Another trigger of the same kind does not replace the earlier request.
        for trigger in [Trigger::Evaluation, Trigger::CapacityIsShort] {
            Controller::new(&world.client, &world.installation)
                .trigger(trigger)
                .await
                .expect("signaled");
        }
        until("evaluated", async || {
            let told = Controller::new(&world.client, &world.installation)
                .status(PATIENT)
                .await;
            told.is_ok_and(|status| status.evaluations >= 3 && status.phase == ControllerPhase::Waiting)
        })
        .await;
        // Both evaluations are made, in either order.
        let told = Controller::new(&world.client, &world.installation)
            .status(PATIENT)
            .await
            .expect("a response");
        let mut kinds = Vec::new();
        for number in 1..=told.evaluations {
            let report = Controller::new(&world.client, &world.installation)
                .evaluation(number, PATIENT)
                .await;
            kinds.extend(report.ok().filter(|it| it.number > 0).map(|it| it.scale_up_only));
        }
        assert!(kinds.contains(&false), "{kinds:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn minutes_are_sampled_in_one_attempt_and_the_history_does_not_grow() {
    let folder = tempfile::tempdir().expect("a folder");
    let setup = sampled(&folder);
    let ledger = Ledger::open(&setup.ledger.clone().expect("set"))
        .await
        .expect("opened");
    with_worker("sampler-history", setup, async |world| {
        until("five minutes sampled", async || {
            ledger.info().await.expect("read").rows["minutes"] >= 5
        })
        .await;
        let id = world.installation.sampler_id();
        let handle = world.client.get_workflow_handle::<UsageSampler>(id);
        let described = handle
            .describe(WorkflowDescribeOptions::default())
            .await
            .expect("described");
        // Started, one workflow task, and one activity that is scheduled and never ends.
        assert!(
            described.history_length() <= 6,
            "{} events",
            described.history_length()
        );
        handle
            .cancel(WorkflowCancelOptions::default())
            .await
            .expect("canceled");
        let ended = tokio::time::timeout(PATIENT, handle.get_result(WorkflowGetResultOptions::default()));
        assert!(
            ended.await.expect("in time").is_err(),
            "it ends when it is canceled"
        );
    })
    .await;
    let minutes = ledger
        .window("a1b2c", jiff::Timestamp::MIN, jiff::Timestamp::MAX)
        .await
        .expect("read");
    assert!(
        minutes
            .iter()
            .all(|minute| minute.complete && minute.samples.len() == 2)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn triggers_can_be_turned_off() {
    let folder = tempfile::tempdir().expect("a folder");
    let setup = Setup {
        triggers: false,
        ..sampled(&folder)
    };
    let ledger = Ledger::open(&setup.ledger.clone().expect("set"))
        .await
        .expect("opened");
    with_worker("sampler-quiet", setup, async |world| {
        until("two minutes sampled", async || {
            ledger.info().await.expect("read").rows["minutes"] >= 2
        })
        .await;
        assert_eq!(trus(world, "checkout.a1b2c"), 0, "no evaluation was requested");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_minutes_are_aggregated_automatically() {
    let folder = tempfile::tempdir().expect("a folder");
    let setup = sampled(&folder);
    let ledger = Ledger::open(&setup.ledger.clone().expect("set"))
        .await
        .expect("opened");
    let now = jiff::Timestamp::now();
    let old = Minute {
        minute: now - SignedDuration::from_hours(24 * 20),
        complete: true,
        source: "import".to_owned(),
        samples: vec![NamespaceMinute {
            namespace: "orders.a1b2c".into(),
            reported: true,
            unread: [false; 3],
            served: [1_000_000; 3],
            throttled: [0; 3],
            limits: [None; 3],
            envelopes: [None; 3],
        }],
    };
    ledger.record_minute("a1b2c", &old, now).await.expect("written");
    with_worker("sampler-prunes", setup, async |_| {
        until("folded", async || {
            ledger.info().await.expect("read").rows["hours"] == 1
        })
        .await;
    })
    .await;
    let hours = ledger.hours("a1b2c", None).await.expect("read");
    assert_eq!((hours[0].known_minutes, hours[0].actions_sum), (1, 1_000_000));
}
