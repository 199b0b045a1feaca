//! The operator's command line of the temporal-capacity autopilot.
//!
//! Each command is a module. `arguments` defines the command line, `setup` builds an autopilot from the
//! settings, `render` and `tables` show results, and `exit` defines the exit codes.

mod apply;
mod arguments;
mod backtest;
mod controller;
mod demo;
mod dev;
mod doctor;
mod exit;
mod explain;
mod history;
mod ledger;
mod metrics;
mod observe;
mod output;
mod pauses;
mod plan;
mod render;
mod report;
mod settings;
mod setup;
mod simulator;
mod stack;
mod stops;
mod tables;
mod terminal;
mod times;
mod traces;
mod unfinished;

use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser};

use arguments::{Arguments, Command, MetricsCommand, SettingsCommand};
use exit::Exit;
use terminal::Terminal;

fn main() -> ExitCode {
    let mut arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return exit::usage(&error),
    };
    let terminal = Terminal::new(arguments.global.color);
    let global = &arguments.global;
    terminal::log_to_stderr(&global.log_level, global.log_format, terminal.error_colors());
    process_edge::report_panics();
    let settled = arguments.settle_output();
    let code = match settled.and_then(|()| run(&arguments, terminal)) {
        Ok(exit) => exit.into(),
        Err(error) => exit::failed(&error),
    };
    process_edge::flush_errors(LAST_LINES);
    code
}

/// How long to wait at exit for the last lines to be written to standard error, because its reader may have
/// stopped reading.
const LAST_LINES: Duration = Duration::from_secs(10);

fn run(arguments: &Arguments, terminal: Terminal) -> anyhow::Result<Exit> {
    let global = &arguments.global;
    let limit = arguments.global.temporal_cli.time_limit()?;
    match &arguments.command {
        Command::Plan(flags) => waited_for(Box::pin(plan::run(flags, global, terminal)), limit),
        // On timeout, `apply` stops between two steps and records its changes.
        Command::Apply(flags) => waited_for(Box::pin(apply::run(flags, global, terminal, limit)), None),
        Command::Doctor(flags) => waited_for(Box::pin(doctor::run(flags, global, terminal)), limit),
        Command::CloudSimulator(flags) => waited_for(Box::pin(simulator::run(flags, global)), limit),
        Command::Status => waited_for(Box::pin(controller::status(global, terminal)), limit),
        Command::Preview => waited_for(Box::pin(controller::preview(global, terminal)), limit),
        Command::Trigger(flags) => waited_for(Box::pin(controller::trigger(flags, global, terminal)), limit),
        Command::Dev(flags) => waited_for(Box::pin(dev::run(flags)), limit),
        Command::Demo(flags) => waited_for(Box::pin(demo::run(flags, global, terminal)), limit),
        Command::History(flags) => waited_for(Box::pin(history::history(flags, global, terminal)), limit),
        Command::Report(flags) => waited_for(Box::pin(report::run(flags, global, terminal)), limit),
        Command::Ledger(flags) => waited_for(Box::pin(ledger::run(&flags.command, global, terminal)), limit),
        Command::Explain(flags) => waited_for(Box::pin(explain::run(flags, global, terminal)), limit),
        Command::Backtest(flags) => backtest::run(flags, global, terminal),
        Command::Settings(flags) => match flags.command {
            SettingsCommand::Show => settings::show(global, terminal),
        },
        Command::Metrics(flags) => {
            match &flags.command {
                MetricsCommand::Check(mode) => metrics::check(mode.strict)?,
                MetricsCommand::Dump(mode) => metrics::dump(mode.strict)?,
            }
            Ok(Exit::Done)
        }
        Command::Completions { shell } => {
            // Not directly to standard output, because the generator panics if the pipe is closed.
            let mut script = Vec::new();
            clap_complete::generate(
                *shell,
                &mut Arguments::command(),
                "temporal-capacity",
                &mut script,
            );
            exit::print(&String::from_utf8(script)?)?;
            Ok(Exit::Done)
        }
    }
}

type Work<'a> = std::pin::Pin<Box<dyn Future<Output = anyhow::Result<Exit>> + 'a>>;

/// Runs a command for at most the duration of `--command-timeout`.
fn waited_for(work: Work<'_>, limit: Option<Duration>) -> anyhow::Result<Exit> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(async {
            match limit {
                None => work.await,
                Some(limit) => tokio::time::timeout(limit, work)
                    .await
                    .map_err(|_| anyhow::Error::msg(stops::Stopped::AfterLimit(limit).why()))?,
            }
        })
}
