//! Settings, from flags and the environment. Spacelift's have the names that spacectl uses, Temporal's those of its own tools.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use slack_notifier::Webhook;
use temporal_worker_kit::{Deployment, process_environment};
use temporalio_client::Client;

use crate::jobs::Jobs;
use crate::labels::Dialect;
use crate::mail::Mail;
use crate::provider::Provider;
use crate::report::Reporter;
use crate::spacelift::{Config, Spacelift};
use crate::webhook::Receiver;
use crate::workflows::ChainSettings;

/// How to reach the CI system.
#[derive(Debug, Clone, Args)]
pub struct Account {
    /// Which labels make a dependency [default: `STACK_CHAIN_LABELS`, else both]
    #[arg(long, global = true, value_enum)]
    labels: Option<Dialect>,
    /// Run the jobs of this JSON file, each by a URL to start it and a URL to poll it, instead of Spacelift's stacks
    #[arg(long, global = true, value_name = "FILE")]
    jobs: Option<PathBuf>,
    /// Requests to Spacelift a second at most
    #[arg(long, global = true, default_value_t = 5, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    requests_per_second: u32,
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

impl Account {
    /// Returns which labels make a dependency.
    ///
    /// # Errors
    ///
    /// If the variable has another value.
    pub fn dialect(&self) -> anyhow::Result<Dialect> {
        use clap::ValueEnum as _;
        match (self.labels, variable("STACK_CHAIN_LABELS")) {
            (Some(labels), _) => Ok(labels),
            (None, None) => Ok(Dialect::default()),
            (None, Some(value)) => Dialect::from_str(&value, true).map_err(|_| {
                anyhow::anyhow!("STACK_CHAIN_LABELS is `{value}`; use dependsOn, depends-on or both")
            }),
        }
    }

    /// Returns the account that the environment describes.
    ///
    /// # Errors
    ///
    /// If a variable is missing or wrong; all missing ones are named.
    pub fn provider(&self) -> anyhow::Result<Arc<dyn Provider>> {
        if let Some(path) = &self.jobs {
            let name = || format!("--jobs {}", path.display());
            let text = std::fs::read_to_string(path).with_context(name)?;
            let jobs = Jobs::try_new(&text, &process_environment());
            return Ok(Arc::new(jobs.with_context(name)?));
        }
        let names = [
            "SPACELIFT_API_KEY_ENDPOINT",
            "SPACELIFT_API_KEY_ID",
            "SPACELIFT_API_KEY_SECRET",
        ];
        let missing: Vec<&str> = names
            .into_iter()
            .filter(|name| variable(name).is_none())
            .collect();
        if !missing.is_empty() {
            anyhow::bail!(
                "{} not set; create an API key in Spacelift and set what spacectl uses",
                missing.join(", ")
            );
        }
        let [endpoint, id, secret] = names.map(|name| variable(name).unwrap_or_default());
        let mut config =
            Config::try_new(&endpoint, &id, secret.into()).context("Spacelift cannot be reached")?;
        config.requests_per_second = self.requests_per_second;
        Ok(Arc::new(Spacelift::new(config)))
    }
}

/// How chains run. It travels with each chain, so that a change applies to chains that start later.
#[derive(Debug, Clone, Args)]
pub struct ChainArguments {
    /// Stacks that run at a time in one chain
    #[arg(long, default_value_t = 20, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    max_running: u32,
    /// Runs that all chains together start within an hour [default: no limit]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    max_runs_per_hour: Option<u32>,
    /// How long to wait for a run, in seconds
    #[arg(long, default_value_t = 21_600, value_name = "SECONDS")]
    run_timeout: u64,
    /// How long to wait for an approval, in seconds
    #[arg(long, default_value_t = 259_200, value_name = "SECONDS")]
    approval_timeout: u64,
    /// Shortest time between two polls of a run, in milliseconds
    #[arg(long, default_value_t = 5_000, value_name = "MILLISECONDS", value_parser = clap::value_parser!(u64).range(50..))]
    poll_ms: u64,
    /// How long a run that no chain claims is held before it starts a chain, in milliseconds
    #[arg(long, default_value_t = 3_000, value_name = "MILLISECONDS")]
    second_look_ms: u64,
}

impl ChainArguments {
    /// Returns the settings of a chain.
    pub fn settings(&self) -> ChainSettings {
        ChainSettings {
            most_running: self.max_running,
            poll_ms: self.poll_ms,
            run_timeout_seconds: self.run_timeout,
            approval_timeout_seconds: self.approval_timeout,
            most_runs_per_hour: self.max_runs_per_hour,
            second_look_ms: self.second_look_ms,
        }
    }
}

/// Where summaries and the audit log go.
#[derive(Debug, Clone, Args)]
pub struct ReportArguments {
    /// Append a JSON line for each chain to this file
    #[arg(long, value_name = "FILE")]
    audit_log: Option<PathBuf>,
}

impl ReportArguments {
    /// Returns where summaries and the audit log go. `SLACK_WEBHOOK_URL` and `SMTP_URL` are secrets, and so no flags.
    ///
    /// # Errors
    ///
    /// If a URL or an address is invalid.
    pub fn reporter(&self) -> anyhow::Result<Reporter> {
        let slack = variable("SLACK_WEBHOOK_URL")
            .map(|url| slack_notifier::Config::try_new(url.into()))
            .transpose();
        let slack = slack.context("SLACK_WEBHOOK_URL")?.map(Webhook::new);
        let mail = variable("SMTP_URL")
            .map(|url| {
                let of = |name| variable(name).unwrap_or_default();
                Mail::try_new(&url.into(), &of("SMTP_FROM"), &of("SMTP_TO"))
            })
            .transpose()?;
        Ok(Reporter {
            slack,
            mail,
            audit_log: self.audit_log.clone(),
        })
    }
}

/// Returns what checks webhooks.
///
/// # Errors
///
/// If the secret is missing.
pub fn receiver(max_age: Duration) -> anyhow::Result<Receiver> {
    let secret = variable("SPACELIFT_WEBHOOK_SECRET").unwrap_or_default();
    Receiver::try_new(&secret.into(), max_age).map_err(anyhow::Error::msg)
}

/// Returns the settings of a process on Temporal, read as Temporal's own tools do: `TEMPORAL_*` variables over Temporal's
/// configuration file.
///
/// # Errors
///
/// If a setting is invalid; every mistake is named.
pub fn process_config() -> anyhow::Result<temporal_worker_kit::Config> {
    let mut config = temporal_worker_kit::Config::load(None, &process_environment())?;
    config.connection.identity = format!("stack-chain@{}", std::process::id());
    config.deployment = Deployment {
        build_id: concat!("stack-chain/", env!("CARGO_PKG_VERSION")).to_owned(),
        ..Deployment::default()
    };
    Ok(config)
}

/// Connects to Temporal once.
///
/// # Errors
///
/// If the settings are invalid, or the server does not answer.
pub async fn connect() -> anyhow::Result<Client> {
    let connected = process_config()?.connection.connect().await;
    connected.context("start Temporal, or set TEMPORAL_ADDRESS")
}
