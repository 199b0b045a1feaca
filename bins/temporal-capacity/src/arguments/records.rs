//! Arguments of commands that read past data: history, report, explain, backtest and ledger.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::output::Output;

/// Flags of `history`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  temporal-capacity history --changes --from 2026-11-01T00:00Z
  temporal-capacity history 'orders-*' -o csv > orders.csv")]
pub(crate) struct History {
    /// Only namespaces that match one of these globs (bare or full names) [default: all].
    #[arg(value_name = "NAMESPACE")]
    pub(crate) namespaces: Vec<String>,
    /// Start of the time range, such as 2026-11-25 or 2026-11-25T08:00Z.
    #[arg(long, value_name = "TIME", value_parser = crate::times::time)]
    pub(crate) from: Option<jiff::Timestamp>,
    /// End of the time range.
    #[arg(long, value_name = "TIME", value_parser = crate::times::time)]
    pub(crate) to: Option<jiff::Timestamp>,
    /// Show only decisions to change capacity.
    #[arg(long)]
    pub(crate) changes: bool,
    /// Show only the newest COUNT; 0 for all [default: 200 in a table, all in csv, json and jsonl].
    #[arg(long, value_name = "COUNT", value_parser = crate::times::whole::<u32>)]
    pub(crate) limit: Option<u32>,
    /// Deprecated; use `--output`.
    #[arg(long, value_enum, hide = true)]
    pub(crate) format: Option<Output>,
}

/// Flags of `report`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  temporal-capacity report                                  the last seven days, all namespaces of the ledger
  temporal-capacity report --from 2026-11-01 'orders-*'     since November 1, some namespaces
  temporal-capacity report -o html > report.html            one file, no network; also json, csv, markdown
  temporal-capacity report --explain-figures                each figure with its table, keys, minutes and formula
  TEMPORAL_CLOUD_OPS_API_KEY_FILE=finance.key temporal-capacity report --reconcile
                                                            the same hours on the bill (role Finance Admin or Owner)
  0 8 * * 1  temporal-capacity report --notify              in a crontab: a digest to Slack every Monday

Capacity is billed by the calendar hour (UTC) at its highest size, so a report covers only full hours that have ended.
Exit codes: 0 done; 1 an error, or with --reconcile a difference that nothing in the ledger explains.")]
pub(crate) struct Report {
    /// Only namespaces that match one of these globs (bare or full names) [default: all].
    #[arg(value_name = "NAMESPACE")]
    pub(crate) namespaces: Vec<String>,
    /// Start of the time range, such as 2026-11-22 or 2026-11-22T08:00Z [default: seven days before the end].
    #[arg(long, value_name = "TIME", value_parser = crate::times::time)]
    pub(crate) from: Option<jiff::Timestamp>,
    /// End of the time range [default: the last full hour].
    #[arg(long, value_name = "TIME", value_parser = crate::times::time)]
    pub(crate) to: Option<jiff::Timestamp>,
    /// Account to report on, if the ledger contains several.
    #[arg(long, value_name = "ACCOUNT")]
    pub(crate) account: Option<String>,
    /// Dollars per million actions, or tiers such as "5M:50, 25" [default: as `PRICE_PER_MILLION_ACTIONS`].
    #[arg(long, value_name = "PRICE")]
    pub(crate) price: Option<String>,
    /// Show the ledger rows that each figure is calculated from.
    #[arg(long)]
    pub(crate) explain_figures: bool,
    /// Fetch the billing report of Temporal Cloud and compare it by namespace and hour.
    #[arg(long)]
    pub(crate) reconcile: bool,
    /// Send a digest of the same figures to the Slack channel.
    #[arg(long)]
    pub(crate) notify: bool,
}

/// Flags of `explain`.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// Namespace, by its bare or full name; omit it with --trace.
    #[arg(value_name = "NAMESPACE", required_unless_present = "trace")]
    pub(crate) name: Option<String>,
    /// Explain the last decision at or before this time, such as 2026-11-25T08:00Z; for a --trace file without
    /// times, a number of minutes from its start [default: now].
    #[arg(long, value_name = "TIME")]
    pub(crate) at: Option<String>,
    /// Explain a recorded decision.
    #[arg(long, value_enum, value_name = "SOURCE", conflicts_with_all = ["plan", "trace"])]
    pub(crate) from: Option<ExplainSource>,
    /// Explain a decision of a plan saved by `plan --save`.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["trace", "at"])]
    pub(crate) plan: Option<PathBuf>,
    /// Explain what break-even decides in a backtest of this CSV file.
    #[arg(long, value_name = "FILE", conflicts_with = "name", requires = "at")]
    pub(crate) trace: Option<PathBuf>,
    /// With --trace: set a parameter of break-even, such as margin=1.25; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", requires = "trace")]
    pub(crate) policy_param: Vec<String>,
    /// With --trace: cost of delaying one action by one minute, in actions [default: 1].
    #[arg(long, value_name = "ACTIONS", requires = "trace")]
    pub(crate) delay_value: Option<String>,
    /// With --trace: when break-even is evaluated, as in `backtest` [default: 55+alerts].
    #[arg(long, value_name = "CADENCE", requires = "trace")]
    pub(crate) cadence: Option<String>,
}

/// Source of a recorded decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExplainSource {
    /// Decisions recorded by the worker.
    Ledger,
}

/// Flags of `backtest`.
#[derive(Debug, Args)]
pub(crate) struct Backtest {
    /// CSV files, one row per minute: `aps`, optionally `peak10s` (busiest ten seconds) and `time`.
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Take the load of every namespace from the ledger (`LEDGER_URL`) or from Prometheus (`PROMETHEUS_URL`) instead, without
    /// a Temporal service. `--namespace GLOB` selects namespaces.
    #[arg(long, value_enum, value_name = "SOURCE", conflicts_with_all = ["files", "sweep"])]
    pub(crate) from: Option<BacktestSource>,
    /// With --from: days of load to read [default: 30].
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=400))]
    pub(crate) days: Option<u32>,
    /// With --from: end of the time range, such as 2026-11-25 or 2026-11-25T08:00Z [default: now].
    #[arg(long, value_name = "TIME", value_parser = crate::times::time)]
    pub(crate) to: Option<jiff::Timestamp>,
    /// Deprecated; use `--output`.
    #[arg(long, value_enum, hide = true)]
    pub(crate) format: Option<Output>,
    /// Set parameters of break-even, such as `margin=1.25,let_pass=0.2`; may be repeated.
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) policy_param: Vec<String>,
    /// When break-even is evaluated: 55+alerts, 5min+alerts, hourly (minutes 55 and 0) or full-hour.
    #[arg(long, value_name = "CADENCE", default_value = "55+alerts")]
    pub(crate) cadence: String,
    /// Dollars per million actions, or tiers such as "5M:50, 25" [default: as `PRICE_PER_MILLION_ACTIONS`].
    #[arg(long, value_name = "PRICE", allow_negative_numbers = true)]
    pub(crate) price: Option<String>,
    /// Cost of delaying one action by one minute, in actions: 0.1 for batch work, 10 where latency matters [default: 1].
    #[arg(long, value_name = "ACTIONS", allow_negative_numbers = true)]
    pub(crate) delay_value: Option<String>,
    /// Days at the start that only warm up the envelope and the history, and are not counted [default: all but the last 7, at most 7].
    #[arg(long, value_name = "DAYS", value_parser = crate::times::whole::<usize>)]
    pub(crate) warmup_days: Option<usize>,
    /// Also show how the result changes with delay value and price; with `-o csv`, show only that.
    #[arg(long)]
    pub(crate) sweep: bool,
}

/// Source of the load of every namespace in a backtest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BacktestSource {
    /// Minutes recorded by the worker.
    Ledger,
    /// A Prometheus that scrapes the metrics endpoint of Temporal Cloud.
    Prometheus,
}

/// Arguments of `ledger`.
#[derive(Debug, Args)]
pub(crate) struct LedgerArguments {
    /// The selected subcommand.
    #[command(subcommand)]
    pub(crate) command: LedgerCommand,
}

/// Subcommands of `ledger`.
#[derive(Debug, Subcommand)]
pub(crate) enum LedgerCommand {
    /// Show location, size and contents of the ledger.
    Info,
    /// Check all data in the ledger; exit with 1 if any of it is damaged.
    Verify,
    /// Aggregate old minutes into hours, and delete old hours, decisions and changes.
    Prune {
        /// Days to keep minutes, such as 14 or 14d [default: `LEDGER_KEEP_MINUTES`].
        #[arg(long, value_name = "DAYS", value_parser = crate::times::days)]
        keep_minutes: Option<jiff::SignedDuration>,
        /// Days to keep hours [default: forever].
        #[arg(long, value_name = "DAYS", value_parser = crate::times::days)]
        keep_hours: Option<jiff::SignedDuration>,
        /// Days to keep evaluations, decisions and changes [default: `LEDGER_KEEP_DECISIONS`].
        #[arg(long, value_name = "DAYS", value_parser = crate::times::days)]
        keep_decisions: Option<jiff::SignedDuration>,
        /// Skip the confirmation; required without a terminal.
        #[arg(short, long)]
        yes: bool,
    },
    /// Export a table to standard output, as CSV or with `-o jsonl` as JSON lines.
    Export {
        /// Table to export.
        #[arg(value_enum, default_value_t = LedgerTable::History)]
        table: LedgerTable,
        /// Deprecated; use `--output`.
        #[arg(long, value_enum, hide = true)]
        format: Option<Output>,
    },
    /// Import an exported table (CSV or JSON lines), all or nothing; existing rows stay unchanged.
    Import {
        /// Table to import; import evaluations before their decisions.
        #[arg(long, value_enum)]
        table: LedgerTable,
        /// No longer needed: the format is detected.
        #[arg(long, value_enum, hide = true)]
        format: Option<Output>,
        /// File to import; `-` for standard input.
        file: PathBuf,
    },
}

/// Tables of a ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LedgerTable {
    /// Decisions with their evaluations and outcomes; cannot be imported.
    History,
    /// Minutes of usage.
    Minutes,
    /// Hours of usage, aggregated from minutes.
    Hours,
    /// Evaluations.
    Evaluations,
    /// Decisions.
    Decisions,
    /// Changes.
    Changes,
    /// State that policies keep for each namespace.
    PolicyState,
    /// Decisions of policies other than `threshold`, including the shadow policy.
    PolicyDecisions,
}
