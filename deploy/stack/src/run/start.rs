//! Starts the server's processes and waits until each of them is serving.

use std::process::Command;

use temporalio_client::Client;

use crate::client::{NotServing, connect, connection, http, serving};
use crate::membership::unknown_members;
use crate::place::{Place, Stack, write_secret, write_whole};
use crate::process::{self, State};
use crate::roles::{Member, Role};
use crate::{render, wait};

use super::processes::UI;

/// Writes the configuration files of all processes.
pub(super) fn configure(place: &Place, stack: &Stack) -> anyhow::Result<()> {
    let password = place.password()?;
    let dynamic = serde_json::to_string_pretty(&render::dynamic_config(stack))?;
    // The roles reload it after it is written.
    let path = place.dynamic_config();
    if std::fs::read_to_string(&path).ok().as_ref() != Some(&dynamic) {
        write_whole(&path, &dynamic)?;
    }
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

pub(super) async fn start_roles(place: &Place, stack: &Stack) -> anyhow::Result<()> {
    for role in Role::ALL {
        let members = stack.settings.members_of(role);
        for (index, member) in members.iter().enumerate() {
            start_member(place, stack, *member)?;
            // The very first process records the cluster's metadata; others that start at the same time fail.
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

pub(super) fn start_member(place: &Place, stack: &Stack, member: Member) -> anyhow::Result<()> {
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
            // Client certificates control access.
            "--allow-no-auth",
            "start",
            "--service",
        ])
        .arg(member.role.as_str())
        .current_dir(place.folder());
    process::start(place, &name, &mut command)
}

/// Waits until a process is serving and the other processes have discovered it.
pub(super) async fn until_serving(place: &Place, stack: &Stack, member: Member) -> anyhow::Result<()> {
    let name = member.to_string();
    let what = format!("{name} at {}", member.ip(&stack.network().loopback));
    wait::until(place, Some(&name), &what, async || {
        serving(place, stack, member).await?;
        if unknown_members(place, stack)?.contains(&member) {
            return Err(NotServing::Alone.into());
        }
        Ok(())
    })
    .await
}

/// Connects to the frontend, with retries, because it starts serving before it has discovered the other roles.
///
/// # Errors
///
/// If it does not accept the connection.
pub async fn connected(place: &Place, stack: &Stack) -> anyhow::Result<Client> {
    let settings = connection(place, stack, "default");
    let what = format!("a connection to {}", stack.network().frontend());
    wait::until(place, None, &what, async || Ok(connect(place, &settings).await?)).await
}

pub(super) async fn start_ui(place: &Place, stack: &Stack) -> anyhow::Result<()> {
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
        Ok(http(&stack.network().ui(), "/healthz")
            .await
            .map_err(NotServing::Page)?)
    })
    .await?;
    Ok(())
}
