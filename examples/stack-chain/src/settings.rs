//! Settings from flags and the environment. The variables for Spacelift are named as in spacectl, and those
//! for Temporal as in Temporal's own tools.

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

/// Connection to the CI system.
#[derive(Debug, Clone, Args)]
pub struct Account {
    /// Labels that define dependencies: dependsOn, depends-on or both [default: `STACK_CHAIN_LABELS`, or
    /// both]
    #[arg(long, global = true, value_enum)]
    labels: Option<Dialect>,
    /// Run the jobs in this JSON file instead of Spacelift stacks; each has a URL to start it and a URL to
    /// poll it
    #[arg(long, global = true, value_name = "FILE")]
    jobs: Option<PathBuf>,
    /// Maximum number of requests to Spacelift per second
    #[arg(long, global = true, default_value_t = 5, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    requests_per_second: u32,
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

impl Account {
    /// Returns the accepted spelling of dependency labels.
    ///
    /// # Errors
    ///
    /// If the environment variable has an unknown value.
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

    /// Returns the provider for the account in the environment.
    ///
    /// # Errors
    ///
    /// If a variable is missing or invalid; reports all missing ones.
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
                "{} not set; create an API key in Spacelift, then set the same variables as for spacectl",
                missing.join(", ")
            );
        }
        let [endpoint, id, secret] = names.map(|name| variable(name).unwrap_or_default());
        let mut config =
            Config::try_new(&endpoint, &id, secret.into()).context("the Spacelift settings are invalid")?;
        config.requests_per_second = self.requests_per_second;
        Ok(Arc::new(Spacelift::new(config)))
    }
}

/// Settings of chains. A chain keeps the settings it was started with.
#[derive(Debug, Clone, Args)]
pub struct ChainArguments {
    /// Maximum number of stacks that run at a time in one chain
    #[arg(long, default_value_t = 20, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    max_running: u32,
    /// Maximum number of runs per hour in all chains [default: no limit]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    max_runs_per_hour: Option<u32>,
    /// Timeout of a run, in seconds
    #[arg(long, default_value_t = 21_600, value_name = "SECONDS")]
    run_timeout: u64,
    /// Timeout of an approval, in seconds
    #[arg(long, default_value_t = 259_200, value_name = "SECONDS")]
    approval_timeout: u64,
    /// Minimum interval between two polls of a run, in milliseconds
    #[arg(long, default_value_t = 5_000, value_name = "MILLISECONDS", value_parser = clap::value_parser!(u64).range(50..))]
    poll_ms: u64,
    /// How long to wait for a chain to claim a run before the run starts a chain, in milliseconds
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

/// Destinations of summaries and of the audit log.
#[derive(Debug, Clone, Args)]
pub struct ReportArguments {
    /// Append a JSON line for each chain to this file
    #[arg(long, value_name = "FILE")]
    audit_log: Option<PathBuf>,
}

impl ReportArguments {
    /// Returns the reporter. `SLACK_WEBHOOK_URL` and `SMTP_URL` are secrets and therefore not available as
    /// flags.
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

/// Returns the webhook receiver.
///
/// # Errors
///
/// If the secret is missing.
pub fn receiver(max_age: Duration) -> anyhow::Result<Receiver> {
    let secret = variable("SPACELIFT_WEBHOOK_SECRET").unwrap_or_default();
    Receiver::try_new(&secret.into(), max_age).map_err(anyhow::Error::msg)
}

/// Returns the worker settings. As in Temporal's own tools, `TEMPORAL_*` variables override Temporal's
/// configuration file.
///
/// # Errors
///
/// If a setting is invalid; reports every mistake.
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
/// If the settings are invalid or the server does not respond.
pub async fn connect() -> anyhow::Result<Client> {
    let connected = process_config()?.connection.connect().await;
    connected.context("start Temporal, or set TEMPORAL_ADDRESS")
}
