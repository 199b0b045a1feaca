//! Tests the upgrade from one server version to the next, with a workflow in progress.

use std::time::Instant;

use temporal_stack::doctor::probe::{is_completed, start};

use crate::harness::{Load, NAMESPACE, Running, healthy};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts a whole stack: .ci/full"]
async fn an_upgrade_keeps_a_workflow_in_flight() {
    let running = Running::new("127.94", |text| text);
    running.up(&["--without-autopilot", "--replicas", "2"]);
    let client = running.client().await;
    let run = start(&client, NAMESPACE, "in-flight").await.expect("started");
    let load = Load::begin(&client, "upgrade-none");
    let begun = Instant::now();
    let said = running.run(&["upgrade", "1.30.8"]);
    println!("upgraded in {:.0} s: {said}", begun.elapsed().as_secs_f64());
    let client = running.client().await;
    let (started, refused) = load.end(&client).await;
    println!("| upgrade 1.29.1 to 1.30.8, two processes per role | | 0 of {started} | {refused} |");
    assert!(
        is_completed(&client, NAMESPACE, "in-flight", &run)
            .await
            .expect("described")
    );
    assert_eq!(running.stack().settings.server.version, "1.30.8");
    healthy(&running);
}
