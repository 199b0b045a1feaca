//! Commands for stacks and their labels. They need only Spacelift.

use std::process::ExitCode;

use clap::ValueEnum;
use stack_chain::graph::Graph;
use stack_chain::labels::GRAMMAR;
use stack_chain::render;
use stack_chain::settings::Account;

use super::output::print;

/// Output format of the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum GraphFormat {
    /// One line for each stack.
    Text,
    /// Graphviz.
    Dot,
    /// Mermaid.
    Mermaid,
}

async fn read(account: &Account) -> anyhow::Result<Graph> {
    let stacks = account.provider()?.stacks().await?;
    Ok(Graph::of(stacks, account.dialect()?))
}

pub(super) async fn check(account: &Account) -> anyhow::Result<ExitCode> {
    let graph = read(account).await?;
    print(&render::mistakes(&graph));
    Ok(ExitCode::from(u8::from(!graph.mistakes().is_empty())))
}

pub(super) fn labels() -> ExitCode {
    let width = GRAMMAR
        .iter()
        .map(|rule| rule.label.len())
        .max()
        .unwrap_or_default();
    let rows = GRAMMAR.iter().map(|rule| {
        format!(
            "{:width$}  {}\n{:width$}  such as `{}`\n",
            rule.label, rule.meaning, "", rule.example
        )
    });
    print(&rows.collect::<String>());
    ExitCode::SUCCESS
}

pub(super) async fn graph(account: &Account, format: GraphFormat) -> anyhow::Result<ExitCode> {
    let graph = read(account).await?;
    print(&match format {
        GraphFormat::Text => render::text(&graph),
        GraphFormat::Dot => render::dot(&graph),
        GraphFormat::Mermaid => render::mermaid(&graph),
    });
    Ok(ExitCode::SUCCESS)
}
