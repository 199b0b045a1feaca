//! Finds namespaces with a nonzero series in families that are not otherwise read.

use std::collections::BTreeMap;

use capacity_engine::NamespaceId;
use openmetrics_reader::temporal_cloud::Series;

/// Why a search for families failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SearchError {
    /// The metrics endpoint could not be read.
    #[error(transparent)]
    Endpoint(#[from] openmetrics_reader::scrape::Error),
    /// The response of the metrics endpoint could not be parsed.
    #[error("the metrics cannot be read")]
    Answer(#[from] openmetrics_reader::Error),
    /// Prometheus could not be read.
    #[cfg(feature = "prometheus")]
    #[error(transparent)]
    Prometheus(#[from] prometheus_reader::Error),
}

/// The family, by the number of the namespace.
pub(crate) type Busy = BTreeMap<usize, String>;

/// Returns the number of the namespace that a series belongs to.
pub(super) fn number_of(series: &Series<'_>, namespaces: &[NamespaceId]) -> Option<usize> {
    let id = series.namespace_id()?;
    namespaces.iter().position(|namespace| namespace.as_str() == id)
}

/// Returns whether a value is not zero. NaN means unknown, which is not zero either.
pub(super) fn is_not_zero(value: f64) -> bool {
    value.is_nan() || value.abs() > 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreadable_sample_is_not_zero() {
        assert!(is_not_zero(f64::NAN) && is_not_zero(0.5) && is_not_zero(f64::INFINITY));
        assert!(!is_not_zero(0.0));
    }
}
