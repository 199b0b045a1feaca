//! Tests that pauses are in effect without a worker, schedule or controller, and that they survive the termination
//! of a controller.

use std::time::Duration;

use capacity_workflows::controller::Controller;
use capacity_workflows::{
    CapacityManagementWorkflow, ControllerState, Lenient, Opened, PauseKind, names, pauses,
};
use cloud_simulator::{Account, Load, NamespaceSetup};
use jiff::SignedDuration;
use temporalio_client::{WorkflowStartOptions, WorkflowTerminateOptions};

use crate::harness::{Setup, TASK_QUEUE, World, throttled, with_worker};

const PATIENT: Duration = Duration::from_mins(2);

async fn pause(world: &World, kind: PauseKind, ends_after: Option<Duration>) -> Opened {
    pauses::open(
        &world.client,
        &world.installation,
        kind,
        "rotating keys",
        "ana@laptop",
        ends_after,
    )
    .await
    .expect("opened")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_before_the_first_evaluation_holds_and_outlives_its_controller() {
    with_worker("paused-first", throttled(&["checkout"]), async |world| {
        let hour = Some(Duration::from_hours(1));
        assert_eq!(pause(world, PauseKind::All, hour).await, Opened::New);
        let longer = pause(world, PauseKind::All, None).await;
        assert!(matches!(longer, Opened::Extended(_)), "{longer:?}");
        for shorter in [None, hour] {
            let known = pause(world, PauseKind::All, shorter).await;
            assert!(
                matches!(&known, Opened::Already(pause) if pause.seen.until.is_none()),
                "{known:?}"
            );
        }
        let first = world.evaluate("first").await;
        assert!(first.paused && first.changes.is_empty(), "{first:?}");
        assert!(first.decisions[0].reason.contains("ana@laptop"), "{first:?}");
        let controller = world
            .client
            .get_workflow_handle::<CapacityManagementWorkflow>(names::CONTROLLER_ID);
        controller
            .terminate(WorkflowTerminateOptions::default())
            .await
            .expect("terminated");
        let next = world.evaluate("next").await;
        assert!(next.paused && next.changes.is_empty(), "{next:?}");
        assert_eq!(world.posts(), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_of_one_direction_allows_the_other_and_expires() {
    let mut setup = Setup {
        account: Account::new(
            "a1b2c",
            vec![
                NamespaceSetup::new("hot", Load::Steady(560.0)),
                NamespaceSetup::new("idle", Load::Idle).with_trus(4),
            ],
        ),
        ..Setup::default()
    };
    setup.rules.guards.disable_on_estimate = true;
    with_worker("one-direction", setup, async |world| {
        pause(world, PauseKind::ScaleDown, Some(Duration::from_secs(15))).await;
        let first = world.evaluate("first").await;
        let changed: Vec<_> = first.changes.iter().map(|it| it.namespace.as_str()).collect();
        assert_eq!(changed, ["hot.a1b2c"], "{first:?}");
        let held = first
            .decisions
            .iter()
            .find(|it| it.namespace == "idle.a1b2c")
            .expect("decided");
        assert_eq!(held.reason_code, "scale_down_paused");
        // The next evaluation starts twenty seconds after the first.
        let second = world.evaluate("second").await;
        assert!(!second.paused, "{second:?}");
        world
            .until("released", PATIENT, async || world.cloud.changes().len() == 2)
            .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_queued_before_a_pause_are_not_posted_during_it() {
    let idle = |number| NamespaceSetup::new(format!("idle-{number:02}"), Load::Idle).with_trus(4);
    let mut setup = Setup {
        account: Account::new("a1b2c", (0..20).map(idle).collect()),
        // Ten seconds of real time.
        operation_lag: SignedDuration::from_secs(200),
        ..Setup::default()
    };
    setup.rules.guards.disable_on_estimate = true;
    with_worker("queued", setup, async |world| {
        Controller::new(&world.client, &world.installation)
            .decide("first", PATIENT)
            .await
            .expect("a report");
        world
            .until("in progress", PATIENT, async || world.posts() >= 3)
            .await;
        pause(world, PauseKind::All, None).await;
        // A change that looked for pauses just before posts within five seconds.
        tokio::time::sleep(Duration::from_secs(6)).await;
        let posts = world.posts();
        assert!(posts < 20);
        // Changes in progress finish, and nothing takes their free slots.
        tokio::time::sleep(Duration::from_secs(15)).await;
        assert_eq!(world.posts(), posts);
        assert_eq!(world.cloud.incidents(), []);
    })
    .await;
}

/// Up to release 0.1.0, a pause was a field of the controller's state, which each run passed to the next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_from_an_older_release_is_migrated_and_outlives_its_controller() {
    with_worker("paused-before", throttled(&["checkout"]), async |world| {
        let state = serde_json::json!({
            "evaluations": 7,
            "account": "a1b2c",
            // An evaluation is due at once.
            "pending": true,
            "pending_raise_only": false,
            "paused": "rotating keys",
        });
        let state: ControllerState = serde_json::from_value(state).expect("the state of 0.1.0");
        let options = WorkflowStartOptions::new(TASK_QUEUE, names::CONTROLLER_ID).build();
        let controller = world
            .client
            .start_workflow(CapacityManagementWorkflow::run, Lenient::from(state), options)
            .await
            .expect("started");
        let open = async || {
            let read = pauses::read(&world.client, &world.installation, PauseKind::All).await;
            read.expect("read").filter(|pause| pause.seen.open)
        };
        world
            .until("paused", PATIENT, async || open().await.is_some())
            .await;
        let pause = open().await.expect("open");
        assert_eq!(pause.seen.reason, "rotating keys");
        let first = world.evaluate("first").await;
        assert!(first.number >= 8 && first.paused, "{first:?}");
        controller
            .terminate(WorkflowTerminateOptions::default())
            .await
            .expect("terminated");
        let next = world.evaluate("next").await;
        assert!(
            next.number == 1 && next.paused && next.changes.is_empty(),
            "{next:?}"
        );
        assert_eq!(world.posts(), 0, "nothing was changed at any time");
    })
    .await;
}
