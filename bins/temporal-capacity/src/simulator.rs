//! `cloud-simulator`: runs a simulated cloud on loopback, until Ctrl-C, SIGTERM or SIGHUP.

use anyhow::Context;
use cloud_simulator::{Account, Faults, Load, NamespaceSetup, RunningSimulator, SimulatorOptions, Trace};
use process_edge::Signals;
use serde_json::json;

use crate::arguments::{CloudSimulator, Global};
use crate::exit::{Exit, report, tell};
use crate::output::Output;

/// Minutes of history that a simulated cloud starts with: one hour of usage, plus the delay of the metrics.
pub(crate) const PAST_MINUTES: u16 = 75;

pub(crate) async fn run(flags: &CloudSimulator, global: &Global) -> anyhow::Result<Exit> {
    let share = |name: &str, percent: f64| {
        anyhow::ensure!(
            (0.0..=100.0).contains(&percent),
            "--{name} {percent}: specify a percentage from 0 to 100"
        );
        Ok(percent / 100.0)
    };
    anyhow::ensure!(
        flags.speed > 0.0 && flags.speed.is_finite(),
        "--speed {}: specify a factor above 0, such as 1 or 60",
        flags.speed
    );
    anyhow::ensure!(
        flags.namespaces != Some(0),
        "--namespaces 0: specify at least 1, or omit it to simulate the demo account"
    );
    for route in &flags.deny {
        anyhow::ensure!(
            cloud_simulator::OPS_ROUTES.contains(&route.as_str()),
            "--deny '{route}': not a route of the simulated Cloud Ops API; the routes are {}",
            cloud_simulator::OPS_ROUTES.join(", ")
        );
    }
    let mut account = match flags.namespaces {
        None => Account::demo(),
        Some(count) => Account::generate(count, share("wanting-change", flags.wanting_change)?, flags.seed),
    };
    if let Some(path) = &flags.replay {
        let trace =
            Trace::open(path).with_context(|| format!("the trace {} cannot be replayed", path.display()))?;
        account
            .namespaces
            .push(NamespaceSetup::new("replayed", Load::Replay(trace.into())));
    }
    // One half is dropped before the request takes effect, the other half after it.
    let dropped = share("dropped", flags.dropped)? / 2.0;
    let faults = Faults {
        too_many_requests: share("too-many-requests", flags.too_many_requests)?,
        retry_after: flags.retry_after,
        denied_routes: flags.deny.clone(),
        unavailable: share("unavailable", flags.unavailable)?,
        dropped_before: dropped,
        dropped_after: dropped,
        ..Faults::default()
    };
    let options = SimulatorOptions {
        listen: flags.listen,
        speed: flags.speed,
        seed: flags.seed,
        faults,
        past_minutes: PAST_MINUTES,
        ..SimulatorOptions::new(account)
    };
    let signals = Signals::listen().context("cannot listen for signals")?;
    let cloud = cloud_simulator::start(options).await?;
    report(&introduction(&cloud, global.output()));
    tell("the simulated cloud is running; press Ctrl-C to stop it");
    signals.first().await;
    cloud.shutdown().await;
    Ok(Exit::Done)
}

/// Returns the environment variables that a shell or a script needs to connect.
fn introduction(cloud: &RunningSimulator, output: Output) -> String {
    let variables = [
        ("CLOUD_OPS_API_BASE_URL", cloud.ops_url()),
        ("CLOUD_METRICS_API_BASE_URL", cloud.metrics_url()),
        ("TEMPORAL_CLOUD_OPS_API_KEY", cloud.ops_key()),
        ("TEMPORAL_CLOUD_METRICS_API_KEY", cloud.metrics_key()),
        // Capacity is released only based on an hour of data, which the simulated Prometheus API provides.
        ("METRICS_SOURCE", "prometheus".to_owned()),
        ("PROMETHEUS_URL", cloud.prometheus_url()),
        ("SLACK_WEBHOOK_URL", cloud.slack_url()),
    ];
    match output {
        Output::None => String::new(),
        Output::Json | Output::Jsonl => {
            let map: serde_json::Map<String, serde_json::Value> = variables
                .into_iter()
                .map(|(name, value)| (name.to_owned(), json!(value)))
                .collect();
            serde_json::Value::Object(map).to_string()
        }
        _ => {
            let lines: Vec<String> = variables
                .into_iter()
                .map(|(name, value)| format!("export {name}={value}\n"))
                .collect();
            lines.concat()
        }
    }
}
