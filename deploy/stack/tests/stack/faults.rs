//! Kills processes and renews certificates under load, and checks that no workflow is lost.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use temporal_stack::doctor::probe::start;
use temporal_stack::process::{self, State};
use temporalio_client::Client;

use crate::harness::{Load, NAMESPACE, Running, found, healthy, recovery, text};

/// Prints one row per fault for the table in docs/self-hosted.md; run it with `--nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts a whole stack: .ci/full"]
async fn no_workflow_is_lost_when_a_process_is_killed() {
    let running = Running::new("127.93", |text| text);
    running.up(&["--without-autopilot"]);
    let client = running.client().await;
    for name in [
        "history-1",
        "matching-1",
        "frontend-1",
        "worker-1",
        "pgbouncer",
        "postgres",
    ] {
        let load = Load::begin(&client, name);
        tokio::time::sleep(Duration::from_secs(3)).await;
        if name == "postgres" {
            running.quit_postgres().await;
        } else {
            running.kill(name);
        }
        while matches!(process::state(&running.place, name), State::Running(_)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let begun = Instant::now();
        running.up(&["--without-autopilot"]);
        recovery(&client, name).await;
        let recovered = begun.elapsed();
        tokio::time::sleep(Duration::from_secs(2)).await;
        let (started, refused) = load.end(&client).await;
        println!(
            "| {name} killed, started again at once | {:.1} s | 0 of {started} | {refused} |",
            recovered.as_secs_f64()
        );
        assert!(started > 0, "{name}: nothing was started");
    }
    // Renew a certificate while everything is running.
    let load = Load::begin(&client, "certificates");
    running.run(&["certificates"]);
    let begun = Instant::now();
    loop {
        let output = running.program("temporal-capacity", &["doctor", "stack", "-o", "json"]);
        if !text(&output).contains("but the file contains a different one") {
            break;
        }
        assert!(
            begun.elapsed() < Duration::from_mins(3),
            "the certificates are not picked up"
        );
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let served = begun.elapsed();
    let (started, refused) = load.end(&running.client().await).await;
    println!(
        "| certificates renewed | served after {:.0} s | 0 of {started} | {refused} |",
        served.as_secs_f64()
    );
}

/// If the disk is full, PostgreSQL rejects every write or stops, and it continues once there is free space.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts a whole stack: .ci/full"]
async fn a_full_disk_under_the_database_loses_no_workflow() {
    let running = Running::new("127.98", |text| text).with_small_disk();
    running.up(&["--without-autopilot"]);
    let client = running.client().await;
    let load = Load::begin(&client, "full");
    tokio::time::sleep(Duration::from_secs(3)).await;
    let ballast = running.place.database().join("ballast");
    fill(&ballast);
    let begun = Instant::now();
    // PostgreSQL's reserved space lasts for a moment.
    while started_in_time(&client, "full-probe").await {
        assert!(
            begun.elapsed() < Duration::from_mins(5),
            "workflows start without space on the disk"
        );
        fill(&ballast);
    }
    found(&running, "disk of PostgreSQL: 0 MiB free");
    if !matches!(process::state(&running.place, "postgres"), State::Running(_)) {
        println!("PostgreSQL has stopped");
        let said = running.up_refused(&["--without-autopilot"]);
        assert!(said.contains("The disk is full: free some space"), "{said}");
    }
    std::fs::remove_file(&ballast).expect("removed");
    let begun = Instant::now();
    running.up(&["--without-autopilot"]);
    recovery(&client, "full").await;
    let recovered = begun.elapsed();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (started, refused) = load.end(&client).await;
    println!(
        "| disk full under PostgreSQL, freed, `up` | {:.1} s | 0 of {started} | {refused} |",
        recovered.as_secs_f64()
    );
    assert!(started > 0, "nothing was started");
    healthy(&running);
}

async fn started_in_time(client: &Client, id: &str) -> bool {
    let id = format!("{id}-{}", Timestamp::now());
    let started = tokio::time::timeout(Duration::from_secs(5), start(client, NAMESPACE, &id)).await;
    matches!(started, Ok(Ok(_)))
}

/// Writes zeros until the disk is full.
fn fill(ballast: &Path) {
    let mut file = File::options()
        .create(true)
        .append(true)
        .open(ballast)
        .expect("a file");
    let zeros = [0; 4096];
    while file.write_all(&zeros).is_ok() {}
}
