//! Runs a chain from start to finish on a simulated account, with a Temporal server that stops with the demo.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use stack_chain::graph::Graph;
use stack_chain::labels::Dialect;
use stack_chain::metrics::Metrics;
use stack_chain::provider::{Provider as _, RunRef};
use stack_chain::render;
use stack_chain::report::Reporter;
use stack_chain::server::{Server, routes};
use stack_chain::simulator::{self, KEY_ID, KEY_SECRET, SimStack, WEBHOOK_SECRET};
use stack_chain::spacelift::{Config, Spacelift};
use stack_chain::webhook::Receiver;
use stack_chain::workflows::{
    ChainActivities, ChainReport, ChainSettings, StackDependencyChain, chain_id, register,
};
use temporal_dev_server::Options;
use temporal_worker_kit::{ConnectionSettings, Kit, Registry};
use temporalio_client::{Client, WorkflowGetResultOptions};

use super::output::print;

const LIMIT: Duration = Duration::from_mins(1);

fn stacks() -> Vec<SimStack> {
    let mut broken = SimStack::new("search", &["dependsOn:database"]);
    broken.failures = 1;
    let mut stacks = vec![
        SimStack::new("network", &[]),
        SimStack::new("database", &["dependsOn:network", "chain-priority:10"]),
        SimStack::new("cache", &["dependsOn:network"]),
        SimStack::new("app", &["depends-on:database,cache"]),
        broken,
        SimStack::new("search-index", &["dependsOn:search"]),
        SimStack::new("page-on-call", &["dependsOn:search", "chain-run:on-failure"]),
        SimStack::new("smoke-test", &["depends-on:app,search", "chain-run:always"]),
    ];
    for stack in &mut stacks {
        stack.run_time = Duration::from_millis(400);
    }
    stacks
}

pub(super) async fn run() -> anyhow::Result<ExitCode> {
    let server = temporal_dev_server::start(&Options::default(), &print).await?;
    let simulator = simulator::start(stacks()).await?;
    let spacelift = Arc::new(Spacelift::new(Config::try_new(
        &simulator.endpoint(),
        KEY_ID,
        KEY_SECRET.into(),
    )?));
    print("The stacks:\n");
    print(&render::text(&Graph::of(
        spacelift.stacks().await?,
        Dialect::Both,
    )));
    let receiver =
        Receiver::try_new(&WEBHOOK_SECRET.into(), Duration::from_mins(15)).map_err(anyhow::Error::msg)?;
    let metrics = Arc::new(Metrics::default());
    let registry = Registry::new();
    let listening = Server {
        client: registry.client(),
        receiver: Arc::new(receiver),
        settings: ChainSettings {
            poll_ms: 1_000,
            ..ChainSettings::default()
        },
        metrics: Arc::clone(&metrics),
    };
    let activities = ChainActivities {
        provider: spacelift,
        client: registry.client(),
        dialect: Dialect::Both,
        reporter: Reporter::default(),
        metrics,
    };
    let config = temporal_worker_kit::Config {
        connection: ConnectionSettings {
            address: server.address().to_string(),
            ..ConnectionSettings::default()
        },
        // Any free port, because a worker may be using the default one.
        listen: Some(([127, 0, 0, 1], 0).into()),
        grace: Duration::from_secs(1),
        ..temporal_worker_kit::Config::default()
    };
    let kit = Kit::new(config, register(registry, activities)).routes(routes(listening));
    let mut running = kit.start().await?;
    let listen = running.listen().context("the receiver listens")?;
    simulator.deliver_to(&format!("http://{listen}/webhooks/spacelift"), 1);
    print("\nSomeone runs `network`; Spacelift's webhook reports that it finished.\n");
    let run = simulator
        .trigger_by("network", Some("ann"))
        .context("the stack is there")?;
    let id = chain_id(&RunRef {
        stack: run.stack,
        run: run.id,
    });
    let report = report_of(&running.client(), &id).await?;
    running.stop();
    running.wait().await?;
    for result in &report.results {
        let why = result
            .why
            .as_ref()
            .map(|why| format!(": {why}"))
            .unwrap_or_default();
        print(&format!("  {} {}{why}", result.stack, result.outcome.as_str()));
    }
    print(&format!("\n{}", report.summary()));
    server.shutdown().await;
    Ok(ExitCode::SUCCESS)
}

async fn report_of(client: &Client, id: &str) -> anyhow::Result<ChainReport> {
    let started = Instant::now();
    while started.elapsed() < LIMIT {
        let handle = client.get_workflow_handle::<StackDependencyChain>(id);
        let left = LIMIT.saturating_sub(started.elapsed());
        match tokio::time::timeout(left, handle.get_result(WorkflowGetResultOptions::default())).await {
            Ok(Ok(report)) => return Ok(report),
            // The chain has not started yet.
            Ok(Err(_)) => tokio::time::sleep(Duration::from_millis(200)).await,
            Err(_) => break,
        }
    }
    bail!("the chain did not end within {} s", LIMIT.as_secs())
}
