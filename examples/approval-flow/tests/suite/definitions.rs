//! Definitions: the program, the driver workflow, and the published schema.

use std::time::{Duration, Instant};

use approval_flow::steps::CATALOG;
use approval_flow::{Driver, DriverOutcome, StepEnd};
use serde_json::{Value, json};
use temporalio_client::{WorkflowGetResultOptions, WorkflowQueryOptions};

use crate::world::{World, keep, replay, text};

const RELEASE: &str = include_str!("../../definitions/release.yaml");

async fn until_ended(world: &World, id: &str, steps: &[&str]) {
    let handle = world.client.get_workflow_handle::<Driver>(id);
    let begun = Instant::now();
    loop {
        let ends = handle
            .query(Driver::steps, (), WorkflowQueryOptions::default())
            .await
            .unwrap_or_default();
        if steps.iter().all(|step| ends.contains_key(*step)) {
            return;
        }
        assert!(begun.elapsed() < Duration::from_mins(1), "{ends:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_definition_runs_in_parallel_retries_waits_for_approval_and_forwards_outputs() {
    let world = World::new("driver").await;
    let mut worker = world.worker(None).await;
    std::fs::write(world.path("release.yaml"), RELEASE).expect("written");
    let started = world.run(&[
        "run",
        "release.yaml",
        "--detach",
        "--input",
        "version=1.2",
        "--input",
        "channel=stable",
    ]);
    assert!(started.status.success(), "{}", text(&started.stderr));
    let id = text(&started.stdout);
    until_ended(&world, &id, &["linux", "macos"]).await;
    let refused = world.run(&["approve", &id, "--step", "deploy"]);
    assert!(
        text(&refused.stderr).contains("`deploy` is not waiting"),
        "{}",
        text(&refused.stderr)
    );
    let approved = world.run(&["approve", &id, "--reason", "go"]);
    assert!(approved.status.success(), "{}", text(&approved.stderr));
    let handle = world.client.get_workflow_handle::<Driver>(id.clone());
    let outcome = handle
        .get_result(WorkflowGetResultOptions::default())
        .await
        .expect("an outcome");
    assert!(outcome.ok, "{outcome:?}");
    assert_eq!(
        outcome.steps["deploy"],
        StepEnd::Done {
            output: json!("deployed LINUX 1.2")
        }
    );
    assert_eq!(
        outcome.steps["macos"],
        StepEnd::Done { output: json!(2) },
        "the second attempt"
    );
    assert_eq!(outcome.steps["beta-notes"], StepEnd::Skipped);
    let audit = text(&world.run(&["audit", &id]).stdout);
    for part in [
        "definition `release` started",
        "`text.upper` returned \"LINUX 1.2\"",
        "approve: approved by ada: go",
        "closed: every step succeeded",
    ] {
        assert!(audit.contains(part), "{part} is missing in\n{audit}");
    }
    let history = world.history(&id).await;
    keep(&history, "driver");
    replay(history).await.expect("deterministic");
    worker.stop();
    worker.wait().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_that_need_a_failed_step_do_not_run_and_the_program_exits_with_1() {
    let world = World::new("driverfail").await;
    let mut worker = world.worker(None).await;
    let definition = "\
name: failing
steps:
- {id: a, activity: flaky, input: {failures: 5}, retry: {attempts: 2}}
- {id: b, activity: text.upper, needs: [a], input: {text: x}}
- {id: c, activity: number.add, input: {a: 1, b: 2}}
";
    std::fs::write(world.path("failing.yaml"), definition).expect("written");
    let ran = world.run(&["run", "failing.yaml"]);
    assert_eq!(ran.status.code(), Some(1), "{}", text(&ran.stderr));
    let outcome: DriverOutcome = serde_json::from_slice(&ran.stdout).expect("JSON");
    assert!(
        matches!(&outcome.steps["a"], StepEnd::Failed { reason } if reason.contains("attempt 2")),
        "{outcome:?}"
    );
    assert_eq!(outcome.steps["b"], StepEnd::Blocked);
    assert_eq!(outcome.steps["c"], StepEnd::Done { output: json!(3) });
    worker.stop();
    worker.wait().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalid_definition_is_refused_with_line_numbers_and_starts_nothing() {
    let world = World::new("drivercheck").await;
    std::fs::write(
        world.path("bad.yaml"),
        "name: x\nsteps:\n- {id: a, activity: nope}\n- {id: b}\n",
    )
    .expect("written");
    for command in ["validate", "run"] {
        let refused = world.run(&[command, "bad.yaml"]);
        assert_eq!(refused.status.code(), Some(1));
        let stderr = text(&refused.stderr);
        assert!(
            stderr.contains("bad.yaml:3: steps[0].activity") && stderr.contains("bad.yaml:4: steps[1]"),
            "{stderr}"
        );
    }
    std::fs::write(world.path("release.yaml"), RELEASE).expect("written");
    let valid = world.run(&["validate", "release.yaml"]);
    assert!(valid.status.success());
    assert_eq!(text(&valid.stdout), "release.yaml: valid, 6 steps");
}

#[test]
fn the_schema_and_the_validator_agree_about_structure() {
    let schema: Value = serde_json::from_str(include_str!("../../definition.schema.json")).expect("JSON");
    let names: Vec<Value> = CATALOG.iter().map(|entry| entry.name.into()).collect();
    assert_eq!(
        schema["$defs"]["step"]["properties"]["activity"]["enum"],
        Value::Array(names)
    );
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let read = |value: &Value| approval_flow::definition::Definition::read("d.json", &value.to_string());
    let step = json!({ "id": "a", "activity": "text.upper", "input": { "text": "x" } });
    let with = |key: &str, value: Value| {
        let mut step = step.clone();
        step[key] = value;
        json!({ "name": "x", "steps": [step] })
    };
    for (value, valid) in [
        (json!({ "name": "x", "steps": [step.clone()] }), true),
        (with("timeout", json!("5s")), true),
        (with("approval", json!({ "expires": "1h" })), true),
        (with("retry", json!({ "attempts": 2, "interval": "1s" })), true),
        (with("when", json!(true)), true),
        (with("id", json!("a b")), false),
        (with("activity", json!("nope")), false),
        (with("input", json!([])), false),
        (with("needs", json!("b")), false),
        (with("when", json!(3)), false),
        (with("approval", json!("yes")), false),
        (with("retry", json!({ "attempts": 0 })), false),
        (with("timeout", json!(5)), false),
        (with("other", json!(1)), false),
        (json!({ "name": "x", "steps": [] }), false),
        (json!({ "steps": [step.clone()] }), false),
        (json!({ "name": "x", "steps": [{ "id": "a" }] }), false),
    ] {
        assert_eq!(validator.is_valid(&value), valid, "schema: {value}");
        assert_eq!(
            read(&value).is_ok(),
            valid,
            "validator: {value}: {:?}",
            read(&value)
        );
    }
}
