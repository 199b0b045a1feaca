//! Finds families by name, and the namespaces that have them.

use capacity_engine::NamespaceId;
use jiff::{SignedDuration, Timestamp};
use openmetrics_reader::temporal_cloud::PREFIX;
use prometheus_reader::{PrometheusClient, Query, SeriesSample};

use super::minutes::series_of;
use crate::metrics::busy::{Busy, SearchError, is_not_zero, number_of};

/// How far back Prometheus is searched. This finds the newest minute even if it is late.
const LATELY: SignedDuration = SignedDuration::from_mins(10);

/// Returns the service's families that have a word in their names.
///
/// # Errors
///
/// If the families cannot be listed.
pub(crate) async fn families_like(
    client: &PrometheusClient,
    word: &str,
    now: Timestamp,
) -> Result<Vec<String>, SearchError> {
    Ok(client.families_like(PREFIX, word, now).await?)
}

/// Returns the namespaces with a nonzero series in these families within the last ten minutes.
///
/// # Errors
///
/// If the families cannot be read.
pub(crate) async fn busy(
    client: &PrometheusClient,
    namespaces: &[NamespaceId],
    families: &[String],
    now: Timestamp,
) -> Result<Busy, SearchError> {
    let (families, listed): (Vec<&str>, Vec<&str>) = (
        families.iter().map(String::as_str).collect(),
        namespaces.iter().map(NamespaceId::as_str).collect(),
    );
    let query = Query {
        families: &families,
        namespaces: Some(&listed),
        from: now.saturating_sub(LATELY).unwrap_or(now),
        to: now,
    };
    let mut busy = Busy::new();
    let each = |sample: SeriesSample<'_>| {
        if !is_not_zero(sample.value) {
            return;
        }
        let number = number_of(&series_of(sample.labels), namespaces);
        busy.extend(number.map(|number| (number, sample.family.to_owned())));
    };
    client.samples(&query, each).await?;
    Ok(busy)
}
