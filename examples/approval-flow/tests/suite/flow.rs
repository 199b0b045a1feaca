//! Tests of the workflow.

use std::time::{Duration, Instant};

use approval_flow::messages::{ApprovalRequest, End, Outcome};
use approval_flow::{ApprovalFlow, StepVerdict, commands};
use temporalio_client::{WorkflowGetResultOptions, WorkflowQueryOptions};

use crate::world::{World, keep, replay};

pub(crate) fn request(text: &str) -> ApprovalRequest {
    ApprovalRequest {
        text: text.to_owned(),
        requester: "ada".to_owned(),
        ..ApprovalRequest::default()
    }
}

pub(crate) async fn result(world: &World, id: &str) -> Outcome {
    let handle = world.client.get_workflow_handle::<ApprovalFlow>(id);
    let result = handle.get_result(WorkflowGetResultOptions::default());
    tokio::time::timeout(Duration::from_secs(30), result)
        .await
        .expect("in time")
        .expect("an outcome")
}

/// Waits until the trail contains a text.
pub(crate) async fn until(world: &World, id: &str, part: &str) -> String {
    let begun = Instant::now();
    loop {
        let (_, trail) = commands::audit(&world.client, id).await.expect("a trail");
        let text = trail
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n");
        if text.contains(part) {
            return text;
        }
        assert!(
            begun.elapsed() < Duration::from_mins(1),
            "{part} is missing in\n{text}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn verdict(reason: &str) -> StepVerdict {
    StepVerdict {
        who: "grace".to_owned(),
        reason: reason.to_owned(),
        step: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approved_request_is_executed_once_and_recorded() {
    let world = World::new("approved").await;
    let mut worker = world.worker(None).await;
    let id = commands::start(&world.client, request("deploy 42"), None)
        .await
        .expect("started");
    until(&world, &id, "policy: allowed: no rule matches").await;
    let answer = commands::decide(&world.client, &id, true, &verdict("looks good"))
        .await
        .expect("accepted");
    assert_eq!(answer.sentence, "approved by grace: looks good");
    let outcome = result(&world, &id).await;
    assert_eq!(
        (outcome.end, outcome.output.as_deref()),
        (End::Executed, Some("executed: deploy 42"))
    );
    let trail = until(&world, &id, "closed as executed").await;
    for part in [
        "requested by ada: deploy 42",
        "approved by grace: looks good",
        "executed: deploy 42",
        "audit record written",
    ] {
        assert!(trail.contains(part), "{part} is missing in\n{trail}");
    }
    let audit = std::fs::read_to_string(world.path("audit.jsonl")).expect("written");
    assert_eq!(audit.lines().count(), 1);
    let record: serde_json::Value = serde_json::from_str(&audit).expect("JSON");
    assert_eq!(
        (record["end"].as_str(), record["id"].as_str()),
        (Some("executed"), Some(id.as_str()))
    );
    for approved in [true, false] {
        let refused = commands::decide(&world.client, &id, approved, &verdict(""))
            .await
            .expect_err("closed");
        assert!(
            refused.to_string().contains("it is closed (closed as executed"),
            "{refused}"
        );
    }
    let history = world.history(&id).await;
    keep(&history, "approved");
    replay(history).await.expect("deterministic");
    worker.stop();
    worker.wait().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forbidden_input_is_denied_without_waiting_for_approval() {
    let world = World::new("denied").await;
    let mut worker = world.worker(None).await;
    let id = commands::start(&world.client, request("forbidden: drop the table"), None)
        .await
        .expect("started");
    let outcome = result(&world, &id).await;
    assert_eq!(
        (outcome.end, outcome.policy.rule.as_deref()),
        (End::Denied, Some("no-forbidden"))
    );
    assert_eq!(outcome.output, None);
    keep(&world.history(&id).await, "denied");
    worker.stop();
    worker.wait().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_decision_counts_and_signals_take_any_payload() {
    let world = World::new("signals").await;
    let id = commands::start(&world.client, request("deploy"), None)
        .await
        .expect("started");
    let cli = temporal_dev_server::find().expect("usable").expect("a CLI").0;
    let signal = |name: &str, input: Option<&str>| {
        let mut command = std::process::Command::new(&cli);
        command.args(["workflow", "signal", "--workflow-id", &id, "--name", name]);
        command.args(["--address", &world.config.connection.address]);
        command.args(["--namespace", &world.config.connection.namespace]);
        command.args(input.map(|input| ["--input", input]).into_iter().flatten());
        assert!(command.status().expect("ran").success());
    };
    signal("unknown", Some("[1]"));
    signal("reject", Some("\"too risky\""));
    signal("approve", None);
    // A signal to a closed request would be rejected, so the worker starts only now.
    let mut worker = world.worker(None).await;
    let outcome = result(&world, &id).await;
    assert_eq!(outcome.end, End::Rejected);
    assert_eq!(outcome.sentence, "rejected by an unnamed person: too risky");
    keep(&world.history(&id).await, "rejected");
    worker.stop();
    worker.wait().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_are_reminded_until_the_request_expires() {
    let world = World::new("expired").await;
    let mut worker = world.worker(None).await;
    let mut soon = request("deploy");
    soon.remind_every_seconds = 1;
    soon.expires_after_seconds = 3;
    let id = commands::start(&world.client, soon, None).await.expect("started");
    let outcome = result(&world, &id).await;
    assert_eq!((outcome.end, outcome.decision.is_none()), (End::Expired, true));
    assert!(outcome.reminders >= 2, "{outcome:?}");
    assert!(
        until(&world, &id, "closed as expired")
            .await
            .contains("reminder sent")
    );
    worker.stop();
    worker.wait().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalid_rules_decide_nothing_and_lose_no_request() {
    let world = World::new("rules").await;
    let rules = world.path("rules.yaml");
    std::fs::write(&rules, "rules:\n- {name: ok, allow: true, contains: deploy}\n").expect("written");
    let mut worker = world.worker(Some(&rules)).await;
    std::fs::write(&rules, "rules: {").expect("written");
    let id = commands::start(&world.client, request("deploy"), None)
        .await
        .expect("started");
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let handle = world.client.get_workflow_handle::<ApprovalFlow>(id.clone());
    let status = handle
        .query(ApprovalFlow::status, (), WorkflowQueryOptions::default())
        .await
        .expect("a status");
    assert_eq!(status.policy, None, "nothing is decided");
    std::fs::write(&rules, "rules:\n- {name: frozen, deny: true, contains: deploy}\n").expect("written");
    let outcome = result(&world, &id).await;
    assert_eq!(
        (outcome.end, outcome.policy.rule.as_deref()),
        (End::Denied, Some("frozen"))
    );
    worker.stop();
    worker.wait().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_input_that_cannot_be_decoded_fails_the_run_and_does_not_block_it() {
    let world = World::new("junk").await;
    let mut worker = world.worker(None).await;
    for (id, input) in [("text", Some("\"junk\"")), ("none", None)] {
        let cli = temporal_dev_server::find().expect("usable").expect("a CLI").0;
        let mut command = std::process::Command::new(&cli);
        command.args([
            "workflow",
            "start",
            "--type",
            "ApprovalFlow",
            "--task-queue",
            "approval-flow",
            "--workflow-id",
            id,
        ]);
        command.args(["--address", &world.config.connection.address]);
        command.args(["--namespace", &world.config.connection.namespace]);
        command.args(input.map(|input| ["--input", input]).into_iter().flatten());
        assert!(command.output().expect("ran").status.success());
        assert!(until(&world, id, "failed: ").await.contains("invalid input"));
    }
    let refused = commands::start(&world.client, request("  "), None)
        .await
        .expect_err("empty");
    assert!(refused.to_string().contains("the text is empty"));
    let begun = Instant::now();
    while !commands::list(&world.client, true)
        .await
        .expect("a list")
        .is_empty()
    {
        assert!(begun.elapsed() < Duration::from_mins(1), "nothing stays open");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    worker.stop();
    worker.wait().await.expect("drained");
}
