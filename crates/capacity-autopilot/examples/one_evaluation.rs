//! Prints every decision of an account as JSON; changes nothing. Needs both keys in the environment.
#![expect(clippy::print_stdout, reason = "an example prints")]

use capacity_autopilot::{Autopilot, AutopilotSettings, Plan, Scope};
use capacity_engine::Rules;
use cloud_ops_client::Client;
use openmetrics_reader::scrape::{self, Scraper};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let variable = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let ops = cloud_ops_client::Config::try_new(
        &variable("CLOUD_OPS_API_BASE_URL", cloud_ops_client::PUBLIC_BASE_URL),
        std::env::var("TEMPORAL_CLOUD_OPS_API_KEY")?.into(),
    )?;
    let metrics = scrape::Config::try_new(
        &variable("CLOUD_METRICS_API_BASE_URL", scrape::PUBLIC_BASE_URL),
        std::env::var("TEMPORAL_CLOUD_METRICS_API_KEY")?.into(),
    )?;
    let settings = AutopilotSettings::new(Rules::default());
    let autopilot = Autopilot::new(Client::new(ops), Scraper::new(metrics), settings);
    let evaluation = autopilot.evaluate(&Scope::All).await?;
    println!("{}", serde_json::to_string_pretty(&Plan::of(&evaluation))?);
    Ok(())
}
