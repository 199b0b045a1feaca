//! The commands, one function each.

mod stacks;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use stack_chain::settings::Account;

use stacks::GraphFormat;

/// Run dependent Spacelift stacks one after the other.
#[derive(Debug, Parser)]
#[command(name = "stack-chain", version, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 done; 1 any error, and any mistake that `check` finds.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    account: Account,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check the labels of all stacks, and name every mistake with its stack and label
    Check,
    /// Print the labels that stack-chain understands
    Labels,
    /// Print the stacks and their dependencies
    Graph {
        /// Output format
        #[arg(short, long, value_enum, default_value_t = GraphFormat::Text)]
        output: GraphFormat,
    },
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { account, command } = arguments;
    match command {
        Command::Check => stacks::check(&account).await,
        Command::Labels => Ok(stacks::labels()),
        Command::Graph { output } => stacks::graph(&account, output).await,
    }
}

/// Prints a text. A reader that went away, such as `head`, is not an error.
fn print(text: &str) {
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
}
