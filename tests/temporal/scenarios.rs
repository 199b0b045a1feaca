//! Tests of failures in production: lost controllers, request storms, invalid messages, cancellations,
//! rejected operations, missing metrics, and many namespaces.

use std::time::{Duration, Instant};

use capacity_workflows::controller::{Controller, Trigger};
use capacity_workflows::{CapacityManagementWorkflow, EvaluationTick, Installation, Lenient, names};
use cloud_simulator::{Account, Faults, MetricsFault, OperationFault};
use temporalio_client::{
    UntypedWorkflow, WorkflowCancelOptions, WorkflowGetResultOptions, WorkflowStartOptions,
    WorkflowTerminateOptions,
};
use temporalio_common::data_converters::{PayloadConverter, RawValue};

use crate::harness::{Setup, TASK_QUEUE, World, throttled, with_worker};

const PATIENT: Duration = Duration::from_mins(2);

async fn tick(world: &World, id: &str) -> capacity_workflows::EvaluationReport {
    let options = WorkflowStartOptions::new(TASK_QUEUE, id).build();
    let tick = world
        .client
        .start_workflow(EvaluationTick::run, Lenient::default(), options)
        .await
        .expect("started");
    tick.get_result(WorkflowGetResultOptions::default())
        .await
        .expect("a report")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_tick_restores_a_terminated_controller() {
    with_worker("terminated", throttled(&["checkout"]), async |world| {
        assert_eq!(tick(world, "capacity-evaluation-1").await.number, 1);
        let controller = world
            .client
            .get_workflow_handle::<CapacityManagementWorkflow>(names::CONTROLLER_ID);
        controller
            .terminate(WorkflowTerminateOptions::default())
            .await
            .expect("terminated");
        let report = tick(world, "capacity-evaluation-2").await;
        assert_eq!(
            (report.number, report.error),
            (1, None),
            "a new controller starts counting again"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_signals_causes_at_most_one_evaluation_every_twenty_seconds() {
    with_worker("storm", throttled(&["checkout"]), async |world| {
        let installation = Installation::default();
        let begun = Instant::now();
        let controller = Controller::new(&world.client, &installation);
        for _ in 0..200 {
            let storm = (0..5).map(|_| controller.trigger(Trigger::Evaluation));
            for sent in futures::future::join_all(storm).await {
                sent.expect("sent");
            }
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
        let status = controller.status(PATIENT).await;
        let evaluations = status.expect("a response").evaluations;
        // The first request evaluates at once. The others share one more evaluation twenty seconds later, if
        // the machine is fast enough.
        let most = 2 + begun.elapsed().as_secs() / 20;
        assert!(evaluations <= most, "{evaluations} of at most {most}");
        assert_eq!(world.cloud.changes().len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalid_missing_and_duplicate_inputs_do_no_harm() {
    with_worker("junk", throttled(&["checkout"]), async |world| {
        let converter = PayloadConverter::default();
        let junk = RawValue::from_value(&"junk", &converter);
        let doubled = RawValue::new([junk.payloads.clone(), junk.payloads.clone()].concat());
        for (number, input) in [RawValue::default(), junk.clone(), doubled]
            .into_iter()
            .enumerate()
        {
            for kind in ["CapacityManagementWorkflow", "CapacityChange", "EvaluationTick"] {
                let id = if kind == "CapacityManagementWorkflow" {
                    names::CONTROLLER_ID.to_owned()
                } else {
                    format!("{kind}-{number}")
                };
                let options = WorkflowStartOptions::new(TASK_QUEUE, id.clone()).build();
                let started = world
                    .client
                    .start_workflow(UntypedWorkflow::new(kind), input.clone(), options)
                    .await
                    .expect("started");
                if kind == "CapacityManagementWorkflow" {
                    let status = Controller::new(&world.client, &Installation::default())
                        .status(PATIENT)
                        .await
                        .expect("not wedged");
                    assert_eq!(status.input_problem.is_some(), number > 0, "{status:?}");
                    started
                        .terminate(WorkflowTerminateOptions::default())
                        .await
                        .expect("terminated");
                } else {
                    let ended = started.get_result(WorkflowGetResultOptions::default());
                    tokio::time::timeout(Duration::from_mins(1), ended)
                        .await
                        .expect("not wedged")
                        .expect("ended well");
                }
                if kind == "EvaluationTick" {
                    // The tick has started a new controller.
                    let controller = world
                        .client
                        .get_workflow_handle::<CapacityManagementWorkflow>(names::CONTROLLER_ID);
                    controller
                        .terminate(WorkflowTerminateOptions::default())
                        .await
                        .expect("terminated");
                }
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canceled_controller_answers_its_callers_and_its_changes_continue() {
    let setup = Setup {
        operation_lag: jiff::SignedDuration::from_secs(60),
        ..throttled(&["checkout"])
    };
    with_worker("canceled", setup, async |world| {
        let installation = Installation::default();
        let controller = Controller::new(&world.client, &installation);
        let asked = controller.evaluate("asked", PATIENT);
        let cancel = async {
            world.until("posted", PATIENT, async || world.posts() > 0).await;
            let controller = world
                .client
                .get_workflow_handle::<CapacityManagementWorkflow>(names::CONTROLLER_ID);
            controller
                .cancel(WorkflowCancelOptions::default())
                .await
                .expect("canceled");
        };
        let (answer, ()) = tokio::join!(asked, cancel);
        // The caller gets either the cancellation or the report of the evaluation, which may still have finished.
        if let Err(error) = &answer {
            assert!(error.to_string().contains("canceled"), "{error}");
        }
        world
            .until("changed", PATIENT, async || world.cloud.changes().len() == 1)
            .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejected_operation_is_reported_and_announced() {
    with_worker("rejected", throttled(&["checkout"]), async |world| {
        world.cloud.set_faults(Faults {
            operations: OperationFault::Rejected,
            ..Faults::default()
        });
        let report = world.evaluate("first").await;
        assert_eq!(report.changes[0].outcome, "failed");
        world
            .until("announced", PATIENT, async || {
                let messages = world.messages();
                messages
                    .iter()
                    .any(|it| it.contains("checkout.a1b2c") && it.contains("the operation was rejected"))
            })
            .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unavailable_metrics_are_reported_and_announced() {
    with_worker("blind", throttled(&["checkout"]), async |world| {
        world.cloud.set_faults(Faults {
            metrics: MetricsFault::Limited,
            ..Faults::default()
        });
        let report = world.evaluate("first").await;
        assert!(
            report.metrics_unavailable && report.changes.is_empty(),
            "{report:?}"
        );
        world
            .until("announced", PATIENT, async || world.messages().len() == 1)
            .await;
        assert_eq!(world.cloud.changes(), []);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_namespaces_with_fifty_changes() {
    let setup = Setup {
        account: Account::generate(500, 0.1, 3),
        ..Setup::default()
    };
    with_worker("many", setup, async |world| {
        let bound = Duration::from_mins(4);
        let report = Controller::new(&world.client, &Installation::default())
            .evaluate("first", bound)
            .await
            .expect("a report");
        let failed: Vec<_> = report
            .changes
            .iter()
            .filter(|change| !change.is_success())
            .collect();
        assert!(failed.is_empty(), "{failed:?}");
        assert_eq!((report.changes.len(), world.cloud.changes().len()), (50, 50));
        assert_eq!(report.counts.values().sum::<usize>(), 500);
        assert_eq!(world.cloud.incidents(), []);
        let bytes = serde_json::to_vec(&report).expect("JSON").len();
        assert!(bytes < 200_000, "{bytes} bytes");
    })
    .await;
}
