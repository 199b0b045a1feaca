//! Measures the kit on a development server: overhead per activity compared with the bare SDK, idle memory,
//! and whether two queues with different rate limits stay within them.
//!
//! `cargo run --release -p temporal-worker-kit --example bench`
#![expect(clippy::print_stdout, reason = "a benchmark prints")]
#![allow(missing_docs, reason = "the macros generate public items")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use temporal_worker_kit::{Config, Kit, Registry, TaskQueue};
use temporalio_client::{Client, WorkflowGetResultOptions, WorkflowStartOptions};
use temporalio_common::worker::WorkerDeploymentOptions;
use temporalio_macros::{activities, workflow, workflow_methods};
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use temporalio_sdk::runtime::RuntimeOptions;
use temporalio_sdk::workflows::join_all;
use temporalio_sdk::{ActivityOptions, Runtime, Worker, WorkerOptions, WorkflowContext, WorkflowResult};

/// Activities per workflow.
const BATCH: u32 = 100;
/// Workflows per round of the overhead measurement.
const WORKFLOWS: u32 = 10;
/// Rounds, alternating between the kit and the bare SDK.
const ROUNDS: usize = 7;
/// Activities of both rate-limited queues together.
const LIMITED: u32 = 10_000;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

struct Work {
    started: Arc<Mutex<Vec<Instant>>>,
}

#[activities]
impl Work {
    #[activity(name = "bench.work")]
    #[expect(clippy::unused_async, reason = "the SDK's macros require this signature")]
    async fn work(self: Arc<Self>, _context: ActivityContext) -> Result<(), ActivityError> {
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        started.push(Instant::now());
        Ok(())
    }
}

#[workflow]
#[derive(Default)]
struct Batch;

#[workflow_methods]
impl Batch {
    #[run(name = "Batch")]
    async fn run(context: &mut WorkflowContext<Self>, count: u32) -> WorkflowResult<()> {
        let context = &*context;
        let all: Vec<_> = (0..count)
            .map(|_| {
                let options = ActivityOptions::start_to_close_timeout(Duration::from_secs(30));
                context.execute_activity(Work::work, (), options)
            })
            .collect();
        for done in join_all(all).await {
            done?;
        }
        Ok(())
    }
}

/// Runs workflows, and returns the average time of one activity.
async fn round(client: &Client, queue: &str, workflows: u32) -> Result<Duration, BoxError> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let begun = Instant::now();
    let mut handles = Vec::new();
    for _ in 0..workflows {
        let id = format!("{queue}-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let options = WorkflowStartOptions::new(queue, id).build();
        handles.push(client.start_workflow(Batch::run, BATCH, options).await?);
    }
    for handle in handles {
        handle.get_result(WorkflowGetResultOptions::default()).await?;
    }
    Ok(begun.elapsed() / (workflows * BATCH))
}

fn work() -> (Work, Arc<Mutex<Vec<Instant>>>) {
    let started = Arc::new(Mutex::new(Vec::new()));
    (
        Work {
            started: Arc::clone(&started),
        },
        started,
    )
}

fn resident_megabytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS"))?;
    let kibibytes: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes * 1024.0 / 1e6)
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let server = temporal_dev_server::start(&temporal_dev_server::Options::default(), &|_| {}).await?;
    let mut config = Config {
        listen: "127.0.0.1:0".parse().ok(),
        ..Config::default()
    };
    config.connection.address = server.address().to_string();
    idle(&config).await?;
    overhead(&config).await?;
    rates(&config).await?;
    server.shutdown().await;
    Ok(())
}

async fn idle(config: &Config) -> Result<(), BoxError> {
    let registry = Registry::new()
        .workflow::<Batch>("idle")
        .activities("idle", work().0);
    let mut running = Kit::new(config.clone(), registry).start().await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    match resident_megabytes() {
        Some(megabytes) => println!("resident, one idle queue       {megabytes:8.1} MB"),
        None => println!("resident memory is unknown on this system"),
    }
    running.stop();
    running.wait().await?;
    Ok(())
}

async fn overhead(config: &Config) -> Result<(), BoxError> {
    let registry = Registry::new()
        .workflow::<Batch>("kit")
        .activities("kit", work().0);
    let mut running = Kit::new(config.clone(), registry).start().await?;
    let client = config.connection.connect().await?;
    let runtime = Runtime::from_current_tokio(RuntimeOptions::default())?;
    let options = WorkerOptions::new("bare")
        .deployment_options(WorkerDeploymentOptions::from_build_id("bench".to_owned()))
        .register_workflow::<Batch>()?
        .register_activities(work().0)
        .build();
    let mut bare = Worker::new(&runtime, client.clone(), options)?;
    let stop = bare.shutdown_handle();
    let handle = tokio::runtime::Handle::current();
    let thread = std::thread::spawn(move || handle.block_on(bare.run()).map_err(|error| error.to_string()));
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        with.push(round(&client, "kit", WORKFLOWS).await?);
        without.push(round(&client, "bare", WORKFLOWS).await?);
    }
    with.sort();
    without.sort();
    let (with, without) = (
        with[ROUNDS / 2].as_secs_f64() * 1e6,
        without[ROUNDS / 2].as_secs_f64() * 1e6,
    );
    println!("per activity, kit              {with:8.1} us");
    println!("per activity, bare SDK         {without:8.1} us");
    println!(
        "overhead                       {:8.1} %",
        (with / without - 1.0) * 100.0
    );
    stop();
    let joined = tokio::task::spawn_blocking(move || thread.join()).await?;
    joined.map_err(|_| "the bare worker panicked")??;
    running.stop();
    running.wait().await?;
    Ok(())
}

async fn rates(config: &Config) -> Result<(), BoxError> {
    let mut config = config.clone();
    // Together below what the development server itself can handle, about 180 per second on two cores.
    let (fast, slow) = (80.0, 40.0);
    let mut registry = Registry::new();
    let mut measured = Vec::new();
    for (name, rate) in [("fast", fast), ("slow", slow)] {
        let mut queue = TaskQueue::new(name);
        queue.activities_per_second_per_worker = Some(rate);
        config.task_queues.push(queue);
        let (work, started) = work();
        registry = registry.workflow::<Batch>(name).activities(name, work);
        measured.push((name, rate, started));
    }
    let mut running = Kit::new(config, registry).start().await?;
    let client = running.client();
    let workflows = LIMITED / BATCH;
    let (fast, slow) = tokio::join!(
        round(&client, "fast", workflows * 2 / 3),
        round(&client, "slow", workflows - workflows * 2 / 3)
    );
    fast?;
    slow?;
    for (name, rate, started) in measured {
        let started = started.lock().unwrap_or_else(PoisonError::into_inner);
        // Excludes the first second, in which unused tokens may be spent in a burst.
        let first = started.first().copied().ok_or("nothing ran")? + Duration::from_secs(1);
        let steady: Vec<Instant> = started.iter().copied().filter(|at| *at >= first).collect();
        let span = steady
            .last()
            .ok_or("too short")?
            .duration_since(first)
            .as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
        let measured = steady.len() as f64 / span;
        let off = (measured / rate - 1.0) * 100.0;
        println!(
            "queue {name}, limit {rate:5.0}/s         {measured:8.1} /s ({off:+.1} %), {} activities",
            started.len()
        );
    }
    running.stop();
    running.wait().await?;
    Ok(())
}
