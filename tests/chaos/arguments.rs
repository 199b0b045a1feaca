//! Arguments of a run, and the location of the programs.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use human_text::parse_duration;

/// Kill everything at random while the autopilot manages a simulated cloud, and check that nothing is lost.
#[derive(Debug, Parser)]
pub(crate) struct Arguments {
    /// Duration of the run in minutes of real time. At the default speed, 36 minutes are six hours of the
    /// simulated cloud.
    #[arg(long, default_value_t = 36.0)]
    pub(crate) minutes: f64,
    /// Speed of the simulated cloud, as a multiple of real time.
    #[arg(long, default_value_t = 10.0)]
    pub(crate) speed: f64,
    /// Random seed.
    #[arg(long, default_value_t = fastrand::u64(0..1_000_000))]
    pub(crate) seed: u64,
    /// Number of namespaces that alternate between throttled and idle.
    #[arg(long, default_value_t = 60)]
    pub(crate) namespaces: usize,
    /// Number of workers that run in parallel.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=8))]
    pub(crate) workers: u8,
    /// Instead of injecting random faults, kill the workers in turn at this interval. Each worker restarts within ten
    /// seconds, and every scheduled evaluation must succeed.
    #[arg(long, value_name = "DURATION", value_parser = apart, conflicts_with = "older_worker")]
    pub(crate) kill_worker_every: Option<Duration>,
    /// Minutes between evaluations of the schedule.
    #[arg(long, default_value_t = 1, value_name = "MINUTES", value_parser = clap::value_parser!(u8).range(1..=30))]
    pub(crate) evaluate_every: u8,
    /// Upgrade instead of killing anything: a worker of an older release runs alone for a minute, then alongside
    /// one of this release; for the last fifth of the run, the new one runs alone.
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) older_worker: Option<PathBuf>,
    /// Folder for the workers' logs and the server's database; emptied first [default: target/chaos].
    #[arg(long)]
    pub(crate) folder: Option<PathBuf>,
}

impl Arguments {
    pub(crate) fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.minutes * 60.0)
    }
}

fn apart(text: &str) -> anyhow::Result<Duration> {
    let apart = parse_duration(text).ok();
    apart
        .filter(|apart| *apart >= Duration::from_secs(15))
        .context("use a duration of 15s or more, such as 60s or 2m")
}

/// Returns the folder that contains the programs.
pub(crate) fn programs() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?;
    Ok(program.parent().context("a folder")?.to_owned())
}
