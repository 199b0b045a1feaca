//! Checks whether each process is serving.

use crate::autopilot;
use crate::client::{NotServing, PageError, http, serving};
use crate::database::{direct, pooled};
use crate::place::{DATABASES, Place, Stack};
use crate::process::{self, State};
use crate::roles::{Member, Role};

use super::processes::{UI, processes, strangers};

/// A line of `status`.
#[derive(Debug)]
pub struct Line {
    /// Name of the process.
    pub name: String,
    /// Address that it listens on.
    pub address: String,
    /// Whether it is serving, or the reason why not.
    pub serving: Result<(), NotServing>,
    /// Its process id if it is running.
    pub pid: Option<u32>,
}

/// Checks whether each process is serving.
///
/// # Errors
///
/// If there is no stack in this run directory.
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
            State::Stopped => Err(NotServing::Stopped),
            State::Died(_) => Err(NotServing::Died),
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

async fn shared_serving(place: &Place, stack: &Stack, name: &str) -> Result<(), NotServing> {
    let network = stack.network();
    match name {
        "postgres" => Ok(direct(place, stack, DATABASES[0], "select 1").map(drop)?),
        "pgbouncer" => Ok(pooled(place, stack, DATABASES[0], "select 1").map(drop)?),
        UI => Ok(http(&network.ui(), "/healthz").await.map(drop)?),
        autopilot::WORKER => Ok(http(&network.autopilot(), "/healthz").await.map(drop)?),
        _ => {
            let address = network.cloud();
            match tokio::net::TcpStream::connect(&address).await {
                Ok(_) => Ok(()),
                Err(cause) => Err(PageError::Unreachable { address, cause }.into()),
            }
        }
    }
}
