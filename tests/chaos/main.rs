//! Simulates six hours of a cloud while everything is killed at random: workers, their log readers, the
//! Temporal server and the ledger. Exits with 1 unless every change was recorded once, every throttled
//! namespace was scaled up in time, and nothing was changed while paused.
//!
//! ```text
//! cargo build --bins && target/debug/chaos                      36 minutes
//! target/debug/chaos --minutes 4 --seed 7                       a short run
//! target/debug/chaos --minutes 10 --namespaces 30 --kill-worker-every 60s --evaluate-every 2
//!                                                               kill only the workers, in turn; no evaluation may be skipped
//! ```
//!
//! Runs the real programs in the folder of this program.

#![allow(missing_docs, reason = "a program has no readers of its documentation")]
#![expect(clippy::print_stdout, reason = "the event log and the figures are the result")]

mod arguments;
mod event_log;
mod faults;
mod processes;
mod ticks;
mod verdict;
mod watcher;
mod world;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Parser;
use fastrand::Rng;
use jiff::Timestamp;
use tokio::sync::watch;

use arguments::Arguments;
use event_log::{begin, say};
use faults::{Done, Fate, pause, resume, start_worker, stop_worker};
use verdict::Verdict;
use watcher::{Seen, Watcher};
use world::World;

/// Maximum number of seconds from throttling to scale-up, in addition to one sampling interval.
const ANSWERED_WITHIN: f64 = 60.0;
/// Like `ANSWERED_WITHIN`, if a worker is killed every minute. Sampler, evaluation and change may each lose
/// their worker, and the Temporal service detects each loss after up to 20 s.
const ANSWERED_BETWEEN_KILLS: f64 = 180.0;
/// Release 0.1.0 waited for all changes of an evaluation before the next.
const OLDER_ANSWERED_WITHIN: Duration = Duration::from_mins(15);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    begin();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            println!("error: {error:#}");
            ExitCode::from(1)
        }
    }
}

#[tokio::main]
async fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    anyhow::ensure!(arguments.namespaces > 0, "--namespaces 0: nothing would happen");
    anyhow::ensure!(
        arguments.older_worker.is_none() || arguments.workers >= 2,
        "--workers {}: --older-worker takes at least 2",
        arguments.workers
    );
    let folder = world::folder(arguments)?;
    // One sample per simulated minute.
    let bound = if arguments.older_worker.is_some() {
        // The bound that the older release guarantees.
        OLDER_ANSWERED_WITHIN
    } else if arguments.kill_worker_every.is_some() {
        Duration::from_secs_f64(60.0 / arguments.speed + ANSWERED_BETWEEN_KILLS)
    } else {
        Duration::from_secs_f64(60.0 / arguments.speed + ANSWERED_WITHIN)
    };
    say(&format!(
        "seed {}, {} minutes at speed {}, {} namespaces, logs in {}",
        arguments.seed,
        arguments.minutes,
        arguments.speed,
        arguments.namespaces,
        folder.display()
    ));
    let world = World::start(arguments, &folder).await?;
    let (end, over) = watch::channel(false);
    let (stop_watching, stopped_watching) = watch::channel(false);
    let watcher = Watcher::new(Arc::clone(&world), arguments.speed, bound);
    let watcher = tokio::spawn(watcher.run(stopped_watching, over));
    let minutes = (0..60_u8).step_by(usize::from(arguments.evaluate_every));
    let minutes: Vec<String> = minutes.map(|minute| minute.to_string()).collect();
    let (created, said) = world.schedule(&["create", "--minutes", &minutes.join(",")]).await;
    anyhow::ensure!(created, "no schedule: {said}");
    let scheduled_since = Timestamp::now();
    let done = Arc::new(Done::default());
    if arguments.older_worker.is_some() {
        upgrade(&world, arguments.duration()).await;
    } else if let Some(apart) = arguments.kill_worker_every {
        in_turn(&world, &done, arguments, apart).await;
    } else {
        chaos(&world, &done, arguments).await;
    }
    // No new faults start, and work in progress finishes.
    end.send_replace(true);
    let scheduled_until = Timestamp::now();
    pause(&world, "the end of the run").await;
    let verdict = verdict::judge(&world).await?;
    if arguments.kill_worker_every.is_some() {
        let scheduled = (scheduled_since, scheduled_until);
        println!(
            "{}",
            ticks::check(&world, scheduled, arguments.evaluate_every).await?
        );
    }
    stop_watching.send_replace(true);
    let seen = watcher.await?;
    for worker in &world.workers {
        worker.lock().await.kill().await;
    }
    world.server.lock().await.kill().await;
    world.database.lock().await.kill().await;
    let violations = world.violations();
    println!("{}", table(arguments, bound, &done, &seen, &verdict));
    for violation in &violations {
        println!("VIOLATION: {violation}");
    }
    println!(
        "{} with seed {}: {} violations",
        if violations.is_empty() { "passed" } else { "FAILED" },
        arguments.seed,
        violations.len()
    );
    Ok(violations.is_empty())
}

/// Injects random faults for the duration of the run, and then restores everything.
async fn chaos(world: &Arc<World>, done: &Arc<Done>, arguments: &Arguments) {
    let (end, over) = watch::channel(false);
    let fate = |salt: u64| Fate {
        world: Arc::clone(world),
        done: Arc::clone(done),
        random: Rng::with_seed(arguments.seed.wrapping_mul(31).wrapping_add(salt)),
        over: over.clone(),
        pace: (arguments.minutes / 12.0).clamp(0.6, 1.0),
    };
    let mut fates = tokio::task::JoinSet::new();
    for (number, salt) in (0..world.workers.len()).zip(0..) {
        start_worker(world, number).await;
        fates.spawn(fate(salt).worker(number));
    }
    fates.spawn(fate(100).server());
    fates.spawn(fate(101).ledger());
    fates.spawn(fate(102).cloud());
    fates.spawn(fate(103).pauses());
    let stopped = tokio::time::timeout(arguments.duration(), tokio::signal::ctrl_c());
    if stopped.await.is_ok() {
        say("stopped by hand");
    }
    end.send_replace(true);
    // Everything that was killed starts again.
    while fates.join_next().await.is_some() {}
    for number in 0..world.workers.len() {
        start_worker(world, number).await;
    }
    if world.conditions().pausing {
        resume(world).await;
    }
}

/// Kills the workers in turn, and then restores all of them.
async fn in_turn(world: &Arc<World>, done: &Arc<Done>, arguments: &Arguments, apart: Duration) {
    let (end, over) = watch::channel(false);
    for number in 0..world.workers.len() {
        start_worker(world, number).await;
    }
    let fate = Fate {
        world: Arc::clone(world),
        done: Arc::clone(done),
        random: Rng::with_seed(arguments.seed),
        over,
        pace: 1.0,
    };
    let killer = tokio::spawn(fate.in_turn(apart));
    let stopped = tokio::time::timeout(arguments.duration(), tokio::signal::ctrl_c());
    if stopped.await.is_ok() {
        say("stopped by hand");
    }
    end.send_replace(true);
    if let Err(error) = killer.await {
        world.violated(format!("the harness: {error}"));
    }
    for number in 0..world.workers.len() {
        start_worker(world, number).await;
    }
}

/// Runs a worker of an older release alone, then alongside one of this release, and then the new one alone.
async fn upgrade(world: &World, duration: Duration) {
    start_worker(world, 0).await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    start_worker(world, 1).await;
    tokio::time::sleep(duration.mul_f64(0.8)).await;
    stop_worker(world, 0).await;
    tokio::time::sleep(duration.mul_f64(0.2)).await;
}

fn table(arguments: &Arguments, bound: Duration, done: &Done, seen: &Seen, verdict: &Verdict) -> String {
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed).to_string();
    let times = |times: &[Duration]| {
        let mut times = times.to_vec();
        times.sort_unstable();
        let at = |share: usize| times.get(times.len() * share / 100).or(times.last()).copied();
        let seconds =
            |time: Option<Duration>| time.map_or("-".to_owned(), |it| format!("{:.1}", it.as_secs_f64()));
        format!(
            "median {}, 95 % {}, longest {} s",
            seconds(at(50)),
            seconds(at(95)),
            seconds(times.last().copied())
        )
    };
    let rows = [
        (
            "simulated hours",
            format!("{:.1}", arguments.minutes * arguments.speed / 60.0),
        ),
        ("workers killed", count(&done.workers_killed)),
        ("log readers killed", count(&done.readers_killed)),
        ("log readers stalled", count(&done.readers_stalled)),
        ("Temporal server killed", count(&done.servers_killed)),
        ("ledger killed", count(&done.ledgers_killed)),
        ("cloud outages", count(&done.clouds_away)),
        ("pauses", count(&done.pauses)),
        ("changes accepted", verdict.accepted.to_string()),
        ("  of which scale-ups", verdict.scale_ups.to_string()),
        (
            "recorded exactly once, as changed",
            verdict.recorded_once.to_string(),
        ),
        ("other rows in the ledger", verdict.other_rows.to_string()),
        ("announcements of changes", verdict.announced.to_string()),
        ("most operations at a time", seen.most_operations.to_string()),
        (
            "throttling followed by a scale-up",
            seen.since_visible.len().to_string(),
        ),
        ("  after the metrics showed it", times(&seen.since_visible)),
        ("  after it was possible", times(&seen.since_possible)),
        ("  bound", format!("{:.0} s", bound.as_secs_f64())),
        ("throttling that ended on its own", seen.subsided.to_string()),
        ("throttling open at the end", seen.unanswered.to_string()),
        ("changed while paused", seen.while_paused.to_string()),
        (
            "latest POST after a pause opened",
            format!("{:.1} s", seen.latest_after_pause.as_secs_f64()),
        ),
        (
            "settled after",
            format!("{:.0} s", verdict.settled_in.as_secs_f64()),
        ),
    ];
    let lines = rows.map(|(what, value)| format!("  {what:<36}{value}"));
    format!("\n{}\n", lines.join("\n"))
}
