//! Tests of workers that are killed while changes wait for each other, and restarted, some with different
//! settings.

use std::time::Duration;

use capacity_workflows::controller::{Controller, Trigger};
use capacity_workflows::{ControllerPhase, Installation, PauseKind, pauses};
use cloud_simulator::{Account, Faults, Load, NamespaceSetup, SimulatorOptions};
use jiff::SignedDuration;
use rstest::rstest;
use serde_json::json;
use temporalio_client::grpc::WorkflowService;
use temporalio_client::tonic::IntoRequest;
use temporalio_common::protos::temporal::api::command::v1::command::Attributes;
use temporalio_common::protos::temporal::api::command::v1::{Command, StartTimerCommandAttributes};
use temporalio_common::protos::temporal::api::enums::v1::CommandType;
use temporalio_common::protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_common::protos::temporal::api::workflowservice::v1::{
    PollWorkflowTaskQueueRequest, RespondWorkflowTaskCompletedRequest,
};

use super::{POST, World, count};

const PATIENT: Duration = Duration::from_mins(2);
const SPEED: f64 = 20.0;

/// Returns a cloud at twenty times real time whose operations take `operation_seconds` of real time.
fn cloud(namespaces: Vec<NamespaceSetup>, operation_seconds: i32) -> SimulatorOptions {
    SimulatorOptions {
        speed: SPEED,
        operation_lag: SignedDuration::from_secs(i64::from(operation_seconds) * 20),
        capacity_lag: SignedDuration::from_secs(2),
        check_duration: SignedDuration::from_secs(10),
        ..SimulatorOptions::new(Account::new("a1b2c", namespaces))
    }
}

fn idle(number: usize) -> NamespaceSetup {
    NamespaceSetup::new(format!("idle-{number:02}"), Load::Idle).with_trus(4)
}

/// Returns a fault that makes the service change another field of the spec with each update.
fn damaging() -> Faults {
    Faults {
        changes_with_update: Some(("retentionDays".to_owned(), json!(99))),
        ..Faults::default()
    }
}

/// Starts a worker that releases based on a single minute, because these tests are about changes.
fn releasing(world: &World, settings: &[(&str, &str)]) -> std::process::Child {
    let mut command = world.command(&[]);
    command
        .env("DISABLE_ON_ESTIMATE", "true")
        .envs(settings.iter().copied());
    command.spawn().expect("started")
}

async fn evaluate(world: &World) {
    Controller::new(&world.client, &Installation::default())
        .trigger(Trigger::Evaluation)
        .await
        .expect("signaled");
}

async fn posted(world: &World, least: u64) {
    world
        .until("posted", PATIENT, |cloud| count(cloud, POST) >= least)
        .await;
}

fn kill(mut worker: std::process::Child) {
    worker.kill().expect("killed");
    worker.wait().expect("gone");
}

async fn until_paused(world: &World) {
    let begun = std::time::Instant::now();
    loop {
        let pause = pauses::read(&world.client, &Installation::default(), PauseKind::Spec).await;
        if pause.is_ok_and(|pause| pause.is_some_and(|pause| pause.seen.open)) {
            return;
        }
        assert!(begun.elapsed() < Duration::from_mins(1), "nothing is paused");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The digests of the spec are in the history before the POST, so another worker detects that the update
/// changed more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_killed_while_the_first_change_runs_damages_one_namespace() {
    let Some(world) = World::of(cloud((0..6).map(idle).collect(), 3)).await else {
        return;
    };
    world.cloud.set_faults(damaging());
    let first = releasing(&world, &[]);
    evaluate(&world).await;
    posted(&world, 1).await;
    // The first reading takes place one second after the POST.
    kill(first);
    let second = releasing(&world, &[]);
    until_paused(&world).await;
    evaluate(&world).await;
    until_evaluated(&world, 2).await;
    assert_eq!(count(&world.cloud, POST), 1, "one namespace is damaged");
    kill(second);
    world.server.shutdown().await;
}

async fn until_evaluated(world: &World, evaluations: u64) {
    until_status(world, "evaluated", |status| {
        status.evaluations >= evaluations && status.phase == ControllerPhase::Waiting
    })
    .await;
}

async fn until_status(world: &World, what: &str, is_so: impl Fn(&capacity_workflows::Status) -> bool) {
    let begun = std::time::Instant::now();
    loop {
        let status = Controller::new(&world.client, &Installation::default())
            .status(PATIENT)
            .await;
        if status.as_ref().is_ok_and(&is_so) {
            return;
        }
        assert!(begun.elapsed() < Duration::from_mins(1), "not {what}: {status:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// After half a minute without any worker, the controller may start a second scale-up before the first has
/// been verified.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it waits for most of a minute: .ci/full runs it"]
async fn without_any_worker_for_a_while_two_namespaces_are_damaged_at_most() {
    let hot = |number: usize| NamespaceSetup::new(format!("hot-{number}"), Load::Steady(800.0));
    let Some(world) = World::of(cloud((0..6).map(hot).collect(), 3)).await else {
        return;
    };
    world.cloud.set_faults(damaging());
    let first = releasing(&world, &[]);
    evaluate(&world).await;
    posted(&world, 1).await;
    kill(first);
    tokio::time::sleep(Duration::from_secs(40)).await;
    let second = releasing(&world, &[]);
    until_paused(&world).await;
    evaluate(&world).await;
    until_evaluated(&world, 2).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let damaged = count(&world.cloud, POST);
    assert!((1..=2).contains(&damaged), "{damaged} namespaces are damaged");
    kill(second);
    world.server.shutdown().await;
}

/// A controller whose first step was made by a different program, so that no worker can replay it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it waits for most of a minute: .ci/full runs it"]
async fn a_controller_that_cannot_be_replayed_is_replaced() {
    let hot = NamespaceSetup::new("hot", Load::Steady(800.0));
    let Some(world) = World::of(cloud(vec![hot], 1)).await else {
        return;
    };
    evaluate(&world).await;
    let mut service = world.client.clone();
    let poll = PollWorkflowTaskQueueRequest {
        namespace: "default".to_owned(),
        task_queue: Some(TaskQueue {
            name: Installation::default().task_queue().to_owned(),
            ..TaskQueue::default()
        }),
        ..PollWorkflowTaskQueueRequest::default()
    };
    let task = WorkflowService::poll_workflow_task_queue(&mut service, poll.into_request());
    let task = task.await.expect("a task").into_inner();
    let timer = StartTimerCommandAttributes {
        timer_id: "1".to_owned(),
        start_to_fire_timeout: Some(Duration::from_hours(1).try_into().expect("in range")),
    };
    let timer = Command {
        command_type: CommandType::StartTimer.into(),
        attributes: Some(Attributes::StartTimerCommandAttributes(timer)),
        ..Command::default()
    };
    let step = RespondWorkflowTaskCompletedRequest {
        task_token: task.task_token,
        namespace: "default".to_owned(),
        commands: vec![timer],
        ..RespondWorkflowTaskCompletedRequest::default()
    };
    WorkflowService::respond_workflow_task_completed(&mut service, step.into_request())
        .await
        .expect("taken");
    evaluate(&world).await;
    let worker = releasing(&world, &[]);
    world
        .until(
            "scaled up by another controller",
            Duration::from_mins(3),
            |cloud| cloud.changes().len() == 1,
        )
        .await;
    kill(worker);
    world.server.shutdown().await;
}

/// The setting that changes after an evaluation, while twenty changes are in progress or waiting.
#[derive(Debug, Clone, Copy)]
enum Later {
    Denied,
    DryRun,
    Paused,
}

#[rstest]
#[case::denied(Later::Denied)]
#[case::dry_run(Later::DryRun)]
#[case::paused(Later::Paused)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_of_a_restarted_worker_apply_to_changes_decided_earlier(#[case] later: Later) {
    let Some(world) = World::of(cloud((0..20).map(idle).collect(), 6)).await else {
        return;
    };
    let first = releasing(&world, &[]);
    evaluate(&world).await;
    posted(&world, 3).await;
    kill(first);
    let before = count(&world.cloud, POST);
    assert!(before < 20, "some wait");
    let settings: &[(&str, &str)] = match later {
        Later::Denied => &[("NAMESPACE_DENYLIST", "idle-*")],
        Later::DryRun => &[("DRY_RUN_MODE", "true")],
        Later::Paused => {
            let installation = Installation::default();
            pauses::open(
                &world.client,
                &installation,
                PauseKind::All,
                "a test",
                "ana",
                None,
            )
            .await
            .expect("paused");
            &[]
        }
    };
    let second = releasing(&world, settings);
    // Changes in progress finish. Waiting changes start and check the state once more, or are dropped.
    until_status(&world, "at rest", |status| {
        status.changes_queued == 0 && status.changes_in_progress.is_empty()
    })
    .await;
    evaluate(&world).await;
    until_evaluated(&world, 2).await;
    assert_eq!(
        count(&world.cloud, POST),
        before,
        "{later:?}: nothing more is posted"
    );
    assert_eq!(world.cloud.accepted().len() as u64, before);
    assert_eq!(world.cloud.incidents(), []);
    kill(second);
    world.server.shutdown().await;
}
