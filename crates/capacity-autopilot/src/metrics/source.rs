//! The source of metrics: Temporal's own endpoint, which shows one minute, or a Prometheus that has stored
//! many.

use openmetrics_reader::scrape::Scraper;

use super::prometheus::PrometheusClient;

// Exhaustive: each source is read, checked and paid for differently, so programs must handle a new one explicitly.
/// The source of metrics.
#[cfg_attr(
    not(feature = "prometheus"),
    expect(
        clippy::large_enum_variant,
        reason = "without the feature, the other variant cannot be constructed"
    )
)]
#[derive(Debug)]
pub enum MetricsSource {
    /// Temporal's OpenMetrics endpoint, which has only the newest minute.
    Endpoint(Scraper),
    /// The API of a Prometheus that scrapes the endpoint, with as many minutes as it keeps.
    Prometheus(PrometheusClient),
}

impl MetricsSource {
    /// Returns the source's name, as the ledger and plans show it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Endpoint(_) => "metrics",
            Self::Prometheus(_) => "prometheus",
        }
    }

    /// Returns how many requests were made that count toward the service's limit.
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
