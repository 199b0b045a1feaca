//! Arguments of commands that need no account: settings, metrics, the simulator, dev and demo.

use std::path::PathBuf;

use capacity_engine::PolicyRef;
use capacity_engine::break_even::Parameters;
use clap::{Args, Subcommand, ValueEnum};

/// Subcommands of `settings`.
#[derive(Debug, Args)]
pub(crate) struct Settings {
    /// The selected subcommand.
    #[command(subcommand)]
    pub(crate) command: SettingsCommand,
}

/// Subcommands of `settings`.
#[derive(Debug, Subcommand)]
pub(crate) enum SettingsCommand {
    /// Print each setting's effective value and origin; secrets are redacted.
    Show,
}

/// Subcommands of `metrics`.
#[derive(Debug, Args)]
pub(crate) struct Metrics {
    /// The selected subcommand.
    #[command(subcommand)]
    pub(crate) command: MetricsCommand,
}

/// Subcommands of `metrics`, which read a document from standard input.
#[derive(Debug, Subcommand)]
pub(crate) enum MetricsCommand {
    /// Check a document: exit with 0 if it is valid, with 1 and the error if not.
    Check(ReadingMode),
    /// Print every sample as one JSON object per line.
    Dump(ReadingMode),
}

/// Whether to read strictly or leniently.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct ReadingMode {
    /// Accept only documents that strictly follow the OpenMetrics 1.0 text format.
    #[arg(long)]
    pub(crate) strict: bool,
    /// Accept documents as the metrics endpoint of Temporal Cloud sends them (the default). The end marker is still required.
    #[arg(long)]
    pub(crate) lenient: bool,
}

/// Flags of `cloud-simulator`.
#[derive(Debug, Args)]
pub(crate) struct CloudSimulator {
    /// Address to listen on; loopback only.
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS:PORT")]
    pub(crate) listen: std::net::SocketAddr,
    /// Namespaces of the account [default: the twelve namespaces of the demo].
    #[arg(long, value_name = "COUNT", value_parser = crate::times::whole::<usize>)]
    pub(crate) namespaces: Option<usize>,
    /// With --namespaces: percentage of namespaces that need a change.
    #[arg(long, default_value_t = 4.0, value_name = "PERCENT", allow_negative_numbers = true, value_parser = crate::times::number)]
    pub(crate) wanting_change: f64,
    /// Add a namespace `replayed` whose load is recorded in a CSV file with the columns aps and peak10s, one row per minute.
    #[arg(long, value_name = "FILE")]
    pub(crate) replay: Option<PathBuf>,
    /// Random seed: the same seed produces the same account and the same faults.
    #[arg(long, default_value_t = 1, value_name = "NUMBER", value_parser = crate::times::whole::<u64>)]
    pub(crate) seed: u64,
    /// Speed of the simulated cloud, as a multiple of real time.
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR", allow_negative_numbers = true, value_parser = crate::times::number)]
    pub(crate) speed: f64,
    /// Percentage of requests answered with 429.
    #[arg(long, default_value_t = 0.0, value_name = "PERCENT", allow_negative_numbers = true, value_parser = crate::times::number)]
    pub(crate) too_many_requests: f64,
    /// Send `Retry-After` with each 429.
    #[arg(long, value_name = "SECONDS", value_parser = crate::times::whole::<u32>)]
    pub(crate) retry_after: Option<u32>,
    /// Answer 403 on these routes of the Cloud Ops API, such as 'POST /cloud/namespaces/{id}'; repeatable.
    #[arg(long, value_name = "ROUTE")]
    pub(crate) deny: Vec<String>,
    /// Percentage of requests answered with 503 and an HTML page.
    #[arg(long, default_value_t = 0.0, value_name = "PERCENT", allow_negative_numbers = true, value_parser = crate::times::number)]
    pub(crate) unavailable: f64,
    /// Percentage of requests whose connection is dropped; half of these after the request was processed.
    #[arg(long, default_value_t = 0.0, value_name = "PERCENT", allow_negative_numbers = true, value_parser = crate::times::number)]
    pub(crate) dropped: f64,
}

/// Flags of `dev`.
#[derive(Debug, Args)]
pub(crate) struct Dev {
    /// Keep the Temporal server's state in this file [default: in memory].
    #[arg(long, value_name = "FILE")]
    pub(crate) database: Option<PathBuf>,
    /// Speed of the simulated cloud, as a multiple of real time, up to 600; above 1, evaluations run at minute 45 of each simulated
    /// hour, or at 55 and 0 with break-even.
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR", allow_negative_numbers = true, value_parser = crate::times::number)]
    pub(crate) speed: f64,
    /// Keep usage, decisions and changes in this SQLite file [default: a temporary one].
    #[arg(long, value_name = "FILE")]
    pub(crate) ledger: Option<PathBuf>,
    /// Show decisions without changing anything.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Policy to use.
    #[arg(long, value_enum, default_value_t, value_name = "POLICY")]
    pub(crate) policy: BuiltInPolicy,
}

/// Policies that are built in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum BuiltInPolicy {
    /// Provision when throttled, release when idle.
    #[default]
    Threshold,
    /// Choose the size with the lowest expected cost.
    BreakEven,
}

impl BuiltInPolicy {
    /// Returns a reference to the policy with default parameters.
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
    /// Random seed of the simulated cloud.
    #[arg(long, default_value_t = 1, value_name = "NUMBER", value_parser = crate::times::whole::<u64>)]
    pub(crate) seed: u64,
    /// Apply the changes in this process, even if the Temporal CLI is installed.
    #[arg(long)]
    pub(crate) in_process: bool,
}
