//! Runs the autopilot's worker on the stack, with a simulated cloud unless the environment has a key for the
//! real one.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use anyhow::Context;

use crate::client::{NotServing, connect, connection, environment, http};
use crate::doctor::queue::autopilot_queue;
use crate::place::{LEDGER, Place, Stack, USER};
use crate::process::{self, State};
use crate::wait::NotReady;
use crate::{programs, tell, wait};

/// Name of the simulated cloud's process.
pub const CLOUD: &str = "cloud";
/// Name of the worker's process.
pub const WORKER: &str = "capacity-worker";

/// Environment variable whose presence selects the real cloud.
const KEY: &str = "TEMPORAL_CLOUD_OPS_API_KEY";

/// Returns whether the environment contains a key for the real cloud.
pub fn has_key() -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    is_set(KEY) || is_set(&format!("{KEY}_FILE"))
}

/// Starts the simulated cloud, the worker and its schedule, and waits until the worker is ready.
///
/// # Errors
///
/// If one of them cannot be started.
pub async fn start(place: &Place, stack: &Stack) -> anyhow::Result<()> {
    let mut variables: BTreeMap<String, String> = BTreeMap::new();
    if stack.simulated_cloud {
        tell(&format!("{KEY} is not set: using a simulated cloud"));
        variables.extend(cloud(place, stack).await?);
    }
    let namespace = &stack.settings.autopilot.namespace;
    let to_connect = environment(place, stack, namespace);
    variables.extend(
        to_connect
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value)),
    );
    let password = place.password()?;
    // Through the pooler: the check of `database.max_connections` counts on it.
    let ledger = format!(
        "postgres://{USER}:{password}@{}/{LEDGER}",
        stack.network().pgbouncer()
    );
    variables.insert("LEDGER_URL".to_owned(), ledger);
    if !matches!(process::state(place, WORKER), State::Running(_)) {
        let mut command = Command::new(programs::own("capacity-worker")?);
        command
            .args(["--listen", &stack.network().autopilot()])
            .envs(&variables)
            .current_dir(place.folder());
        process::start(place, WORKER, &mut command)?;
    }
    let what = format!("capacity-worker at {}", stack.network().autopilot());
    wait::until(place, Some(WORKER), &what, async || {
        // A healthy worker may not get any tasks yet; a poller proves that matching knows it.
        http(&stack.network().autopilot(), "/healthz")
            .await
            .map_err(NotServing::Page)?;
        let client = connect(place, &connection(place, stack, namespace)).await?;
        let queue = autopilot_queue(&client, namespace).await;
        if queue
            .map_err(|error| NotReady::yet(error.to_string()))?
            .pollers
            .is_empty()
        {
            return Err(NotReady::yet("it is not polling its task queue yet"));
        }
        Ok(())
    })
    .await?;
    // Only now, so that the first evaluation does not wait for a worker.
    schedule(place, &variables)
}

/// Creates the schedule, or leaves an existing one unchanged.
fn schedule(place: &Place, variables: &BTreeMap<String, String>) -> anyhow::Result<()> {
    let output = Command::new(programs::own("capacity-schedule")?)
        .arg("create")
        .envs(variables)
        .current_dir(place.folder())
        .stdin(Stdio::null())
        .output()
        .context("cannot run capacity-schedule")?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(
        output.status.success(),
        "capacity-schedule create: {}",
        said.trim()
    );
    Ok(())
}

/// Starts the simulated cloud and returns the settings to connect to it.
async fn cloud(place: &Place, stack: &Stack) -> anyhow::Result<BTreeMap<String, String>> {
    let introduction = place.folder().join("cloud.json");
    if !matches!(process::state(place, CLOUD), State::Running(_)) {
        let log = process::log_file(place, CLOUD)?;
        let mut command = Command::new(programs::own("temporal-capacity")?);
        command
            .args([
                "cloud-simulator",
                "-o",
                "json",
                "--listen",
                &stack.network().cloud(),
            ])
            // Empties the file first, so that the address of an earlier simulator is never read.
            .stdout(std::fs::File::create(&introduction)?)
            .current_dir(place.folder());
        // Its standard output is read below, so only its errors go to the log.
        process::start_with_output(place, CLOUD, &mut command, log)?;
    }
    wait::until(
        place,
        Some(CLOUD),
        &format!("the simulated cloud at {}", stack.network().cloud()),
        async || {
            // A half-written file does not parse, and is read again.
            let text = std::fs::read_to_string(&introduction).unwrap_or_default();
            serde_json::from_str(&text).map_err(|_| NotReady::yet("it has not reported its address yet"))
        },
    )
    .await
}
