//! Starts everything that is not running, in dependency order.

use std::net::TcpListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::database::{Account, ensure_ledger, start_pgbouncer, start_postgres};
use crate::place::{Place, Stack};
use crate::process::{self, State};
use crate::settings::{Replicas, Settings, differences};
use crate::{autopilot, certificates, namespaces, programs, schema, search, tell};

use super::processes::{processes, strangers};
use super::start::{configure, connected, start_roles, start_ui};

/// How long a killed process can keep its addresses in use. Open connections hold them longest.
const LET_GO: Duration = Duration::from_mins(1);

/// Options of the command `up`.
#[derive(Debug, Clone, Default)]
pub struct Up {
    /// Settings file; the built-in settings if `None`.
    pub settings: Option<PathBuf>,
    /// Number of processes for each role; overrides the settings.
    pub replicas: Option<u8>,
    /// Whether to leave out the autopilot's worker.
    pub without_autopilot: bool,
}

/// Starts all processes that are not running and leaves the others alone.
///
/// # Errors
///
/// If a process cannot be started. Processes that have started keep running.
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
    // Before programs are built, which takes minutes.
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
    // Before the first start, so that `status` and `down` work after a failure.
    place.record(&stack)?;
    start_postgres(place, &stack).await?;
    schema::apply(place, &stack, false)?;
    search::apply(place, &stack)?;
    ensure_ledger(place, &stack)?;
    // After the schema, because it counts as ready only when it reaches the main database.
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
        "Temporal {} is serving at {} (TLS), and the web UI at http://{}; run directory {}",
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

/// Rejects changes of settings that cannot be applied by starting processes.
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
        "server.version is {} in the settings, but this stack runs {}: run `temporal-stack upgrade {}`, which upgrades the schema first, \
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
        "network.loopback has changed from {} to {} while processes are running ({running}): run `down` first",
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

/// Checks that no other program uses the addresses. Otherwise, PostgreSQL would report another server's
/// error, such as a wrong password. A killed process keeps its addresses for a moment.
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
            "these addresses cannot be used:\n  {}\nStop the process that listens there (`ss -ltnp` shows it), or set another \
             network.loopback in stack.toml, for example \"127.78\". Nothing was started",
            taken.join("\n  ")
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Checks that this user can run a stack on this machine.
///
/// # Errors
///
/// If there is no user to run the databases.
pub fn preconditions() -> anyhow::Result<()> {
    Account::find().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn up_refuses_to_change_shards_versions_and_addresses_of_a_running_stack() {
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
