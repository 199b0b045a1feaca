//! Faults at random times, determined by the seed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cloud_simulator::Faults;
use fastrand::Rng;
use tokio::sync::watch;

use crate::event_log::say;
use crate::processes::LogReader;
use crate::world::{World, background, until_serving};

/// Number of faults of each kind.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) workers_killed: AtomicU64,
    pub(crate) readers_killed: AtomicU64,
    pub(crate) readers_stalled: AtomicU64,
    pub(crate) servers_killed: AtomicU64,
    pub(crate) ledgers_killed: AtomicU64,
    pub(crate) clouds_away: AtomicU64,
    pub(crate) pauses: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// One kind of fault, with its own random numbers, the end of the run, and the pace.
pub(crate) struct Fate {
    pub(crate) world: Arc<World>,
    pub(crate) done: Arc<Done>,
    pub(crate) random: Rng,
    pub(crate) over: watch::Receiver<bool>,
    /// Pace of the faults: 1 for a long run, less for a short one.
    pub(crate) pace: f64,
}

impl Fate {
    /// Waits for a random number of seconds in this range. Returns whether the run continues.
    async fn wait(&mut self, least: f64, most: f64) -> bool {
        let seconds = least + self.random.f64() * (most - least);
        let _ =
            tokio::time::timeout(Duration::from_secs_f64(seconds), self.over.wait_for(|over| *over)).await;
        !*self.over.borrow()
    }

    /// Like `wait`, with times in proportion to the length of the run.
    async fn live(&mut self, least: f64, most: f64) -> bool {
        let pace = self.pace;
        self.wait(least * pace, most * pace).await
    }

    /// Repeatedly kills one worker and starts it again, and removes its log reader in between.
    pub(crate) async fn worker(mut self, number: usize) {
        while self.live(10.0, 70.0).await {
            if self.random.u8(0..3) == 0 {
                let how = if self.random.bool() {
                    count(&self.done.readers_killed);
                    LogReader::Gone
                } else {
                    count(&self.done.readers_stalled);
                    LogReader::Stalls
                };
                let mut worker = self.world.workers[number].lock().await;
                say(&format!("the log reader of {}: {how:?}", worker.name));
                worker.set_reader(how).await;
                drop(worker);
                if !self.live(20.0, 70.0).await {
                    break;
                }
            }
            self.kill_worker(number).await;
            self.wait(0.2, 25.0).await;
            start_worker(&self.world, number).await;
        }
    }

    /// Kills the workers in turn and restarts each one, as a supervisor would.
    pub(crate) async fn in_turn(mut self, apart: Duration) {
        let workers = self.world.workers.len();
        let mut away = 0.0;
        for number in (0..workers).cycle() {
            let apart = (apart.as_secs_f64() - away).max(0.0);
            if !self.wait(apart, apart).await {
                return;
            }
            self.kill_worker(number).await;
            away = 1.0 + self.random.f64() * 9.0;
            self.wait(away, away).await;
            start_worker(&self.world, number).await;
        }
    }

    async fn kill_worker(&self, number: usize) {
        let mut worker = self.world.workers[number].lock().await;
        if !worker.is_running() {
            return;
        }
        self.world.change(|it| it.workers -= 1);
        worker.kill().await;
        count(&self.done.workers_killed);
        say(&format!("{} was killed", worker.name));
    }

    pub(crate) async fn server(mut self) {
        while self.live(70.0, 200.0).await {
            let mut server = self.world.server.lock().await;
            self.world.change(|it| it.server = false);
            server.kill().await;
            count(&self.done.servers_killed);
            say("the Temporal server was killed");
            drop(server);
            self.wait(1.0, 20.0).await;
            let mut server = self.world.server.lock().await;
            let started = match server.start() {
                Ok(()) => until_serving(&self.world.address, &mut server).await,
                Err(error) => Err(error),
            };
            match started {
                Ok(()) => {
                    self.world.change(|it| it.server = true);
                    say("the Temporal server is back");
                }
                Err(error) => return self.world.violated(format!("the harness: {error:#}")),
            }
        }
    }

    pub(crate) async fn ledger(mut self) {
        while self.live(40.0, 150.0).await {
            self.world.database.lock().await.kill().await;
            count(&self.done.ledgers_killed);
            say("the ledger was killed");
            self.wait(2.0, 70.0).await;
            match self.world.database.lock().await.start().await {
                Ok(()) => say("the ledger is back"),
                Err(error) => return self.world.violated(format!("the harness: {error:#}")),
            }
        }
    }

    pub(crate) async fn cloud(mut self) {
        while self.live(120.0, 260.0).await {
            self.world.change(|it| it.cloud = false);
            self.world.cloud.set_faults(Faults {
                unavailable: 1.0,
                ..Faults::default()
            });
            count(&self.done.clouds_away);
            say("the cloud does not respond");
            // Most outages are short. Some last longer than an evaluation retries.
            if self.random.u8(0..4) == 0 {
                self.wait(100.0, 160.0).await;
            } else {
                self.wait(5.0, 30.0).await;
            }
            self.world.cloud.set_faults(background());
            self.world.change(|it| it.cloud = true);
            say("the cloud responds again");
        }
    }

    pub(crate) async fn pauses(mut self) {
        while self.live(90.0, 240.0).await {
            if pause(&self.world, "chaos").await {
                count(&self.done.pauses);
            }
            self.wait(25.0, 50.0).await;
            resume(&self.world).await;
        }
    }
}

/// Stops a worker as an operator would.
pub(crate) async fn stop_worker(world: &World, number: usize) {
    let mut worker = world.workers[number].lock().await;
    world.change(|it| it.workers -= 1);
    worker.stop().await;
    say(&format!("{} was stopped", worker.name));
}

pub(crate) async fn start_worker(world: &World, number: usize) {
    let mut worker = world.workers[number].lock().await;
    if worker.is_running() {
        return;
    }
    match worker.start() {
        Ok(()) => {
            world.change(|it| it.workers += 1);
            say(&format!("{} was started", worker.name));
        }
        Err(error) => world.violated(format!("the harness: {error:#}")),
    }
}

/// Pauses everything. Returns whether it is paused.
pub(crate) async fn pause(world: &World, reason: &str) -> bool {
    world.change(|it| it.pausing = true);
    for _ in 0..60 {
        let (paused, said) = world.schedule(&["pause", "--reason", reason]).await;
        if paused {
            world.change(|it| it.paused_since = Some(std::time::Instant::now()));
            say("paused");
            return true;
        }
        say(&format!(
            "not paused yet: {}",
            said.lines().next().unwrap_or_default()
        ));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    world.violated("pausing did not succeed within a minute".to_owned());
    false
}

/// Resumes changes. From the first attempt on, changes are allowed; once an attempt succeeds, the pause counts as
/// over.
pub(crate) async fn resume(world: &World) {
    world.change(|it| it.paused_since = None);
    for _ in 0..60 {
        let (resumed, said) = world.schedule(&["resume"]).await;
        if resumed {
            world.change(|it| it.pausing = false);
            return say("resumed");
        }
        say(&format!(
            "not resumed yet: {}",
            said.lines().next().unwrap_or_default()
        ));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    world.violated("resuming did not succeed within a minute".to_owned());
}
