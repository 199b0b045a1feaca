//! Long-running processes: the receiver, the worker, or both.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use stack_chain::metrics::Metrics;
use stack_chain::server::{Server, count_open_chains, routes};
use stack_chain::settings::{Account, ChainArguments, ReportArguments, process_config, receiver};
use stack_chain::workflows::{ChainActivities, register};
use temporal_worker_kit::{Config, Kit, LogFormat, LogSettings, Registry, subscriber};

/// Flags of a long-running process.
#[derive(Debug, Args)]
pub(super) struct Process {
    /// Address to serve webhooks, /metrics, /healthz and /readyz on
    #[arg(long, default_value = "127.0.0.1:9470", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// Maximum age of an event, in seconds
    #[arg(long, default_value_t = 900, value_name = "SECONDS")]
    max_event_age: u64,
    /// Time that running activities may take to finish after SIGTERM, in seconds
    #[arg(long, default_value_t = 20, value_name = "SECONDS")]
    grace: u64,
    /// Log level: error, warn, info, debug, or a tracing filter
    #[arg(long, default_value = "info", value_name = "LEVEL")]
    log_level: String,
    #[command(flatten)]
    chain: ChainArguments,
    #[command(flatten)]
    report: ReportArguments,
}

/// What a process runs: the webhook receiver, the worker, or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Webhook,
    Worker,
    Both,
}

pub(super) async fn run(account: &Account, process: &Process, role: Role) -> anyhow::Result<ExitCode> {
    let log = LogSettings::try_new(&process.log_level, LogFormat::Text).context("--log-level")?;
    let config = Config {
        listen: Some(process.listen),
        grace: Duration::from_secs(process.grace),
        log,
        ..process_config()?
    };
    let receiver = match role {
        Role::Worker => None,
        Role::Webhook | Role::Both => Some(receiver(Duration::from_secs(process.max_event_age))?),
    };
    let metrics = Arc::new(Metrics::default());
    tracing::subscriber::set_global_default(subscriber(&config.log))?;
    let mut kit = match role {
        Role::Webhook => Kit::without_workers(config),
        Role::Worker | Role::Both => {
            let registry = Registry::new();
            let activities = ChainActivities {
                provider: account.provider()?,
                client: registry.client(),
                dialect: account.dialect()?,
                reporter: process.report.reporter()?,
                metrics: Arc::clone(&metrics),
            };
            Kit::new(config, register(registry, activities))
        }
    };
    let client = kit.client();
    if let Some(receiver) = receiver {
        kit = kit.routes(routes(Server {
            client: client.clone(),
            receiver: Arc::new(receiver),
            settings: process.chain.settings(),
            metrics: Arc::clone(&metrics),
        }));
    }
    let shown = Arc::clone(&metrics);
    tokio::select! {
        outcome = kit.metrics(move || shown.text()).run() => outcome?,
        // Polled here and not spawned, so that it ends with the kit.
        never = count_open_chains(client, metrics) => match never {},
    }
    Ok(ExitCode::SUCCESS)
}
