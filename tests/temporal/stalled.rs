//! Tests that an open change without progress is announced once, and that a slow one is not.

use std::time::Duration;

use capacity_workflows::controller::Controller;
use capacity_workflows::{CapacityChange, ChangeRequest, Lenient, names};
use cloud_simulator::{Faults, OperationFault};
use temporalio_client::{WorkflowCountOptions, WorkflowStartOptions};

use crate::harness::{Setup, World, throttled, with_worker};

const PATIENT: Duration = Duration::from_mins(2);

fn told(world: &World) -> Vec<String> {
    let mut messages = world.messages();
    messages.retain(|message| message.contains("a change makes no progress"));
    messages
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_no_worker_continues_is_announced_once() {
    let setup = Setup {
        no_progress_after: Duration::from_secs(2),
        ..throttled(&["checkout"])
    };
    with_worker("stalled", setup, async |world| {
        let request = ChangeRequest {
            namespace: "checkout.a1b2c".to_owned(),
            to_trus: 6,
            operation_id: "7ca9ac17-0000-8000-8000-000000000000".to_owned(),
            ..ChangeRequest::default()
        };
        // No worker polls this task queue, as after a typo in a deployment.
        let id = names::change_id("checkout.a1b2c");
        let options = WorkflowStartOptions::new("nobody-polls", id).build();
        world
            .client
            .start_workflow(CapacityChange::run, Lenient::from(request), options)
            .await
            .expect("started");
        let is_listed = async || {
            let changes = "WorkflowType = 'CapacityChange'";
            let counted = world
                .client
                .count_workflows(changes, WorkflowCountOptions::default());
            counted.await.is_ok_and(|counted| counted.count() == 1)
        };
        world.until("listed", PATIENT, is_listed).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let report = world.evaluate("first").await;
        assert_eq!(
            report.decisions[0].reason_code, "change_in_progress",
            "{report:?}"
        );
        world
            .until("announced", PATIENT, async || !told(world).is_empty())
            .await;
        let text = &told(world)[0];
        for part in [
            "checkout.a1b2c",
            "no progress for ",
            "it was started ",
            "task queue",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        world.evaluate("second").await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(told(world).len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_change_that_is_polled_makes_progress() {
    let setup = Setup {
        // From the third second on, it is polled every second without writing events.
        change_timeout: Duration::from_secs(2),
        no_progress_after: Duration::from_secs(8),
        ..throttled(&["checkout"])
    };
    with_worker("slow-not-stalled", setup, async |world| {
        world.cloud.set_faults(Faults {
            operations: OperationFault::Stuck,
            ..Faults::default()
        });
        let controller = Controller::new(&world.client, &world.installation);
        let first = controller.decide("first", Duration::from_mins(1));
        first.await.expect("a report");
        world
            .until("announced as slow", PATIENT, async || {
                world.messages().iter().any(|it| it.contains("a change is slow"))
            })
            .await;
        tokio::time::sleep(Duration::from_secs(10)).await;
        let second = controller.decide("second", Duration::from_mins(1));
        let report = second.await.expect("a report");
        // The namespace is in the state `updating` because of our own change, which needs no attention.
        let decision = &report.decisions[0];
        assert_eq!(
            (decision.action.as_str(), decision.announce),
            ("Hold", false),
            "{decision:?}"
        );
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(told(world), Vec::<String>::new());
    })
    .await;
}
