//! `-o, --output`: one flag for the output format of every command.

use clap::ValueEnum;

use crate::arguments::{Arguments, Command, Global, LedgerCommand};
use crate::exit::tell;

/// Output formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// A table that fits the terminal.
    #[value(alias = "text")]
    Table,
    /// One JSON document.
    Json,
    /// One JSON object per line.
    Jsonl,
    /// Comma-separated values with a header.
    Csv,
    /// A Markdown table, for a ticket.
    Markdown,
    /// A report in one HTML file.
    Html,
    /// Nothing; only the exit code.
    None,
}

impl Output {
    fn name(self) -> String {
        self.to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

impl Global {
    /// Returns the format to use; `table` unless something else was asked for.
    pub(crate) fn output(&self) -> Output {
        self.output.unwrap_or(Output::Table)
    }
}

impl Arguments {
    /// Settles the output format before the command starts.
    ///
    /// # Errors
    ///
    /// If the command does not support it.
    pub(crate) fn settle_output(&mut self) -> anyhow::Result<()> {
        let (name, old, supported) = self.command.outputs();
        if let Some(old) = old {
            tell(&format!("hint: --format is deprecated; use `-o {}`", old.name()));
        }
        if let Some(asked) = old.or(self.global.output) {
            if !supported.contains(&asked) {
                let all: Vec<String> = supported.iter().map(|output| output.name()).collect();
                anyhow::bail!(
                    "`{name}` has no {} output; use -o {}",
                    asked.name(),
                    all.join("|")
                );
            }
            self.global.output = Some(asked);
        } else {
            self.global.output = supported.first().copied();
        }
        Ok(())
    }
}

const USUAL: &[Output] = &[Output::Table, Output::Json, Output::Jsonl, Output::None];
const TABULAR: &[Output] = &[
    Output::Table,
    Output::Json,
    Output::Jsonl,
    Output::Csv,
    Output::Markdown,
    Output::None,
];
const BACKTEST: &[Output] = &[
    Output::Table,
    Output::Json,
    Output::Jsonl,
    Output::Csv,
    Output::Html,
    Output::None,
];
const REPORT: &[Output] = &[
    Output::Table,
    Output::Json,
    Output::Csv,
    Output::Markdown,
    Output::Html,
    Output::None,
];
const EXPORT: &[Output] = &[Output::Csv, Output::Jsonl];

impl Command {
    /// Returns the command's name, its deprecated `--format`, and the formats it supports, the default first.
    fn outputs(&self) -> (&'static str, Option<Output>, &'static [Output]) {
        match self {
            Self::Plan(flags) => ("plan", flags.format, TABULAR),
            Self::Apply(_) => ("apply", None, TABULAR),
            Self::History(flags) => ("history", flags.format, TABULAR),
            Self::Backtest(flags) => ("backtest", flags.format, BACKTEST),
            Self::Explain(_) => ("explain", None, USUAL),
            Self::Report(_) => ("report", None, REPORT),
            Self::Ledger(flags) => match &flags.command {
                LedgerCommand::Export { format, .. } => ("ledger export", *format, EXPORT),
                LedgerCommand::Info => ("ledger info", None, USUAL),
                LedgerCommand::Verify | LedgerCommand::Prune { .. } | LedgerCommand::Import { .. } => {
                    ("ledger", None, USUAL)
                }
            },
            Self::Doctor(_) => ("doctor", None, USUAL),
            Self::Status => ("status", None, USUAL),
            Self::Preview => ("preview", None, USUAL),
            Self::Trigger(_) => ("trigger", None, USUAL),
            Self::Settings(_) => ("settings show", None, USUAL),
            Self::Demo(_) => ("demo", None, USUAL),
            Self::CloudSimulator(_) => ("cloud-simulator", None, USUAL),
            Self::Metrics(_) => ("metrics", None, USUAL),
            Self::Dev(_) => ("dev", None, USUAL),
            Self::Completions { .. } => ("completions", None, USUAL),
        }
    }
}
