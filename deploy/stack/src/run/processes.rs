//! Lists the processes of a stack, and which of them are running.

use crate::autopilot;
use crate::place::{Place, Stack};
use crate::process::{self, State};
use crate::roles::Member;
use crate::settings::Settings;

/// Name of the web UI's process.
pub(super) const UI: &str = "ui";

/// Returns all processes of a stack with the addresses they listen on, in start order.
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

/// Returns running processes of roles that are not in the settings.
pub(super) fn strangers(place: &Place, stack: &Stack) -> Vec<String> {
    let members = stack.settings.members();
    process::names(place)
        .into_iter()
        .filter(|name| Member::parse(name).is_some_and(|member| !members.contains(&member)))
        .filter(|name| matches!(process::state(place, name), State::Running(_)))
        .collect()
}

/// Returns the processes that a name refers to: a single one, or all of a role.
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
