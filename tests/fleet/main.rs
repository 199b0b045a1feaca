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
mod program;
mod prometheus;
mod world;

use std::process::ExitCode;

use clap::Parser;

use figures::Figures;
use program::{Arguments, programs, say};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    program::begin();
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
