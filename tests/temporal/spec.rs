//! Tests that an update that changes more than the capacity stops all changes until someone has checked the
//! spec.

use std::time::Duration;

use capacity_workflows::controller::Controller;
use capacity_workflows::{CapacityManagementWorkflow, PauseKind, names, pauses};
use cloud_simulator::{Account, Faults, Load, NamespaceSetup};
use jiff::SignedDuration;
use serde_json::json;
use temporalio_client::{WorkflowFetchHistoryOptions, WorkflowTerminateOptions};

use crate::harness::{Setup, with_worker};

const PATIENT: Duration = Duration::from_mins(2);

fn six_idle() -> Setup {
    let idle = |number| NamespaceSetup::new(format!("idle-{number}"), Load::Idle).with_trus(4);
    let mut setup = Setup {
        account: Account::new("a1b2c", (0..6).map(idle).collect()),
        ..Setup::default()
    };
    setup.rules.guards.disable_on_estimate = true;
    setup
}

fn damaging() -> Faults {
    Faults {
        changes_with_update: Some(("retentionDays".to_owned(), json!(99))),
        ..Faults::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_damaged_spec_pauses_everything_until_someone_resumes() {
    with_worker("damaged", six_idle(), async |world| {
        world.cloud.set_faults(damaging());
        let report = world.evaluate("first").await;
        assert_eq!(world.posts(), 1, "{report:?}");
        let changed = report
            .changes
            .iter()
            .find(|it| it.outcome == "changed")
            .expect("the canary");
        assert_eq!(changed.spec_differences, ["retentionDays"]);
        let message = format!(
            "paused: the spec of {} changed after our update (fields: retentionDays)",
            changed.namespace
        );
        world
            .until("announced", PATIENT, async || {
                world
                    .messages()
                    .iter()
                    .any(|it| it.contains(&message) && it.contains("Critical"))
            })
            .await;
        let pause = pauses::read(&world.client, &world.installation, PauseKind::Spec)
            .await
            .expect("read");
        assert!(pause.is_some_and(|pause| pause.seen.open));
        // Neither another evaluation nor another controller changes anything.
        let second = world.evaluate("second").await;
        assert!(second.paused && second.changes.is_empty(), "{second:?}");
        let controller = world
            .client
            .get_workflow_handle::<CapacityManagementWorkflow>(names::CONTROLLER_ID);
        controller
            .terminate(WorkflowTerminateOptions::default())
            .await
            .expect("terminated");
        let third = world.evaluate("third").await;
        assert!(third.paused && third.changes.is_empty(), "{third:?}");
        let told = Controller::new(&world.client, &world.installation)
            .status(PATIENT)
            .await
            .expect("a response");
        assert!(told.paused.is_some_and(|why| why.contains("retentionDays")));
        assert_eq!(world.posts(), 1);
        // Someone has checked the spec.
        world.cloud.set_faults(Faults::default());
        pauses::close(&world.client, &world.installation, PauseKind::Spec, "a test")
            .await
            .expect("closed");
        tokio::time::sleep(Duration::from_secs(20)).await;
        world.evaluate("fourth").await;
        world
            .until("released", Duration::from_mins(1), async || {
                world.cloud.changes().len() == 6
            })
            .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_field_that_only_appeared_is_announced_and_pauses_nothing() {
    with_worker("appeared", six_idle(), async |world| {
        world.cloud.set_faults(Faults {
            changes_with_update: Some(("brandNewField".to_owned(), json!({"on": true}))),
            ..Faults::default()
        });
        let report = world.evaluate("first").await;
        assert_eq!(world.cloud.changes().len(), 6, "{report:?}");
        assert!(!report.paused);
        world
            .until("announced", PATIENT, async || {
                world.messages().iter().any(|it| it.contains("brandNewField"))
            })
            .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_field_that_is_not_compared_pauses_nothing() {
    let setup = Setup {
        spec_fields_not_compared: vec!["retentionDays".to_owned()],
        ..six_idle()
    };
    with_worker("not-compared", setup, async |world| {
        world.cloud.set_faults(damaging());
        world.evaluate("first").await;
        assert_eq!(world.cloud.changes().len(), 6);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_difference_at_the_end_holds_the_namespace_and_a_second_one_pauses_everything() {
    let setup = Setup {
        operation_lag: SignedDuration::from_secs(60),
        ..six_idle()
    };
    with_worker("at-the-end", setup, async |world| {
        world.cloud.set_faults(Faults {
            changes_at_end: Some(("retentionDays".to_owned(), json!(99))),
            ..Faults::default()
        });
        world.evaluate("first").await;
        world
            .until("paused", Duration::from_mins(1), async || {
                let pause = pauses::read(&world.client, &world.installation, PauseKind::Spec).await;
                pause.is_ok_and(|pause| pause.is_some_and(|pause| pause.seen.open))
            })
            .await;
        assert!(
            world
                .messages()
                .iter()
                .any(|it| it.contains("changed while our update was running")),
            "{:?}",
            world.messages()
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_a_large_spec_reaches_a_history() {
    let setup = Setup {
        account: Account::new(
            "a1b2c",
            vec![NamespaceSetup::new("checkout", Load::Steady(560.0))],
        ),
        ..Setup::default()
    };
    with_worker("large-spec", setup, async |world| {
        let certificate = "SECRETCERTIFICATE".repeat(12_000);
        assert!(world.cloud.edit_spec_by_others(
            "checkout.a1b2c",
            "mtlsAuth",
            json!({"acceptedClientCa": certificate}),
        ));
        let report = world.evaluate("first").await;
        assert_eq!(report.changes[0].outcome, "changed", "{report:?}");
        for id in [
            names::change_id("checkout.a1b2c"),
            names::CONTROLLER_ID.to_owned(),
        ] {
            let handle = world.client.get_workflow_handle::<CapacityManagementWorkflow>(id);
            let history = handle.fetch_history(WorkflowFetchHistoryOptions::builder().build());
            let events = history.into_events().await.expect("a history");
            let text = format!("{events:?}");
            assert!(
                !text.contains("SECRETCERTIFICATE") && !text.contains("U0VDUkVU"),
                "the spec is in a history"
            );
            let bytes: usize = events.iter().map(prost::Message::encoded_len).sum();
            assert!(bytes < 100_000, "{bytes} bytes");
        }
    })
    .await;
}
