//! Measures the worker on a large account: CPU, duration and memory of an evaluation, and the growth of
//! ledger and histories over a simulated day. Exits with 1 if a target in `docs/scale.md` is missed.
//!
//! ```text
//! cargo build --release --bins && target/release/fleet                10,000 namespaces, 24 simulated hours: 40 minutes
//! target/release/fleet --hours 0                                      single evaluations only: three minutes
//! ```
//!
//! The worker and the Temporal server are separate processes, so their figures do not include the simulated
//! cloud, which runs in this process. The worker is the program in this program's folder.

#![allow(missing_docs, reason = "a program has no readers of its documentation")]
#![expect(clippy::print_stdout, reason = "the figures are the result")]

mod day;
mod evaluations;
mod figures;
mod ledger;
mod process;
mod prometheus;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::Instant;

use anyhow::Context;
use clap::Parser;

use figures::Figures;

/// Measure the worker on a large account.
#[derive(Debug, Clone, Parser)]
struct Arguments {
    /// Number of namespaces.
    #[arg(long, default_value_t = 10_000)]
    namespaces: usize,
    /// Simulated hours of the long run; 0 skips it.
    #[arg(long, default_value_t = 24)]
    hours: u32,
    /// Minutes that the clock of the long run advances between two readings. With 2, there are 30 readings per
    /// hour with 5 requests each, out of the 180 requests that the endpoint allows per account.
    #[arg(long, default_value_t = 2)]
    step_minutes: i64,
    /// Evaluations to measure from each source of usage; 0 skips them.
    #[arg(long, default_value_t = 3)]
    evaluations: u32,
    /// Percentage of namespaces that need a change in the measured evaluations.
    #[arg(long, default_value_t = 4.0)]
    wanting_change: f64,
    /// Also measure evaluations through Prometheus; this folder must contain `prometheus` and `promtool`.
    #[arg(long, value_name = "FOLDER")]
    prometheus: Option<PathBuf>,
    /// Random seed of the loads.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Folder for ledgers, logs and the server's database; emptied first [default: target/fleet].
    #[arg(long)]
    folder: Option<PathBuf>,
}

static BEGUN: OnceLock<Instant> = OnceLock::new();

/// Prints a line of the log.
fn say(what: &str) {
    let since = BEGUN.get_or_init(Instant::now).elapsed().as_secs_f64();
    println!("{since:8.1} s  {what}");
}

/// Returns the folder that contains the programs.
fn programs() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?;
    Ok(program.parent().context("a folder")?.to_owned())
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    BEGUN.get_or_init(Instant::now);
    match run(&arguments) {
        Ok(figures) => {
            println!("\n{figures}");
            ExitCode::from(u8::from(figures.has_missed()))
        }
        Err(error) => {
            println!("error: {error:#}");
            ExitCode::from(1)
        }
    }
}

#[tokio::main]
async fn run(arguments: &Arguments) -> anyhow::Result<Figures> {
    anyhow::ensure!(arguments.namespaces > 0, "--namespaces 0: nothing would happen");
    let folder = world::empty_folder(arguments)?;
    let mut figures = Figures::default();
    if arguments.evaluations > 0 {
        evaluations::measure(arguments, &folder, &mut figures).await?;
    }
    if arguments.hours > 0 {
        day::measure(arguments, &folder, &mut figures).await?;
    }
    Ok(figures)
}
