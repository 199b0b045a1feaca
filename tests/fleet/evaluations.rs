//! Measures single dry-run evaluations in real time, for each source of usage.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use capacity_ledger::{Ledger, Location, Minute, NamespaceMinute};
use cloud_simulator::{Account, SimulatorOptions};
use jiff::{SignedDuration, Timestamp};

use crate::Arguments;
use crate::figures::Figures;
use crate::process::Worker;
use crate::prometheus::Prometheus;
use crate::world::{ACCOUNT, MINUTES, World, until};

/// Limit of the client, in requests per second.
const OPS_REQUESTS_A_SECOND: f64 = 30.0;
/// Target for the duration of an evaluation in seconds, beyond the time for its requests.
const BEYOND_REQUESTS: f64 = 3.0;
const CPU: f64 = 1.0;
/// Interval between evaluations: slightly more than the minimum that the controller enforces.
const APART: Duration = Duration::from_secs(22);
const MEMORY: f64 = 60.0;

/// Measures the evaluations from all sources.
pub(crate) async fn measure(
    arguments: &Arguments,
    folder: &Path,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let share = arguments.wanting_change / 100.0;
    let account = Account::generate(arguments.namespaces, share, arguments.seed);
    let cloud = cloud_simulator::start(SimulatorOptions {
        scrapes_per_hour: None,
        seed: arguments.seed,
        ..SimulatorOptions::new(account)
    })
    .await?;
    let world = World::start(cloud, None).await?;
    each(arguments, &world, folder, "endpoint", &[], figures).await?;
    let ledger = folder.join("evaluations.db");
    fill(&world, &ledger).await?;
    let with_ledger = [("LEDGER_URL", ledger.display().to_string())];
    each(
        arguments,
        &world,
        folder,
        "ledger, 75 one-minute samples",
        &with_ledger,
        figures,
    )
    .await?;
    if let Some(programs) = &arguments.prometheus {
        let prometheus = Prometheus::start(programs, folder, &world).await?;
        let through_it = [
            ("METRICS_SOURCE", "prometheus".to_owned()),
            ("PROMETHEUS_URL", prometheus.url()),
        ];
        each(
            arguments,
            &world,
            folder,
            "Prometheus, 75 one-minute samples",
            &through_it,
            figures,
        )
        .await?;
    }
    world.shutdown().await;
    Ok(())
}

/// Measures several evaluations from one source and keeps the worst of each figure.
async fn each(
    arguments: &Arguments,
    world: &World,
    folder: &Path,
    source: &str,
    settings: &[(&str, String)],
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let mut environment = world.environment(settings);
    environment.push(("DRY_RUN_MODE".to_owned(), "true".to_owned()));
    let scrapes = world.scrapes();
    let name = source.split(',').next().unwrap_or(source);
    let worker = Worker::start(folder, name, &environment, &[])?;
    if settings.iter().any(|(name, _)| *name == "LEDGER_URL") {
        // The sampler's first round is not part of an evaluation.
        until("sampled", async || world.scrapes() >= scrapes + 5).await?;
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    let (mut longest, mut most_cpu, mut allowed) = (0.0_f64, 0.0_f64, f64::MAX);
    for number in 1..=arguments.evaluations {
        if number > 1 {
            tokio::time::sleep(APART).await;
        }
        let (cpu, ops, scrapes, begun) = (
            worker.cpu()?,
            world.ops_requests(),
            world.scrapes(),
            Instant::now(),
        );
        let id = format!("fleet-{name}-{number}");
        let report = world.controller().decide(&id, crate::world::PATIENT).await?;
        let (wall, cpu) = (begun.elapsed().as_secs_f64(), worker.cpu()? - cpu);
        let (ops, scrapes) = (world.ops_requests() - ops, world.scrapes() - scrapes);
        crate::say(&format!(
            "{source}: evaluation {number} in {wall:.2} s, {cpu:.2} s of CPU, {ops} Cloud Ops requests, {scrapes} scrapes, \
             {:.1} MB at the peak, {:?}",
            worker.peak()?,
            report.counts
        ));
        let decided: usize = report.counts.values().sum();
        anyhow::ensure!(decided == arguments.namespaces, "{decided} decisions: {report:?}");
        anyhow::ensure!(!report.metrics_unavailable, "no metrics: {:?}", report.warnings);
        #[expect(clippy::cast_precision_loss, reason = "a few hundred requests")]
        let bound = ops as f64 / OPS_REQUESTS_A_SECOND + BEYOND_REQUESTS;
        longest = longest.max(wall);
        most_cpu = most_cpu.max(cpu);
        allowed = allowed.min(bound);
    }
    figures.at_most(
        format!("evaluation from {source}: wall time"),
        longest,
        allowed,
        "s",
    );
    figures.at_most(format!("evaluation from {source}: CPU"), most_cpu, CPU, "s");
    figures.at_most(
        format!("worker, peak of {} such evaluations", arguments.evaluations),
        worker.peak()?,
        MEMORY,
        "MB",
    );
    worker.stop().await
}

/// Records minutes of every namespace, as the sampler would.
async fn fill(world: &World, path: &Path) -> anyhow::Result<()> {
    let ledger = Ledger::open(&Location::Sqlite(path.to_owned())).await?;
    let now = world.cloud.now();
    let newest = now.as_second().div_euclid(60) - 4;
    let namespaces = world.cloud.namespaces();
    for number in newest - MINUTES + 1..=newest {
        let samples = namespaces.iter().map(|namespace| {
            let micros = |rate: f64| rate_micros(rate * (0.95 + fastrand::f64() / 10.0));
            let units = u64::from(namespace.trus.max(1)) * 500_000_000;
            let limits = [Some(units), Some(units * 3), Some(units * 8)];
            NamespaceMinute {
                namespace: Arc::from(namespace.id.as_str()),
                reported: true,
                unread: [false; 3],
                served: [1.0, 2.0, 5.0].map(|per| micros(namespace.served_actions * per)),
                throttled: [micros(namespace.throttled), 0, 0],
                limits,
                envelopes: [Some(500_000_000), Some(2_000_000_000), Some(4_000_000_000)],
            }
        });
        let minute = Minute {
            minute: Timestamp::from_second(number * 60)?,
            complete: true,
            source: "metrics".to_owned(),
            samples: samples.collect(),
        };
        ledger.record_minute(ACCOUNT, &minute, now).await?;
    }
    let filled = ledger
        .window(ACCOUNT, now - SignedDuration::from_mins(10), now)
        .await?;
    filled.last().context("the ledger has minutes")?;
    ledger.close().await;
    Ok(())
}

/// Converts a rate to whole millionths.
pub(crate) fn rate_micros(rate: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the cast saturates, and no rate is negative"
    )]
    let micros = (rate * 1e6).round() as u64;
    micros
}
