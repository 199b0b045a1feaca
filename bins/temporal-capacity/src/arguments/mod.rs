//! The command line and its help.
//!
//! If this program is on PATH, it can also be run as `temporal capacity ...`. The Temporal CLI then passes
//! its own global flags *before* the subcommand, so these flags are global here and have the same meaning.

mod account;
mod global;
mod records;
mod tools;

use clap::{Parser, Subcommand};

use crate::exit::tell;
use crate::output::Output;

pub(crate) use account::{Apply, Doctor, DoctorTarget, Plan, Trigger};
pub(crate) use global::Global;
pub(crate) use records::{
    Backtest, BacktestSource, Explain, History, LedgerArguments, LedgerCommand, LedgerTable, Report,
};
pub(crate) use tools::{CloudSimulator, Demo, Dev, Metrics, MetricsCommand, Settings, SettingsCommand};

/// Plan, apply and explain provisioned capacity for Temporal Cloud.
#[derive(Debug, Parser)]
#[command(
    name = "temporal-capacity",
    version = process_edge::version(),
    propagate_version = true,
    max_term_width = 100
)]
#[command(after_help = "\
Exit codes:
  0  done (also: nothing to do)
  1  an error, including invalid settings and usage, or a failed change
  2  with --detailed-exitcode: changes are planned
  3  with --detailed-exitcode: metrics are missing, stale or incomplete for the whole account
     (1 outranks 3, 3 outranks 2; an `apply` that succeeded fully is 0)
  129, 130, 143  stopped by SIGHUP, Ctrl-C or SIGTERM before everything was done: `apply` finishes
     the current steps, records and notifies first; a second signal ends it immediately. `dev` and
     `cloud-simulator` run until such a signal, and exit with 0
  A closed pipe (`| head -1`) does not change the exit code. A full disk is an error only for
  commands that do nothing but print.

First steps:
  temporal-capacity demo                 try it on a simulated cloud: no account, key or network
  temporal-capacity doctor               check keys, roles, clock and endpoints
  temporal-capacity plan                 what would change now, and why; never changes anything
  temporal-capacity apply                plan, ask, change, verify")]
pub(crate) struct Arguments {
    /// The selected command.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Flags that every command takes.
    #[command(flatten)]
    pub(crate) global: Global,
}

/// Commands of `temporal-capacity`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what would change now and why; never changes anything and never posts to Slack.
    Plan(Plan),
    /// Plan, ask for confirmation, apply the plan, and verify every change.
    Apply(Apply),
    /// Check keys, roles, clock, endpoints and metrics, and show how to fix each problem.
    Doctor(Doctor),
    /// Show the controller's status; without a worker, show the last runs of the schedule.
    Status,
    /// Show the decisions of the controller's last evaluation.
    Preview,
    /// Trigger an evaluation.
    Trigger(Trigger),
    /// Show past decisions and changes from the ledger: when, why, by whom and at what price.
    History(History),
    /// Show what capacity cost and saved, from the ledger; compare it with the bill.
    Report(Report),
    /// Explain one decision: its inputs, every size, the row that decided, and the smallest change of an
    /// input that would have changed it.
    Explain(Explain),
    /// Show what each policy would have cost on a recorded load: from files, the ledger or Prometheus; changes nothing.
    Backtest(Backtest),
    /// Inspect, prune, export and import the ledger.
    Ledger(LedgerArguments),
    /// Show the settings in effect and where each comes from.
    Settings(Settings),
    /// Check or dump an OpenMetrics document from standard input.
    Metrics(Metrics),
    /// Run a simulated Temporal Cloud on loopback.
    CloudSimulator(CloudSimulator),
    /// Run the whole stack in this terminal: Temporal server with web UI, simulated cloud, worker, and a schedule every minute.
    Dev(Dev),
    /// Plan, apply and verify changes on a simulated cloud; needs no account, key or network.
    Demo(Demo),
    /// Print a completion script for a shell.
    Completions {
        /// Shell to generate the script for.
        shell: clap_complete::Shell,
    },
}

impl Arguments {
    /// Checks the output format and sets the command's default.
    ///
    /// # Errors
    ///
    /// If the command does not support the format.
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

/// Output formats of most commands.
const USUAL: &[Output] = &[Output::Table, Output::Json, Output::Jsonl, Output::None];
/// Output formats of commands whose result is one table.
const TABULAR: &[Output] = &[
    Output::Table,
    Output::Json,
    Output::Jsonl,
    Output::Csv,
    Output::Markdown,
    Output::None,
];
/// Output formats of `backtest`.
const BACKTEST: &[Output] = &[
    Output::Table,
    Output::Json,
    Output::Jsonl,
    Output::Csv,
    Output::Html,
    Output::None,
];
/// Output formats of `report`.
const REPORT: &[Output] = &[
    Output::Table,
    Output::Json,
    Output::Csv,
    Output::Markdown,
    Output::Html,
    Output::None,
];
/// Output formats of `ledger export`.
const EXPORT: &[Output] = &[Output::Csv, Output::Jsonl];

impl Command {
    /// Returns the command's name, its deprecated `--format`, and the formats it supports, with the
    /// default first.
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

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use clap::{Command, CommandFactory};

    use super::Arguments;

    /// Covers the help of every command, wrapped at 100 columns.
    #[test]
    fn the_help_of_every_command_reads() {
        fn write(command: &mut Command, text: &mut String) {
            if command.is_hide_set() || command.get_name() == "help" {
                return;
            }
            let help = command.render_long_help();
            let name = command.get_display_name().unwrap_or("temporal-capacity");
            let _ = writeln!(text, "==== {name} ====\n{help}");
            for command in command.get_subcommands_mut() {
                write(command, text);
            }
        }
        let mut all = Arguments::command().term_width(100);
        all.build();
        let mut text = String::new();
        write(&mut all, &mut text);
        insta::assert_snapshot!(text);
    }

    /// clap would confuse a command's own argument with a global flag of the same name.
    #[test]
    fn no_argument_of_a_command_has_the_name_of_a_global_flag() {
        fn check(command: &Command, global: &[(String, Option<String>)]) {
            for argument in command.get_arguments() {
                let long = argument.get_long();
                let is_global = |(id, flag): &(String, Option<String>)| {
                    argument.get_id() == id.as_str() || (long.is_some() && long == flag.as_deref())
                };
                assert!(
                    !global.iter().any(is_global),
                    "{}: {}",
                    command.get_name(),
                    argument.get_id()
                );
            }
            for command in command.get_subcommands() {
                check(command, global);
            }
        }
        let all = Arguments::command();
        let global = all.get_arguments().filter(|argument| argument.is_global_set());
        let global: Vec<_> = global
            .map(|it| (it.get_id().to_string(), it.get_long().map(str::to_owned)))
            .collect();
        assert!(global.iter().any(|(id, _)| id == "namespace"));
        for command in all.get_subcommands() {
            check(command, &global);
        }
    }
}
