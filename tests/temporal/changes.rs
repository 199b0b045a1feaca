//! Tests of changes that run alongside evaluations: nothing waits for a change, and the outcome of every
//! started change is recorded.

use std::time::{Duration, Instant};

use capacity_ledger::{ChangeRecord, Format, Ledger, Location, Table};
use capacity_workflows::controller::{Controller, Trigger};
use capacity_workflows::{CapacityChange, CapacityManagementWorkflow, names};
use cloud_simulator::{Access, Account, Faults, Load, NamespaceSetup, OperationFault};
use jiff::SignedDuration;
use temporalio_client::{WorkflowGetResultOptions, WorkflowTerminateOptions};

use crate::harness::{Setup, World, throttled, with_worker};

const PATIENT: Duration = Duration::from_mins(2);
/// Maximum time from a trigger to the scale-up.
const ANSWERED: Duration = Duration::from_mins(1);

fn idle(count: usize) -> Vec<NamespaceSetup> {
    (0..count)
        .map(|number| NamespaceSetup::new(format!("idle-{number:02}"), Load::Idle).with_trus(4))
        .collect()
}

/// Returns idle namespaces that may be released based on a single minute, because these tests are about
/// changes.
fn releases(count: usize) -> Setup {
    let mut setup = Setup {
        account: Account::new("a1b2c", idle(count)),
        ..Setup::default()
    };
    setup.rules.guards.disable_on_estimate = true;
    setup
}

async fn decided(world: &World, id: &str) -> capacity_workflows::EvaluationReport {
    Controller::new(&world.client, &world.installation)
        .decide(id, Duration::from_mins(1))
        .await
        .expect("a report")
}

/// Adds a throttled namespace, triggers as the sampler does, and returns the time until the POST.
async fn time_to_scale_up(world: &World) -> Duration {
    world
        .cloud
        .add_namespace(NamespaceSetup::new("hot", Load::Steady(800.0)));
    // A new namespace returns 403 in its first minute, and the metrics are three minutes late, which takes
    // more than nine seconds of real time.
    tokio::time::sleep(Duration::from_secs(15)).await;
    let begun = Instant::now();
    Controller::new(&world.client, &world.installation)
        .trigger(Trigger::CapacityIsShort)
        .await
        .expect("signaled");
    let is_posted = async || {
        let spec = world.cloud.namespace("hot.a1b2c").expect("there").spec;
        spec["capacitySpec"]["provisioned"].is_object()
    };
    world.until("scaled up", ANSWERED, is_posted).await;
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throttling_is_handled_while_forty_slow_releases_run() {
    let setup = Setup {
        // A minute of real time.
        operation_lag: SignedDuration::from_mins(20),
        ..releases(40)
    };
    with_worker("forty", setup, async |world| {
        let report = decided(world, "first").await;
        assert_eq!(report.changes.len(), 40, "{}", report.summary);
        world
            .until("in progress", PATIENT, async || world.posts() >= 5)
            .await;
        let took = time_to_scale_up(world).await;
        println!("scaled up after {took:?}, {} posts before", world.posts());
        let status = Controller::new(&world.client, &world.installation)
            .status(PATIENT)
            .await
            .expect("a response");
        assert!(status.changes_queued > 20, "the releases still wait: {status:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throttling_is_handled_while_five_releases_hang() {
    with_worker("hanging", releases(5), async |world| {
        world.cloud.set_faults(Faults {
            operations: OperationFault::Stuck,
            ..Faults::default()
        });
        decided(world, "first").await;
        world
            .until("in progress", PATIENT, async || world.posts() == 5)
            .await;
        world.cloud.set_faults(Faults::default());
        let took = time_to_scale_up(world).await;
        println!("scaled up after {took:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_too_late_in_the_hour_is_not_posted_and_a_scale_up_is() {
    let mut namespaces = idle(1);
    namespaces.push(NamespaceSetup::new("hot", Load::Steady(560.0)));
    let setup = Setup {
        account: Account::new("a1b2c", namespaces),
        // No minute of the hour allows a release.
        no_release_from_minute: 0,
        ..releases(0)
    };
    with_worker("too-late", setup, async |world| {
        let report = world.evaluate("first").await;
        let outcome = |name: &str| {
            let change = report.changes.iter().find(|it| it.namespace == name);
            change.map(|it| (it.outcome.as_str(), it.code.as_deref()))
        };
        assert_eq!(outcome("hot.a1b2c"), Some(("changed", None)));
        assert_eq!(
            outcome("idle-00.a1b2c"),
            Some(("not_started", Some("too_late_in_hour")))
        );
        assert_eq!(world.posts(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forty_releases_with_slow_operations_all_complete() {
    let setup = Setup {
        // Fifteen seconds of real time, so that the last changes start long after the decision.
        operation_lag: SignedDuration::from_mins(5),
        ..releases(40)
    };
    with_worker("all-forty", setup, async |world| {
        decided(world, "first").await;
        world
            .until("all released", Duration::from_mins(4), async || {
                world.cloud.changes().len() == 40
            })
            .await;
        assert_eq!(world.cloud.incidents(), []);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_change_is_announced_once_and_its_end_is_recorded_and_announced() {
    let folder = tempfile::tempdir().expect("a folder");
    let location = Location::Sqlite(folder.path().join("ledger.db"));
    let ledger = Ledger::open(&location).await.expect("opened");
    let setup = Setup {
        ledger: Some(location),
        change_timeout: Duration::from_secs(3),
        // Ten seconds of real time, longer than a change should take.
        operation_lag: SignedDuration::from_secs(200),
        ..throttled(&["checkout"])
    };
    with_worker("slow", setup, async |world| {
        let report = world.evaluate("first").await;
        assert_eq!(report.changes[0].outcome, "changed", "{report:?}");
        world
            .until("announced", PATIENT, async || {
                let messages = world.messages();
                messages
                    .iter()
                    .filter(|it| it.contains("a change is slow"))
                    .count()
                    == 1
                    && messages.iter().any(|it| it.contains("Changed"))
            })
            .await;
    })
    .await;
    assert_eq!(recorded(&ledger).await, ["checkout.a1b2c changed"]);
}

/// `temporal-capacity apply` was stopped while a change was in progress, and its namespace was deleted. One of another account stays:
/// its service is not asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_evaluation_records_how_changes_ended_that_a_command_left_in_progress() {
    let folder = tempfile::tempdir().expect("a folder");
    let location = Location::Sqlite(folder.path().join("ledger.db"));
    let ledger = Ledger::open(&location).await.expect("opened");
    let setup = Setup {
        ledger: Some(location),
        ..throttled(&["checkout"])
    };
    let left = |account: &str| ChangeRecord {
        operation_id: format!("change-{account}"),
        account: account.to_owned(),
        plan_id: "plan-1".to_owned(),
        namespace: format!("deleted.{account}"),
        from_trus: 2,
        to_trus: 0,
        outcome: "in_progress".to_owned(),
        error: None,
        ended_at_ms: jiff::Timestamp::now().as_millisecond(),
        by: "ana@laptop (CLI)".to_owned(),
    };
    let changes = [left("a1b2c"), left("z9y8x")];
    ledger.record_changes(&changes).await.expect("recorded");
    with_worker("left", setup, async |world| {
        world.evaluate("first").await;
    })
    .await;
    let recorded = recorded(&ledger).await;
    for expected in ["deleted.a1b2c failed", "deleted.z9y8x in_progress"] {
        assert!(
            recorded.iter().any(|it| it == expected),
            "{expected}: {recorded:?}"
        );
    }
}

/// Returns the changes in a ledger.
async fn recorded(ledger: &Ledger) -> Vec<String> {
    let mut lines = Vec::new();
    ledger
        .export(Table::Changes, Format::Csv, &mut lines)
        .await
        .expect("exported");
    let text = String::from_utf8(lines).expect("text");
    let mut reader = text.lines();
    let header: Vec<&str> = reader.next().unwrap_or_default().split(',').collect();
    let place = |name: &str| header.iter().position(|it| *it == name).unwrap_or_default();
    let (namespace, outcome) = (place("namespace"), place("outcome"));
    let rows = reader.map(|row| row.split(',').collect::<Vec<_>>());
    rows.map(|row| format!("{} {}", row[namespace], row[outcome]))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_whose_controller_is_terminated_is_recorded_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let location = Location::Sqlite(folder.path().join("ledger.db"));
    let ledger = Ledger::open(&location).await.expect("opened");
    let setup = Setup {
        ledger: Some(location),
        operation_lag: SignedDuration::from_secs(100),
        ..throttled(&["checkout"])
    };
    with_worker("orphan", setup, async |world| {
        decided(world, "first").await;
        world.until("posted", PATIENT, async || world.posts() == 1).await;
        let controller = world
            .client
            .get_workflow_handle::<CapacityManagementWorkflow>(names::CONTROLLER_ID);
        controller
            .terminate(WorkflowTerminateOptions::default())
            .await
            .expect("terminated");
        let change = world
            .client
            .get_workflow_handle::<CapacityChange>(names::change_id("checkout.a1b2c"));
        let ended = change
            .get_result(WorkflowGetResultOptions::default())
            .await
            .expect("a report");
        assert_eq!((ended.outcome.as_str(), ended.recorded), ("changed", true));
        let next = world.evaluate("next").await;
        assert_eq!((next.number, next.changes.len()), (1, 0));
    })
    .await;
    assert_eq!(recorded(&ledger).await, ["checkout.a1b2c changed"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_is_terminated_is_recorded_and_announced_by_the_next_evaluation() {
    let folder = tempfile::tempdir().expect("a folder");
    let location = Location::Sqlite(folder.path().join("ledger.db"));
    let ledger = Ledger::open(&location).await.expect("opened");
    let setup = Setup {
        ledger: Some(location),
        operation_lag: SignedDuration::from_mins(10),
        ..throttled(&["checkout"])
    };
    with_worker("terminated-change", setup, async |world| {
        decided(world, "first").await;
        world.until("posted", PATIENT, async || world.posts() == 1).await;
        let change = world
            .client
            .get_workflow_handle::<CapacityChange>(names::change_id("checkout.a1b2c"));
        change
            .terminate(WorkflowTerminateOptions::default())
            .await
            .expect("terminated");
        world.evaluate("next").await;
        world
            .until("announced", PATIENT, async || {
                world
                    .messages()
                    .iter()
                    .any(|it| it.contains("terminated") && it.contains("checkout.a1b2c"))
            })
            .await;
        world
            .until("recorded", PATIENT, async || {
                recorded(&ledger).await == ["checkout.a1b2c terminated"]
            })
            .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_scale_ups_of_a_namespace_are_recorded_when_the_ledger_comes_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let away = folder.path().join("away");
    let location = Location::Sqlite(away.join("ledger.db"));
    // A file blocks the path of the ledger's folder.
    std::fs::write(&away, "").expect("written");
    let mut setup = Setup {
        ledger: Some(location.clone()),
        ..throttled(&["checkout"])
    };
    setup.rules.guards.respect_foreign_changes = SignedDuration::ZERO;
    with_worker("no-ledger", setup, async |world| {
        for update_id in ["first", "second"] {
            // Scale-ups do not need a ledger.
            let report = world.evaluate(update_id).await;
            assert_eq!(report.changes[0].outcome, "changed", "{report:?}");
            let change = world
                .client
                .get_workflow_handle::<CapacityChange>(names::change_id("checkout.a1b2c"));
            let ended = change
                .get_result(WorkflowGetResultOptions::default())
                .await
                .expect("a report");
            assert!(!ended.recorded && ended.announced, "{ended:?}");
            if update_id == "first" {
                // Someone else releases the capacity, and the namespace is throttled again.
                world.cloud.set_capacity_by_others("checkout.a1b2c", 0);
                world.cloud.advance(SignedDuration::from_mins(6));
            }
        }
        std::fs::remove_file(&away).expect("removed");
        std::fs::create_dir(&away).expect("made");
        world
            .until("recorded", Duration::from_mins(2), async || {
                let Ok(ledger) = Ledger::open(&location).await else {
                    return false;
                };
                recorded(&ledger).await == ["checkout.a1b2c changed"; 2]
            })
            .await;
        assert_eq!(world.cloud.changes().len(), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hanging_channel_delays_no_change_by_more_than_a_minute() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("bound");
    // Accepts connections and never responds.
    let hangs = tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            open.push(stream);
        }
    });
    let setup = Setup {
        slack_url: Some(format!("http://{address}/services/T/B/x")),
        ..throttled(&["checkout"])
    };
    with_worker("slack-hangs", setup, async |world| {
        decided(world, "first").await;
        world
            .until("changed", PATIENT, async || world.cloud.changes().len() == 1)
            .await;
        let begun = Instant::now();
        let change = world
            .client
            .get_workflow_handle::<CapacityChange>(names::change_id("checkout.a1b2c"));
        let ended = change.get_result(WorkflowGetResultOptions::default());
        let ended = tokio::time::timeout(Duration::from_mins(1), ended)
            .await
            .expect("the namespace is free within a minute")
            .expect("a report");
        println!("free after {:?}", begun.elapsed());
        assert_eq!((ended.outcome.as_str(), ended.announced), ("changed", false));
    })
    .await;
    hangs.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_the_key_does_not_permit_is_tried_once_and_blocks_nothing() {
    let mut namespaces = idle(30);
    for namespace in &mut namespaces {
        namespace.access = Access::Read;
    }
    namespaces.push(NamespaceSetup::new("zz-allowed", Load::Idle).with_trus(2));
    let setup = Setup {
        account: Account::new("a1b2c", namespaces),
        ..releases(0)
    };
    with_worker("not-permitted", setup, async |world| {
        let report = world.evaluate("first").await;
        let refused = report
            .changes
            .iter()
            .filter(|it| it.outcome == "not_permitted")
            .count();
        assert_eq!((refused, world.posts()), (30, 31), "{report:?}");
        assert_eq!(world.cloud.changes().len(), 1);
        let again = world.evaluate("second").await;
        assert_eq!((again.changes.len(), world.posts()), (0, 31), "{again:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_evaluation_reports_account_time_reason_and_remedy() {
    with_worker("failed", throttled(&["checkout"]), async |world| {
        assert_eq!(world.evaluate("first").await.error, None);
        world.cloud.set_faults(Faults {
            unavailable: 1.0,
            ..Faults::default()
        });
        let report = Controller::new(&world.client, &world.installation)
            .decide("second", Duration::from_mins(4))
            .await
            .expect("a report");
        assert!(report.error.is_some(), "{report:?}");
        let is_told = async || {
            world.messages().iter().any(|it| {
                it.contains("Critical")
                    && it.contains("a1b2c")
                    && it.contains("evaluation failed")
                    && it.contains("temporal-capacity doctor")
                    && !it.contains("1970")
                    && !it.contains("unknown")
            })
        };
        world.until("announced", PATIENT, is_told).await;
    })
    .await;
}
