//! A service that embeds the autopilot and prints every decision for an account without changing anything.
//!
//! Runs against a simulated cloud. To run it on a real account, pass your own keys and the public addresses
//! to `Config::try_new`.
#![expect(clippy::print_stdout, reason = "an example prints")]

use capacity_autopilot::{Autopilot, AutopilotSettings, Scope};
use capacity_engine::{NamespaceFilter, NamespacePatterns, Rules};
use cloud_ops_client::Client;
use cloud_simulator::{Account, SimulatorOptions};
use openmetrics_reader::scrape::Scraper;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cloud = cloud_simulator::start(SimulatorOptions::new(Account::demo())).await?;
    let ops = cloud_ops_client::Config::try_new(&cloud.ops_url(), cloud.ops_key().into())?;
    let metrics =
        openmetrics_reader::scrape::Config::try_new(&cloud.metrics_url(), cloud.metrics_key().into())?;

    // All namespaces except those with `staging` in their names.
    let filter = NamespaceFilter {
        deny: NamespacePatterns::try_new(&["*staging*"])?,
        ..NamespaceFilter::default()
    };
    let settings = AutopilotSettings::new(Rules::default().with_filter(filter));
    let autopilot = Autopilot::new(Client::new(ops), Scraper::new(metrics), settings);

    let evaluation = autopilot.evaluate(&Scope::All).await?;
    for judged in &evaluation.decisions {
        println!("{}", judged.decision);
    }
    cloud.shutdown().await;
    Ok(())
}
