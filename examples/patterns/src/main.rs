//! Runs one of five workflow patterns, or the worker that executes them.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand, ValueEnum};
use patterns::fallback::{Fallback, Request, Scenario};
use patterns::fire_and_forget::{Background, FireAndForget, Work};
use patterns::long_running::{Account, LongRunning};
use patterns::orchestration::{Numbers, Orchestration};
use patterns::saga::{Saga, Step, Trip};
use patterns::{TASK_QUEUE, registry};
use process_edge::{flush_errors, report_panics, write_error, write_output};
use serde::Serialize;
use temporal_dev_server::{DevServer, Options, reach};
use temporal_worker_kit::{Config, ConnectionSettings, Kit, process_environment, subscriber};
use temporalio_client::{
    Client, WorkflowDescribeOptions, WorkflowGetResultOptions, WorkflowSignalOptions, WorkflowStartOptions,
};
use temporalio_common::data_converters::{PayloadConverter, RawValue};

/// Timeout for the result of `run`.
const PATIENCE: Duration = Duration::from_mins(1);

/// How long to wait at exit for the last lines to be written to standard error.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Run Temporal workflow patterns.
#[derive(Debug, Parser)]
#[command(name = "patterns", version, max_term_width = 100)]
#[command(after_help = "\
The connection comes from TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE and Temporal's other variables. Without them, a development
server is started if nothing listens on localhost:7233.
Exit codes: 0 the workflow ended as expected; 1 any error.")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Execute patterns until SIGTERM or Ctrl-C.
    Worker,
    /// Run one pattern and print its result as JSON.
    Run {
        /// Do not run a worker; other workers must be running.
        #[arg(long, global = true)]
        no_worker: bool,
        #[command(subcommand)]
        pattern: Pattern,
    },
}

#[derive(Debug, Subcommand)]
enum Pattern {
    /// Run children in parallel, then combine their results.
    Orchestration {
        /// First number.
        #[arg(long, default_value_t = 3, allow_negative_numbers = true)]
        a: i64,
        /// Second number.
        #[arg(long, default_value_t = 4, allow_negative_numbers = true)]
        b: i64,
    },
    /// Choose a fallback by the type of the error [default: run every scenario that succeeds].
    Fallback {
        /// Behavior of the provider.
        #[arg(long, value_enum)]
        scenario: Option<ScenarioName>,
    },
    /// Start a child that keeps running after its parent.
    FireAndForget {
        /// Duration of the child's work, in milliseconds.
        #[arg(long, default_value_t = 3_000)]
        millis: u64,
    },
    /// Continue as new with state and pending signals.
    LongRunning {
        /// Number of deposits to send.
        #[arg(long, default_value_t = 30)]
        deposits: u32,
    },
    /// Compensate completed steps in reverse order.
    Saga {
        /// Step that fails.
        #[arg(long, value_enum, default_value_t = FailAt::Card)]
        fail_at: FailAt,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ScenarioName {
    Healthy,
    ActivityFailure,
    TimeoutInside,
    TimeoutBeyond,
    Broken,
}

impl From<ScenarioName> for Scenario {
    fn from(name: ScenarioName) -> Self {
        match name {
            ScenarioName::Healthy => Self::Healthy,
            ScenarioName::ActivityFailure => Self::ActivityFailure,
            ScenarioName::TimeoutInside => Self::TimeoutInside,
            ScenarioName::TimeoutBeyond => Self::TimeoutBeyond,
            ScenarioName::Broken => Self::Broken,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum FailAt {
    Flight,
    Hotel,
    Card,
    None,
}

impl FailAt {
    fn step(self) -> Option<Step> {
        match self {
            Self::Flight => Some(Step::Flight),
            Self::Hotel => Some(Step::Hotel),
            Self::Card => Some(Step::Card),
            Self::None => None,
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            // clap's own code for a usage error is 2, which this program does not have.
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    report_panics();
    match execute(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            write_error(format!("error: {error:#}\n"));
            flush_errors(LAST_LINES);
            ExitCode::FAILURE
        }
    }
}

async fn execute(arguments: Arguments) -> anyhow::Result<()> {
    let mut config = Config::load(None, &process_environment())?;
    // A server that this process starts ends with it.
    let server = server(&mut config, matches!(arguments.command, Command::Worker)).await?;
    match arguments.command {
        Command::Worker => {
            tracing::subscriber::set_global_default(subscriber(&config.log))?;
            Kit::new(config, registry()).run().await?;
        }
        Command::Run {
            no_worker: true,
            pattern,
        } => {
            let client = config.connection.connect().await?;
            run(&client, pattern).await?;
        }
        Command::Run {
            no_worker: false,
            pattern,
        } => {
            // Metrics are of no use for a short run, and a worker may be using the port.
            config.listen = None;
            let mut running = Kit::new(config, registry()).start().await?;
            let outcome = run(&running.client(), pattern).await;
            running.stop();
            running.wait().await?;
            // After the worker has stopped, also if the pattern failed.
            outcome?;
        }
    }
    if let Some(server) = server {
        server.shutdown().await;
    }
    Ok(())
}

/// Uses the configured or local server, or starts one. The worker's own server listens on the default port,
/// so that other commands find it.
async fn server(config: &mut Config, on_usual_port: bool) -> anyhow::Result<Option<DevServer>> {
    if config.connection.address != ConnectionSettings::default().address {
        return Ok(None);
    }
    let options = Options {
        port: on_usual_port.then_some(7233),
        ..Options::default()
    };
    let say = |text: &str| {
        write_error(format!("{text}\n"));
    };
    let reached = reach("127.0.0.1:7233", &options, &say).await?;
    config.connection.address = reached.address;
    Ok(reached.started)
}

async fn run(client: &Client, pattern: Pattern) -> anyhow::Result<()> {
    let outcome = tokio::time::timeout(PATIENCE, run_pattern(client, pattern)).await;
    outcome.with_context(|| {
        format!(
            "no result within {} s; does a worker poll the task queue `{TASK_QUEUE}`?",
            PATIENCE.as_secs()
        )
    })?
}

async fn run_pattern(client: &Client, pattern: Pattern) -> anyhow::Result<()> {
    match pattern {
        Pattern::Orchestration { a, b } => orchestration(client, a, b).await,
        Pattern::Fallback {
            scenario: Some(scenario),
        } => fallback(client, scenario.into()).await,
        Pattern::Fallback { scenario: None } => {
            for scenario in [
                Scenario::ActivityFailure,
                Scenario::TimeoutInside,
                Scenario::TimeoutBeyond,
            ] {
                fallback(client, scenario).await?;
            }
            Ok(())
        }
        Pattern::FireAndForget { millis } => fire_and_forget(client, millis).await,
        Pattern::LongRunning { deposits } => long_running(client, deposits).await,
        Pattern::Saga { fail_at } => saga(client, fail_at.step()).await,
    }
}

fn start(name: &str) -> WorkflowStartOptions {
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos());
    WorkflowStartOptions::new(TASK_QUEUE, format!("{name}-{}-{nanos:x}", std::process::id())).build()
}

fn print(value: &impl Serialize) -> anyhow::Result<()> {
    Ok(write_output(&serde_json::to_string(value)?)?)
}

async fn orchestration(client: &Client, a: i64, b: i64) -> anyhow::Result<()> {
    let numbers = Numbers {
        a: Some(a),
        b: Some(b),
    };
    let handle = client
        .start_workflow(Orchestration::run, numbers.into(), start("orchestration"))
        .await?;
    let result = handle.get_result(WorkflowGetResultOptions::default()).await;
    print(&result.map_err(readable)?)
}

async fn fallback(client: &Client, scenario: Scenario) -> anyhow::Result<()> {
    let request = Request { scenario };
    let handle = client
        .start_workflow(Fallback::run, request.into(), start("fallback"))
        .await?;
    let result = handle.get_result(WorkflowGetResultOptions::default()).await;
    print(&serde_json::json!({ "scenario": scenario, "price": result.map_err(readable)? }))
}

async fn fire_and_forget(client: &Client, millis: u64) -> anyhow::Result<()> {
    let work = Work { millis };
    let handle = client
        .start_workflow(FireAndForget::run, work.into(), start("fire-and-forget"))
        .await?;
    let child = handle
        .get_result(WorkflowGetResultOptions::default())
        .await
        .map_err(readable)?;
    let child_handle = client.get_workflow_handle::<Background>(child.clone());
    let child_then = child_handle
        .describe(WorkflowDescribeOptions::default())
        .await?
        .status();
    let child_result = child_handle
        .get_result(WorkflowGetResultOptions::default())
        .await
        .map_err(readable)?;
    print(&serde_json::json!({
        "parent": "completed",
        "child": child,
        "child_when_the_parent_had_completed": format!("{child_then:?}").to_lowercase(),
        "child_result": child_result,
    }))
}

async fn long_running(client: &Client, deposits: u32) -> anyhow::Result<()> {
    let options = start("long-running");
    let id = options.workflow_id.clone();
    client
        .start_workflow(LongRunning::run, Account::default().into(), options)
        .await?;
    // Do not use the handle returned by the start, because it is pinned to the first run.
    let handle = client.get_workflow_handle::<LongRunning>(id);
    for amount in 1..=i64::from(deposits) {
        let amount = RawValue::from_value(&amount, &PayloadConverter::default());
        handle
            .signal(LongRunning::deposit, amount, WorkflowSignalOptions::default())
            .await?;
    }
    handle
        .signal(
            LongRunning::close,
            RawValue::default(),
            WorkflowSignalOptions::default(),
        )
        .await?;
    let account = handle.get_result(WorkflowGetResultOptions::default()).await;
    print(&account.map_err(readable)?)
}

async fn saga(client: &Client, fail_at: Option<Step>) -> anyhow::Result<()> {
    let trip = Trip { fail_at };
    let handle = client
        .start_workflow(Saga::run, trip.into(), start("saga"))
        .await?;
    let result = handle.get_result(WorkflowGetResultOptions::default()).await;
    print(&result.map_err(readable)?)
}

/// Returns the cause of an error, because the SDK's own message only states that the workflow failed.
#[expect(clippy::needless_pass_by_value, reason = "`map_err` requires this signature")]
fn readable(error: temporalio_client::errors::WorkflowGetResultError) -> anyhow::Error {
    anyhow::anyhow!("{}", temporal_worker_kit::chain(&error))
}
