#![doc = include_str!("../README.md")]
//!
//! # Where to start
//!
//! [`autopilot`] builds an autopilot from settings, [`spans`] sends its traces.

mod spans;

use capacity_autopilot::{Autopilot, AutopilotSettings, LedgerHandle, MetricsSource};
use capacity_settings::Settings;
use openmetrics_reader::scrape::Scraper;
use prometheus_reader::PrometheusClient;

pub use spans::{collector, spans};

/// Why no autopilot can be built from settings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AutopilotError {
    /// A required setting is missing. Programs request it in [`Needs`](capacity_settings::Needs) when they
    /// load their settings.
    #[error("{0} is not set")]
    Missing(&'static str),
    /// The client for Prometheus cannot be created.
    #[error("cannot create a client for {url} (PROMETHEUS_URL)")]
    Prometheus {
        /// Address of the Prometheus.
        url: String,
        /// Why the client cannot be created.
        #[source]
        source: prometheus_reader::Error,
    },
}

/// Builds the autopilot that the settings describe. Its ledger is opened when it is first needed.
///
/// # Errors
///
/// If a key is missing, or a client cannot be created.
pub fn autopilot(settings: &Settings) -> Result<Autopilot, AutopilotError> {
    let ops = settings
        .cloud_ops
        .clone()
        .ok_or(AutopilotError::Missing("TEMPORAL_CLOUD_OPS_API_KEY"))?;
    let own = AutopilotSettings::new(settings.rules.clone()).with_home(settings.home.namespace_id());
    let autopilot = Autopilot::new(cloud_ops_client::Client::new(ops), source(settings)?, own);
    Ok(match &settings.ledger {
        Some(location) => autopilot.with_ledger(LedgerHandle::at(location.clone())),
        None => autopilot,
    })
}

fn source(settings: &Settings) -> Result<MetricsSource, AutopilotError> {
    // Set only if METRICS_SOURCE selects it.
    if let Some(config) = &settings.prometheus {
        let client = PrometheusClient::new(config.clone()).map_err(|source| AutopilotError::Prometheus {
            url: config.base_url().to_owned(),
            source,
        })?;
        return Ok(client.into());
    }
    let config = settings
        .metrics
        .clone()
        .ok_or(AutopilotError::Missing("TEMPORAL_CLOUD_METRICS_API_KEY"))?;
    Ok(Scraper::new(config).into())
}
