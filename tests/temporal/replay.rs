//! Histories just made replay.

use std::time::Duration;

use capacity_workflows::{CapacityChange, CapacityManagementWorkflow, EvaluationTick, names};
use cloud_simulator::{Account, Load, NamespaceSetup};
use temporalio_client::WorkflowFetchHistoryOptions;
use temporalio_common::protos::temporal::api::history::v1::History;
use temporalio_sdk::workflow_replayer::{
    WorkflowReplayer, WorkflowReplayerOptions, WorkflowReplayerOptionsBuilder,
};

use crate::harness::{Setup, with_worker};

async fn replay(history: History) {
    assert!(!history.events.is_empty());
    let options = WorkflowReplayerOptions::new()
        .register_workflow::<CapacityManagementWorkflow>()
        .and_then(WorkflowReplayerOptionsBuilder::register_workflow::<CapacityChange>)
        .and_then(WorkflowReplayerOptionsBuilder::register_workflow::<EvaluationTick>)
        .expect("the names differ")
        .build();
    let replayer = WorkflowReplayer::new(options).expect("a replayer");
    let outcome =
        tokio::time::timeout(Duration::from_secs(30), replayer.replay_workflow(history.into())).await;
    outcome.expect("in time").expect("deterministic");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_just_run_replays() {
    let account = Account::new(
        "a1b2c",
        vec![NamespaceSetup::new("checkout", Load::Steady(560.0))],
    );
    with_worker(
        "replay",
        Setup {
            account,
            ..Setup::default()
        },
        async |world| {
            let report = world.evaluate("first").await;
            assert_eq!(report.changes[0].outcome, "changed");
            for id in [
                names::CONTROLLER_ID.to_owned(),
                names::change_id("checkout.a1b2c"),
            ] {
                let handle = world.client.get_workflow_handle::<CapacityManagementWorkflow>(id);
                let history = handle.fetch_history(WorkflowFetchHistoryOptions::builder().build());
                let events = history.into_events().await.expect("a history");
                replay(History { events }).await;
            }
        },
    )
    .await;
}
