//! Tests of an upgrade: recorded histories replay, and workers of both releases run side by side.

use std::time::Duration;

use approval_flow::messages::{ApprovalRequest, End};
use approval_flow::{ApprovalFlow, PATCH_LAST_REMINDER, StepVerdict, TASK_QUEUE, commands, registry};
use prost::Message;
use temporal_worker_kit::{Config, Deployment, Registry};
use temporalio_client::WorkflowSignalOptions;
use temporalio_client::grpc::WorkflowService;
use temporalio_client::tonic::IntoRequest;
use temporalio_common::protos::temporal::api::history::v1::History;
use temporalio_common::protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_common::protos::temporal::api::workflowservice::v1::SetWorkerDeploymentCurrentVersionRequest;

use crate::flow::{request, result, until};
use crate::v1::EarlierFlow;
use crate::world::{World, folder, keep, replay};

fn short() -> ApprovalRequest {
    ApprovalRequest {
        remind_every_seconds: 2,
        expires_after_seconds: 4,
        ..request("deploy")
    }
}

fn uses_the_patch(history: &History) -> bool {
    history.events.iter().any(|event| {
        let Some(Attributes::MarkerRecordedEventAttributes(marker)) = &event.attributes else {
            return false;
        };
        let mut payloads = marker.details.values().flat_map(|details| &details.payloads);
        payloads.any(|payload| String::from_utf8_lossy(&payload.data).contains(PATCH_LAST_REMINDER))
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn histories_of_both_releases_replay() {
    let world = World::new("releases").await;
    let earlier = Registry::new()
        .workflow::<EarlierFlow>(TASK_QUEUE)
        .activities(TASK_QUEUE, world.approvals(None));
    let mut worker = world.worker_of(earlier, world.config.clone()).await;
    let id = commands::start(&world.client, short(), None)
        .await
        .expect("started");
    assert_eq!(result(&world, &id).await.reminders, 1);
    let history = world.history(&id).await;
    assert!(!uses_the_patch(&history));
    keep(&history, "expired-0.1");
    replay(history)
        .await
        .expect("the new code replays the old history");
    worker.stop();
    worker.wait().await.expect("drained");

    let mut worker = world.worker(None).await;
    let id = commands::start(&world.client, short(), None)
        .await
        .expect("started");
    assert!(
        result(&world, &id).await.reminders >= 2,
        "one more reminder before the expiry"
    );
    let history = world.history(&id).await;
    assert!(uses_the_patch(&history));
    keep(&history, "expired-0.2");
    replay(history)
        .await
        .expect("the new code replays its own history");
    worker.stop();
    worker.wait().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_started_by_the_earlier_release_is_finished_by_the_new_one() {
    let world = World::new("handover").await;
    let earlier = Registry::new()
        .workflow::<EarlierFlow>(TASK_QUEUE)
        .activities(TASK_QUEUE, world.approvals(None));
    let mut worker = world.worker_of(earlier, world.config.clone()).await;
    let id = commands::start(&world.client, request("deploy"), None)
        .await
        .expect("started");
    until(&world, &id, "policy:").await;
    worker.stop();
    worker.wait().await.expect("drained");
    let mut worker = world.worker(None).await;
    // The sticky queue of the stopped worker holds the next task for up to 10 s.
    let verdict = StepVerdict {
        who: "grace".to_owned(),
        ..StepVerdict::default()
    };
    let decided = commands::decide(&world.client, &id, true, &verdict).await;
    let outcome = result(&world, &id).await;
    assert_eq!(outcome.sentence, "approved by grace", "{decided:?}");
    worker.stop();
    worker.wait().await.expect("drained");
}

/// Makes this version the current one, on which new workflows start.
async fn make_current(world: &World, build_id: &str) {
    let request = SetWorkerDeploymentCurrentVersionRequest {
        namespace: world.config.connection.namespace.clone(),
        deployment_name: "approval-flow".to_owned(),
        build_id: build_id.to_owned(),
        identity: "tests".to_owned(),
        ignore_missing_task_queues: true,
        ..Default::default()
    };
    let mut attempts = 0;
    // The server registers a version only after its worker has polled.
    while let Err(error) = world
        .client
        .clone()
        .set_worker_deployment_current_version(request.clone().into_request())
        .await
    {
        attempts += 1;
        assert!(attempts < 100, "{error}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_of_two_releases_run_side_by_side() {
    let world = World::new("versions").await;
    let version = |build_id: &str| Config {
        deployment: Deployment {
            name: "approval-flow".to_owned(),
            build_id: build_id.to_owned(),
            versioned: true,
        },
        ..world.config.clone()
    };
    let earlier = Registry::new()
        .workflow::<EarlierFlow>(TASK_QUEUE)
        .activities(TASK_QUEUE, world.approvals(None));
    let mut first = world.worker_of(earlier, version("0.1")).await;
    make_current(&world, "0.1").await;
    let old = commands::start(&world.client, request("began on 0.1"), None)
        .await
        .expect("started");
    until(&world, &old, "policy:").await;
    let mut second = world
        .worker_of(registry(world.approvals(None)), version("0.2"))
        .await;
    make_current(&world, "0.2").await;
    let new = commands::start(&world.client, request("began on 0.2"), None)
        .await
        .expect("started");
    until(&world, &new, "policy:").await;
    for id in [&old, &new] {
        let handle = world.client.get_workflow_handle::<ApprovalFlow>(id.clone());
        let raw = temporalio_common::data_converters::RawValue::default();
        handle
            .signal(ApprovalFlow::approve, raw, WorkflowSignalOptions::default())
            .await
            .expect("sent");
    }
    let (old, new) = (result(&world, &old).await, result(&world, &new).await);
    assert_eq!((old.end, new.end), (End::Executed, End::Executed));
    // The earlier release recorded its version number, and the new one records who approved.
    assert_eq!(
        (old.sentence.as_str(), new.sentence.as_str()),
        ("0.1", "approved by an unnamed person")
    );
    first.stop();
    second.stop();
    first.wait().await.expect("drained");
    second.wait().await.expect("drained");
}

/// Needs no server. If a code change prevents the replay of a history, every open request is blocked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recorded_histories_replay_and_a_changed_one_does_not() {
    let read = |name: &str| {
        let bytes = std::fs::read(folder().join(format!("{name}.pb"))).expect("a recorded history");
        History::decode(bytes.as_slice()).expect("a history")
    };
    for name in [
        "approved",
        "denied",
        "rejected",
        "expired-0.1",
        "expired-0.2",
        "driver",
    ] {
        replay(read(name))
            .await
            .unwrap_or_else(|problem| panic!("{name}: {problem}"));
    }
    assert!(!uses_the_patch(&read("expired-0.1")) && uses_the_patch(&read("expired-0.2")));
    let mut changed = read("approved");
    for event in &mut changed.events {
        if let Some(Attributes::ActivityTaskScheduledEventAttributes(scheduled)) = &mut event.attributes
            && let Some(kind) = &mut scheduled.activity_type
        {
            kind.name = "another.step".to_owned();
        }
    }
    replay(changed).await.expect_err("different steps do not replay");
}
