//! Replays recorded histories. If a code change prevents the replay of a history, every open run of that kind
//! is blocked.

use std::path::PathBuf;
use std::time::Duration;

use prost::Message as _;
use stack_chain::workflows::{RunBudget, RunFinished, StackDependencyChain, StackExecution};
use temporalio_common::protos::temporal::api::history::v1::History;
use temporalio_sdk::workflow_replayer::{
    WorkflowReplayer, WorkflowReplayerOptions, WorkflowReplayerOptionsBuilder,
};

/// Returns the folder with the histories of released versions.
pub(crate) fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/histories"))
}

/// Replays a history with the current code.
pub(crate) async fn replay(history: History) -> Result<(), String> {
    if history.events.is_empty() {
        return Err("an empty history".to_owned());
    }
    let options = WorkflowReplayerOptions::new()
        .register_workflow::<StackDependencyChain>()
        .and_then(WorkflowReplayerOptionsBuilder::register_workflow::<StackExecution>)
        .and_then(WorkflowReplayerOptionsBuilder::register_workflow::<RunFinished>)
        .and_then(WorkflowReplayerOptionsBuilder::register_workflow::<RunBudget>)
        .expect("the names differ")
        .build();
    let replayer = WorkflowReplayer::new(options).expect("a replayer");
    let outcome =
        tokio::time::timeout(Duration::from_secs(30), replayer.replay_workflow(history.into())).await;
    outcome
        .map_err(|_| "no end within 30 s".to_owned())?
        .map(drop)
        .map_err(|error| format!("{error:?}"))
}

fn recorded() -> Vec<(String, History)> {
    let files = std::fs::read_dir(folder()).expect("recorded histories");
    let mut histories: Vec<(String, History)> = files
        .map(|file| {
            let path = file.expect("readable").path();
            let history =
                History::decode(std::fs::read(&path).expect("readable").as_slice()).expect("a history");
            (
                path.file_stem()
                    .and_then(|it| it.to_str())
                    .unwrap_or_default()
                    .to_owned(),
                history,
            )
        })
        .collect();
    histories.sort_by(|left, right| left.0.cmp(&right.0));
    histories
}

/// Replays the histories of released versions. Needs no server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recorded_histories_replay() {
    let mut kinds = Vec::new();
    for (name, history) in recorded() {
        replay(history)
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        kinds.push(name.split('-').next().unwrap_or_default().to_owned());
    }
    kinds.dedup();
    assert_eq!(
        kinds,
        ["budget", "chain", "claim", "event", "execution", "window"]
    );
}

/// Proves that the test above can fail, with an event out of order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_with_different_steps_does_not_replay() {
    let (_, mut history) = recorded()
        .into_iter()
        .find(|(name, _)| name.starts_with("execution"))
        .expect("recorded");
    let first = history
        .events
        .iter()
        .position(|event| event.event_type == 10)
        .expect("an activity");
    for event in &mut history.events[first..] {
        if event.event_type == 10 {
            event.event_type = 17;
        }
    }
    assert!(replay(history).await.is_err());
}
