//! The operator's command line of the temporal-capacity autopilot.
//!
//! So far it reads OpenMetrics documents; `plan`, `apply` and the rest follow.

mod exit;
mod metrics;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// Capacity autopilot for Temporal Cloud.
#[derive(Debug, Parser)]
#[command(
    name = "temporal-capacity",
    version,
    propagate_version = true,
    max_term_width = 100
)]
#[command(after_help = "Exit codes: 0 done; 1 any error, usage included.")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Reads OpenMetrics documents from standard input.
    Metrics(Metrics),
}

#[derive(Debug, Args)]
struct Metrics {
    #[command(subcommand)]
    command: MetricsCommand,
}

#[derive(Debug, Subcommand)]
enum MetricsCommand {
    /// Accepts (exit code 0) or rejects (1, with the error) a document.
    Check(ReadingMode),
    /// Prints every sample as one JSON object a line.
    Dump(ReadingMode),
}

/// How strictly to read.
#[derive(Debug, Args)]
#[group(multiple = false)]
struct ReadingMode {
    /// By the OpenMetrics 1.0 text format to the letter.
    #[arg(long)]
    strict: bool,
    /// As the metrics endpoint of Temporal Cloud is read (the default).
    #[arg(long)]
    lenient: bool,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return exit::usage(&error),
    };
    let Command::Metrics(flags) = arguments.command;
    let outcome = match flags.command {
        MetricsCommand::Check(mode) => metrics::check(mode.strict),
        MetricsCommand::Dump(mode) => metrics::dump(mode.strict),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::failed(&error),
    }
}
