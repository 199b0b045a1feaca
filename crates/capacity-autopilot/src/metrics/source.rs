//! Where metrics come from: Temporal's own endpoint, which shows one minute, or a Prometheus that has kept them.

use openmetrics_reader::scrape::Scraper;

use super::prometheus::PrometheusClient;

/// Where metrics come from.
#[cfg_attr(
    not(feature = "prometheus"),
    expect(
        clippy::large_enum_variant,
        reason = "without the feature the other one has no values"
    )
)]
#[derive(Debug)]
pub enum MetricsSource {
    /// Temporal's OpenMetrics endpoint: the newest minute.
    Endpoint(Scraper),
    /// An API of Prometheus that has scraped the endpoint: as many minutes as it keeps.
    Prometheus(PrometheusClient),
}

impl MetricsSource {
    /// Returns its name, as the ledger and plans show it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Endpoint(_) => "metrics",
            Self::Prometheus(_) => "prometheus",
        }
    }

    /// Returns how many requests were made of those that the service counts.
    pub fn counted_requests(&self) -> u64 {
        match self {
            Self::Endpoint(scraper) => scraper.requests_made(),
            Self::Prometheus(_) => 0,
        }
    }
}

impl From<Scraper> for MetricsSource {
    fn from(scraper: Scraper) -> Self {
        Self::Endpoint(scraper)
    }
}

impl From<PrometheusClient> for MetricsSource {
    fn from(client: PrometheusClient) -> Self {
        Self::Prometheus(client)
    }
}
