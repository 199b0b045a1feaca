//! Tests of the traces that the CLI sends: for a plan, and for the changes that `apply` makes.

mod world;

use world::{World, errors, options};

impl World {
    /// Returns everything sent to the collector so far. Strings in Protobuf are readable as they are.
    fn traced(&self) -> String {
        let bodies = self.cloud.traces();
        bodies
            .iter()
            .map(|body| String::from_utf8_lossy(body).into_owned())
            .collect()
    }
}

#[test]
fn a_plan_and_its_changes_are_traced() {
    let world = World::new(options());
    let traced = |arguments: &[&str]| {
        let mut command = world.command(arguments);
        command
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", world.cloud.traces_url())
            .env("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20hunter22");
        command.assert()
    };
    traced(&["plan"]).success();
    let text = world.traced();
    for part in [
        "temporal-capacity",
        "evaluation",
        "observe",
        "list namespaces",
        "read metrics",
        "decide",
        "a1b2c",
    ] {
        assert!(text.contains(part), "{part} is missing: {text}");
    }
    assert!(!text.contains("capacity.operation_id"), "a plan changes nothing");
    traced(&["apply", "--yes"]).success();
    let text = world.traced();
    for part in [
        "change",
        "request",
        "wait",
        "verify",
        "capacity.operation_id",
        "checkout.a1b2c",
    ] {
        assert!(text.contains(part), "{part} is missing: {text}");
    }
    for secret in [
        world.cloud.ops_key(),
        world.cloud.metrics_key(),
        "hunter22".to_owned(),
    ] {
        assert!(!text.contains(&secret), "a key is in a span");
    }
}

#[test]
fn an_unreachable_collector_does_not_fail_a_plan_and_is_a_finding_of_doctor() {
    let world = World::new(options());
    let mut plan = world.command(&["plan"]);
    plan.env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
        .assert()
        .success();
    let mut doctor = world.command(&["doctor", "-o", "json"]);
    let assert = doctor
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
        .assert();
    let checks: serde_json::Value = serde_json::from_slice(&assert.get_output().stdout).expect("JSON");
    let checks = checks.as_array().expect("checks");
    let traces = checks
        .iter()
        .find(|check| check["check"] == "traces")
        .expect("checked");
    assert_eq!(traces["verdict"], "bad", "{traces}");
    assert!(
        traces["finding"]
            .as_str()
            .is_some_and(|finding| finding.contains("http://127.0.0.1:1/v1/traces: no response")),
        "{traces}"
    );
    let mut refused = world.command(&["plan"]);
    let assert = refused
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318")
        .assert()
        .failure();
    let said = errors(&assert);
    assert!(
        said.contains(
            "OTEL_EXPORTER_OTLP_ENDPOINT = `collector:4318` (environment): this is not a collector URL"
        ),
        "{said}"
    );
}
