//! Requests an evaluation from the controller on a local server, and prints its summary. A worker must be
//! running.
#![expect(clippy::print_stdout, reason = "an example prints")]

use std::time::Duration;

use capacity_workflows::controller::Controller;
use capacity_workflows::{ConnectionSettings, Installation};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let variable = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let connection = ConnectionSettings {
        address: variable("TEMPORAL_ADDRESS", "localhost:7233"),
        namespace: variable("TEMPORAL_NAMESPACE", "default"),
        ..ConnectionSettings::default()
    };
    let client = connection.connect().await?;
    let report = Controller::new(&client, &Installation::default())
        .evaluate("an-example", Duration::from_mins(2))
        .await?;
    println!("{}", report.summary);
    Ok(())
}
