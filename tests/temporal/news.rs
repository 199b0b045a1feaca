//! Tests of announcements: what is announced, to whom, and how often.

use std::time::Duration;

use capacity_workflows::{EvaluationTick, Lenient, TickRequest, names};
use cloud_simulator::{Faults, MetricsFault};
use temporalio_client::{UntypedWorkflow, WorkflowGetResultOptions, WorkflowStartOptions};
use temporalio_common::data_converters::RawValue;

use crate::harness::{Setup, TASK_QUEUE, World, throttled, with_worker};

fn titles(world: &World) -> Vec<String> {
    let messages = world.cloud.slack_messages();
    let texts = messages.iter().filter_map(|message| message["text"].as_str());
    texts.map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standing_problem_is_told_once_and_once_when_it_ends() {
    let setup = Setup {
        dry_run: false,
        ..throttled(&["checkout"])
    };
    with_worker("standing", setup, async |world| {
        world.cloud.set_faults(Faults {
            metrics: MetricsFault::Limited,
            ..Faults::default()
        });
        assert!(world.evaluate("first").await.metrics_unavailable);
        assert!(world.evaluate("second").await.metrics_unavailable);
        world
            .until("announced", Duration::from_mins(1), async || {
                !titles(world).is_empty()
            })
            .await;
        let told = titles(world);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("Metrics unavailable"), "{told:?}");
        world.cloud.set_faults(Faults::default());
        let report = world.evaluate("third").await;
        assert_eq!((report.metrics_unavailable, report.changes.len()), (false, 1));
        world
            .until("announced", Duration::from_mins(1), async || {
                let told = titles(world);
                told.len() == 3
                    && told.iter().any(|it| it.contains("the account: metrics unusable"))
                    && told.iter().any(|it| it.contains("[checkout.a1b2c]"))
            })
            .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_controller_fails_its_tick_and_people_are_told() {
    with_worker("silent", throttled(&["checkout"]), async |world| {
        // A workflow of an unknown type occupies the controller's id.
        let options = WorkflowStartOptions::new(TASK_QUEUE, names::CONTROLLER_ID).build();
        world
            .client
            .start_workflow(
                UntypedWorkflow::new("NoSuchWorkflow"),
                RawValue::default(),
                options,
            )
            .await
            .expect("started");
        let impatient = TickRequest {
            wait_seconds: Some(2),
        };
        let options = WorkflowStartOptions::new(TASK_QUEUE, names::TICK_ID).build();
        let tick = world
            .client
            .start_workflow(EvaluationTick::run, Lenient::from(impatient), options)
            .await
            .expect("started");
        let failed = tick
            .get_result(WorkflowGetResultOptions::default())
            .await
            .expect_err("the tick fails, visibly");
        assert!(format!("{failed:?}").contains("announced at"), "{failed:?}");
        let told = titles(world);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("not responding"), "{told:?}");
    })
    .await;
}
