//! Commands for chains.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use futures::StreamExt as _;
use jiff::Timestamp;
use jiff::civil::Date;
use stack_chain::graph::Graph;
use stack_chain::progress::Outcome;
use stack_chain::provider::RunRef;
use stack_chain::settings::{Account, connect};
use stack_chain::workflows::{
    ChainReport, ChainRequest, ChainSettings, ChainStatus, Decision, ExecutionStatus, StackDependencyChain,
    StackExecution, TASK_QUEUE, chain_id, execution_id,
};
use temporal_worker_kit::Lenient;
use temporalio_client::{
    Client, WorkflowDescribeOptions, WorkflowExecutionStatus, WorkflowGetResultOptions, WorkflowListOptions,
    WorkflowQueryOptions, WorkflowSignalOptions, WorkflowStartOptions,
};
use temporalio_common::data_converters::{PayloadConverter, RawValue};

use super::output::{print, who};

/// Timeout for a response that needs a worker.
const ANSWER: Duration = Duration::from_secs(15);
/// Maximum number of chains in a list.
const MOST_LISTED: usize = 100;

/// Subcommands of `chains`.
#[derive(Debug, Subcommand)]
pub(super) enum Chains {
    /// Print the latest chains
    List,
    /// Print the results of a chain and what it is waiting for
    Show {
        /// Workflow id of the chain
        chain: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Cancel a chain: start no more stacks, and stop its runs
    Cancel {
        /// Workflow id of the chain
        chain: String,
        /// Reason for the cancellation
        #[arg(long, default_value = "no reason given")]
        reason: String,
    },
    /// Approve the run of a critical stack
    Approve(Deciding),
    /// Reject the run of a critical stack
    Reject(Deciding),
}

/// A decision about a stack.
#[derive(Debug, Args)]
pub(super) struct Deciding {
    /// Workflow id of the chain
    chain: String,
    /// Id of the stack
    stack: String,
    /// Reason for the decision
    #[arg(long, default_value = "no reason given")]
    reason: String,
}

/// The period of the report.
#[derive(Debug, Args)]
pub(super) struct Report {
    /// First day, in UTC
    #[arg(long, value_name = "DATE")]
    from: Date,
    /// Last day, in UTC [default: today]
    #[arg(long, value_name = "DATE")]
    to: Option<Date>,
    /// Print JSON lines
    #[arg(long)]
    json: bool,
}

pub(super) async fn trigger(
    account: &Account,
    stack: &str,
    runs_origin: bool,
    settings: ChainSettings,
) -> anyhow::Result<ExitCode> {
    // Reject an unknown stack here, where the user sees the error.
    let graph = Graph::of(account.provider()?.stacks().await?, account.dialect()?);
    graph.plan_from(stack)?;
    let client = connect().await?;
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let origin = RunRef {
        stack: stack.to_owned(),
        run: String::new(),
    };
    let id = chain_id(&RunRef {
        run: format!("manual-{}", now.as_millis()),
        ..origin.clone()
    });
    let request = ChainRequest {
        origin,
        outcome: Outcome::Succeeded,
        runs_origin,
        started_by: who(),
        settings,
    };
    let options = WorkflowStartOptions::new(TASK_QUEUE, id.clone())
        .static_summary(format!("{stack} and its dependents"))
        .build();
    client
        .start_workflow(StackDependencyChain::run, Lenient::from(request), options)
        .await?;
    print(&id);
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn run(command: Chains) -> anyhow::Result<ExitCode> {
    let client = connect().await?;
    match command {
        Chains::List => list(&client).await?,
        Chains::Show { chain, json } => show(&client, &chain, json).await?,
        Chains::Cancel { chain, reason } => {
            must_be_open(&client, &chain).await?;
            let handle = client.get_workflow_handle::<StackDependencyChain>(chain);
            let why = RawValue::from_value(
                &format!("canceled by {}: {reason}", who()),
                &PayloadConverter::default(),
            );
            handle
                .signal(
                    StackDependencyChain::cancel,
                    why,
                    WorkflowSignalOptions::default(),
                )
                .await?;
            print("canceling; stopping its runs");
        }
        Chains::Approve(deciding) => decide(&client, deciding, true).await?,
        Chains::Reject(deciding) => decide(&client, deciding, false).await?,
    }
    Ok(ExitCode::SUCCESS)
}

fn how_it_ended(status: WorkflowExecutionStatus) -> &'static str {
    match status {
        WorkflowExecutionStatus::Completed => "completed",
        WorkflowExecutionStatus::Failed => "failed",
        WorkflowExecutionStatus::Canceled => "been canceled",
        WorkflowExecutionStatus::Terminated => "been terminated",
        WorkflowExecutionStatus::TimedOut => "timed out",
        _ => "ended",
    }
}

/// Returns an error unless the workflow is open.
async fn must_be_open(client: &Client, id: &str) -> anyhow::Result<()> {
    let handle = client.get_workflow_handle::<StackDependencyChain>(id);
    let found = handle.describe(WorkflowDescribeOptions::default()).await;
    let found =
        found.with_context(|| format!("`{id}` was not found; `stack-chain chains list` lists the chains"))?;
    if found.status() != WorkflowExecutionStatus::Running {
        bail!(
            "`{id}` has already {}; nothing was changed",
            how_it_ended(found.status())
        );
    }
    Ok(())
}

async fn decide(client: &Client, deciding: Deciding, approved: bool) -> anyhow::Result<()> {
    let Deciding { chain, stack, reason } = deciding;
    let id = execution_id(&chain, &stack);
    must_be_open(client, &id).await?;
    // A signal would be accepted at any time, but has no effect after the approval.
    let status = execution_status(client, &id).await?;
    if status.phase != "waits for approval" {
        bail!("`{stack}` is not waiting for approval: {}", status.phase);
    }
    let decision = Decision {
        approved,
        who: who(),
        reason,
    };
    let raw = RawValue::from_value(&decision, &PayloadConverter::default());
    let handle = client.get_workflow_handle::<StackExecution>(id);
    handle
        .signal(StackExecution::decide, raw, WorkflowSignalOptions::default())
        .await?;
    print(if approved { "approved" } else { "rejected" });
    Ok(())
}

async fn execution_status(client: &Client, id: &str) -> anyhow::Result<ExecutionStatus> {
    let handle = client.get_workflow_handle::<StackExecution>(id);
    let asked = handle.query(StackExecution::status, (), WorkflowQueryOptions::default());
    let answer = tokio::time::timeout(ANSWER, asked)
        .await
        .context("no response; is a worker running?")?;
    Ok(answer?)
}

async fn list(client: &Client) -> anyhow::Result<()> {
    let mut found = client.list_workflows(
        "WorkflowType = 'StackDependencyChain'",
        WorkflowListOptions::default(),
    );
    let mut text = String::new();
    for _ in 0..MOST_LISTED {
        let Some(chain) = found.next().await else { break };
        let chain = chain?;
        let started = chain
            .start_time()
            .and_then(|time| Timestamp::try_from(time).ok())
            .map(|time| time.to_string());
        let _ = writeln!(
            text,
            "{:<10?} {:<20.20} {}",
            chain.status(),
            started.unwrap_or_default(),
            chain.id()
        );
    }
    print(if text.is_empty() { "no chains" } else { &text });
    Ok(())
}

async fn show(client: &Client, chain: &str, json: bool) -> anyhow::Result<()> {
    let handle = client.get_workflow_handle::<StackDependencyChain>(chain);
    let found = handle.describe(WorkflowDescribeOptions::default()).await;
    found.with_context(|| format!("`{chain}` was not found; `stack-chain chains list` lists the chains"))?;
    let asked = handle.query(StackDependencyChain::status, (), WorkflowQueryOptions::default());
    let status = tokio::time::timeout(ANSWER, asked)
        .await
        .context("no response; is a worker running?")??;
    if json {
        print(&serde_json::to_string_pretty(&status)?);
        return Ok(());
    }
    let mut running = Vec::new();
    for stack in &status.running {
        running.push(execution_status(client, &execution_id(chain, stack)).await?);
    }
    print(&shown(&status, &running));
    Ok(())
}

/// Renders a chain with one line per stack, in the order of the plan.
fn shown(status: &ChainStatus, running: &[ExecutionStatus]) -> String {
    let report = &status.report;
    let mut text = format!(
        "{}\nafter {}, started by {}: {}\n",
        report.chain,
        report.origin.stack,
        report.started_by,
        report.summary()
    );
    for stack in &status.stacks {
        let line = if let Some(result) = report.results.iter().find(|it| it.stack == stack.id) {
            let why = result
                .why
                .as_ref()
                .map(|why| format!(": {why}"))
                .unwrap_or_default();
            format!(
                "{}{why} {}",
                result.outcome.as_str(),
                result.url.as_deref().unwrap_or_default()
            )
        } else if let Some(execution) = running.iter().find(|it| it.stack == stack.id) {
            let state = execution
                .state
                .as_ref()
                .map(|state| format!(" [{state}]"))
                .unwrap_or_default();
            format!(
                "{}{state} {}",
                execution.phase,
                execution.url.as_deref().unwrap_or_default()
            )
        } else {
            format!("waits for {}", stack.parents.join(", "))
        };
        let _ = writeln!(text, "  {}: {}", stack.id, line.trim_end());
        if !stack.other_parents.is_empty() {
            let _ = writeln!(
                text,
                "      not in this chain, ignored: {}",
                stack.other_parents.join(", ")
            );
        }
        if !stack.contexts.is_empty() {
            let _ = writeln!(text, "      contexts: {}", stack.contexts.join(", "));
        }
    }
    for note in &report.notes {
        let _ = writeln!(text, "note: {note}");
    }
    text
}

pub(super) async fn report(wanted: &Report) -> anyhow::Result<ExitCode> {
    let client = connect().await?;
    let today = Timestamp::now().to_zoned_datetime(jiff::tz::TimeZone::UTC).date();
    let last = wanted.to.unwrap_or(today);
    if last < wanted.from {
        bail!("--to {last} is before --from {}", wanted.from);
    }
    let query = format!(
        "WorkflowType = 'StackDependencyChain' AND StartTime >= '{}T00:00:00Z' AND StartTime < '{}T00:00:00Z'",
        wanted.from,
        // The last day is included.
        last.tomorrow()?
    );
    let mut found = client.list_workflows(query, WorkflowListOptions::default());
    let mut reports: Vec<ChainReport> = Vec::new();
    let mut open = 0;
    while let Some(chain) = found.next().await {
        let chain = chain?;
        if chain.status() == WorkflowExecutionStatus::Running {
            open += 1;
            continue;
        }
        let handle = client.get_workflow_handle::<StackDependencyChain>(chain.id());
        let ended = handle.get_result(WorkflowGetResultOptions::default()).await;
        // A chain that was terminated has no report of its own.
        reports.push(ended.unwrap_or_else(|error| ChainReport {
            chain: chain.id().to_owned(),
            error: Some(error.to_string()),
            ..ChainReport::default()
        }));
    }
    reports.sort_by_key(|report| report.started);
    let mut text = String::new();
    for report in &reports {
        if wanted.json {
            let _ = writeln!(text, "{}", serde_json::to_string(report)?);
        } else {
            let took = report
                .ended
                .unwrap_or_default()
                .saturating_sub(report.started.unwrap_or_default());
            let started = report
                .started
                .and_then(|at| Timestamp::from_second(i64::try_from(at).ok()?).ok());
            let started = started.map(|at| at.to_string()).unwrap_or_default();
            let _ = writeln!(
                text,
                "{started:<20} {took:>6} s  {}: {}",
                report.chain,
                report.summary()
            );
        }
    }
    if !wanted.json {
        let good = reports.iter().filter(|report| report.is_success()).count();
        let _ = writeln!(
            text,
            "{} chains, {good} without a failure, {open} open",
            reports.len()
        );
    }
    print(&text);
    Ok(ExitCode::SUCCESS)
}
