//! Tests of events in production: edits by others, an unavailable cloud, a server restart, and
//! continue-as-new.

use std::time::{Duration, Instant};

use capacity_engine::{NamespaceFilter, NamespacePatterns};
use capacity_workflows::controller::{Controller, Trigger};
use capacity_workflows::{
    CapacityChange, CapacityManagementWorkflow, ControllerPhase, Installation, PauseKind, RegisterError,
    names, pauses,
};
use cloud_simulator::{Account, Faults, Load, NamespaceSetup};
use jiff::SignedDuration;
use temporal_dev_server::Options;
use temporalio_client::{WorkflowCancelOptions, WorkflowDescribeOptions, WorkflowGetResultOptions};

use temporalio_sdk::WorkerOptions;

use crate::harness::{QUICK_RUNS, Setup, World, capacity, throttled, with_worker};

const PATIENT: Duration = Duration::from_mins(1);
const POST: &str = "POST /cloud/namespaces/{id}";

async fn until(what: &str, bound: Duration, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < bound, "not {what} within {bound:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn posts(world: &World) -> u64 {
    world.cloud.requests().get(POST).copied().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filters_apply_and_one_failure_does_not_stop_other_changes() {
    let patterns = |globs: &[&str]| NamespacePatterns::try_new(globs).expect("globs");
    let steady = |name: &str| NamespaceSetup::new(name, Load::Steady(560.0));
    let mut refused = steady("readonly");
    refused.access = cloud_simulator::Access::Read;
    let idle = NamespaceSetup::new("idle", Load::Idle).with_trus(4);
    let busy = NamespaceSetup::new("busy", Load::Steady(700.0)).with_trus(4);
    let quiet = NamespaceSetup::new("quiet", Load::Steady(20.0));
    let setup = Setup {
        account: Account::new(
            "a1b2c",
            vec![steady("checkout"), steady("denied"), refused, idle, busy, quiet],
        ),
        rules: crate::harness::on_estimates().with_filter(NamespaceFilter {
            deny: patterns(&["den*"]),
            ..NamespaceFilter::default()
        }),
        ..Setup::default()
    };
    with_worker("filters", setup, async |world| {
        let report = world.evaluate("first").await;
        let action = |name: &str| {
            let decision = report
                .decisions
                .iter()
                .find(|it| it.namespace == format!("{name}.a1b2c"));
            decision.map(|it| it.action.as_str()).unwrap_or_default()
        };
        assert_eq!(
            ["checkout", "denied", "readonly", "idle", "busy", "quiet"].map(action),
            ["Enable", "Skip", "Enable", "Disable", "Keep", "Keep"]
        );
        let mut outcomes: Vec<_> = report
            .changes
            .iter()
            .map(|change| (change.namespace.as_str(), change.outcome.as_str()))
            .collect();
        outcomes.sort_unstable();
        assert_eq!(
            outcomes,
            [
                ("checkout.a1b2c", "changed"),
                ("idle.a1b2c", "changed"),
                ("readonly.a1b2c", "not_permitted")
            ]
        );
        world
            .until("announced", PATIENT, async || {
                let messages = world.messages();
                ["checkout.a1b2c", "idle.a1b2c"].iter().all(|name| {
                    messages
                        .iter()
                        .any(|it| it.contains("Changed") && it.contains(name))
                })
            })
            .await;
        // A missing permission is an ongoing problem, which the next evaluation announces.
        let posts = world.posts();
        let again = world.evaluate("second").await;
        let refused = again.decisions.iter().find(|it| it.namespace == "readonly.a1b2c");
        assert_eq!(
            refused.map(|it| it.reason_code.as_str()),
            Some("not_permitted"),
            "{again:?}"
        );
        assert_eq!(world.posts(), posts);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edits_by_others_lead_to_a_new_decision() {
    with_worker("conflict", throttled(&["checkout"]), async |world| {
        let evaluated = world.evaluate("first");
        let edited = async {
            // The namespace changes repeatedly between the list and the post.
            for days in 0..40 {
                let value = serde_json::json!(8 + days % 7);
                world
                    .cloud
                    .edit_spec_by_others("checkout.a1b2c", "retentionDays", value);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let (report, ()) = tokio::join!(evaluated, edited);
        if !report.changes[0].is_success() {
            // A superseded scale-up triggers a scale-up-only evaluation.
            assert_eq!(report.changes[0].outcome, "superseded", "{report:?}");
            world
                .until("scaled up", Duration::from_mins(1), async || {
                    world.cloud.changes().len() == 1
                })
                .await;
        }
        // No edit was lost.
        let spec = world.cloud.namespace("checkout.a1b2c").expect("there").spec;
        assert_eq!(spec["retentionDays"], serde_json::json!(8 + 39 % 7));
        assert_eq!(
            (world.cloud.incidents(), world.cloud.changes().len()),
            (vec![], 1)
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cloud_that_is_down_for_ninety_seconds_delays_a_change_and_loses_nothing() {
    let setup = Setup {
        attempts: 2,
        operation_lag: SignedDuration::from_mins(1),
        ..throttled(&["checkout"])
    };
    with_worker("down", setup, async |world| {
        let controller = Controller::new(&world.client, &world.installation);
        let evaluated = controller.evaluate("first", Duration::from_mins(5));
        let down = async {
            until("posted", PATIENT, || posts(world) > 0).await;
            world.cloud.set_faults(Faults {
                unavailable: 1.0,
                ..Faults::default()
            });
            tokio::time::sleep(Duration::from_secs(90)).await;
            world.cloud.set_faults(Faults::default());
        };
        let (report, ()) = tokio::join!(evaluated, down);
        let report = report.expect("a report");
        assert!(report.changes[0].is_success(), "{report:?}");
        assert_eq!((world.cloud.changes().len(), posts(world)), (1, 1));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_posted_change_is_completed_even_if_it_is_canceled() {
    let setup = Setup {
        operation_lag: SignedDuration::from_secs(100),
        ..throttled(&["checkout"])
    };
    with_worker("cancel-change", setup, async |world| {
        let id = names::change_id("checkout.a1b2c");
        let change = world.client.get_workflow_handle::<CapacityChange>(id);
        let canceled = async {
            until("posted", PATIENT, || posts(world) > 0).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
            change
                .cancel(WorkflowCancelOptions::default())
                .await
                .expect("canceled");
        };
        let (report, ()) = tokio::join!(world.evaluate("first"), canceled);
        assert_eq!(report.changes[0].outcome, "changed");
        let result = change.get_result(WorkflowGetResultOptions::default()).await;
        assert_eq!(result.expect("a report").outcome, "changed");
    })
    .await;
}

/// The server suggests continue-as-new after a few events. The state is kept, and every caller gets a
/// response.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn continue_as_new_keeps_the_state_and_answers_every_caller() {
    let Some(server) = own_server(&["limit.historyCount.suggestContinueAsNew=20"], None).await else {
        return;
    };
    let setup = Setup {
        server: Some(server.address()),
        ..throttled(&["checkout"])
    };
    with_worker("rotate", setup, async |world| {
        let handle = || {
            world
                .client
                .get_workflow_handle::<CapacityManagementWorkflow>(names::CONTROLLER_ID)
        };
        let run_id = async || {
            let described = handle()
                .describe(WorkflowDescribeOptions::default())
                .await
                .expect("there");
            described.run_id().to_owned()
        };
        assert_eq!(world.evaluate("first").await.number, 1);
        let first_run = run_id().await;
        pauses::open(
            &world.client,
            &world.installation,
            PauseKind::All,
            "rotating",
            "a test",
            None,
        )
        .await
        .expect("paused");
        let callers = (0..8).map(|number| {
            let world = &world;
            async move { world.evaluate(&format!("caller-{number}")).await }
        });
        let reports = futures::future::join_all(callers).await;
        assert!(
            reports.iter().all(|report| (2..=3).contains(&report.number)),
            "{reports:?}"
        );
        until_async("continued as new", async || run_id().await != first_run).await;
        let status = Controller::new(&world.client, &world.installation)
            .status(PATIENT)
            .await
            .expect("a response");
        assert_eq!(
            (status.account.as_deref(), status.paused.as_deref()),
            (Some("a1b2c"), Some("rotating, by a test"))
        );
        assert!(status.evaluations >= 2, "{status:?}");
    })
    .await;
    server.shutdown().await;
}

/// If a run ends after a scale-up-only evaluation, it does not wait for the full evaluation that its callers
/// requested. The next run makes that evaluation.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_ends_while_a_full_evaluation_is_requested_passes_the_request_on() {
    let Some(server) = own_server(&["limit.historyCount.suggestContinueAsNew=5"], None).await else {
        return;
    };
    let setup = Setup {
        server: Some(server.address()),
        // Five seconds of real time: the change keeps the evaluation busy.
        operation_lag: SignedDuration::from_secs(100),
        ..throttled(&["checkout"])
    };
    with_worker("rotate-short", setup, async |world| {
        let told = async || {
            Controller::new(&world.client, &world.installation)
                .status(PATIENT)
                .await
        };
        let cloud = &world.cloud;
        // The signal's evaluation retries its requests until the full evaluation has also been requested.
        cloud.set_faults(Faults {
            ops_unavailable: true,
            ..Faults::default()
        });
        Controller::new(&world.client, &world.installation)
            .trigger(Trigger::CapacityIsShort)
            .await
            .expect("signaled");
        until_async("evaluating", async || {
            told()
                .await
                .is_ok_and(|status| status.phase == ControllerPhase::Evaluating)
        })
        .await;
        let heal = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            cloud.set_faults(Faults::default());
        };
        let (report, ()) = tokio::join!(world.evaluate("scheduled"), heal);
        assert!(report.number >= 2 && !report.scale_up_only, "{report:?}");
        until_async("evaluated in the next run", async || {
            let controller = Controller::new(&world.client, &world.installation);
            let last = controller.last_evaluation(PATIENT).await;
            last.is_ok_and(|report| report.number >= 2 && !report.scale_up_only)
        })
        .await;
    })
    .await;
    server.shutdown().await;
}

async fn until_async(what: &str, is_so: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < PATIENT, "not {what}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn own_server(config: &[&str], options: Option<Options>) -> Option<temporal_dev_server::DevServer> {
    crate::harness::shared_server()?;
    let mut options = options.unwrap_or_default();
    options.dynamic_config = config
        .iter()
        .map(|it| (*it).to_owned())
        .chain([QUICK_RUNS.to_owned()])
        .collect();
    Some(
        temporal_dev_server::start(&options, &|_| ())
            .await
            .expect("a server of the test's own"),
    )
}

/// The server stops in the middle of a change, and restarts on the same port with the same database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_restart_loses_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = |port| Options {
        database_file: Some(folder.path().join("temporal.db")),
        port,
        ..Options::default()
    };
    let Some(server) = own_server(&[], Some(options(None))).await else {
        return;
    };
    let address = server.address();
    let setup = Setup {
        server: Some(address),
        operation_lag: SignedDuration::from_secs(100),
        ..throttled(&["checkout"])
    };
    with_worker("restart", setup, async |world| {
        Controller::new(&world.client, &world.installation)
            .trigger(Trigger::Evaluation)
            .await
            .expect("signaled");
        until("posted", PATIENT, || posts(world) > 0).await;
        server.shutdown().await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let again = own_server(&[], Some(options(Some(address.port()))))
            .await
            .expect("again");
        let begun = Instant::now();
        loop {
            let status = Controller::new(&world.client, &world.installation)
                .status(PATIENT)
                .await;
            if status.is_ok_and(|status| status.evaluations == 1) {
                break;
            }
            assert!(
                begun.elapsed() < Duration::from_mins(5),
                "not evaluated after the restart"
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        until("changed", Duration::from_mins(1), || {
            world.cloud.changes().len() == 1
        })
        .await;
        assert_eq!(posts(world), 1);
        again.shutdown().await;
    })
    .await;
}

/// Runs two installations, each with its own ids and task queue, in one home namespace.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_installation_has_its_own_controller() {
    let setup = Setup {
        installation: Installation::new(Some("emea".to_owned()), "queue-emea"),
        ..throttled(&["checkout"])
    };
    with_worker("second", setup, async |world| {
        assert_eq!(world.evaluate("first").await.changes.len(), 1);
        let first = Controller::new(&world.client, &Installation::default())
            .status(Duration::from_secs(5))
            .await;
        assert!(first.is_err(), "{first:?}");
        let own = Controller::new(&world.client, &world.installation)
            .status(PATIENT)
            .await;
        assert_eq!(own.expect("a response").evaluations, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn decisions_and_changes_are_recorded() {
    let folder = tempfile::tempdir().expect("a folder");
    let location = capacity_ledger::Location::Sqlite(folder.path().join("ledger.db"));
    let ledger = capacity_ledger::Ledger::open(&location).await.expect("opened");
    let history = async || {
        let filter = capacity_ledger::HistoryFilter::default();
        ledger.history(Some("a1b2c"), &filter).await.expect("readable")
    };
    let setup = Setup {
        ledger: Some(location),
        ..throttled(&["checkout", "payments"])
    };
    with_worker("recorded", setup, async |world| {
        assert_eq!(world.evaluate("first").await.changes.len(), 2);
        // A change reports its end before it is recorded.
        world
            .until("recorded", Duration::from_secs(90), async || {
                history().await.iter().all(|row| row.outcome.is_some())
            })
            .await;
    })
    .await;
    let history = history().await;
    let told: Vec<_> = history
        .iter()
        .map(|row| {
            (
                row.decision.namespace.as_str(),
                row.decision.action.as_str(),
                row.outcome.as_deref(),
                row.dry_run,
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("checkout.a1b2c", "Enable", Some("changed"), false),
            ("payments.a1b2c", "Enable", Some("changed"), false)
        ]
    );
    assert_eq!(history[0].decision.price_after_micro_dollars, Some(90_000_000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_existing_worker_gets_the_workflows_once_and_only_on_their_queue() {
    with_worker("existing", throttled(&["checkout"]), async |world| {
        let capacity = capacity(&throttled(&["checkout"]), &world.client, &world.cloud);
        let mut other = WorkerOptions::new("other").build();
        let error = capacity.register_into(&mut other).expect_err("another queue");
        assert!(error.to_string().contains("polls task queue `other`"), "{error}");
        let mut same = WorkerOptions::new(capacity.installation().task_queue()).build();
        capacity.register_into(&mut same).expect("registered");
        let error = capacity.register_into(&mut same).expect_err("registered before");
        assert!(matches!(error, RegisterError::Workflow(_)), "{error}");
    })
    .await;
}
