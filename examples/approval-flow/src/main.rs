//! The program: runs the worker, and manages requests, decisions, schedules and events.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use approval_flow::definition::Definition;
use approval_flow::messages::ApprovalRequest;
use approval_flow::policy::PolicyFile;
use approval_flow::schedule::{Operation, When};
use approval_flow::{Approvals, DriverInput, StepVerdict, commands, events, registry, schedule};
use clap::{Args, Parser, Subcommand};
use process_edge::{flush_errors, report_panics, write_error, write_output};
use secrecy::SecretString;
use temporal_dev_server::{Options, reach};
use temporal_worker_kit::{Config, ConnectionSettings, Kit, parse_duration, process_environment, subscriber};
use temporalio_client::Client;

/// How long to wait at exit for the last lines to be written to standard error.
const LAST_LINES: std::time::Duration = std::time::Duration::from_secs(1);

/// Check requests against a policy, wait for approval, and execute the task.
#[derive(Debug, Parser)]
#[command(name = "approval-flow", version, max_term_width = 100)]
#[command(after_help = "\
The connection comes from TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE and Temporal's other variables; without them it is
localhost:7233. `worker` starts a development server there if nothing listens.
Exit codes: 0 done; 1 any error, such as a decision about a request that is closed.")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Execute requests until SIGTERM or Ctrl-C.
    Worker(WorkerArguments),
    /// Start a request and print its workflow id.
    Start(StartArguments),
    /// Approve a request.
    Approve(DecideArguments),
    /// Reject a request.
    Reject(DecideArguments),
    /// List the newest requests.
    List {
        /// Show only open requests.
        #[arg(long)]
        open: bool,
    },
    /// Show the status of a request.
    Show {
        /// Workflow id of the request.
        id: String,
    },
    /// Print the audit trail of a request from its history.
    Audit {
        /// Workflow id of the request.
        id: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Run a definition with several steps and print the result of each as JSON.
    Run {
        /// Definition file, in YAML or JSON.
        file: PathBuf,
        /// A value for `${input.NAME}`; may be repeated.
        #[arg(long, value_name = "NAME=VALUE")]
        input: Vec<String>,
        /// Print the workflow id without waiting for the result.
        #[arg(long)]
        detach: bool,
    },
    /// Check a definition and report every mistake.
    Validate {
        /// Definition file, in YAML or JSON.
        file: PathBuf,
    },
    /// Start requests on a schedule [default: create one that runs every 15 s].
    Schedule {
        #[command(subcommand)]
        operation: Option<ScheduleCommand>,
    },
    /// Start requests from signed HTTP events.
    Serve {
        /// Address on which events are received.
        #[arg(long, default_value = "127.0.0.1:8088", value_name = "ADDRESS:PORT")]
        listen: SocketAddr,
    },
}

#[derive(Debug, Args)]
struct WorkerArguments {
    /// Configuration file of the worker.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Rules file [default: `$APPROVAL_FLOW_RULES`; without it, inputs that start with `forbidden` are
    /// denied].
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
    /// File to which audit records are appended, one JSON object per line [default: `$APPROVAL_FLOW_AUDIT`;
    /// without it, the log].
    #[arg(long, value_name = "FILE")]
    audit: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct StartArguments {
    /// Input of the request.
    text: String,
    /// Name of the requester [default: $USER].
    #[arg(long, value_name = "NAME")]
    requester: Option<String>,
    /// Interval between reminders.
    #[arg(long, default_value = "4h", value_parser = seconds, value_name = "DURATION")]
    remind_every: u64,
    /// Time until the request expires.
    #[arg(long, default_value = "7d", value_parser = seconds, value_name = "DURATION")]
    expires_after: u64,
}

#[derive(Debug, Args)]
struct DecideArguments {
    /// Workflow id of the request.
    id: String,
    /// Step to decide on, if several steps of a definition are waiting.
    #[arg(long)]
    step: Option<String>,
    /// Reason for the decision.
    #[arg(long, default_value = "")]
    reason: String,
    /// Name of the person who decides [default: $USER].
    #[arg(long, value_name = "NAME")]
    who: Option<String>,
}

#[derive(Debug, Subcommand)]
enum ScheduleCommand {
    /// Create the schedule.
    Create {
        /// Input of each request.
        #[arg(default_value = "scheduled request")]
        text: String,
        /// Interval between requests.
        #[arg(long, default_value = "15s", value_parser = seconds, value_name = "DURATION")]
        every: u64,
        /// Cron expression in UTC, instead of an interval.
        #[arg(long, conflicts_with = "every")]
        cron: Option<String>,
    },
    /// Show whether the schedule is active.
    Show,
    /// Pause the schedule.
    Pause,
    /// Resume the schedule.
    Unpause,
    /// Start one request now.
    Trigger,
    /// Start the requests of a past period.
    Backfill {
        /// Start of the period, such as 2026-11-29T00:00:00Z.
        #[arg(long, value_name = "TIME")]
        from: jiff::Timestamp,
        /// End of the period.
        #[arg(long, value_name = "TIME")]
        to: jiff::Timestamp,
    },
    /// Delete the schedule.
    Delete,
}

fn seconds(text: &str) -> anyhow::Result<u64> {
    let seconds = parse_duration(text)?.as_secs();
    anyhow::ensure!(seconds > 0, "must be at least 1s");
    Ok(seconds)
}

fn user(given: Option<String>) -> String {
    given.or_else(|| std::env::var("USER").ok()).unwrap_or_default()
}

fn print(line: &str) -> anyhow::Result<()> {
    Ok(write_output(line)?)
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
    match execute(arguments.command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            write_error(format!("error: {error:#}\n"));
            flush_errors(LAST_LINES);
            ExitCode::FAILURE
        }
    }
}

async fn execute(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Worker(arguments) => worker(arguments).await,
        Command::Start(arguments) => {
            let request = ApprovalRequest {
                text: arguments.text,
                requester: user(arguments.requester),
                remind_every_seconds: arguments.remind_every,
                expires_after_seconds: arguments.expires_after,
            };
            print(&commands::start(&client().await?, request, None).await?)
        }
        Command::Approve(arguments) => decide(arguments, true).await,
        Command::Reject(arguments) => decide(arguments, false).await,
        Command::List { open } => {
            for listed in commands::list(&client().await?, open).await? {
                print(&format!(
                    "{}  {:<10} {}",
                    listed.started, listed.status, listed.id
                ))?;
            }
            Ok(())
        }
        Command::Show { id } => {
            let (status, trail) = commands::audit(&client().await?, &id).await?;
            print(&format!("{id}: {status}"))?;
            trail.last().map_or(Ok(()), |entry| print(&format!("{entry}")))
        }
        Command::Audit { id, json } => {
            let (_, trail) = commands::audit(&client().await?, &id).await?;
            for entry in &trail {
                let line = if json {
                    serde_json::to_string(entry)?
                } else {
                    entry.to_string()
                };
                print(&line)?;
            }
            Ok(())
        }
        Command::Run { file, input, detach } => run(&file, &input, detach).await,
        Command::Validate { file } => {
            let definition = definition(&file)?;
            print(&format!(
                "{}: valid, {} steps",
                file.display(),
                definition.steps.len()
            ))
        }
        Command::Schedule { operation } => run_schedule(operation).await,
        Command::Serve { listen } => serve(listen).await,
    }
}

async fn client() -> anyhow::Result<Client> {
    let config = Config::load(None, &process_environment())?;
    let connected = config.connection.connect().await;
    connected.context("start a server and a worker with `approval-flow worker`, or set TEMPORAL_ADDRESS")
}

fn path_from(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

async fn worker(arguments: WorkerArguments) -> anyhow::Result<()> {
    let mut config = Config::load(arguments.config.as_deref(), &process_environment())?;
    let policy = PolicyFile::open(arguments.rules.or_else(|| path_from("APPROVAL_FLOW_RULES")))?;
    tracing::subscriber::set_global_default(subscriber(&config.log))?;
    let mut server = None;
    if config.connection.address == ConnectionSettings::default().address {
        // Use the default port, so that the other commands find the server.
        let options = Options {
            port: Some(7233),
            ..Options::default()
        };
        let reached = reach("127.0.0.1:7233", &options, &|text| tracing::info!("{text}")).await?;
        config.connection.address = reached.address;
        server = reached.started;
    }
    let audit = arguments.audit.or_else(|| path_from("APPROVAL_FLOW_AUDIT"));
    let approvals = Approvals::new(policy, audit);
    Kit::new(config, registry(approvals)).run().await?;
    if let Some(server) = server {
        server.shutdown().await;
    }
    Ok(())
}

async fn decide(arguments: DecideArguments, approved: bool) -> anyhow::Result<()> {
    let verdict = StepVerdict {
        step: arguments.step,
        who: user(arguments.who),
        reason: arguments.reason,
    };
    let answer = commands::decide(&client().await?, &arguments.id, approved, &verdict).await?;
    print(&answer.sentence)
}

fn definition(file: &Path) -> anyhow::Result<Definition> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(Definition::read(&file.display().to_string(), &text)?)
}

async fn run(file: &Path, input: &[String], detach: bool) -> anyhow::Result<()> {
    let definition = definition(file)?;
    let mut values = BTreeMap::new();
    for assignment in input {
        let (name, value) = assignment
            .split_once('=')
            .with_context(|| format!("`--input` takes NAME=VALUE, not `{assignment}`"))?;
        values.insert(name.to_owned(), value.into());
    }
    let missing: Vec<String> = definition
        .inputs()
        .into_iter()
        .filter(|name| !values.contains_key(name))
        .collect();
    if !missing.is_empty() {
        bail!(
            "the definition needs values for: {}; set them with `--input NAME=VALUE`",
            missing.join(", ")
        );
    }
    let client = client().await?;
    let id = commands::start_definition(
        &client,
        DriverInput {
            definition,
            input: values,
        },
    )
    .await?;
    if detach {
        return print(&id);
    }
    let outcome = commands::definition_outcome(&client, &id).await?;
    print(&serde_json::to_string_pretty(&outcome)?)?;
    if !outcome.ok {
        bail!("`{id}`: a step failed");
    }
    Ok(())
}

async fn run_schedule(command: Option<ScheduleCommand>) -> anyhow::Result<()> {
    let client = client().await?;
    let operation = match command {
        None => {
            let every = std::time::Duration::from_secs(15);
            schedule::create(&client, &When::Every(every), "scheduled request".to_owned()).await?;
            return print("created: a request every 15 s");
        }
        Some(ScheduleCommand::Create { text, every, cron }) => {
            let when = match cron {
                Some(expression) => When::Cron(expression),
                None => When::Every(std::time::Duration::from_secs(every)),
            };
            schedule::create(&client, &when, text).await?;
            return print("created");
        }
        Some(ScheduleCommand::Show) => return print(&schedule::show(&client).await?),
        Some(ScheduleCommand::Pause) => Operation::Pause,
        Some(ScheduleCommand::Unpause) => Operation::Unpause,
        Some(ScheduleCommand::Trigger) => Operation::Trigger,
        Some(ScheduleCommand::Backfill { from, to }) => Operation::Backfill(from, to),
        Some(ScheduleCommand::Delete) => Operation::Delete,
    };
    schedule::operate(&client, &operation).await?;
    print("done")
}

async fn serve(listen: SocketAddr) -> anyhow::Result<()> {
    let config = Config::load(None, &process_environment())?;
    let secret = std::env::var("APPROVAL_FLOW_SECRET").unwrap_or_default();
    if secret.len() < 16 {
        bail!(
            "`APPROVAL_FLOW_SECRET` must be set to a secret of at least 16 characters that the senders sign with"
        );
    }
    tracing::subscriber::set_global_default(subscriber(&config.log))?;
    // Requests run in the workers of another process, which does not need the secret.
    let kit = Kit::without_workers(Config {
        listen: Some(listen),
        ..config
    });
    let routes = events::routes(kit.client(), SecretString::from(secret));
    Ok(kit.routes(routes).run().await?)
}
