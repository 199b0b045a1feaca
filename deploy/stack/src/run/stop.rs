//! Stops processes, dependents first.

use std::time::Duration;

use crate::place::Place;
use crate::process::{self, Signal};
use crate::roles::Member;
use crate::tell;

/// Timeout of a drain. The settings in `stack.toml` allow up to 15 s.
const DRAIN: Duration = Duration::from_mins(1);

/// Stops all processes, dependents first. Keeps data.
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
    // Stop all roles at the same time. If they stopped one by one, each would try to hand its work to processes
    // that are about to stop.
    stop_all(place, roles, Signal::Terminate).await?;
    for name in ["pgbouncer", "postgres"] {
        // PostgreSQL's fast shutdown, and PgBouncer's shutdown that does not wait for clients.
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
        "stopped; the data is kept in {}",
        place.folder().display()
    ));
    Ok(())
}

pub(super) async fn stop_all(place: &Place, names: Vec<String>, signal: Signal) -> anyhow::Result<()> {
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
            // Killing it would force a recovery at its next start.
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
