//! The program's arguments, its log, and the other programs in its folder.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Instant;

use anyhow::Context;
use clap::Parser;

/// Measure the worker on a large account.
#[derive(Debug, Clone, Parser)]
pub(crate) struct Arguments {
    /// Number of namespaces.
    #[arg(long, default_value_t = 10_000)]
    pub(crate) namespaces: usize,
    /// Simulated hours of the long run; 0 skips it.
    #[arg(long, default_value_t = 24)]
    pub(crate) hours: u32,
    /// Minutes that the clock of the long run advances between two readings. With 2, there are 30 readings of 5
    /// requests per hour; the endpoint allows 180 requests per hour for each account.
    #[arg(long, default_value_t = 2)]
    pub(crate) step_minutes: i64,
    /// Evaluations to measure from each source of usage; 0 skips them.
    #[arg(long, default_value_t = 3)]
    pub(crate) evaluations: u32,
    /// Percentage of namespaces that need a change in the measured evaluations.
    #[arg(long, default_value_t = 4.0)]
    pub(crate) wanting_change: f64,
    /// Also measure evaluations through Prometheus; this folder must contain `prometheus` and `promtool`.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) prometheus: Option<PathBuf>,
    /// Random seed of the loads.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Folder for ledgers, logs and the server's database; emptied first [default: target/fleet].
    #[arg(long)]
    pub(crate) folder: Option<PathBuf>,
}

static BEGUN: OnceLock<Instant> = OnceLock::new();

/// Starts the clock of the log.
pub(crate) fn begin() {
    BEGUN.get_or_init(Instant::now);
}

/// Prints a line to the log.
pub(crate) fn say(what: &str) {
    let since = BEGUN.get_or_init(Instant::now).elapsed().as_secs_f64();
    println!("{since:8.1} s  {what}");
}

/// Returns the folder that contains the programs.
pub(crate) fn programs() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?;
    Ok(program.parent().context("a folder")?.to_owned())
}
