//! Tests that each evaluation is one trace, successful or not, and that a failing collector affects nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use capacity_tests::collector::{Collector, Span};
use capacity_workflows::controller::{Controller, Trigger};
use capacity_workflows::{CapacityManagementWorkflow, EvaluationReport};
use cloud_simulator::{Access, Account, Faults, Load, NamespaceSetup};
use otlp_spans::{Collector as Target, OtlpConfig, Service, Spans};
use temporalio_client::WorkflowDescribeOptions;

use crate::harness::{Setup, World, with_worker};

const PATIENT: Duration = Duration::from_mins(2);

fn spans_to(url: &str, timeout: Duration) -> Spans {
    let config = OtlpConfig::builder(url).timeout(timeout).build().expect("valid");
    let service = Service {
        name: "capacity-worker",
        version: "test",
        instance: "",
    };
    Spans::to(Target::new(&config, service).expect("set up"))
}

/// Returns an account with two throttled namespaces, of which the key may change only one, and a quiet one.
fn account() -> Account {
    let hot = NamespaceSetup::new("hot", Load::Steady(560.0));
    let mut locked = NamespaceSetup::new("locked", Load::Steady(560.0));
    locked.access = Access::Read;
    Account::new(
        "a1b2c",
        vec![hot, locked, NamespaceSetup::new("quiet", Load::Steady(3.0))],
    )
}

async fn settled(world: &World) -> EvaluationReport {
    let controller = Controller::new(&world.client, &world.installation);
    controller.evaluate("traced", PATIENT).await.expect("a report")
}

/// Waits until the collector has received a span that matches.
async fn received(
    world: &World,
    spans: &Spans,
    collector: &Collector,
    what: &str,
    is_it: impl Fn(&Span) -> bool,
) {
    let has = async || {
        spans.flush(PATIENT).await;
        collector.spans().iter().any(&is_it)
    };
    world.until(what, PATIENT, has).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_evaluation_with_its_changes_is_one_trace() {
    let collector = Collector::start().await;
    let spans = spans_to(&collector.url(), Duration::from_secs(10));
    let setup = Setup {
        account: account(),
        spans: spans.clone(),
        ..Setup::default()
    };
    with_worker("traced", setup, async |world| {
        let report = settled(world).await;
        let is_change_of = |span: &Span, namespace: &str| {
            span.name == "change" && span.attributes["capacity.namespace"] == namespace
        };
        for namespace in ["hot.a1b2c", "locked.a1b2c"] {
            received(world, &spans, &collector, namespace, |span| {
                is_change_of(span, namespace)
            })
            .await;
        }
        let all = collector.spans();
        let root = all
            .iter()
            .find(|span| span.attributes.get("capacity.plan_id") == Some(&report.plan_id))
            .expect("the evaluation");
        let trace: Vec<&Span> = all.iter().filter(|span| span.trace == root.trace).collect();
        shape(&trace, root);
        said_of_the_evaluation(world, root, &report).await;

        let hot = *trace
            .iter()
            .find(|span| is_change_of(span, "hot.a1b2c"))
            .expect("a change");
        assert_eq!(
            (hot.attributes["capacity.outcome"].as_str(), &hot.error),
            ("changed", &None)
        );
        let steps = names(&trace, &hot.id);
        for step in ["read", "request", "wait", "verify", "conclude"] {
            assert!(steps.contains(step), "{step}: {steps:?}");
        }
        let locked = *trace
            .iter()
            .find(|span| is_change_of(span, "locked.a1b2c"))
            .expect("a change");
        assert_eq!(locked.attributes["capacity.outcome"], "not_permitted");
        assert!(
            locked
                .error
                .as_deref()
                .is_some_and(|error| error.starts_with("not_permitted")),
            "{locked:?}"
        );
        let failed: BTreeSet<&str> = trace
            .iter()
            .filter(|span| span.parent == locked.id && span.error.is_some())
            .map(|span| span.name.as_str())
            .collect();
        assert_eq!(failed, BTreeSet::from(["request"]), "{trace:#?}");

        let shown = format!("{all:?}");
        for secret in [world.cloud.ops_key(), world.cloud.metrics_key()] {
            assert!(!shown.contains(&secret), "a key is in a span");
        }
        assert_eq!(spans.counts().dropped, 0);
    })
    .await;
}

/// Checks that span ids are unique, that every span except the root has its parent in the trace, and that no span ends before
/// it starts.
fn shape(trace: &[&Span], root: &Span) {
    let by_id: BTreeMap<&str, &&Span> = trace.iter().map(|span| (span.id.as_str(), span)).collect();
    assert_eq!(by_id.len(), trace.len(), "ids are unique: {trace:#?}");
    for span in trace {
        assert!(span.from <= span.until && span.from > 0, "{span:?}");
        assert_eq!(
            by_id.contains_key(span.parent.as_str()),
            span.id != root.id,
            "{span:?}"
        );
    }
    let under_root = names(trace, &root.id);
    for part in ["observe", "decide", "change", "read pauses and running changes"] {
        assert!(under_root.contains(part), "{part}: {under_root:?}");
    }
    let observe = trace.iter().find(|span| span.name == "observe").expect("there");
    let read = names(trace, &observe.id);
    assert_eq!(
        read,
        BTreeSet::from([
            "list namespaces",
            "read capacity info",
            "read details",
            "read metrics"
        ])
    );
}

fn names<'a>(trace: &[&'a Span], parent: &str) -> BTreeSet<&'a str> {
    let children = trace.iter().filter(|span| span.parent == parent);
    children.map(|span| span.name.as_str()).collect()
}

async fn said_of_the_evaluation(world: &World, root: &Span, report: &EvaluationReport) {
    let controller = world.installation.controller_id();
    let handle = world
        .client
        .get_workflow_handle::<CapacityManagementWorkflow>(controller.clone());
    let described = handle
        .describe(WorkflowDescribeOptions::default())
        .await
        .expect("described");
    let expected = [
        ("temporalWorkflowID", controller.as_str()),
        ("temporalRunID", described.run_id()),
        ("capacity.account", "a1b2c"),
        ("capacity.decisions.enable", "2"),
        ("capacity.decisions.keep", "1"),
        ("capacity.changes", "2"),
        ("capacity.dry_run", "false"),
    ];
    for (name, value) in expected {
        assert_eq!(root.attributes[name], value, "{name}: {root:?}");
    }
    assert_eq!(root.attributes["capacity.evaluation"], report.number.to_string());
    assert_eq!(
        (root.name.as_str(), root.parent.as_str(), &root.error),
        ("evaluation", "", &None)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_evaluation_is_a_failed_trace() {
    let collector = Collector::start().await;
    let spans = spans_to(&collector.url(), Duration::from_secs(10));
    let setup = Setup {
        account: account(),
        attempts: 1,
        spans: spans.clone(),
        ..Setup::default()
    };
    with_worker("traced-failure", setup, async |world| {
        world.cloud.set_faults(Faults {
            ops_unavailable: true,
            ..Faults::default()
        });
        let controller = Controller::new(&world.client, &world.installation);
        controller.trigger(Trigger::Evaluation).await.expect("signaled");
        received(world, &spans, &collector, "a failed trace", |span| {
            let failed = span.error.as_deref().unwrap_or_default();
            span.name == "evaluation" && failed.contains("could not be listed")
        })
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unresponsive_collector_fails_no_evaluation_and_no_change() {
    let collector = Collector::start().await;
    collector.answer(0);
    let spans = spans_to(&collector.url(), Duration::from_mins(1));
    let setup = Setup {
        account: account(),
        spans: spans.clone(),
        ..Setup::default()
    };
    with_worker("traced-silence", setup, async |world| {
        let report = settled(world).await;
        let outcomes: Vec<&str> = report
            .changes
            .iter()
            .map(|change| change.outcome.as_str())
            .collect();
        assert!(outcomes.contains(&"changed"), "{outcomes:?}");
        let is_asked = async || !collector.requests().is_empty();
        world.until("asked", PATIENT, is_asked).await;
        // The first request is still open; nothing waited for it.
        assert_eq!(spans.counts().sent, 0);
    })
    .await;
}
