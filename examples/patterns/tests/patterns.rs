//! Tests of the patterns on a real Temporal development server, and replay of recorded histories.

#![allow(missing_docs, reason = "a test binary has no readers of its documentation")]

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use patterns::fallback::{Fallback, Request, Scenario};
use patterns::fire_and_forget::{Background, FireAndForget, Work};
use patterns::long_running::{Account, LongRunning};
use patterns::orchestration::{Numbers, Orchestration};
use patterns::saga::{Saga, Step, Trip};
use patterns::{TASK_QUEUE, registry};
use prost::Message;
use temporal_worker_kit::{Config, Kit, Lenient};
use temporalio_client::{
    Client, UntypedWorkflow, WorkflowCancelOptions, WorkflowDescribeOptions, WorkflowExecutionStatus,
    WorkflowFetchHistoryOptions, WorkflowGetResultOptions, WorkflowSignalOptions, WorkflowStartOptions,
};
use temporalio_common::data_converters::{PayloadConverter, RawValue};
use temporalio_common::protos::temporal::api::history::v1::History;
use temporalio_sdk::workflow_replayer::{
    WorkflowReplayer, WorkflowReplayerOptions, WorkflowReplayerOptionsBuilder,
};

/// If set to 1, the histories of this run replace the fixtures.
const RECORD: &str = "PATTERNS_RECORD_HISTORIES";

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/histories"))
}

fn start(id: &str) -> WorkflowStartOptions {
    WorkflowStartOptions::new(TASK_QUEUE, id).build()
}

fn to_end() -> WorkflowGetResultOptions {
    WorkflowGetResultOptions::default()
}

async fn with_worker(body: impl AsyncFnOnce(&Client)) {
    let options = temporal_dev_server::Options::default();
    let server = temporal_dev_server::start(&options, &|_| {})
        .await
        .expect("a server");
    let mut config = Config {
        listen: None,
        ..Config::default()
    };
    config.connection.address = server.address().to_string();
    "patterns-tests".clone_into(&mut config.connection.identity);
    let mut running = Kit::new(config, registry()).start().await.expect("started");
    body(&running.client()).await;
    running.stop();
    running.wait().await.expect("drained");
    server.shutdown().await;
}

async fn history(client: &Client, id: &str) -> History {
    let handle = client.get_workflow_handle::<UntypedWorkflow>(id);
    let history = handle.fetch_history(WorkflowFetchHistoryOptions::builder().build());
    let events = history.into_events().await.expect("a history");
    History { events }
}

async fn replay(history: History) -> Result<(), String> {
    assert!(!history.events.is_empty());
    let options = WorkflowReplayerOptions::new()
        .register_workflow::<Orchestration>()
        .and_then(WorkflowReplayerOptionsBuilder::register_workflow::<Fallback>)
        .and_then(WorkflowReplayerOptionsBuilder::register_workflow::<FireAndForget>)
        .and_then(WorkflowReplayerOptionsBuilder::register_workflow::<Background>)
        .and_then(WorkflowReplayerOptionsBuilder::register_workflow::<LongRunning>)
        .and_then(WorkflowReplayerOptionsBuilder::register_workflow::<Saga>)
        .expect("the names differ")
        .build();
    let replayer = WorkflowReplayer::new(options).expect("a replayer");
    tokio::time::timeout(Duration::from_secs(30), replayer.replay_workflow(history.into()))
        .await
        .map_err(|_| "not in time".to_owned())?
        .map_err(|error| format!("{error:?}"))
}

/// Replays the history of a finished run, and saves it as a fixture if requested.
async fn check_history(client: &Client, id: &str, name: &str) {
    let history = history(client, id).await;
    if std::env::var(RECORD).as_deref() == Ok("1") {
        std::fs::write(folder().join(format!("{name}.pb")), history.encode_to_vec()).expect("kept");
    }
    replay(history).await.expect("deterministic");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn children_run_in_parallel_and_an_invalid_input_starts_none() {
    with_worker(async |client| {
        let numbers = Numbers {
            a: Some(3),
            b: Some(4),
        };
        let handle = client
            .start_workflow(Orchestration::run, numbers.into(), start("good"))
            .await
            .expect("started");
        let combined = handle.get_result(to_end()).await.expect("a result");
        assert_eq!((combined.sum, combined.product, combined.total), (7, 12, 19));
        check_history(client, "good", "orchestration").await;

        let numbers = Numbers {
            a: Some(9_999_999),
            b: None,
        };
        let handle = client
            .start_workflow(Orchestration::run, numbers.into(), start("bad"))
            .await
            .expect("started");
        let error = handle.get_result(to_end()).await.expect_err("refused");
        let text = temporal_worker_kit::chain(&error);
        assert!(
            text.contains("`a` = 9999999") && text.contains("`b` is missing"),
            "{text}"
        );
        let child = client.get_workflow_handle::<UntypedWorkflow>("bad/add");
        assert!(
            child.describe(WorkflowDescribeOptions::default()).await.is_err(),
            "no child started"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fallback_is_chosen_by_the_type_of_the_error() {
    with_worker(async |client| {
        for (scenario, id, source) in [
            (Scenario::Healthy, "healthy", "provider"),
            (Scenario::ActivityFailure, "failure", "cache"),
            (Scenario::TimeoutInside, "inside", "provider"),
            (Scenario::TimeoutBeyond, "beyond", "estimate"),
        ] {
            let request = Request { scenario };
            let handle = client
                .start_workflow(Fallback::run, request.into(), start(id))
                .await
                .expect("started");
            let price = handle.get_result(to_end()).await.expect("a price");
            assert_eq!(price.source, source, "{scenario:?}: {price:?}");
            check_history(client, id, &format!("fallback-{id}")).await;
        }
        let request = Request {
            scenario: Scenario::Broken,
        };
        let handle = client
            .start_workflow(Fallback::run, request.into(), start("broken"))
            .await
            .expect("started");
        let error = handle
            .get_result(to_end())
            .await
            .expect_err("no fallback for other errors");
        assert!(
            temporal_worker_kit::chain(&error).contains("negative price"),
            "{error:?}"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_abandoned_child_outlives_its_parent() {
    with_worker(async |client| {
        let work = Work { millis: 1_500 };
        let handle = client
            .start_workflow(FireAndForget::run, work.into(), start("parent"))
            .await
            .expect("started");
        let child = handle.get_result(to_end()).await.expect("an id");
        let child_handle = client.get_workflow_handle::<Background>(child.clone());
        let described = child_handle
            .describe(WorkflowDescribeOptions::default())
            .await
            .expect("a child");
        assert_eq!(
            described.status(),
            WorkflowExecutionStatus::Running,
            "the parent has completed"
        );
        assert_eq!(
            child_handle.get_result(to_end()).await.expect("done"),
            "worked for 1500 ms"
        );
        check_history(client, "parent", "fire-and-forget").await;
        check_history(client, &child, "background").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn state_and_pending_signals_are_carried_over() {
    with_worker(async |client| {
        let account = Lenient::from(Account::default());
        client
            .start_workflow(LongRunning::run, account, start("account"))
            .await
            .expect("started");
        let handle = client.get_workflow_handle::<LongRunning>("account");
        for amount in 1..=30_i64 {
            let amount = RawValue::from_value(&amount, &PayloadConverter::default());
            handle
                .signal(LongRunning::deposit, amount, WorkflowSignalOptions::default())
                .await
                .expect("sent");
        }
        let junk = RawValue::from_value(&"junk".to_owned(), &PayloadConverter::default());
        handle
            .signal(LongRunning::deposit, junk, WorkflowSignalOptions::default())
            .await
            .expect("sent");
        handle
            .signal(
                LongRunning::close,
                RawValue::default(),
                WorkflowSignalOptions::default(),
            )
            .await
            .expect("sent");
        let account = handle.get_result(to_end()).await.expect("closed");
        assert_eq!(
            (account.balance, account.deposits, account.rejected),
            (465, 30, 1),
            "{account:?}"
        );
        assert!(account.runs >= 3, "{account:?}");
        check_history(client, "account", "long-running").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn completed_steps_are_compensated_in_reverse_order() {
    with_worker(async |client| {
        for (fail_at, id, log) in [
            (None, "none", vec!["booked flight", "booked hotel", "booked card"]),
            (
                Some(Step::Card),
                "card",
                vec![
                    "booked flight",
                    "booked hotel",
                    "canceled hotel",
                    "canceled flight",
                ],
            ),
            (Some(Step::Flight), "flight", vec![]),
        ] {
            let trip = Trip { fail_at };
            let handle = client
                .start_workflow(Saga::run, trip.into(), start(id))
                .await
                .expect("started");
            let outcome = handle.get_result(to_end()).await.expect("an outcome");
            assert_eq!(outcome.log, log);
            assert_eq!(outcome.booked, fail_at.is_none());
            check_history(client, id, &format!("saga-{id}")).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canceled_child_does_not_report_work_as_done() {
    with_worker(async |client| {
        let work = Work { millis: 60_000 };
        let handle = client
            .start_workflow(Background::run, work, start("canceled"))
            .await
            .expect("started");
        handle
            .cancel(WorkflowCancelOptions::default())
            .await
            .expect("sent");
        let result = tokio::time::timeout(Duration::from_secs(20), handle.get_result(to_end())).await;
        assert!(result.expect("in time").is_err());
    })
    .await;
}

/// Needs no server. If a code change prevents the replay of a history, every open run of that kind is
/// blocked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recorded_histories_replay_and_a_changed_one_does_not() {
    let mut replayed = 0;
    let mut changed = None;
    for entry in std::fs::read_dir(folder()).expect("recorded histories") {
        let path = entry.expect("readable").path();
        if path.extension().is_some_and(|extension| extension == "pb") {
            let bytes = std::fs::read(&path).expect("readable");
            let history = History::decode(bytes.as_slice()).expect("a history");
            if path.file_stem().is_some_and(|name| name == "saga-card") {
                changed = Some(history.clone());
            }
            replay(history)
                .await
                .unwrap_or_else(|problem| panic!("{}: {problem}", path.display()));
            replayed += 1;
        }
    }
    assert!(replayed >= 10, "{replayed} fixtures");
    let mut changed = changed.expect("the saga's fixture");
    for event in &mut changed.events {
        use temporalio_common::protos::temporal::api::history::v1::history_event::Attributes;
        if let Some(Attributes::ActivityTaskScheduledEventAttributes(scheduled)) = &mut event.attributes
            && let Some(kind) = &mut scheduled.activity_type
        {
            kind.name = "another.step".to_owned();
        }
    }
    replay(changed).await.expect_err("different steps do not replay");
}

#[test]
fn each_pattern_runs_with_one_command_within_30_s() {
    for name in [
        "orchestration",
        "fallback",
        "fire-and-forget",
        "long-running",
        "saga",
    ] {
        let begun = Instant::now();
        let output = Command::new(env!("CARGO_BIN_EXE_patterns"))
            .args(["run", name])
            .output()
            .expect("ran");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "{name}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        for line in text.lines() {
            serde_json::from_str::<serde_json::Value>(line).expect("JSON");
        }
        assert!(
            begun.elapsed() < Duration::from_mins(1),
            "{name} took {:?}",
            begun.elapsed()
        );
    }
    let refused = Command::new(env!("CARGO_BIN_EXE_patterns"))
        .args(["run", "orchestration", "--a", "9999999"])
        .output()
        .expect("ran");
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("`a` = 9999999 must be from"));
}
