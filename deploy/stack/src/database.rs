//! Sets up and starts PostgreSQL and `PgBouncer`, and runs queries.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;

use crate::place::{DATABASES, LEDGER, Place, Stack, USER, is_root, write_whole};
use crate::query_error::{Failure, QueryError, Server};
use crate::wait::NotReady;
use crate::{process, wait};

/// The user that runs the databases if this process runs as root, because PostgreSQL refuses to run as root.
#[derive(Debug, Clone, Copy)]
pub struct Account {
    uid: u32,
    gid: u32,
}

impl Account {
    /// Returns the account, if it differs from that of this process.
    ///
    /// # Errors
    ///
    /// If no suitable user exists.
    pub fn find() -> anyhow::Result<Option<Self>> {
        if !is_root() {
            return Ok(None);
        }
        // The standard library cannot look up users.
        let users = std::fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
        let find = |name: &str| {
            let line = users
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            let mut fields = line.split(':').skip(1);
            let (uid, gid) = (fields.next()?, fields.next()?);
            Some(Self {
                uid: uid.parse().ok()?,
                gid: gid.parse().ok()?,
            })
        };
        let found = find("postgres").or_else(|| find("nobody"));
        found
            .map(Some)
            .context("PostgreSQL refuses to run as root, and neither the user `postgres` nor `nobody` exists")
    }

    fn apply(account: Option<Self>, command: &mut Command) -> &mut Command {
        if let Some(Self { uid, gid }) = account {
            command.uid(uid).gid(gid);
        }
        command
    }

    fn own(account: Option<Self>, path: &Path) -> anyhow::Result<()> {
        if let Some(Self { uid, gid }) = account {
            std::os::unix::fs::chown(path, Some(uid), Some(gid))
                .with_context(|| format!("cannot change the owner of {}", path.display()))?;
        }
        Ok(())
    }
}

/// Timeout of a statement; `create database` copies files.
const STATEMENT: Duration = Duration::from_mins(2);

/// Timeout of a query through `PgBouncer`, which would keep a client waiting for two minutes if its database
/// is down.
const POOLED: Duration = Duration::from_secs(10);

/// Runs a query with psql and returns its rows as text fields.
fn query(
    place: &Place,
    stack: &Stack,
    server: Server,
    database: &str,
    sql: &str,
) -> Result<Vec<Vec<String>>, QueryError> {
    let (address, within) = match server {
        Server::Postgres => (stack.network().postgres(), STATEMENT),
        Server::PgBouncer => (stack.network().pgbouncer(), POOLED),
    };
    let failed = |failure: Failure| QueryError {
        server,
        address: address.clone(),
        database: database.to_owned(),
        password_file: place.password_file(),
        failure,
    };
    let password = place
        .password()
        .map_err(|error| failed(Failure::PasswordFile(error)))?;
    let (host, port) = address.rsplit_once(':').unwrap_or((&address, "5432"));
    let mut command = Command::new(stack.postgres_programs.join("psql"));
    command
        // Without the user's psqlrc, and with a separator that occurs in no value.
        .args(["-X", "-q", "-A", "-t", "-F", "\u{1f}", "-v", "ON_ERROR_STOP=1"])
        .args(["-h", host, "-p", port, "-U", USER, "-d", database, "-c", sql])
        .env("PGPASSWORD", password)
        .env("PGCONNECT_TIMEOUT", "5")
        // `Failure::of` parses the English messages.
        .env("LC_ALL", "C")
        // Both may be set in the user's shell, and would change the session.
        .env_remove("PGOPTIONS")
        .env_remove("PGSERVICE");
    let output = process::output_within(&mut command, within)
        .map_err(|error| failed(Failure::Psql(error)))?
        .ok_or_else(|| failed(Failure::Late(within)))?;
    if !output.status.success() {
        return Err(failed(Failure::of(&String::from_utf8_lossy(&output.stderr))));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let rows = text
        .lines()
        .map(|line| line.split('\u{1f}').map(str::to_owned).collect());
    Ok(rows.collect())
}

/// Runs a query in PostgreSQL directly.
///
/// # Errors
///
/// If the query fails.
pub fn direct(
    place: &Place,
    stack: &Stack,
    database: &str,
    sql: &str,
) -> Result<Vec<Vec<String>>, QueryError> {
    query(place, stack, Server::Postgres, database, sql)
}

/// Runs a query through `PgBouncer`, or in `PgBouncer` itself if the database is `pgbouncer`.
///
/// # Errors
///
/// If the query fails.
pub fn pooled(
    place: &Place,
    stack: &Stack,
    database: &str,
    sql: &str,
) -> Result<Vec<Vec<String>>, QueryError> {
    query(place, stack, Server::PgBouncer, database, sql)
}

/// Starts PostgreSQL and waits until it responds. Creates a new database cluster if there is none.
///
/// # Errors
///
/// If it cannot be set up or started.
pub async fn start_postgres(place: &Place, stack: &Stack) -> anyhow::Result<()> {
    let account = Account::find()?;
    let folder = place.database();
    std::fs::create_dir_all(&folder)?;
    Account::own(account, &folder)?;
    let data = folder.join("postgres");
    if !data.join("PG_VERSION").exists() {
        initialize(place, stack, account, &data)?;
    }
    if !matches!(process::state(place, "postgres"), process::State::Running(_)) {
        let address = stack.network().postgres();
        let (host, port) = address.rsplit_once(':').context("an address has a port")?;
        let mut command = Command::new(stack.postgres_programs.join("postgres"));
        command
            // No Unix socket, because its default folder may belong to another user. The collector would
            // write to another file than the one that `logs` shows.
            .args(["-h", host, "-p", port, "-k", "", "-c", "logging_collector=off"])
            .args(["-N", &stack.settings.database.max_connections.to_string()])
            .arg("-D")
            .arg(&data)
            .current_dir(&folder);
        process::start(place, "postgres", Account::apply(account, &mut command))?;
    }
    wait::until(
        place,
        Some("postgres"),
        &format!("PostgreSQL at {}", stack.network().postgres()),
        async || direct(place, stack, "postgres", "select 1").map_err(NotReady::from),
    )
    .await?;
    Ok(())
}

fn initialize(place: &Place, stack: &Stack, account: Option<Account>, data: &Path) -> anyhow::Result<()> {
    crate::tell(&format!("creating the database folder {}", data.display()));
    let folder = place.database();
    // A copy, because the account that runs initdb cannot read the stack's own file.
    let password = folder.join("password");
    crate::place::write_secret(&password, &place.password()?)?;
    Account::own(account, &password)?;
    let mut command = Command::new(stack.postgres_programs.join("initdb"));
    command
        // The default, `trust`, would let every user of this machine in through loopback.
        .args(["-U", USER, "-A", "scram-sha-256", "--no-locale", "-E", "UTF8"])
        .arg(format!("--pwfile={}", password.display()))
        .arg("-D")
        .arg(data)
        .current_dir(&folder)
        .stdin(Stdio::null());
    let output = Account::apply(account, &mut command)
        .output()
        .context("cannot run initdb")?;
    std::fs::remove_file(&password)?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(
        output.status.success(),
        "initdb could not create {}: {}",
        data.display(),
        said.lines().map(str::trim).collect::<Vec<_>>().join(" ")
    );
    Ok(())
}

/// Starts `PgBouncer` and waits until a query succeeds through it.
///
/// # Errors
///
/// If it cannot be started.
pub async fn start_pgbouncer(place: &Place, stack: &Stack) -> anyhow::Result<()> {
    let account = Account::find()?;
    let password = place.password()?;
    if !matches!(process::state(place, "pgbouncer"), process::State::Running(_)) {
        let folder = place.database();
        let (ini, users) = (folder.join("pgbouncer.ini"), folder.join("users.txt"));
        write_whole(&ini, &pgbouncer_ini(stack, &users))?;
        // In plain text, because PgBouncer needs it to log on to PostgreSQL.
        crate::place::write_secret(&users, &format!("\"{USER}\" \"{password}\"\n"))?;
        Account::own(account, &ini)?;
        Account::own(account, &users)?;
        let mut command = Command::new(&stack.programs.pgbouncer);
        command.arg(&ini).current_dir(&folder);
        process::start(place, "pgbouncer", Account::apply(account, &mut command))?;
    }
    wait::until(
        place,
        Some("pgbouncer"),
        &format!("PgBouncer at {}", stack.network().pgbouncer()),
        async || pooled(place, stack, DATABASES[0], "select 1").map_err(NotReady::from),
    )
    .await?;
    Ok(())
}

/// Renders `PgBouncer`'s configuration. The roles use `binary_parameters`, which transaction mode requires.
pub fn pgbouncer_ini(stack: &Stack, users: &Path) -> String {
    let (host, port) = stack
        .network()
        .postgres()
        .rsplit_once(':')
        .map_or_else(Default::default, |(host, port)| {
            (host.to_owned(), port.to_owned())
        });
    let databases: Vec<String> = DATABASES
        .iter()
        .chain([&LEDGER])
        .map(|name| format!("{name} = host={host} port={port}"))
        .collect();
    let databases = databases.join("\n");
    let settings = &stack.settings;
    let processes = u32::try_from(stack.settings.members().len()).unwrap_or(u32::MAX);
    // Each process opens max_conns to each of two databases. PgBouncer refuses clients beyond the limit, so
    // leave room for the ledger and for administrators.
    let clients = processes
        .saturating_mul(2 * u32::from(settings.database.max_conns))
        .saturating_add(100);
    format!(
        // The roles' driver sends extra_float_digits, and PgBouncer rejects parameters that it does not know.
        "[databases]\n{databases}\n\n[pgbouncer]\nlisten_addr = {host}\nlisten_port = 6432\nunix_socket_dir =\n\
         auth_type = scram-sha-256\nauth_file = {users}\nadmin_users = {USER}\npool_mode = transaction\n\
         max_client_conn = {clients}\ndefault_pool_size = {pool}\n\
         ignore_startup_parameters = extra_float_digits\n",
        users = users.display(),
        pool = settings.database.pool_size,
    )
}

/// Creates the ledger's database if it does not exist.
///
/// # Errors
///
/// If it cannot be created.
pub fn ensure_ledger(place: &Place, stack: &Stack) -> anyhow::Result<()> {
    // Directly, because PgBouncer has no entry for the database `postgres`.
    let found = direct(
        place,
        stack,
        "postgres",
        &format!("select 1 from pg_database where datname = '{LEDGER}'"),
    )?;
    if found.is_empty() {
        direct(place, stack, "postgres", &format!("create database {LEDGER}"))?;
    }
    Ok(())
}
