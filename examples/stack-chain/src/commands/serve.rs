//! The processes that stay: receiver, worker, or both.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use stack_chain::server::{Metrics, Server, serve};
use stack_chain::settings::{Account, ChainArguments, ReportArguments, connect, receiver};
use stack_chain::workflows::{ChainActivities, TASK_QUEUE, worker_options};
use temporalio_client::Client;
use temporalio_sdk::runtime::RuntimeOptions;
use temporalio_sdk::{Runtime, Worker};
use tracing_subscriber::EnvFilter;

/// Settings of a process that stays.
#[derive(Debug, Args)]
pub(super) struct Process {
    /// Where webhooks, /metrics, /healthz and /readyz are served
    #[arg(long, default_value = "127.0.0.1:9470", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// How old an event may be, in seconds
    #[arg(long, default_value_t = 900, value_name = "SECONDS")]
    max_event_age: u64,
    /// How long running activities may take to end after SIGTERM, in seconds
    #[arg(long, default_value_t = 20, value_name = "SECONDS")]
    grace: u64,
    /// How much to log: error, warn, info, debug, or a tracing filter
    #[arg(long, default_value = "info", value_name = "LEVEL")]
    log_level: String,
    #[command(flatten)]
    chain: ChainArguments,
    #[command(flatten)]
    report: ReportArguments,
}

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Webhook,
    Worker,
    Both,
}

pub(super) async fn run(account: &Account, process: &Process, role: Role) -> anyhow::Result<ExitCode> {
    let filter = EnvFilter::try_new(&process.log_level).context("--log-level")?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let max_age = Duration::from_secs(process.max_event_age);
    let receiver = if role == Role::Worker {
        None
    } else {
        Some(Arc::new(receiver(max_age)?))
    };
    let metrics = Arc::new(Metrics::default());
    let client = connect_patiently().await?;
    let activities = if role == Role::Webhook {
        None
    } else {
        Some(ChainActivities {
            provider: account.provider()?,
            client: client.clone(),
            dialect: account.dialect()?,
            reporter: process.report.reporter()?,
            metrics: Arc::clone(&metrics),
        })
    };
    let server = Server {
        client: client.clone(),
        receiver,
        settings: process.chain.settings(),
        metrics: Arc::clone(&metrics),
    };
    let listen = serve(process.listen, server)
        .await
        .with_context(|| format!("cannot listen on {}", process.listen))?;
    metrics.is_ready.store(true, Ordering::Relaxed);
    tracing::info!(%listen, ?role, task_queue = TASK_QUEUE, "ready");
    match activities {
        Some(activities) => {
            work(
                client,
                activities,
                Duration::from_secs(process.grace),
                stop_signal()?,
                &metrics,
            )
            .await?;
        }
        None => stop_signal()?.await,
    }
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Runs a worker until `stop`, then drains it.
pub(super) async fn work(
    client: Client,
    activities: ChainActivities,
    grace: Duration,
    stop: impl Future<Output = ()>,
    metrics: &Metrics,
) -> anyhow::Result<()> {
    let runtime = Runtime::from_current_tokio(RuntimeOptions::default())?;
    let mut worker = Worker::new(&runtime, client, worker_options(activities, grace))?;
    let shut_down = worker.shutdown_handle();
    let mut stop = std::pin::pin!(stop);
    let mut working = std::pin::pin!(worker.run());
    tokio::select! {
        // A worker that ends by itself is an error of its connection.
        ended = &mut working => return ended.context("the worker ended"),
        () = &mut stop => {}
    }
    metrics.is_ready.store(false, Ordering::Relaxed);
    shut_down();
    working.await.context("the worker did not drain")
}

/// A server that is not there yet is waited for.
async fn connect_patiently() -> anyhow::Result<Client> {
    let mut wait = Duration::from_secs(1);
    for _ in 0..6 {
        match connect("stack-chain").await {
            Ok(client) => return Ok(client),
            Err(error) => tracing::warn!("{error:#}; next attempt in {} s", wait.as_secs()),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(15));
    }
    connect("stack-chain").await
}

/// Ends on SIGTERM or Ctrl-C.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    })
}
