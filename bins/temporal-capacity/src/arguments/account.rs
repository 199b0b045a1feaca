//! Arguments of commands that work on the account: plan, apply, trigger and doctor.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::output::Output;

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
    /// Deprecated; use `--output`.
    #[arg(long, value_enum, hide = true)]
    pub(crate) format: Option<Output>,
    /// Also list unchanged and skipped namespaces, which are otherwise only counted.
    #[arg(long)]
    pub(crate) all: bool,
    /// Sample usage for this long first, such as 15m; if `LEDGER_URL` is set, the samples are stored in the ledger.
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
    /// Wait until the evaluation and its changes have finished, and show the report; exit with 1 if any of them failed.
    #[arg(long)]
    pub(crate) wait: bool,
    /// How long to wait, such as 90s or 5m; a number without a unit is in seconds.
    #[arg(long, default_value = "20m", value_name = "DURATION", requires = "wait", value_parser = crate::times::seconds)]
    pub(crate) timeout: std::time::Duration,
}

/// Flags of `doctor`.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// What to check [default: keys, roles, clock, endpoints and metrics].
    #[command(subcommand)]
    pub(crate) what: Option<DoctorTarget>,
}

/// Targets of `doctor` other than the account.
#[derive(Debug, Subcommand)]
pub(crate) enum DoctorTarget {
    /// Check a self-hosted Temporal stack that deploy/stack/up started: databases, roles, certificates and a
    /// workflow round trip.
    Stack {
        /// Run directory of the stack [default: that of the last `up`].
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}
