//! The command line and its help.
//!
//! Installed on PATH this program is also `temporal capacity ...`: the Temporal CLI hands its own global
//! flags on *before* the subcommand, so those are global here and keep their meaning.

use std::path::PathBuf;

use capacity_engine::PolicyRef;
use capacity_engine::break_even::Parameters;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::exit::tell;
use crate::output::Output;
use crate::terminal::{Color, LogFormat};

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
  1  an error, settings and usage included, or a change that failed
  2  with --detailed-exitcode: changes are planned
  3  with --detailed-exitcode: metrics are missing, stale or incomplete for the whole account
     (1 outranks 3, 3 outranks 2; an `apply` that succeeded fully is 0)
  129, 130, 143  stopped by SIGHUP, Ctrl-C or SIGTERM before everything was done: `apply` finishes
     the current steps, records and notifies first; a second signal ends it immediately. `dev` and
     `cloud-simulator` run until then, and exit 0
  A closed pipe (`| head -1`) does not change the exit code. A full disk is an error only for
  commands that do nothing but print.

First steps:
  temporal-capacity demo                 everything on a simulated cloud: no account, key or network
  temporal-capacity doctor               check keys, roles, clock and endpoints
  temporal-capacity plan                 what would change now, and why; never changes anything
  temporal-capacity apply                plan, ask, change, verify")]
pub(crate) struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Flags that every command takes.
    #[command(flatten)]
    pub(crate) global: Global,
}

/// Flags that every command takes, before or after its name.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Output format: table, json, jsonl, csv, markdown, html or none (what the command supports).
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        hide_possible_values = true,
        value_name = "FORMAT",
        help_heading = "Global options"
    )]
    pub(crate) output: Option<Output>,
    /// Use colors: auto, always or never; auto honors `NO_COLOR`.
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, hide_possible_values = true, value_name = "WHEN", help_heading = "Global options")]
    pub(crate) color: Color,
    /// Settings file [default: ./capacity.toml, if it exists].
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub(crate) config: Option<PathBuf>,
    /// Override a setting, such as `MAX_TRU_COUNT=8`; repeatable.
    #[arg(
        long = "set",
        global = true,
        value_name = "NAME=VALUE",
        help_heading = "Global options"
    )]
    pub(crate) set: Vec<String>,
    /// Settings that flags of one command give: name, value, and the flag.
    #[arg(skip)]
    pub(crate) given: Vec<(&'static str, String, &'static str)>,
    /// Temporal service to connect to (`TEMPORAL_ADDRESS`).
    #[arg(
        long,
        global = true,
        value_name = "HOST:PORT",
        help_heading = "Global options"
    )]
    pub(crate) address: Option<String>,
    /// Temporal namespace that the autopilot runs in (`TEMPORAL_NAMESPACE`); not a filter.
    #[arg(
        long,
        global = true,
        value_name = "NAMESPACE",
        help_heading = "Global options"
    )]
    pub(crate) namespace: Option<String>,
    /// Log level on standard error: error, warn, info, debug, trace or a filter.
    #[arg(
        long,
        global = true,
        value_name = "LEVEL",
        default_value = "error",
        help_heading = "Global options"
    )]
    pub(crate) log_level: String,
    /// Log format: text or json.
    #[arg(long, global = true, value_enum, hide_possible_values = true, value_name = "FORMAT", default_value_t = LogFormat::Text, help_heading = "Global options")]
    pub(crate) log_format: LogFormat,
    /// Flags that the Temporal CLI passes on.
    #[command(flatten)]
    pub(crate) temporal_cli: TemporalCliFlags,
}

/// Other global flags of the Temporal CLI, which hands them on before the command.
#[derive(Debug, Clone, Args)]
pub(crate) struct TemporalCliFlags {
    /// Fail if the command takes longer, such as 30s; 0s means no limit.
    #[arg(
        long,
        global = true,
        value_name = "DURATION",
        default_value = "0s",
        help_heading = "Global options"
    )]
    pub(crate) command_timeout: String,
    /// A profile of the Temporal CLI's configuration.
    #[arg(long, global = true, hide = true)]
    pub(crate) profile: Option<String>,
    /// A configuration file of the Temporal CLI.
    #[arg(long, global = true, hide = true)]
    pub(crate) config_file: Option<PathBuf>,
    /// An environment of the Temporal CLI.
    #[arg(long, global = true, hide = true)]
    pub(crate) env: Option<String>,
    /// A file of environments of the Temporal CLI.
    #[arg(long, global = true, hide = true)]
    pub(crate) env_file: Option<PathBuf>,
    /// How the Temporal CLI shows times; here they are shown in UTC.
    #[arg(long, global = true, hide = true)]
    pub(crate) time_format: Option<String>,
    /// How long the Temporal CLI may take to connect; here ten seconds.
    #[arg(long, global = true, hide = true)]
    pub(crate) client_connect_timeout: Option<String>,
    /// Whether to ignore profiles of the Temporal CLI's configuration file.
    #[arg(long, global = true, hide = true)]
    pub(crate) disable_config_file: bool,
    /// Whether to ignore the Temporal CLI's environment variables; those of the cloud keys are ours.
    #[arg(long, global = true, hide = true)]
    pub(crate) disable_config_env: bool,
    /// How the Temporal CLI shows payloads; unused here.
    #[arg(long, global = true, hide = true)]
    pub(crate) no_json_shorthand_payloads: bool,
}

impl TemporalCliFlags {
    /// Rejects flags that would otherwise be ignored silently.
    ///
    /// # Errors
    ///
    /// For environments of the old Temporal CLI, which are not supported, and an invalid duration.
    pub(crate) fn time_limit(&self) -> anyhow::Result<Option<std::time::Duration>> {
        let unread = [
            ("--env", self.env.is_some()),
            ("--env-file", self.env_file.is_some()),
        ];
        if let Some((flag, _)) = unread.into_iter().find(|(_, is_given)| *is_given) {
            anyhow::bail!(
                "{flag} is not read by this program: give --address and --namespace, or set TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE and TEMPORAL_API_KEY"
            );
        }
        let text = &self.command_timeout;
        let span: jiff::SignedDuration = match text.as_str() {
            "0" => jiff::SignedDuration::ZERO,
            _ => text.parse().map_err(|_| {
                anyhow::anyhow!("--command-timeout {text}: write a duration with its unit, such as 30s")
            })?,
        };
        let span = std::time::Duration::try_from(span)
            .map_err(|_| anyhow::anyhow!("--command-timeout {text}: a duration cannot be negative"))?;
        Ok((!span.is_zero()).then_some(span))
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what would change now and why; never changes anything and never posts to Slack.
    Plan(Plan),
    /// Plan, ask, apply the plan, and verify every change.
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
    /// Explain one decision: what was seen, every size, the row that decided, and the smallest change that would have changed it.
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
    /// Run the whole job on a simulated cloud; needs no account, key or network.
    Demo(Demo),
    /// Print a completion script for a shell.
    Completions {
        /// Shell to generate the script for.
        shell: clap_complete::Shell,
    },
}

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
    /// Start of the time range, such as 2026-11-25T00:00Z.
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<jiff::Timestamp>,
    /// End of the time range.
    #[arg(long, value_name = "TIME")]
    pub(crate) to: Option<jiff::Timestamp>,
    /// Show only decisions to change capacity.
    #[arg(long)]
    pub(crate) changes: bool,
    /// Show only the newest COUNT; 0 for all [default: 200 in a table, all in csv, json and jsonl].
    #[arg(long, value_name = "COUNT")]
    pub(crate) limit: Option<u32>,
    /// The old spelling of `--output`.
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

Capacity is billed by the calendar hour (UTC) at its highest size, so a report covers whole hours that are over.
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
    /// The account, where the ledger holds several.
    #[arg(long, value_name = "ACCOUNT")]
    pub(crate) account: Option<String>,
    /// Dollars per million actions, or tiers such as "5M:50, 25" [default: as `PRICE_PER_MILLION_ACTIONS`].
    #[arg(long, value_name = "PRICE")]
    pub(crate) price: Option<String>,
    /// Trace every figure to the rows of the ledger that it is made of.
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
    /// Explain the last decision at or before this time, such as 2026-11-25T00:00Z; for a trace without times, minutes since its
    /// beginning [default: now].
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

/// Where a recorded decision is taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExplainSource {
    /// What the worker recorded.
    Ledger,
}

/// Flags of `backtest`.
#[derive(Debug, Args)]
pub(crate) struct Backtest {
    /// CSV files, one row per minute: `aps`, optionally `peak10s` (busiest ten seconds) and `time`.
    #[arg(value_name = "FILE", required_unless_present = "from")]
    pub(crate) files: Vec<PathBuf>,
    /// Take the load of every namespace from the ledger (`LEDGER_URL`) or from Prometheus (`PROMETHEUS_URL`) instead; needs no
    /// Temporal. `--namespace GLOB` selects namespaces.
    #[arg(long, value_enum, value_name = "SOURCE", conflicts_with_all = ["files", "sweep"])]
    pub(crate) from: Option<BacktestSource>,
    /// With --from: days of load to read.
    #[arg(long, value_name = "DAYS", default_value_t = 30, requires = "from", value_parser = clap::value_parser!(u32).range(1..=400))]
    pub(crate) days: u32,
    /// With --from: end of the time range, such as 2026-11-25T00:00Z [default: now].
    #[arg(long, value_name = "TIME", requires = "from")]
    pub(crate) to: Option<jiff::Timestamp>,
    /// The old spelling of `--output`.
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
    /// Warm-up days that fill envelope and history before results count [default: all but the last 7, at most 7].
    #[arg(long, value_name = "DAYS")]
    pub(crate) warmup_days: Option<usize>,
    /// Also show how the result changes with delay value and price; with `-o csv`, show only that.
    #[arg(long)]
    pub(crate) sweep: bool,
}

/// Where a backtest takes the load of every namespace from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BacktestSource {
    /// Minutes that the worker recorded.
    Ledger,
    /// A Prometheus that scrapes the metrics endpoint of Temporal Cloud.
    Prometheus,
}

/// Arguments of `ledger`.
#[derive(Debug, Args)]
pub(crate) struct LedgerArguments {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: LedgerCommand,
}

/// What can be done with a ledger.
#[derive(Debug, Subcommand)]
pub(crate) enum LedgerCommand {
    /// Show its location, size and contents.
    Info,
    /// Check all of its data; exit with 1 if something is damaged.
    Verify,
    /// Fold old minutes into hours, and delete old hours, decisions and changes.
    Prune {
        /// Days to keep minutes [default: `LEDGER_KEEP_MINUTES`].
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..))]
        keep_minutes: Option<u32>,
        /// Days to keep hours [default: forever].
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..))]
        keep_hours: Option<u32>,
        /// Days to keep evaluations, decisions and changes [default: `LEDGER_KEEP_DECISIONS`].
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..))]
        keep_decisions: Option<u32>,
        /// Skip the confirmation; required without a terminal.
        #[arg(short, long)]
        yes: bool,
    },
    /// Export a table to standard output, as CSV or with `-o jsonl` as JSON lines.
    Export {
        /// Table to export.
        #[arg(value_enum, default_value_t = LedgerTable::History)]
        table: LedgerTable,
        /// The old spelling of `--output`.
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
    /// Decisions with their evaluations and outcomes; only exported.
    History,
    /// Minutes of usage.
    Minutes,
    /// Hours of usage, folded from minutes.
    Hours,
    /// Evaluations.
    Evaluations,
    /// Decisions.
    Decisions,
    /// Changes.
    Changes,
    /// What policies remember of namespaces.
    PolicyState,
    /// Decisions of policies other than `threshold`, and of the one in shadow.
    PolicyDecisions,
}

/// Flags of `plan`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  temporal-capacity plan --all                    every namespace, with the reason
  temporal-capacity plan 'orders-*' -o markdown   for a ticket
  temporal-capacity plan --save plan.json         then: temporal-capacity apply plan.json")]
pub(crate) struct Plan {
    /// Only namespaces that match one of these globs (bare or full names) [default: all].
    #[arg(value_name = "NAMESPACE")]
    pub(crate) namespaces: Vec<String>,
    /// The old spelling of `--output`.
    #[arg(long, value_enum, hide = true)]
    pub(crate) format: Option<Output>,
    /// Also list the namespaces that are kept and skipped, which are otherwise only counted.
    #[arg(long)]
    pub(crate) all: bool,
    /// Sample usage first for this long, such as 15m; with `LEDGER_URL` set, the samples are kept there.
    #[arg(long, value_name = "DURATION", value_parser = crate::times::observation)]
    pub(crate) observe: Option<std::time::Duration>,
    /// Save the plan, for `apply FILE` within 15 minutes.
    #[arg(long, value_name = "FILE")]
    pub(crate) save: Option<PathBuf>,
    /// Exit with 2 when changes are planned, 3 when metrics are unavailable.
    #[arg(long)]
    pub(crate) detailed_exitcode: bool,
}

/// Flags of `apply`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  temporal-capacity apply                   plan, show, ask, then change
  temporal-capacity apply --yes -o json     in a script: exit code 1 if a change failed
  temporal-capacity apply plan.json         a plan saved by `plan --save`")]
pub(crate) struct Apply {
    /// Plan saved by `plan --save`; a decision is refused if its namespace has changed since.
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Skip the confirmation; required without a terminal.
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Exit with 2 when planned changes remain, 3 when metrics are unavailable.
    #[arg(long)]
    pub(crate) detailed_exitcode: bool,
}

/// Flags of `trigger`.
#[derive(Debug, Args)]
pub(crate) struct Trigger {
    /// Wait until its changes have ended, and show the report; exit with 1 if the evaluation or a change failed.
    #[arg(long)]
    pub(crate) wait: bool,
    /// How long to wait, in seconds.
    #[arg(long, default_value_t = 1200, value_name = "SECONDS")]
    pub(crate) timeout: u64,
}

/// Subcommands of `settings`.
#[derive(Debug, Args)]
pub(crate) struct Settings {
    /// What to do with them.
    #[command(subcommand)]
    pub(crate) command: SettingsCommand,
}

/// What can be done with settings.
#[derive(Debug, Subcommand)]
pub(crate) enum SettingsCommand {
    /// Print each setting's effective value and origin; secrets are redacted.
    Show,
}

/// Subcommands of `metrics`.
#[derive(Debug, Args)]
pub(crate) struct Metrics {
    /// What to do with the document.
    #[command(subcommand)]
    pub(crate) command: MetricsCommand,
}

/// What can be done with a document on standard input.
#[derive(Debug, Subcommand)]
pub(crate) enum MetricsCommand {
    /// Check a document: exit with 0 if it is valid, with 1 and the error if not.
    Check(ReadingMode),
    /// Print every sample as one JSON object per line.
    Dump(ReadingMode),
}

/// How strictly to read.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct ReadingMode {
    /// Follow the OpenMetrics 1.0 text format to the letter.
    #[arg(long)]
    pub(crate) strict: bool,
    /// Accept what the metrics endpoint of Temporal Cloud sends (the default). The end marker is still required.
    #[arg(long)]
    pub(crate) lenient: bool,
}

/// Flags of `cloud-simulator`.
#[derive(Debug, Args)]
pub(crate) struct CloudSimulator {
    /// Address to listen on; loopback only.
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS:PORT")]
    pub(crate) listen: std::net::SocketAddr,
    /// Namespaces of the account [default: the dozen of the demo].
    #[arg(long, value_name = "COUNT")]
    pub(crate) namespaces: Option<usize>,
    /// Percentage of namespaces that need a change (with --namespaces).
    #[arg(long, default_value_t = 4.0, value_name = "PERCENT")]
    pub(crate) wanting_change: f64,
    /// Add a namespace `replayed` whose load is recorded in a CSV file with the columns aps and peak10s, one row per minute.
    #[arg(long, value_name = "FILE")]
    pub(crate) replay: Option<PathBuf>,
    /// Random seed: the same seed gives the same account and the same faults.
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    pub(crate) seed: u64,
    /// Speed of the simulated cloud, as a multiple of real time.
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR")]
    pub(crate) speed: f64,
    /// Percentage of requests answered with 429.
    #[arg(long, default_value_t = 0.0, value_name = "PERCENT")]
    pub(crate) too_many_requests: f64,
    /// Send `Retry-After` with each 429.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) retry_after: Option<u32>,
    /// Answer 403 on these routes of the Cloud Ops API, such as 'POST /cloud/namespaces/{id}'; repeatable.
    #[arg(long, value_name = "ROUTE")]
    pub(crate) deny: Vec<String>,
    /// Percentage of requests answered with 503 and an HTML page.
    #[arg(long, default_value_t = 0.0, value_name = "PERCENT")]
    pub(crate) unavailable: f64,
    /// Percentage of requests whose connection is dropped; half of them after the request was processed.
    #[arg(long, default_value_t = 0.0, value_name = "PERCENT")]
    pub(crate) dropped: f64,
}

/// Flags of `doctor`.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// What to check [default: keys, roles, clock, endpoints and metrics].
    #[command(subcommand)]
    pub(crate) what: Option<DoctorTarget>,
}

/// What `doctor` can check besides the account.
#[derive(Debug, Subcommand)]
pub(crate) enum DoctorTarget {
    /// Check a self-hosted Temporal stack that deploy/stack/up started: databases, roles, a workflow's round trip, certificates.
    Stack {
        /// Run directory of the stack [default: that of the last `up`].
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

/// Flags of `dev`.
#[derive(Debug, Args)]
pub(crate) struct Dev {
    /// Keep the Temporal server's state in this file [default: in memory].
    #[arg(long, value_name = "FILE")]
    pub(crate) database: Option<PathBuf>,
    /// Speed of the simulated cloud, as a multiple of real time, up to 600; above 1, evaluations run at minute 45 of each simulated
    /// hour, or at 55 and 0 with break-even.
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR")]
    pub(crate) speed: f64,
    /// Keep usage, decisions and changes in this SQLite file [default: a temporary one].
    #[arg(long, value_name = "FILE")]
    pub(crate) ledger: Option<PathBuf>,
    /// Show decisions without changing anything.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Policy that decides.
    #[arg(long, value_enum, default_value_t, value_name = "POLICY")]
    pub(crate) policy: BuiltInPolicy,
}

/// The policies of the product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum BuiltInPolicy {
    /// Provision when throttled, release when idle.
    #[default]
    Threshold,
    /// The size with the lowest expected cost.
    BreakEven,
}

impl BuiltInPolicy {
    /// Returns it, with its usual parameters.
    pub(crate) fn named(self) -> PolicyRef {
        match self {
            Self::Threshold => PolicyRef::default(),
            Self::BreakEven => PolicyRef::break_even(Parameters::default()),
        }
    }
}

/// Flags of `demo`.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Seed of the simulated cloud.
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    pub(crate) seed: u64,
    /// Apply the changes in this process, even if the Temporal CLI is installed.
    #[arg(long)]
    pub(crate) in_process: bool,
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

/// Formats of most commands.
const USUAL: &[Output] = &[Output::Table, Output::Json, Output::Jsonl, Output::None];
/// Formats of commands whose result is one table.
const TABULAR: &[Output] = &[
    Output::Table,
    Output::Json,
    Output::Jsonl,
    Output::Csv,
    Output::Markdown,
    Output::None,
];
/// Formats of `backtest`.
const BACKTEST: &[Output] = &[
    Output::Table,
    Output::Json,
    Output::Jsonl,
    Output::Csv,
    Output::Html,
    Output::None,
];
/// Formats of `report`.
const REPORT: &[Output] = &[
    Output::Table,
    Output::Json,
    Output::Csv,
    Output::Markdown,
    Output::Html,
    Output::None,
];
/// Formats of `ledger export`.
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

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use clap::{Command, CommandFactory};

    use super::Arguments;

    /// The help of every command, as it is printed in 100 columns.
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

    /// What a command takes itself must not be taken for a global flag of the same name, nor the reverse.
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
