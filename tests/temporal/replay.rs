//! Replays histories recorded in this run and by earlier versions.

use std::path::PathBuf;
use std::time::Duration;

use capacity_ledger::Location;
use capacity_workflows::{
    CapacityChange, CapacityManagementWorkflow, CapacityRecord, EvaluationTick, LOOP_VERSION, Lenient,
    UsageSampler, names,
};
use cloud_simulator::{Account, Load, NamespaceSetup};
use prost::Message;
use temporalio_client::{WorkflowFetchHistoryOptions, WorkflowGetResultOptions, WorkflowStartOptions};
use temporalio_common::protos::temporal::api::history::v1::History;
use temporalio_sdk::workflow_replayer::{
    WorkflowReplayer, WorkflowReplayerOptions, WorkflowReplayerOptionsBuilder,
};

use crate::harness::{Setup, TASK_QUEUE, with_worker};

/// If set to 1, the histories of this run are saved as additional fixtures.
const RECORD: &str = "TEMPORAL_CAPACITY_RECORD_HISTORIES";

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/histories"))
}

async fn replay(history: History) {
    assert!(!history.events.is_empty());
    let options = WorkflowReplayerOptions::new()
        .register_workflow::<CapacityManagementWorkflow>()
        .and_then(WorkflowReplayerOptionsBuilder::register_workflow::<CapacityChange>)
        .and_then(WorkflowReplayerOptionsBuilder::register_workflow::<EvaluationTick>)
        .and_then(WorkflowReplayerOptionsBuilder::register_workflow::<UsageSampler>)
        .and_then(WorkflowReplayerOptionsBuilder::register_workflow::<CapacityRecord>)
        .expect("the names differ")
        .build();
    let replayer = WorkflowReplayer::new(options).expect("a replayer");
    let outcome =
        tokio::time::timeout(Duration::from_secs(30), replayer.replay_workflow(history.into())).await;
    outcome.expect("in time").expect("deterministic");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn histories_of_this_run_replay() {
    let account = Account::new(
        "a1b2c",
        vec![NamespaceSetup::new("checkout", Load::Steady(560.0))],
    );
    let kept = tempfile::tempdir().expect("a folder");
    with_worker(
        "replay",
        Setup {
            account,
            ledger: Some(Location::Sqlite(kept.path().join("ledger.db"))),
            sampled: true,
            triggers: false,
            ..Setup::default()
        },
        async |world| {
            let options = WorkflowStartOptions::new(TASK_QUEUE, names::TICK_ID).build();
            let tick = world
                .client
                .start_workflow(EvaluationTick::run, Lenient::default(), options)
                .await;
            let report = tick
                .expect("started")
                .get_result(WorkflowGetResultOptions::default())
                .await
                .expect("a report");
            assert_eq!(report.changes[0].outcome, "changed");
            let change = names::change_id("checkout.a1b2c");
            for (kind, id) in [
                ("controller", names::CONTROLLER_ID),
                ("change", change.as_str()),
                ("tick", names::TICK_ID),
                ("sampler", names::SAMPLER_ID),
            ] {
                let handle = world.client.get_workflow_handle::<CapacityManagementWorkflow>(id);
                let history = handle.fetch_history(WorkflowFetchHistoryOptions::builder().build());
                let history = History {
                    events: history.into_events().await.expect("a history"),
                };
                if std::env::var(RECORD).as_deref() == Ok("1") {
                    std::fs::create_dir_all(folder()).expect("made");
                    let version = format!("{}-loop-{LOOP_VERSION}", env!("CARGO_PKG_VERSION"));
                    std::fs::write(
                        folder().join(format!("{kind}-{version}.pb")),
                        history.encode_to_vec(),
                    )
                    .expect("kept");
                }
                replay(history).await;
            }
        },
    )
    .await;
}

/// Needs no server. If a code change prevents the replay of a history, every open run of that kind gets stuck.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recorded_histories_replay() {
    let mut kinds = Vec::new();
    for entry in std::fs::read_dir(folder()).expect("recorded histories") {
        let path = entry.expect("readable").path();
        if path.extension().is_some_and(|extension| extension == "pb") {
            let history =
                History::decode(std::fs::read(&path).expect("readable").as_slice()).expect("a history");
            println!("replaying {}", path.display());
            replay(history).await;
            let name = path
                .file_stem()
                .and_then(|name| name.to_str())
                .unwrap_or_default()
                .to_owned();
            kinds.extend(name.split('-').next().map(str::to_owned));
        }
    }
    kinds.sort();
    kinds.dedup();
    assert_eq!(
        kinds,
        ["change", "controller", "sampler", "tick"],
        "at least one of each kind"
    );
}

/// Proves that replays can fail, with an event out of order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[should_panic(expected = "deterministic")]
async fn a_history_with_different_steps_does_not_replay() {
    let file = format!("change-{}.pb", env!("CARGO_PKG_VERSION"));
    let bytes = std::fs::read(folder().join(file)).expect("a recorded history");
    let mut history = History::decode(bytes.as_slice()).expect("a history");
    for event in &mut history.events {
        use temporalio_common::protos::temporal::api::history::v1::history_event::Attributes;
        if let Some(Attributes::ActivityTaskScheduledEventAttributes(scheduled)) = &mut event.attributes
            && let Some(kind) = &mut scheduled.activity_type
        {
            kind.name = "another_step".to_owned();
        }
    }
    replay(history).await;
}
