//! Tests of a rolling deployment: a new worker starts, the old one gets SIGTERM during a change, and users
//! notice nothing.

use std::time::{Duration, Instant};

use capacity_workflows::schedule::{Schedule, ScheduleOptions};
use capacity_workflows::{CapacityChange, Installation, names};
use temporalio_client::WorkflowGetResultOptions;

use super::{POST, World, count, send};

const PATIENT: Duration = Duration::from_mins(3);
/// Grace period of the pod: `--grace 5` plus the 15 s that the chart adds, with a margin for a busy machine.
const GRACE: Duration = Duration::from_mins(1);

/// Triggers a run of the schedule and waits until this number of runs has returned a report.
async fn ticks_are(schedule: &Schedule, expected: usize) {
    let begun = Instant::now();
    loop {
        let ticks = schedule.last_ticks(Duration::from_secs(1)).await;
        let ticks = ticks.expect("a schedule");
        let reported = ticks.iter().filter(|tick| tick.contains(" evaluation "));
        if reported.count() >= expected {
            return;
        }
        assert!(begun.elapsed() < PATIENT, "{ticks:#?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_worker_that_is_left_finishes_the_change_of_one_that_drains() {
    // The operation takes ten seconds, longer than the old worker's grace period.
    let Some(world) = World::new(200, 2).await else {
        return;
    };
    // The test triggers the runs, because the schedule itself has only one per year.
    let daily = ScheduleOptions::hourly().with_minutes([0]).with_hours([0]);
    let schedule = Schedule::new(&world.client, &Installation::default());
    schedule.create(&daily).await.expect("created");
    let mut old = world.worker();
    schedule.trigger().await.expect("triggered");
    world
        .until("posted", PATIENT, |cloud| count(cloud, POST) == 1)
        .await;
    let mut new = world.worker();
    send(&old, "-TERM");
    let begun = Instant::now();
    let drained = tokio::task::spawn_blocking(move || old.wait().expect("ended"));
    assert_eq!(drained.await.expect("joined").code(), Some(0), "it drained");
    assert!(begun.elapsed() < GRACE, "{:?}", begun.elapsed());

    world
        .until("changed", PATIENT, |cloud| !cloud.changes().is_empty())
        .await;
    let id = names::change_id("checkout.a1b2c");
    let change = world.client.get_workflow_handle::<CapacityChange>(id);
    let outcome = change.get_result(WorkflowGetResultOptions::default());
    let outcome = tokio::time::timeout(PATIENT, outcome).await.expect("in time");
    assert_eq!(outcome.expect("it ends").outcome, "changed");
    ticks_are(&schedule, 1).await;
    // The next run of the schedule finds only the new worker.
    schedule.trigger().await.expect("triggered");
    ticks_are(&schedule, 2).await;
    assert_eq!((world.cloud.changes().len(), count(&world.cloud, POST)), (1, 1));
    assert_eq!(world.cloud.incidents(), []);
    new.kill().expect("killed");
    new.wait().expect("gone");
    world.server.shutdown().await;
}
