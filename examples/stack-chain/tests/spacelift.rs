//! Tests of the Spacelift client against the strict simulator.

use std::time::Duration;

use stack_chain::provider::{Progress, Provider, RunRef, Trouble};
use stack_chain::simulator::{self, Fault, KEY_ID, KEY_SECRET, SimStack, Simulator};
use stack_chain::spacelift::{Config, Spacelift};

async fn account(stacks: usize) -> (Simulator, Spacelift) {
    let stacks = (0..stacks)
        .map(|at| SimStack::new(&format!("s{at:03}"), &[]))
        .collect();
    let simulator = simulator::start(stacks).await.expect("started");
    let client = client(&simulator, KEY_ID, KEY_SECRET);
    (simulator, client)
}

fn client(simulator: &Simulator, id: &str, secret: &str) -> Spacelift {
    let mut config = Config::try_new(&simulator.endpoint(), id, secret.into()).expect("valid");
    config.requests_per_second = 1_000;
    config.first_wait = Duration::from_millis(5);
    config.attempts = 3;
    Spacelift::new(config)
}

fn at(stack: &str, run: &str) -> RunRef {
    RunRef {
        stack: stack.to_owned(),
        run: run.to_owned(),
    }
}

#[tokio::test]
async fn every_query_matches_the_schema() {
    let (simulator, client) = account(3).await;
    assert_eq!(client.stacks().await.expect("stacks").len(), 3);
    assert_eq!(client.identity().await.expect("known").name, "chain");
    assert_eq!(
        client
            .stack("s001")
            .await
            .expect("read")
            .map(|it| it.id)
            .as_deref(),
        Some("s001")
    );
    assert_eq!(client.stack("nowhere").await.expect("read"), None);
    let run = client.trigger("s001", "chain of s000").await.expect("triggered");
    assert_eq!(client.runs("s001").await.expect("runs")[0].id, run.id);
    assert_eq!(
        client
            .run(&at("s001", &run.id))
            .await
            .expect("read")
            .map(|it| it.id),
        Some(run.id)
    );
    // Each way to stop a run, by its state.
    let mut slow = SimStack::new("s001", &[]);
    slow.run_time = Duration::from_mins(1);
    simulator.change("s001", |stack| *stack = slow);
    let working = client.trigger("s001", "").await.expect("triggered");
    let queued = client.trigger("s001", "").await.expect("triggered");
    simulator.change("s002", |stack| stack.autodeploy = false);
    let waiting = client.trigger("s002", "").await.expect("triggered");
    tokio::time::sleep(Duration::from_millis(80)).await;
    for (stack, run, state) in [
        ("s001", &queued, "CANCELED"),
        ("s001", &working, "STOPPED"),
        ("s002", &waiting, "DISCARDED"),
    ] {
        client
            .stop(&at(stack, &run.id), "not needed")
            .await
            .expect("stopped");
        let run = client
            .run(&at(stack, &run.id))
            .await
            .expect("read")
            .expect("known");
        assert_eq!((run.state.as_str(), run.progress), (state, Progress::Canceled));
    }
    assert_eq!(
        simulator.refusals(),
        [] as [&str; 0],
        "the schema refused a query"
    );
}

#[tokio::test]
async fn the_simulator_refuses_unknown_fields_and_wrong_types() {
    let (simulator, _) = account(1).await;
    let http = reqwest::Client::new();
    for (query, expected) in [
        ("query Q { viewer { id } stacks { id } }", "Unknown field"),
        (
            "query Q($id: String!) { stack(id: $id) { id } }",
            "of type \"String!\" used in position expecting type \"ID\"",
        ),
        ("query Q { stack(id: 1) { locked } }", "Unknown field"),
    ] {
        let body = serde_json::json!({ "query": query, "variables": { "id": "s000" }, "operationName": "Q" });
        let answer: serde_json::Value = http
            .post(format!("{}/graphql", simulator.endpoint()))
            .json(&body)
            .send()
            .await
            .expect("sent")
            .json()
            .await
            .expect("JSON");
        let message = answer["errors"][0]["message"].as_str().unwrap_or_default();
        assert!(message.contains(expected), "{query}: {answer}");
    }
}

#[tokio::test]
async fn pages_are_followed_to_their_end() {
    let (simulator, client) = account(120).await;
    let ids: Vec<String> = client
        .stacks()
        .await
        .expect("stacks")
        .into_iter()
        .map(|it| it.id)
        .collect();
    assert_eq!(
        (
            ids.len(),
            ids.first().map(String::as_str),
            ids.last().map(String::as_str)
        ),
        (120, Some("s000"), Some("s119"))
    );
    assert_eq!(simulator.requests("Stacks"), 3);
}

#[tokio::test]
async fn an_expired_token_is_never_an_empty_account() {
    let (simulator, client) = account(120).await;
    client.identity().await.expect("logged in");
    // Before the first page, and between pages.
    simulator.fail_next("Stacks", Fault::Expired);
    assert_eq!(client.stacks().await.expect("stacks").len(), 120);
    let (simulator, client) = account(120).await;
    client.stack("s000").await.expect("logged in");
    simulator.fail_next("Stacks", Fault::TooMany(0));
    simulator.fail_next("Stacks", Fault::Unauthorized);
    assert_eq!(client.stacks().await.expect("stacks").len(), 120);
    assert!(simulator.requests("Login") >= 2);
}

#[tokio::test]
async fn a_wrong_key_is_reported_as_the_cause() {
    let (simulator, _) = account(1).await;
    let unknown = client(&simulator, "01J00000000000000000000000", KEY_SECRET)
        .stacks()
        .await
        .expect_err("refused");
    assert_eq!(unknown.trouble, Trouble::Login);
    assert!(
        unknown
            .text
            .contains("the API key `01J00000000000000000000000` does not exist"),
        "{}",
        unknown.text
    );
    let wrong = client(&simulator, KEY_ID, "other")
        .stacks()
        .await
        .expect_err("refused");
    assert!(
        wrong
            .text
            .contains("Check SPACELIFT_API_KEY_ID and SPACELIFT_API_KEY_SECRET"),
        "{}",
        wrong.text
    );
    assert!(
        !wrong.text.contains("other"),
        "the secret is in the error: {}",
        wrong.text
    );
}

#[tokio::test]
async fn a_missing_permission_is_distinguished_from_a_failed_login() {
    let (simulator, client) = account(1).await;
    simulator.allow_triggers(false);
    let error = client.trigger("s000", "").await.expect_err("refused");
    assert_eq!(error.trouble, Trouble::Permission);
    assert!(
        error
            .text
            .starts_with("stack `s000`: failed to trigger a run of the stack: the API key has no permission"),
        "{}",
        error.text
    );
}

#[tokio::test]
async fn queries_are_retried_but_a_trigger_without_a_response_is_not() {
    let (simulator, client) = account(1).await;
    simulator.fail_next("Stacks", Fault::Html);
    simulator.fail_next("Stacks", Fault::TooMany(0));
    assert_eq!(client.stacks().await.expect("stacks").len(), 1);
    // Rejected before it had an effect: retried.
    simulator.fail_next("Trigger", Fault::TooMany(0));
    simulator.fail_next("Trigger", Fault::Expired);
    client.trigger("s000", "").await.expect("triggered");
    assert_eq!(simulator.runs().len(), 1);
    // It had an effect, but the response was lost: not retried.
    simulator.fail_next("Trigger", Fault::Lost);
    let error = client.trigger("s000", "").await.expect_err("lost");
    assert_eq!((error.trouble, simulator.runs().len()), (Trouble::Ambiguous, 2));
    assert!(
        error
            .text
            .contains("status 502: `<html><h1>502 Bad Gateway</h1></html>`"),
        "{}",
        error.text
    );
}

#[tokio::test]
async fn a_long_retry_after_is_left_to_the_caller() {
    let (simulator, client) = account(1).await;
    simulator.fail_next("Stacks", Fault::TooMany(600));
    let error = client.stacks().await.expect_err("busy");
    assert_eq!(
        (error.trouble, error.retry_after),
        (Trouble::Transient, Some(Duration::from_mins(10)))
    );
}

#[test]
fn an_endpoint_that_would_send_the_key_in_clear_text_is_refused() {
    for (endpoint, expected) in [
        ("http://example.app.spacelift.io", "use https"),
        ("example", "not a URL"),
    ] {
        let error = Config::try_new(endpoint, "id", "secret".into())
            .expect_err("refused")
            .to_string();
        assert!(error.contains(expected), "{error}");
    }
}
