//! Runs the worker on a clock that the test advances. The simulated time does not advance until all work caused by a
//! minute is done, so that the result does not depend on the speed of the machine.

use std::time::{Duration, Instant};

use capacity_workflows::controller::Controller;
use capacity_workflows::schedule::{Schedule, ScheduleOptions};
use capacity_workflows::{ControllerPhase, Installation};
use jiff::SignedDuration;

use crate::harness::World;

const MINUTE: SignedDuration = SignedDuration::from_mins(1);

/// Timeout in real time for all work caused by a minute. Only a hang takes this long.
const PATIENT: Duration = Duration::from_mins(5);

/// Number of scrapes after which the sampler has finished a whole round on the new minute, because it may
/// have been in the middle of one.
const ROUNDS: u64 = 2;

/// Minutes of the hour at which the schedule evaluates.
const TICKS: [u8; 2] = [0, 55];

/// Creates the schedule and starts its first run. The Temporal server runs in real time, so the schedule
/// stays paused and the test triggers its runs at the cloud's minutes.
pub(crate) async fn begin(world: &World) {
    let schedule = ScheduleOptions::hourly().with_minutes(TICKS);
    Schedule::new(&world.client, &world.installation)
        .create(&schedule)
        .await
        .expect("created");
    Schedule::new(&world.client, &Installation::default())
        .pause("the test triggers its runs")
        .await
        .expect("paused");
    sampled(world).await;
    tick(world).await;
    soon(world, "done", async || is_done(world).await).await;
}

/// Advances the cloud by a minute and waits until all work caused by it is done.
pub(crate) async fn live_a_minute(world: &World) {
    world.cloud.advance(MINUTE);
    sampled(world).await;
    let minute = world.cloud.now().as_second().div_euclid(60).rem_euclid(60);
    if TICKS.iter().any(|tick| i64::from(*tick) == minute) {
        tick(world).await;
    }
    soon(world, "done", async || is_done(world).await).await;
}

async fn sampled(world: &World) {
    let scrapes = || {
        let requests = world.cloud.requests();
        requests.get("GET /v1/metrics").copied().unwrap_or(0)
    };
    let before = scrapes();
    soon(world, "sampled", async || scrapes() >= before + ROUNDS).await;
}

/// Triggers a run of the schedule and waits for its evaluation.
async fn tick(world: &World) {
    let installation = Installation::default();
    let at = world.cloud.now();
    // The overlap policy skips a run while the previous run is still waiting for its changes.
    soon(world, "free for another tick", async || {
        let ticks = Schedule::new(&world.client, &installation)
            .last_ticks(Duration::from_millis(200))
            .await;
        ticks
            .expect("a schedule")
            .first()
            .is_none_or(|tick| !tick.contains("still"))
    })
    .await;
    Schedule::new(&world.client, &installation)
        .trigger()
        .await
        .expect("triggered");
    soon(world, "evaluated", async || {
        let status = Controller::new(&world.client, &installation)
            .status(Duration::from_secs(20))
            .await;
        let last = status.ok().and_then(|it| it.last_evaluation);
        last.and_then(|it| it.parse::<jiff::Timestamp>().ok())
            .is_some_and(|it| it.duration_since(at).abs() < SignedDuration::from_secs(1))
    })
    .await;
}

/// Returns whether no evaluation is running, no change is queued, and every change in effect has ended.
async fn is_done(world: &World) -> bool {
    let waits_for_the_cloud = world.cloud.accepted().iter().filter(|it| !it.is_over).count();
    let status = Controller::new(&world.client, &Installation::default())
        .status(Duration::from_mins(1))
        .await;
    status.is_ok_and(|status| {
        status.phase == ControllerPhase::Waiting
            && status.changes_queued == 0
            && status.changes_in_progress.len() <= waits_for_the_cloud
    })
}

async fn soon(world: &World, what: &str, is_so: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        if begun.elapsed() > PATIENT {
            let ticks = Schedule::new(&world.client, &Installation::default())
                .last_ticks(Duration::from_secs(1))
                .await;
            let status = Controller::new(&world.client, &Installation::default())
                .status(Duration::from_mins(1))
                .await;
            panic!("not {what} at {}: {ticks:#?}, {status:#?}", world.cloud.now());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
