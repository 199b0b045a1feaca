//! What the program does: start in the order of dependencies, stop, show, drain, restart, upgrade.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context;
use temporalio_client::Client;

use crate::client::{connection, http, serving};
use crate::database::{Account, direct, ensure_ledger, pooled, start_pgbouncer, start_postgres};
use crate::membership::unknown_members;
use crate::place::{DATABASES, Place, Stack, write_secret, write_whole};
use crate::process::{self, Signal, State};
use crate::roles::{Member, Role};
use crate::settings::{Replicas, Settings, differences, is_version};
use crate::{autopilot, certificates, namespaces, programs, render, schema, search, tell, wait};

/// The name of the web UI's process.
const UI: &str = "ui";

/// How long a role may drain. Those of `stack.toml` take up to 15 s.
const DRAIN: Duration = Duration::from_mins(1);

/// How long a process that was killed may hold its address. Connections that it leaves behind take the longest.
const LET_GO: Duration = Duration::from_mins(1);

/// Options of `up`.
#[derive(Debug, Clone, Default)]
pub struct Up {
    /// The settings file; those of the program if none is named.
    pub settings: Option<PathBuf>,
    /// Processes of every role, instead of what the settings say.
    pub replicas: Option<u8>,
    /// Whether our own worker is left out.
    pub without_autopilot: bool,
}

/// Holds the run directory for one command at a time.
///
/// # Errors
///
/// If another command works there.
pub fn lock(place: &Place) -> anyhow::Result<std::fs::File> {
    std::fs::create_dir_all(place.folder())
        .with_context(|| format!("cannot create {}", place.folder().display()))?;
    let file = std::fs::File::create(place.folder().join("lock"))?;
    let locked = file.try_lock();
    anyhow::ensure!(
        locked.is_ok(),
        "another temporal-stack command is running in {}: wait until it finishes",
        place.folder().display()
    );
    Ok(file)
}

/// Starts everything that is not running, and leaves the rest alone.
///
/// # Errors
///
/// If something cannot be started; what was started keeps running.
pub async fn up(place: &Place, options: &Up) -> anyhow::Result<()> {
    let mut settings = Settings::load(options.settings.as_deref())?;
    if let Some(count) = options.replicas {
        settings.replicas = Replicas::all(count);
    }
    settings.autopilot.enabled &= !options.without_autopilot;
    settings.archival.check_credentials()?;
    let recorded = place.stack().ok();
    if let Some(recorded) = &recorded {
        compatible(place, &recorded.settings, &settings)?;
    }
    let simulated_cloud = !autopilot::has_key();
    addresses_are_free(place, &settings, simulated_cloud).await?;
    let stack = Stack {
        simulated_cloud,
        programs: programs::obtain(&settings.server.version, &settings.server.ui_version)?,
        postgres_programs: programs::postgres()?,
        settings,
    };
    place.prepare()?;
    place.ensure_password()?;
    certificates::ensure(
        &place.tls(),
        &stack.network().loopback,
        stack.settings.tls.leaf_days,
    )?;
    place.record(&stack)?;
    start_postgres(place, &stack).await?;
    schema::apply(place, &stack, false)?;
    search::apply(place, &stack)?;
    ensure_ledger(place, &stack)?;
    start_pgbouncer(place, &stack).await?;
    configure(place, &stack)?;
    start_roles(place, &stack).await?;
    let client = connected(place, &stack).await?;
    namespaces::apply(namespaces::wanted(place, &stack), &client, false).await?;
    start_ui(place, &stack).await?;
    if stack.settings.autopilot.enabled {
        autopilot::start(place, &stack).await?;
    }
    for name in strangers(place, &stack) {
        tell(&format!(
            "{name} is running but no longer in the settings: `temporal-stack drain {name}` stops it"
        ));
    }
    tell(&format!(
        "Temporal {} serves at {} (TLS), the web UI at http://{}; run directory {}",
        stack.settings.server.version,
        stack.network().frontend(),
        stack.network().ui(),
        place.folder().display()
    ));
    tell(
        "`temporal-stack env` prints the variables to connect with; `temporal-capacity doctor stack` checks everything",
    );
    Ok(())
}

/// Refuses settings that a stack cannot change to by starting processes.
fn compatible(place: &Place, old: &Settings, new: &Settings) -> anyhow::Result<()> {
    anyhow::ensure!(
        old.server.history_shards == new.server.history_shards,
        "server.history_shards is {} in the settings and {} in the database, where it is fixed for the life of the cluster: \
         set it back to {}",
        new.server.history_shards,
        old.server.history_shards,
        old.server.history_shards
    );
    anyhow::ensure!(
        old.server.version == new.server.version,
        "server.version is {} in the settings and {} here: `temporal-stack upgrade {}` upgrades with the schema first, \
         or set server.version to {}",
        new.server.version,
        old.server.version,
        new.server.version,
        old.server.version
    );
    anyhow::ensure!(
        old.search.url.is_some() == new.search.url.is_some(),
        "search.url cannot be set or removed once the stack has been started: existing visibility records are not copied. \
         Set it back, or start a new stack with --dir"
    );
    let running = process::names(place)
        .into_iter()
        .filter(|name| matches!(process::state(place, name), State::Running(_)))
        .count();
    anyhow::ensure!(
        running == 0 || old.network == new.network,
        "network.loopback has changed from {} to {}, and {running} processes are running: run `down` first",
        old.network.loopback,
        new.network.loopback
    );
    let changed = differences(old, new);
    if running > 0 && !changed.is_empty() {
        tell(&format!(
            "the settings have changed; running processes keep their configuration until `restart`:\n{}",
            changed.trim_end()
        ));
    }
    Ok(())
}

/// Every process that belongs to a stack, with the addresses it listens on, in the order in which they start.
pub fn processes(settings: &Settings, simulated_cloud: bool) -> Vec<(String, Vec<String>)> {
    let network = &settings.network;
    let mut processes = vec![
        ("postgres".to_owned(), vec![network.postgres()]),
        ("pgbouncer".to_owned(), vec![network.pgbouncer()]),
    ];
    let roles = settings.members().into_iter();
    processes.extend(roles.map(|member| (member.to_string(), member.listens(&network.loopback))));
    processes.push((UI.to_owned(), vec![network.ui()]));
    if settings.autopilot.enabled {
        if simulated_cloud {
            processes.push((autopilot::CLOUD.to_owned(), vec![network.cloud()]));
        }
        processes.push((autopilot::WORKER.to_owned(), vec![network.autopilot()]));
    }
    processes
}

/// Checks, before anything is started, that nobody else uses an address. PostgreSQL's own message would be that of the other
/// server: a wrong password. A process that was killed lets go of its address a moment after it has ended.
async fn addresses_are_free(place: &Place, settings: &Settings, simulated_cloud: bool) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        let mut taken = Vec::new();
        let mut may_pass = true;
        for (name, addresses) in processes(settings, simulated_cloud) {
            let state = process::state(place, &name);
            if matches!(state, State::Running(_)) {
                continue;
            }
            for address in addresses {
                if let Err(problem) = TcpListener::bind(&address) {
                    taken.push(format!("{address} for {name}: {problem}"));
                    may_pass &= matches!(state, State::Died(_)) && begun.elapsed() < LET_GO;
                }
            }
        }
        if taken.is_empty() {
            return Ok(());
        }
        anyhow::ensure!(
            may_pass,
            "these addresses cannot be used:\n  {}\nStop what listens there (`ss -ltnp` shows it), or set another \
             network.loopback in stack.toml, for example \"127.78\". Nothing was started",
            taken.join("\n  ")
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Processes of roles that run and are not part of the settings.
fn strangers(place: &Place, stack: &Stack) -> Vec<String> {
    let members = stack.settings.members();
    process::names(place)
        .into_iter()
        .filter(|name| Member::parse(name).is_some_and(|member| !members.contains(&member)))
        .filter(|name| matches!(process::state(place, name), State::Running(_)))
        .collect()
}

/// Writes the configuration of every process.
fn configure(place: &Place, stack: &Stack) -> anyhow::Result<()> {
    let password = place.password()?;
    let dynamic = serde_json::to_string_pretty(&render::dynamic_config(stack))?;
    write_whole(&place.config("dynamic.yaml"), &dynamic)?;
    for member in stack.settings.members() {
        configure_member(place, stack, member, &password)?;
    }
    let folder = place.config(UI);
    std::fs::create_dir_all(&folder)?;
    let ui = serde_json::to_string_pretty(&render::ui(place, stack))?;
    write_whole(&folder.join("ui.yaml"), &ui)
}

fn configure_member(place: &Place, stack: &Stack, member: Member, password: &str) -> anyhow::Result<()> {
    let folder = place.config(&member.to_string());
    std::fs::create_dir_all(&folder)?;
    let config = serde_json::to_string_pretty(&render::server(place, stack, member, password)?)?;
    write_secret(&folder.join("server.yaml"), &config)
}

async fn start_roles(place: &Place, stack: &Stack) -> anyhow::Result<()> {
    for role in Role::ALL {
        let members = stack.settings.members_of(role);
        for (index, member) in members.iter().enumerate() {
            start_member(place, stack, *member)?;
            // The first process ever records the cluster's metadata; others that start in that moment fail.
            if role == Role::History && index == 0 {
                until_serving(place, stack, *member).await?;
            }
        }
        for member in members {
            until_serving(place, stack, member).await?;
        }
    }
    Ok(())
}

fn start_member(place: &Place, stack: &Stack, member: Member) -> anyhow::Result<()> {
    let name = member.to_string();
    if matches!(process::state(place, &name), State::Running(_)) {
        return Ok(());
    }
    let mut command = Command::new(&stack.programs.server);
    command
        .arg("--root")
        .arg(place.config(&name))
        .args([
            "--config",
            ".",
            "--env",
            "server",
            "--allow-no-auth",
            "start",
            "--service",
        ])
        .arg(member.role.as_str())
        .current_dir(place.folder());
    process::start(place, &name, &mut command)
}

/// Waits until a process serves and the others know it.
async fn until_serving(place: &Place, stack: &Stack, member: Member) -> anyhow::Result<()> {
    let name = member.to_string();
    let what = format!("{name} at {}", member.ip(&stack.network().loopback));
    wait::until(place, Some(&name), &what, async || {
        serving(place, stack, member).await?;
        let unknown = unknown_members(place, stack).map_err(|error| format!("{error:#}"))?;
        if unknown.contains(&member) {
            return Err("it has not joined the cluster yet".to_owned());
        }
        Ok(())
    })
    .await
}

/// Connects to the frontend, patiently: it serves a moment before it knows the other roles.
///
/// # Errors
///
/// If it does not accept the connection.
pub async fn connected(place: &Place, stack: &Stack) -> anyhow::Result<Client> {
    let settings = connection(place, stack, "default");
    let what = format!("a connection to {}", stack.network().frontend());
    wait::until(place, None, &what, async || {
        settings
            .connect()
            .await
            .map_err(|error| temporal_worker_kit::chain(&error))
    })
    .await
}

async fn start_ui(place: &Place, stack: &Stack) -> anyhow::Result<()> {
    if !matches!(process::state(place, UI), State::Running(_)) {
        let mut command = Command::new(&stack.programs.ui);
        command
            .arg("--root")
            .arg(place.config(UI))
            .args(["--config", ".", "--env", "ui", "start"])
            .current_dir(place.folder());
        process::start(place, UI, &mut command)?;
    }
    let what = format!("the web UI at {}", stack.network().ui());
    wait::until(place, Some(UI), &what, async || {
        http(&stack.network().ui(), "/healthz").await
    })
    .await?;
    Ok(())
}

/// Stops everything, what depends on others first. Data stays.
///
/// # Errors
///
/// If a process does not end.
pub async fn down(place: &Place) -> anyhow::Result<()> {
    let names = process::names(place);
    let is_role = |name: &String| Member::parse(name).is_some();
    let is_database = |name: &String| name == "postgres" || name == "pgbouncer";
    let clients = names
        .iter()
        .filter(|name| !is_role(name) && !is_database(name))
        .cloned()
        .collect();
    let roles = names.iter().filter(|name| is_role(name)).cloned().collect();
    stop_all(place, clients, Signal::Terminate).await?;
    // All at once: one after the other, each would drain for those that have gone.
    stop_all(place, roles, Signal::Terminate).await?;
    for name in ["pgbouncer", "postgres"] {
        // For PostgreSQL the fast shutdown, for PgBouncer the one that waits for no client.
        let signal = if name == "postgres" {
            Signal::Interrupt
        } else {
            Signal::Terminate
        };
        if names.iter().any(|it| it == name) {
            stop_all(place, vec![name.to_owned()], signal).await?;
        }
    }
    tell(&format!(
        "stopped; the data stays in {}",
        place.folder().display()
    ));
    Ok(())
}

async fn stop_all(place: &Place, names: Vec<String>, signal: Signal) -> anyhow::Result<()> {
    for name in &names {
        process::signal(place, name, signal)?;
    }
    for name in names {
        if !process::ended(place, &name, Duration::from_secs(2)).await {
            tell(&format!("waiting for {name} to stop"));
        }
        if process::ended(place, &name, DRAIN).await {
            continue;
        }
        anyhow::ensure!(
            name != "postgres",
            "PostgreSQL did not stop within {} s: see its log, {}",
            DRAIN.as_secs(),
            place.log(&name).display()
        );
        tell(&format!(
            "{name} did not exit within {} s: killing it",
            DRAIN.as_secs()
        ));
        process::signal(place, &name, Signal::Kill)?;
        anyhow::ensure!(
            process::ended(place, &name, DRAIN).await,
            "{name} cannot be killed"
        );
    }
    Ok(())
}

/// One line of `status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The name of the process.
    pub name: String,
    /// Where it listens.
    pub address: String,
    /// `serving`, or what is wrong.
    pub serving: Result<(), String>,
    /// Its id, if it runs.
    pub pid: Option<u32>,
}

/// Asks every process whether it serves.
///
/// # Errors
///
/// If there is no stack here.
pub async fn status(place: &Place) -> anyhow::Result<Vec<Line>> {
    let stack = place.stack()?;
    let mut lines = Vec::new();
    let mut expected = processes(&stack.settings, stack.simulated_cloud);
    let loopback = &stack.network().loopback;
    for name in strangers(place, &stack) {
        expected.extend(Member::parse(&name).map(|member| (name, member.listens(loopback))));
    }
    for (name, addresses) in expected {
        let member = Member::parse(&name);
        let address = match member {
            Some(member) if member.role == Role::Worker => member.metrics(loopback),
            Some(member) => member.grpc(loopback),
            None => addresses.into_iter().next().unwrap_or_default(),
        };
        let state = process::state(place, &name);
        let serving = match state {
            State::Stopped => Err("stopped".to_owned()),
            State::Died(_) => Err("died".to_owned()),
            State::Running(_) => match member {
                Some(member) => serving(place, &stack, member).await,
                None => shared_serving(place, &stack, &name).await,
            },
        };
        let pid = match state {
            State::Running(pid) => Some(pid),
            State::Died(_) | State::Stopped => None,
        };
        lines.push(Line {
            name,
            address,
            serving,
            pid,
        });
    }
    Ok(lines)
}

async fn shared_serving(place: &Place, stack: &Stack, name: &str) -> Result<(), String> {
    match name {
        "postgres" => direct(place, stack, DATABASES[0], "select 1")
            .map(drop)
            .map_err(|error| format!("{error:#}")),
        "pgbouncer" => pooled(place, stack, DATABASES[0], "select 1").map(drop),
        UI => http(&stack.network().ui(), "/healthz").await.map(drop),
        autopilot::WORKER => http(&stack.network().autopilot(), "/healthz").await.map(drop),
        _ => tokio::net::TcpStream::connect(stack.network().cloud())
            .await
            .map(drop)
            .map_err(|error| error.to_string()),
    }
}

/// Processes that a name stands for: one of them, or all of a role.
fn named(place: &Place, stack: &Stack, name: &str) -> anyhow::Result<Vec<Member>> {
    let mut members = stack.settings.members();
    members.extend(
        strangers(place, stack)
            .iter()
            .filter_map(|name| Member::parse(name)),
    );
    members.retain(|member| member.to_string() == name || member.role.as_str() == name);
    anyhow::ensure!(
        !members.is_empty(),
        "`{name}` is not a role of this stack: use frontend, history, matching or worker, or one process such as history-2"
    );
    Ok(members)
}

fn running(place: &Place, members: &[Member]) -> Vec<Member> {
    let is_running =
        |member: &&Member| matches!(process::state(place, &member.to_string()), State::Running(_));
    members.iter().filter(is_running).copied().collect()
}

/// What happens to a cluster whose only process of a role goes away.
fn only_one(role: Role, what: &str) -> String {
    let effect = match role {
        Role::History => "draining the only history process refused half of all workflow starts for 18 s",
        Role::Frontend => "clients get no responses without a frontend; the drain takes 9 s",
        Role::Matching => "no tasks are dispatched without matching",
        Role::Worker => "schedules and batch operations stop without it",
    };
    format!(
        "{role} has one process, and to {what} it interrupts the service: {effect}. Run `up --replicas 2` first, or use --force"
    )
}

/// Drains one process and stops it: the last of a role, or the one that is named.
///
/// # Errors
///
/// If it is the only one of its role, and `force` is not set.
pub async fn drain(place: &Place, name: &str, force: bool) -> anyhow::Result<()> {
    let stack = place.stack()?;
    let members = running(place, &named(place, &stack, name)?);
    let member = *members
        .last()
        .with_context(|| format!("no {name} process is running: see `temporal-stack status`"))?;
    let of_role = running(place, &named(place, &stack, member.role.as_str())?);
    anyhow::ensure!(force || of_role.len() > 1, only_one(member.role, "drain"));
    tell(&format!("draining {member}"));
    stop_all(place, vec![member.to_string()], Signal::Terminate).await
}

/// Restarts a role, one process after the other; or one of the other processes.
///
/// # Errors
///
/// If the role has one process and `force` is not set, or a process does not come up again: then the others are left alone.
pub async fn restart(place: &Place, name: &str, force: bool) -> anyhow::Result<()> {
    let stack = place.stack()?;
    if name == UI || name == autopilot::WORKER || name == "pgbouncer" || name == "postgres" {
        return restart_shared(place, &stack, name).await;
    }
    let members = named(place, &stack, name)?;
    let role = members[0].role;
    let of_role = running(place, &named(place, &stack, role.as_str())?);
    anyhow::ensure!(force || of_role.len() > 1, only_one(role, "restart"));
    configure(place, &stack)?;
    roll(place, &stack, &members, force).await
}

async fn restart_shared(place: &Place, stack: &Stack, name: &str) -> anyhow::Result<()> {
    let signal = if name == "postgres" {
        Signal::Interrupt
    } else {
        Signal::Terminate
    };
    stop_all(place, vec![name.to_owned()], signal).await?;
    match name {
        "postgres" => start_postgres(place, stack).await,
        "pgbouncer" => start_pgbouncer(place, stack).await,
        UI => start_ui(place, stack).await,
        _ => autopilot::start(place, stack).await,
    }
}

async fn roll(place: &Place, stack: &Stack, members: &[Member], force: bool) -> anyhow::Result<()> {
    for member in members {
        let others = stack
            .settings
            .members_of(member.role)
            .into_iter()
            .filter(|it| it != member);
        for other in others {
            if let Err(problem) = serving(place, stack, other).await
                && !force
            {
                anyhow::bail!(
                    "{other} is not serving ({problem}): {member} was not restarted. Run `up`, or use --force"
                );
            }
        }
        tell(&format!("restarting {member}"));
        stop_all(place, vec![member.to_string()], Signal::Terminate).await?;
        start_member(place, stack, *member)?;
        until_serving(place, stack, *member).await?;
    }
    Ok(())
}

/// Upgrades the server: schema first, then role by role.
///
/// # Errors
///
/// If the step is not one to the next minor version, the schema is refused, or a role has one process and `force` is not set.
pub async fn upgrade(place: &Place, version: &str, force: bool) -> anyhow::Result<()> {
    let old = place.stack()?;
    upgrade_path(&old.settings.server.version, version)?;
    let alone: Vec<Role> = Role::ALL
        .into_iter()
        .filter(|role| old.settings.replicas.of(*role) < 2)
        .collect();
    if let Some(role) = alone.first()
        && !force
    {
        anyhow::bail!(only_one(*role, "upgrade"));
    }
    let mut stack = old.clone();
    version.clone_into(&mut stack.settings.server.version);
    stack.programs = programs::obtain(version, &stack.settings.server.ui_version)?;
    schema::apply(place, &stack, false)?;
    search::apply(place, &stack)?;
    place.record(&stack)?;
    configure(place, &stack)?;
    for role in Role::ALL {
        let members = stack.settings.members_of(role);
        roll(place, &stack, &members, force).await?;
    }
    tell(&format!(
        "upgraded from {} to {version}; set server.version in stack.toml to {version}",
        old.settings.server.version
    ));
    Ok(())
}

/// Refuses what Temporal does not support: going back, and leaving a minor version out.
fn upgrade_path(from: &str, to: &str) -> anyhow::Result<()> {
    anyhow::ensure!(is_version(to), "`{to}` is not a full version such as 1.30.8");
    let parts =
        |version: &str| -> Vec<u32> { version.split('.').filter_map(|part| part.parse().ok()).collect() };
    let (old, new) = (parts(from), parts(to));
    anyhow::ensure!(new != old, "the server is already at {from}");
    anyhow::ensure!(
        new > old,
        "{to} is older than {from}: a schema cannot be downgraded"
    );
    anyhow::ensure!(
        new[0] == old[0] && new[1] <= old[1] + 1,
        "upgrade from {from} to {}.{}.x first: Temporal supports one minor version at a time",
        old[0],
        old[1] + 1
    );
    Ok(())
}

/// Issues all leaf certificates again.
///
/// # Errors
///
/// If they cannot be written.
pub fn renew_certificates(place: &Place) -> anyhow::Result<()> {
    let stack = place.stack()?;
    certificates::renew(
        &place.tls(),
        &stack.network().loopback,
        stack.settings.tls.leaf_days.into(),
    )?;
    tell("issued new certificates; the roles use them within a minute, clients when they reconnect");
    Ok(())
}

/// Checks that this user can run a stack here.
///
/// # Errors
///
/// If the databases have no user to run as.
pub fn preconditions() -> anyhow::Result<()> {
    Account::find().map(drop)
}

/// Follows a log with `tail`.
///
/// # Errors
///
/// If there is no such log.
pub fn logs(place: &Place, name: &str, follow: bool, lines: u32) -> anyhow::Result<()> {
    let folder = place.folder().join("logs");
    let entries = std::fs::read_dir(&folder).with_context(|| format!("no logs in {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        stem == name || Member::parse(&stem).is_some_and(|member| member.role.as_str() == name)
    });
    files.sort();
    anyhow::ensure!(
        !files.is_empty(),
        "`{name}` has no log in {}: {}",
        folder.display(),
        log_names(&folder)
    );
    let mut command = Command::new("tail");
    command.args(["-n", &lines.to_string()]);
    if follow {
        command.arg("-F");
    }
    let status = command.args(files).status().context("cannot run tail")?;
    anyhow::ensure!(status.success() || follow, "tail failed");
    Ok(())
}

fn log_names(folder: &Path) -> String {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| Some(entry.path().file_stem()?.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    format!("there are {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::patch("1.29.1", "1.29.3", None)]
    #[case::minor("1.29.1", "1.30.8", None)]
    #[case::skipped("1.29.1", "1.31.4", Some("to 1.30.x first"))]
    #[case::back("1.30.8", "1.29.1", Some("cannot be downgraded"))]
    #[case::same("1.29.1", "1.29.1", Some("already"))]
    #[case::text("1.29.1", "latest", Some("not a full version"))]
    fn an_upgrade_goes_one_minor_version_forward(
        #[case] from: &str,
        #[case] to: &str,
        #[case] refused: Option<&str>,
    ) {
        match (upgrade_path(from, to), refused) {
            (Ok(()), None) => {}
            (Err(error), Some(expected)) => assert!(error.to_string().contains(expected), "{error}"),
            (outcome, _) => panic!("{outcome:?}"),
        }
    }

    #[test]
    fn shards_versions_and_addresses_of_a_running_stack_do_not_change_by_up() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = Place::find(Some(folder.path())).expect("a place");
        let old = Settings::default();
        let mut shards = old.clone();
        shards.server.history_shards = 8;
        let error = compatible(&place, &old, &shards)
            .expect_err("refused")
            .to_string();
        assert!(error.contains("set it back to 4"), "{error}");
        let mut version = old.clone();
        version.server.version = "1.30.8".to_owned();
        let error = compatible(&place, &old, &version)
            .expect_err("refused")
            .to_string();
        assert!(error.contains("temporal-stack upgrade 1.30.8"), "{error}");
        let mut search = old.clone();
        search.search.url = Some("http://127.0.0.1:9200".to_owned());
        for (from, to) in [(&old, &search), (&search, &old)] {
            let error = compatible(&place, from, to).expect_err("refused").to_string();
            assert!(error.contains("search.url cannot be set or removed"), "{error}");
        }
    }
}
