//! The commands; each one is a function.

mod chains;
mod connection;
mod demo;
mod output;
mod serve;
mod stacks;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use stack_chain::settings::{Account, ChainArguments};

/// Run Spacelift stacks in the order of their dependencies.
#[derive(Debug, Parser)]
#[command(name = "stack-chain", version, max_term_width = 100)]
#[command(after_help = "\
Spacelift: SPACELIFT_API_KEY_ENDPOINT, SPACELIFT_API_KEY_ID, SPACELIFT_API_KEY_SECRET, SPACELIFT_WEBHOOK_SECRET.
Temporal: TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, TEMPORAL_API_KEY, TEMPORAL_TLS_*, TEMPORAL_PROFILE.
Exit codes: 0 done; 1 any error, and any mistake that `check` finds.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    account: Account,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check the labels of all stacks and report every mistake with its stack and label
    Check,
    /// Print the labels that stack-chain understands
    Labels,
    /// Print the stacks and their dependencies
    Graph {
        /// Output format
        #[arg(short, long, value_enum, default_value_t = stacks::GraphFormat::Text)]
        output: stacks::GraphFormat,
    },
    /// Receive webhooks and run chains in one process
    Serve(serve::Process),
    /// Receive webhooks
    Webhook(serve::Process),
    /// Run chains
    Worker(serve::Process),
    /// Run a stack and everything that depends on it; print the workflow id
    Trigger {
        /// Id of the stack
        stack: String,
        /// Run only the dependents of the stack, not the stack itself
        #[arg(long)]
        dependents_only: bool,
        #[command(flatten)]
        chain: ChainArguments,
    },
    /// Show, cancel, approve or reject chains
    #[command(subcommand)]
    Chains(chains::Chains),
    /// Print the chains that started in a period
    Report(chains::Report),
    /// Check the connections to Temporal and Spacelift, and report missing permissions
    ConnectionCheck,
    /// Run a chain on a simulated account, with its own Temporal server
    Demo,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { account, command } = arguments;
    match command {
        Command::Check => stacks::check(&account).await,
        Command::Labels => Ok(stacks::labels()),
        Command::Graph { output } => stacks::graph(&account, output).await,
        Command::Serve(process) => serve::run(&account, &process, serve::Role::Both).await,
        Command::Webhook(process) => serve::run(&account, &process, serve::Role::Webhook).await,
        Command::Worker(process) => serve::run(&account, &process, serve::Role::Worker).await,
        Command::Trigger {
            stack,
            dependents_only,
            chain,
        } => chains::trigger(&account, &stack, !dependents_only, chain.settings()).await,
        Command::Chains(command) => chains::run(command).await,
        Command::Report(report) => chains::report(&report).await,
        Command::ConnectionCheck => connection::check(&account).await,
        Command::Demo => demo::run().await,
    }
}
