//! Tests of chains of jobs, on a CI system with one URL to start a run and another to poll it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use serde_json::json;
use stack_chain::progress::Outcome;
use tokio::net::TcpListener;

use crate::harness::{command, process, settings, with_world};

/// Builds by job, and how often each was polled.
#[derive(Clone, Default)]
struct Builds(Arc<Mutex<BTreeMap<String, u32>>>);

async fn start(State(builds): State<Builds>, Path(job): Path<String>) -> (StatusCode, String) {
    builds.0.lock().expect("no panic").insert(job.clone(), 0);
    if job == "lost" {
        return (StatusCode::BAD_GATEWAY, "the build was still started".to_owned());
    }
    (StatusCode::CREATED, json!({ "build": { "id": job } }).to_string())
}

async fn look(State(builds): State<Builds>, Path(job): Path<String>) -> (StatusCode, String) {
    let mut builds = builds.0.lock().expect("no panic");
    let Some(looks) = builds.get_mut(&job) else {
        return (StatusCode::NOT_FOUND, String::new());
    };
    *looks += 1;
    let status = match (*looks, job.as_str()) {
        (1, _) => "running",
        (_, "search") => "failed",
        _ => "passed",
    };
    (StatusCode::OK, json!({ "status": status }).to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_of_another_ci_system_run_as_a_chain_and_never_twice() {
    let builds = Builds::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("bound");
    let router = Router::new()
        .route("/jobs/{job}", post(start))
        .route("/builds/{job}", get(look))
        .with_state(builds.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let job = |id: &str, labels: &[&str]| {
        json!({
            "id": id, "labels": labels,
            "trigger_url": format!("http://{address}/jobs/{id}"),
            "status_url": format!("http://{address}/builds/{{run}}"),
            "run_pointer": "/build/id", "state_pointer": "/status",
            "success": ["passed"], "failure": ["failed"],
        })
    };
    let jobs = json!([
        job("network", &[]),
        job("app", &["dependsOn:network"]),
        job("search", &["dependsOn:network"]),
        job("lost", &["dependsOn:network"]),
        job("after-search", &["dependsOn:search"]),
    ]);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("jobs.json");
    std::fs::write(&file, jobs.to_string()).expect("written");
    let file = file.to_str().expect("text");
    with_world("jobs", Vec::new(), settings(), async |world| {
        // The worker in this process can only access the simulated account.
        world.stop_worker();
        let (mut worker, _) = process(world, &["worker", "--jobs", file]).await;
        let (code, id, error) =
            command(world, &["trigger", "network", "--jobs", file, "--poll-ms", "200"]).await;
        assert_eq!(code, 0, "{error}");
        let report = world.result_of(id.trim()).await;
        let of = |stack: &str| {
            let found = report.results.iter().find(|it| it.stack == stack);
            let found = found.unwrap_or_else(|| panic!("no result of {stack}: {report:?}"));
            (found.outcome, found.why.clone().unwrap_or_default())
        };
        assert_eq!(of("network").0, Outcome::Succeeded);
        assert_eq!(of("app").0, Outcome::Succeeded);
        assert_eq!(of("search").0, Outcome::Failed);
        assert_eq!(of("after-search").0, Outcome::Skipped);
        let (outcome, why) = of("lost");
        assert_eq!(outcome, Outcome::Failed);
        assert!(
            why.contains("it is unknown whether a run of `lost` was started"),
            "{why}"
        );
        assert_eq!(
            builds.0.lock().expect("no panic").len(),
            4,
            "the skipped one was not started"
        );
        let (code, said, error) = command(world, &["connection-check", "--jobs", file]).await;
        assert_eq!(code, 0, "{said}{error}");
        assert!(said.contains("jobs: logged in as no one (5 jobs, "), "{said}");
        worker.kill().await.expect("killed");
    })
    .await;
}
