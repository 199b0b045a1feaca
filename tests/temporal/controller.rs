//! Tests of the controller, its changes and its tick.

use std::time::Duration;

use capacity_workflows::controller::Controller;
use capacity_workflows::{
    CapacityChange, CapacityManagementWorkflow, ChangeRequest, EvaluationTick, Installation, Lenient, names,
};
use cloud_simulator::{Account, Faults, Load, NamespaceSetup};
use jiff::SignedDuration;
use temporalio_client::{
    WorkflowExecuteUpdateOptions, WorkflowFetchHistoryOptions, WorkflowGetResultOptions,
    WorkflowSignalOptions, WorkflowStartOptions,
};
use temporalio_common::data_converters::{PayloadConverter, RawValue};
use temporalio_common::protos::temporal::api::enums::v1::EventType;
use temporalio_common::protos::temporal::api::history::v1::HistoryEvent;

use crate::harness::{Setup, TASK_QUEUE, World, with_worker};

const PATIENT: Duration = Duration::from_mins(2);

fn throttled(names: &[&str]) -> Account {
    Account::new(
        "a1b2c",
        names
            .iter()
            .map(|name| NamespaceSetup::new(*name, Load::Steady(560.0)))
            .collect(),
    )
}

fn outcomes(report: &capacity_workflows::EvaluationReport) -> Vec<String> {
    report
        .changes
        .iter()
        .map(|it| {
            format!(
                "{} {} -> {}: {}",
                it.namespace, it.from_trus, it.to_trus, it.outcome
            )
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_evaluation_is_carried_out_and_the_next_finds_nothing_to_do() {
    with_worker("carried-out", Setup::default(), async |world| {
        let report = world.evaluate("first").await;
        let mut changes = outcomes(&report);
        changes.sort();
        assert_eq!(
            changes,
            [
                "analytics.a1b2c 8 -> 0: changed",
                "checkout.a1b2c 0 -> 6: changed",
                "orders.a1b2c 4 -> 0: changed",
                "reports.a1b2c 2 -> 0: changed",
            ]
        );
        assert_eq!(
            report.summary,
            "evaluation 1: 3 Disable, 1 Enable, 2 Hold, 6 Keep; 4 of 4 changes carried out"
        );
        assert_eq!(world.cloud.incidents(), []);
        // Each change announces its own end.
        world
            .until("announced", PATIENT, async || {
                let messages = world.messages();
                ["analytics", "checkout", "orders", "reports"]
                    .iter()
                    .all(|name| messages.iter().any(|it| it.contains(&format!("[{name}.a1b2c]"))))
            })
            .await;
        world.cloud.advance(SignedDuration::from_mins(6));
        // Evaluations are at least twenty seconds apart.
        let again = world.evaluate("second").await;
        assert_eq!((again.number, again.changes.len(), again.error), (2, 0, None));
        let status = Controller::new(&world.client, &Installation::default())
            .status(PATIENT)
            .await
            .expect("a response");
        assert_eq!(
            (
                status.phase.as_str(),
                status.evaluations,
                status.account.as_deref()
            ),
            ("waiting", 2, Some("a1b2c"))
        );
        assert!(
            status
                .summary
                .starts_with("waiting for the next trigger; last: evaluation 2:"),
            "{}",
            status.summary
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_changes_nothing_even_if_a_change_is_started_manually() {
    let setup = Setup {
        dry_run: true,
        ..Setup::default()
    };
    with_worker("dry-run", setup, async |world| {
        let report = world.evaluate("first").await;
        assert!(report.dry_run && report.changes.is_empty());
        assert_eq!(report.counts["Enable"], 1);
        assert!(
            report.summary.ends_with("dry run: nothing was changed"),
            "{}",
            report.summary
        );
        // Someone starts a change manually. The activity that writes checks the setting of its own worker.
        let request = ChangeRequest {
            namespace: "checkout.a1b2c".to_owned(),
            to_trus: 6,
            operation_id: "7ca9ac17-0000-8000-8000-000000000000".to_owned(),
            resource_version: world
                .cloud
                .namespace("checkout.a1b2c")
                .expect("there")
                .resource_version,
            ..ChangeRequest::default()
        };
        let options = WorkflowStartOptions::new(TASK_QUEUE, names::change_id("checkout.a1b2c")).build();
        let change = world
            .client
            .start_workflow(CapacityChange::run, Lenient::from(request), options)
            .await
            .expect("started");
        let report = change
            .get_result(WorkflowGetResultOptions::default())
            .await
            .expect("a report");
        assert_eq!(
            (report.outcome.as_str(), report.code.as_deref()),
            ("not_started", Some("dry_run"))
        );
        assert!(
            report
                .error
                .as_deref()
                .is_some_and(|why| why.contains("DRY_RUN_MODE")),
            "{report:?}"
        );
        assert_eq!(
            (world.cloud.changes(), world.cloud.slack_messages().len()),
            (vec![], 0)
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_come_together_get_the_same_evaluation() {
    let setup = Setup {
        account: throttled(&["checkout"]),
        attempts: 200,
        ..Setup::default()
    };
    Box::pin(with_worker("joined", setup, async |world| {
        // The evaluation cannot end before the cloud responds, so the second caller finds it in progress
        // however slow the machine is.
        world.cloud.set_faults(Faults {
            too_many_requests: 1.0,
            retry_after: Some(1),
            ..Faults::default()
        });
        let both_accepted = async {
            world
                .until("accepted twice", PATIENT, async || {
                    accepted_updates(world).await == 2
                })
                .await;
            world.cloud.set_faults(Faults::default());
        };
        let (one, other, ()) = tokio::join!(world.evaluate("one"), world.evaluate("other"), both_accepted);
        assert_eq!((one.number, &one.plan_id), (other.number, &other.plan_id));
        assert_eq!(one.error, None);
        assert_eq!(world.cloud.changes().len(), 1);
    }))
    .await;
}

/// Returns the number of updates in the controller's history; zero while there is no controller.
async fn accepted_updates(world: &World) -> usize {
    let handle = world
        .client
        .get_workflow_handle::<CapacityManagementWorkflow>(names::CONTROLLER_ID);
    let history = handle.fetch_history(WorkflowFetchHistoryOptions::builder().build());
    let events = history.into_events().await.unwrap_or_default();
    let is_accepted =
        |event: &&HistoryEvent| event.event_type() == EventType::WorkflowExecutionUpdateAccepted;
    events.iter().filter(is_accepted).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_paused_an_evaluation_changes_nothing() {
    let setup = Setup {
        account: throttled(&["checkout"]),
        ..Setup::default()
    };
    with_worker("paused", setup, async |world| {
        let controller = start_controller(world, Lenient::default()).await;
        let why = RawValue::from_value(&"rotating keys", &PayloadConverter::default());
        let paused = controller
            .execute_update(
                CapacityManagementWorkflow::pause,
                why,
                WorkflowExecuteUpdateOptions::default(),
            )
            .await
            .expect("paused");
        assert_eq!(paused.paused.as_deref(), Some("rotating keys"));
        let report = world.evaluate("first").await;
        assert!(report.paused && report.changes.is_empty());
        assert_eq!(report.decisions[0].reason_code, "paused", "{report:?}");
        let options = WorkflowExecuteUpdateOptions::default();
        let resumed = controller
            .execute_update(CapacityManagementWorkflow::resume, RawValue::default(), options)
            .await;
        assert_eq!(resumed.expect("resumed").paused, None);
        assert_eq!(world.cloud.changes(), []);
        // Resuming triggers an evaluation.
        world
            .until("scaled up", Duration::from_mins(1), async || {
                world.cloud.changes().len() == 1
            })
            .await;
    })
    .await;
}

async fn start_controller(
    world: &World,
    input: Lenient<capacity_workflows::ControllerState>,
) -> temporalio_client::WorkflowHandle<temporalio_client::Client, CapacityManagementWorkflow> {
    let options = WorkflowStartOptions::new(TASK_QUEUE, names::CONTROLLER_ID).build();
    world
        .client
        .start_workflow(CapacityManagementWorkflow::run, input, options)
        .await
        .expect("started");
    world
        .client
        .get_workflow_handle::<CapacityManagementWorkflow>(names::CONTROLLER_ID)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_with_an_invalid_payload_is_a_trigger() {
    let setup = Setup {
        account: throttled(&["checkout"]),
        ..Setup::default()
    };
    with_worker("signal", setup, async |world| {
        let controller = start_controller(world, Lenient::default()).await;
        let junk = RawValue::from_value(&"junk", &PayloadConverter::default());
        controller
            .signal(
                CapacityManagementWorkflow::trigger_evaluation,
                junk,
                WorkflowSignalOptions::default(),
            )
            .await
            .expect("signaled");
        let is_evaluated = async || {
            let controller = Controller::new(&world.client, &Installation::default());
            let status = controller.status(PATIENT).await;
            status.is_ok_and(|status| status.evaluations == 1)
        };
        world.until("evaluated", PATIENT, is_evaluated).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tick_returns_the_report_as_its_own_result() {
    let setup = Setup {
        account: throttled(&["checkout"]),
        ..Setup::default()
    };
    with_worker("tick", setup, async |world| {
        let options = WorkflowStartOptions::new(TASK_QUEUE, names::TICK_ID).build();
        let tick = world
            .client
            .start_workflow(EvaluationTick::run, Lenient::default(), options)
            .await
            .expect("started");
        let report = tick
            .get_result(WorkflowGetResultOptions::default())
            .await
            .expect("a report");
        assert_eq!(outcomes(&report), ["checkout.a1b2c 0 -> 6: changed"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_refuses_the_keys_of_another_account() {
    let setup = Setup {
        account: throttled(&["checkout"]),
        ..Setup::default()
    };
    with_worker("account", setup, async |world| {
        let state = capacity_workflows::ControllerState {
            account: Some("zzzzz".to_owned()),
            ..Default::default()
        };
        start_controller(world, Lenient::from(state)).await;
        let report = world.evaluate("first").await;
        let error = report.error.expect("refused");
        assert!(
            error.contains("account zzzzz") && error.contains("account a1b2c"),
            "{error}"
        );
        assert_eq!(world.cloud.changes(), []);
    })
    .await;
}
