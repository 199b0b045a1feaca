//! A custom policy: a name, a version, and a target for each namespace. The engine's guards and restrictions
//! apply to it as they do to the built-in policies.
//!
//! This policy provisions twice the usage of the busiest minute in the last hour.
#![expect(clippy::print_stdout, reason = "an example prints")]

use capacity_autopilot::{Autopilot, AutopilotSettings, Scope};
use capacity_engine::{
    Capacity, CapacityPolicy, LimitKind, PolicyRef, PolicyTarget, PolicyView, ReasonCode, Rules, Trus,
};
use cloud_ops_client::Client;
use cloud_simulator::{Account, SimulatorOptions};
use prometheus_reader::{PrometheusClient, PrometheusConfig};

#[derive(Debug)]
struct TwiceThePeak;

impl CapacityPolicy for TwiceThePeak {
    fn name(&self) -> &'static str {
        "twice-the-peak"
    }

    fn version(&self) -> i64 {
        1
    }

    fn target(&self, view: &PolicyView<'_>) -> PolicyTarget {
        let kind = LimitKind::Actions;
        let peak = view.window.highest_asked(kind);
        let wanted = peak.saturating_mul(2);
        let envelope = view.snapshot.envelopes[kind].unwrap_or_default();
        let size = (1..=view.bounds.max_trus.get())
            .filter_map(Trus::try_new)
            .find(|trus| kind.at(*trus) >= wanted)
            .unwrap_or(view.bounds.max_trus);
        let to = if envelope >= wanted {
            Capacity::OnDemand
        } else {
            Capacity::Provisioned(size)
        };
        let because = format!("busiest minute of the last hour {}/s", peak.limit());
        // A size that is not available is rounded up, so the result may be larger than requested.
        if to <= view.present && to.trus() * 2 > view.present.trus() {
            return PolicyTarget::keep(ReasonCode::PolicyTarget, because);
        }
        PolicyTarget::change(to, ReasonCode::PolicyTarget, because)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // The simulated Prometheus has the past hour of data.
    let cloud = cloud_simulator::start(SimulatorOptions {
        past_minutes: 75,
        ..SimulatorOptions::new(Account::demo())
    })
    .await?;
    let ops = cloud_ops_client::Config::try_new(&cloud.ops_url(), cloud.ops_key().into())?;
    let metrics = PrometheusConfig::builder(cloud.prometheus_url()).build()?;
    let settings = AutopilotSettings::new(Rules::default().with_policy(PolicyRef::new(TwiceThePeak)));
    let autopilot = Autopilot::new(Client::new(ops), PrometheusClient::new(metrics)?, settings);

    let evaluation = autopilot.evaluate(&Scope::All).await?;
    for judged in &evaluation.decisions {
        println!("{}", judged.decision);
    }
    cloud.shutdown().await;
    Ok(())
}
