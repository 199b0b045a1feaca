//! Manages a self-hosted Temporal stack: up, down, status, logs, drain, restart, schema, apply, upgrade.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use process_edge::{flush_errors, write_error, write_output};
use temporal_stack::client::NotServing;
use temporal_stack::doctor::{self, Verdict};
use temporal_stack::place::Place;
use temporal_stack::run::{self, Up};
use temporal_stack::settings::Settings;
use temporal_stack::{client, namespaces, schema, search};
use temporal_worker_kit::{ConnectError, chain, process_environment};
use temporalio_client::Client;

/// Run a self-hosted Temporal server on PostgreSQL.
#[derive(Debug, Parser)]
#[command(name = "temporal-stack", version, max_term_width = 100)]
#[command(after_help = "\
Exit codes: 0 done; 1 any error, including usage errors; `status` also exits with 1 if a process is not serving.
Run `temporal-capacity doctor stack` to find out why.")]
struct Arguments {
    /// Run directory [default: that of the last `up`].
    #[arg(long, global = true, value_name = "DIR")]
    dir: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start all processes that are not running, in order, and wait until they are serving; leave running processes
    /// alone.
    Up {
        /// Settings file [default: the stack.toml that the program was built with].
        #[arg(long, value_name = "FILE")]
        settings: Option<PathBuf>,
        /// Number of processes for each role; overrides the settings.
        #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u8).range(1..=9))]
        replicas: Option<u8>,
        /// Do not start the autopilot's worker or the simulated cloud.
        #[arg(long)]
        without_autopilot: bool,
    },
    /// Stop everything; data is kept.
    Down,
    /// Show one line per process: name, address, whether it is serving, and process id.
    Status,
    /// Show the log of a role or process.
    Logs {
        /// A role, or a process such as history-2, postgres, pgbouncer, ui, cloud or capacity-worker.
        role: String,
        /// Keep printing new lines.
        #[arg(short, long)]
        follow: bool,
        /// Number of lines to show.
        #[arg(short = 'n', long, default_value_t = 50, value_name = "COUNT")]
        lines: u32,
    },
    /// Drain one process of a role and stop it.
    Drain {
        /// A role, or a process such as history-2.
        role: String,
        /// Drain it even if it is the only process of its role.
        #[arg(long)]
        force: bool,
    },
    /// Restart the processes of a role one at a time.
    Restart {
        /// A role, a process such as history-2, or postgres, pgbouncer, ui, capacity-worker.
        role: String,
        /// Restart it even if the role has only one process.
        #[arg(long)]
        force: bool,
    },
    /// Set up or upgrade the schemas of both databases and the index of a search cluster; safe to repeat.
    Schema {
        /// Allow migrations that rewrite a large visibility table.
        #[arg(long)]
        force: bool,
    },
    /// Apply the namespaces, search attributes and archival in stack.toml; show the differences first.
    Apply {
        /// Settings file with the namespaces [default: that of the last `up`].
        #[arg(long, value_name = "FILE")]
        settings: Option<PathBuf>,
        /// Only show the differences; exit with 1 if there are any.
        #[arg(long)]
        dry_run: bool,
        /// Connect with the environment variables of Temporal's SDKs, such as `TEMPORAL_ADDRESS`, to a stack
        /// that runs elsewhere.
        #[arg(long, requires = "settings")]
        environment: bool,
    },
    /// Run a workflow through every role and check the namespaces of a stack that runs elsewhere. Connect
    /// with the environment variables of Temporal's SDKs, such as `TEMPORAL_ADDRESS`.
    Probe {
        /// Settings file that declares the namespaces.
        #[arg(long, value_name = "FILE")]
        settings: PathBuf,
    },
    /// Upgrade the server to another version: schema first, then role by role.
    Upgrade {
        /// Full version number, such as 1.30.8.
        version: String,
        /// Upgrade even if a role has only one process.
        #[arg(long)]
        force: bool,
    },
    /// Issue new certificates with the same authorities.
    Certificates,
    /// Print the environment variables for connecting to the stack.
    Env,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            // clap's own code for a usage error is 2, which this program does not have.
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    let code = match execute(&arguments) {
        Ok(code) => code,
        Err(error) => {
            write_error(format!("error: {error:#}\n"));
            ExitCode::FAILURE
        }
    };
    flush_errors(Duration::from_secs(2));
    code
}

#[tokio::main]
async fn execute(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    match &arguments.command {
        // These need no run directory, so they also work where none can be derived, as in a container.
        Command::Apply {
            settings: Some(settings),
            dry_run,
            environment: true,
        } => return apply_elsewhere(settings, *dry_run).await,
        Command::Probe { settings } => return probe(settings).await,
        _ => {}
    }
    let place = Place::find(arguments.dir.as_deref())?;
    // These also work while an `up` holds the lock for minutes.
    let reads = matches!(
        arguments.command,
        Command::Status | Command::Logs { .. } | Command::Env
    );
    if !reads && !matches!(arguments.command, Command::Up { .. }) {
        // Before the lock, which would create the run directory.
        place.stack()?;
    }
    let _lock = if reads { None } else { Some(run::lock(&place)?) };
    match &arguments.command {
        Command::Up {
            settings,
            replicas,
            without_autopilot,
        } => {
            run::preconditions()?;
            let options = Up {
                settings: settings.clone(),
                replicas: *replicas,
                without_autopilot: *without_autopilot,
            };
            run::up(&place, &options).await?;
        }
        Command::Down => run::down(&place).await?,
        Command::Status => return status(&place).await,
        Command::Logs { role, follow, lines } => run::logs(&place, role, *follow, *lines)?,
        Command::Drain { role, force } => run::drain(&place, role, *force).await?,
        Command::Restart { role, force } => run::restart(&place, role, *force).await?,
        Command::Schema { force } => {
            let stack = place.stack()?;
            schema::apply(&place, &stack, *force)?;
            search::apply(&place, &stack)?;
            write_error("the schema is up to date\n");
        }
        Command::Apply {
            settings, dry_run, ..
        } => return apply(&place, settings.as_deref(), *dry_run).await,
        Command::Probe { .. } => {}
        Command::Upgrade { version, force } => run::upgrade(&place, version, *force).await?,
        Command::Certificates => run::renew_certificates(&place)?,
        Command::Env => {
            let stack = place.stack()?;
            let namespace = &stack.settings.autopilot.namespace;
            let lines = client::environment(&place, &stack, namespace)
                .into_iter()
                .map(|(name, value)| format!("export {name}='{value}'"));
            write_output(&lines.collect::<Vec<_>>().join("\n"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn status(place: &Place) -> anyhow::Result<ExitCode> {
    let lines = run::status(place).await?;
    let shown = lines.iter().map(|line| {
        let serving = match &line.serving {
            Ok(()) => "serving",
            Err(NotServing::Stopped) => "stopped",
            Err(NotServing::Died) => "died",
            Err(_) => "not serving",
        };
        let pid = line.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        format!("{:<16} {:<18} {serving:<12} {pid}", line.name, line.address)
    });
    write_output(&shown.collect::<Vec<_>>().join("\n"))?;
    let mut all = true;
    for line in &lines {
        if let Err(problem) = &line.serving {
            all = false;
            write_error(format!(
                "{} at {}: {problem}. Remedy: {}\n",
                line.name,
                line.address,
                problem.remedy(&line.name)
            ));
        }
    }
    Ok(ExitCode::from(u8::from(!all)))
}

async fn apply(place: &Place, settings: Option<&Path>, dry_run: bool) -> anyhow::Result<ExitCode> {
    let mut stack = place.stack()?;
    if let Some(path) = settings {
        let declared = temporal_stack::settings::Settings::load(Some(path))?;
        stack.settings.namespaces = declared.namespaces;
    }
    let client = run::connected(place, &stack).await?;
    let differs = namespaces::apply(namespaces::wanted(place, &stack), &client, dry_run).await?;
    match (differs, dry_run) {
        (false, _) => write_error(NOTHING_TO_CHANGE),
        (true, true) => return Ok(ExitCode::FAILURE),
        (true, false) => {
            // The doctor compares the server with the recorded declaration.
            place.record(&stack)?;
            write_error("applied\n");
        }
    }
    Ok(ExitCode::SUCCESS)
}

const NOTHING_TO_CHANGE: &str = "nothing to change: the namespaces match stack.toml\n";

/// Connects with the environment's settings and retries, because the roles of a new stack need a moment to
/// find each other.
async fn connected_elsewhere() -> anyhow::Result<Client> {
    let settings = temporal_worker_kit::Config::load(None, &process_environment())?.connection;
    let begun = Instant::now();
    loop {
        match settings.connect().await {
            Ok(client) => return Ok(client),
            Err(error) if !may_pass(&error) || begun.elapsed() > PATIENCE => {
                anyhow::bail!("cannot reach Temporal at {}: {}", settings.address, chain(&error))
            }
            Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
        }
    }
}

/// Returns whether waiting can help. A proxy in front of a starting stack drops connections, which looks like
/// a server without TLS.
fn may_pass(error: &ConnectError) -> bool {
    error.is_retryable() || matches!(error, ConnectError::NotEncrypted { .. })
}

/// Timeout for a starting stack to accept a connection.
const PATIENCE: Duration = Duration::from_mins(3);

async fn apply_elsewhere(settings: &Path, dry_run: bool) -> anyhow::Result<ExitCode> {
    let wanted = namespaces::wanted_elsewhere(&Settings::load(Some(settings))?)?;
    let client = connected_elsewhere().await?;
    let differs = namespaces::apply(wanted, &client, dry_run).await?;
    write_error(if differs && !dry_run {
        "applied\n"
    } else if differs {
        ""
    } else {
        NOTHING_TO_CHANGE
    });
    Ok(ExitCode::from(u8::from(differs && dry_run)))
}

async fn probe(path: &Path) -> anyhow::Result<ExitCode> {
    let wanted = namespaces::wanted_elsewhere(&Settings::load(Some(path))?)?;
    anyhow::ensure!(
        !wanted.is_empty(),
        "{} declares no namespace to run a workflow in: add one",
        path.display()
    );
    let client = connected_elsewhere().await?;
    let findings = doctor::elsewhere(&client, wanted).await;
    for finding in &findings {
        let line = match finding.verdict {
            Verdict::Good => format!("ok      {}: {}", finding.check, finding.found),
            _ => format!("FAILED  {}: {}: {}", finding.check, finding.found, finding.why),
        };
        write_output(&line)?;
    }
    let all = findings.iter().all(|finding| finding.verdict == Verdict::Good);
    Ok(ExitCode::from(u8::from(!all)))
}
