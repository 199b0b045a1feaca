//! Drains, restarts and upgrades roles one process at a time.

use anyhow::Context;

use crate::client::serving;
use crate::database::{start_pgbouncer, start_postgres};
use crate::place::{Place, Stack};
use crate::process::Signal;
use crate::roles::{Member, Role};
use crate::settings::is_version;
use crate::{autopilot, programs, schema, search, tell};

use super::processes::{UI, named, running};
use super::start::{configure, start_member, start_ui, until_serving};
use super::stop::stop_all;

/// Describes the impact if the only process of a role goes away.
fn only_one(role: Role, what: &str) -> String {
    let effect = match role {
        Role::History => {
            "in a test, draining the only history process refused half of all workflow starts for 18 s"
        }
        Role::Frontend => "clients get no responses without a frontend, and draining takes 9 s",
        Role::Matching => "no tasks are dispatched without matching",
        Role::Worker => "schedules and batch operations stop without it",
    };
    format!(
        "cannot {what} {role} without interrupting the service, because it has only one process: {effect}. Run `up --replicas 2` first, or use --force"
    )
}

/// Drains and stops one process: the one specified, or the last of a role.
///
/// # Errors
///
/// If it is the only one of its role and `force` is not set.
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

/// Restarts the processes of a role one at a time, or a single process.
///
/// # Errors
///
/// If the role has only one process and `force` is not set, or if a process does not start again. The
/// remaining processes are left alone in that case.
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

/// Upgrades the server: first the schema, then role by role.
///
/// # Errors
///
/// If the upgrade skips a minor version, if the schema is rejected, or if a role has only one process and
/// `force` is not set.
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
    // The old server accepts a newer schema, but the new one does not start with an older one.
    schema::apply(place, &stack, false)?;
    search::apply(place, &stack)?;
    // From here on, every start uses the new version, also if the roll fails halfway.
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

/// Rejects upgrades that Temporal does not support: downgrades, and skipping a minor version.
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
}
