//! Tests of the commands against the simulator.

use std::process::Output;

use stack_chain::simulator::{self, KEY_ID, KEY_SECRET, SimStack};
use tokio::process::Command;

async fn run(endpoint: &str, arguments: &[&str]) -> (i32, String, String) {
    let output: Output = Command::new(env!("CARGO_BIN_EXE_stack-chain"))
        .args(arguments)
        .env_clear()
        .env("SPACELIFT_API_KEY_ENDPOINT", endpoint)
        .env("SPACELIFT_API_KEY_ID", KEY_ID)
        .env("SPACELIFT_API_KEY_SECRET", KEY_SECRET)
        .output()
        .await
        .expect("started");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (
        output.status.code().expect("a code"),
        text(output.stdout),
        text(output.stderr),
    )
}

#[tokio::test]
async fn check_exits_1_on_a_mistake_and_0_without_one() {
    let stacks = vec![
        SimStack::new("network", &[]),
        SimStack::new("app", &["dependsOn:netwrk", "chain-retry:0"]),
    ];
    let simulator = simulator::start(stacks).await.expect("started");
    let (code, output, _) = run(&simulator.endpoint(), &["check"]).await;
    assert_eq!(code, 1);
    assert!(
        output.contains("app [dependsOn:netwrk]: stack `netwrk` does not exist"),
        "{output}"
    );
    assert!(
        output.contains("app [chain-retry:0]: `0` is not a whole number from 1 to 10"),
        "{output}"
    );
    simulator.change("app", |stack| stack.labels = vec!["dependsOn:network".to_owned()]);
    let (code, output, _) = run(&simulator.endpoint(), &["check"]).await;
    assert_eq!(
        (code, output.as_str()),
        (0, "2 stacks, 1 dependency, 0 mistakes\n")
    );
}

#[tokio::test]
async fn graph_prints_mermaid() {
    let stacks = vec![
        SimStack::new("network", &[]),
        SimStack::new("app", &["depends-on:network"]),
    ];
    let simulator = simulator::start(stacks).await.expect("started");
    let (code, output, _) = run(&simulator.endpoint(), &["graph", "-o", "mermaid"]).await;
    assert_eq!(
        (code, output.as_str()),
        (0, "graph LR\n  s_network[\"network\"] --> s_app[\"app\"]\n")
    );
}

#[tokio::test]
async fn all_missing_settings_are_reported_at_once() {
    let output = Command::new(env!("CARGO_BIN_EXE_stack-chain"))
        .arg("check")
        .env_clear()
        .output()
        .await
        .expect("started");
    let error = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(1));
    for name in [
        "SPACELIFT_API_KEY_ENDPOINT",
        "SPACELIFT_API_KEY_ID",
        "SPACELIFT_API_KEY_SECRET",
    ] {
        assert!(error.contains(name), "{error}");
    }
}

#[tokio::test]
async fn the_jobs_in_the_readme_are_checked_like_stacks() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("jobs.json");
    let (_, json) = include_str!("../README.md")
        .split_once("```json\n")
        .expect("the example of the README");
    std::fs::write(&file, json.split("```").next().unwrap_or_default()).expect("written");
    let file = file.to_str().expect("text");
    let (code, _, error) = run("http://127.0.0.1:1", &["check", "--jobs", file]).await;
    assert_eq!(code, 1);
    assert!(
        error.contains("`app`: the variable CI_TOKEN (`token_variable`) is not set"),
        "{error}"
    );
    let output = Command::new(env!("CARGO_BIN_EXE_stack-chain"))
        .args(["check", "--jobs", file])
        .env_clear()
        .env("CI_TOKEN", "t0ken")
        .output()
        .await
        .expect("started");
    let said = String::from_utf8(output.stdout).expect("text");
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("app [dependsOn:network]: stack `network` does not exist"),
        "{said}"
    );
}
