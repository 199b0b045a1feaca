//! Which processes belong to a stack, and which of them run.

use crate::autopilot;
use crate::place::{Place, Stack};
use crate::process::{self, State};
use crate::roles::Member;
use crate::settings::Settings;

/// The name of the web UI's process.
pub(super) const UI: &str = "ui";

/// Every process that belongs to a stack, with the addresses it listens on, in the order in which they start.
pub(super) fn processes(settings: &Settings, simulated_cloud: bool) -> Vec<(String, Vec<String>)> {
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

/// Processes of roles that run and are not part of the settings.
pub(super) fn strangers(place: &Place, stack: &Stack) -> Vec<String> {
    let members = stack.settings.members();
    process::names(place)
        .into_iter()
        .filter(|name| Member::parse(name).is_some_and(|member| !members.contains(&member)))
        .filter(|name| matches!(process::state(place, name), State::Running(_)))
        .collect()
}

/// Processes that a name stands for: one of them, or all of a role.
pub(super) fn named(place: &Place, stack: &Stack, name: &str) -> anyhow::Result<Vec<Member>> {
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

pub(super) fn running(place: &Place, members: &[Member]) -> Vec<Member> {
    let is_running =
        |member: &&Member| matches!(process::state(place, &member.to_string()), State::Running(_));
    members.iter().filter(is_running).copied().collect()
}
