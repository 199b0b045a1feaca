//! What each worker does about the controller once a minute: it asks how the controller is, and asks one that an older release
//! began to rotate into the loop of this release.

use std::convert::Infallible;
use std::time::Duration;

use temporalio_client::Client;

use crate::controller::LOOP_VERSION;
use crate::controller_client::{rotate, status};
use crate::health::EvaluationHealth;
use crate::names::Installation;

/// How often the controller is asked.
const EVERY: Duration = Duration::from_mins(1);
/// How long it may take to answer.
const BOUND: Duration = Duration::from_secs(20);

/// Keeps a worker's health up to date with the controller's, and older controllers moving. Never ends.
pub async fn watch_controller(
    client: &Client,
    installation: &Installation,
    health: &EvaluationHealth,
) -> Infallible {
    loop {
        match status(client, installation, BOUND).await {
            Ok(status) => {
                health.learn(&status);
                if status.loop_version < LOOP_VERSION {
                    tracing::info!(
                        loop_version = status.loop_version,
                        "asking the controller to continue in the loop of this release"
                    );
                    if let Err(error) = rotate(client, installation).await {
                        tracing::warn!(error, "cannot signal the controller; trying again in a minute");
                    }
                }
            }
            // No controller yet, or none that answers: the age of the last evaluation says so.
            Err(problem) => tracing::debug!(problem, "the controller did not answer"),
        }
        tokio::time::sleep(EVERY).await;
    }
}
