//! Detects kinds of throttling that this version does not know: families `temporal_cloud_v1_*throttled*`
//! other than those of the known limits. The service has announced another limit. Until this version supports
//! it, namespaces throttled by it are not scaled down.

use capacity_engine::{Direction, NamespaceId, ReasonCode, Restriction, RestrictionOrigin};
use jiff::{SignedDuration, Timestamp};
use openmetrics_reader::temporal_cloud::{Family, PREFIX};

use crate::autopilot::Autopilot;
use crate::metrics::{MetricsSource, SearchError, endpoint, prometheus};

const WORD: &str = "throttled";
/// Interval between lookups: the service rarely adds families, and each lookup takes a request.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_hours(1);

/// Returns the throttling families among some names that belong to none of the known limits.
fn unknown_throttled_families(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let is_unknown = |name: &String| {
        let rest = name.strip_prefix(PREFIX);
        rest.is_some_and(|rest| rest.contains(WORD)) && Family::named(name).is_none()
    };
    names.into_iter().filter(is_unknown).collect()
}

/// Returns the throttling families of the source that this version does not know.
///
/// # Errors
///
/// If the families cannot be listed.
pub async fn families_of_unknown_throttling(
    source: &MetricsSource,
    now: Timestamp,
) -> Result<Vec<String>, SearchError> {
    let names = match source {
        MetricsSource::Endpoint(scraper) => scraper.families().await?,
        MetricsSource::Prometheus(client) => prometheus::families_like(client, WORD, now).await?,
    };
    Ok(unknown_throttled_families(names))
}

/// Returns a restriction for each namespace that would be scaled down and is throttled in an unknown way.
///
/// # Errors
///
/// If this cannot be determined.
pub(super) async fn restrictions(
    autopilot: &Autopilot,
    namespaces: &[NamespaceId],
) -> Result<Vec<Restriction>, SearchError> {
    if namespaces.is_empty() {
        return Ok(Vec::new());
    }
    let families = known_lately(autopilot).await?;
    if families.is_empty() {
        return Ok(Vec::new());
    }
    let throttled = match autopilot.metrics() {
        MetricsSource::Endpoint(scraper) => endpoint::busy(scraper, namespaces, &families).await?,
        MetricsSource::Prometheus(client) => {
            prometheus::busy(client, namespaces, &families, autopilot.now()).await?
        }
    };
    Ok(throttled
        .into_iter()
        .map(|(number, family)| {
            let reason = format!(
                "{family} is not zero, which is a kind of throttling that this version does not know; upgrade, or release the capacity manually"
            );
            let code = ReasonCode::UnknownThrottling;
            let of_all = Restriction::new(Direction::ScaleDown, code, reason, RestrictionOrigin::Metrics);
            of_all.on(namespaces[number].clone())
        })
        .collect())
}

async fn known_lately(autopilot: &Autopilot) -> Result<Vec<String>, SearchError> {
    let now = autopilot.now();
    let mut remembered = autopilot.unknown_throttling().lock().await;
    if let Some((at, families)) = &*remembered
        && now.duration_since(*at) < LOOK_AGAIN
    {
        return Ok(families.clone());
    }
    let families = families_of_unknown_throttling(autopilot.metrics(), now).await?;
    *remembered = Some((now, families.clone()));
    Ok(families)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_throttled_family_of_no_known_limit_is_unknown() {
        let names = [
            "temporal_cloud_v1_total_action_throttled_count",
            "temporal_cloud_v1_namespace_bandwidth_throttled_bytes",
            "temporal_cloud_v1_namespace_bandwidth_bytes",
            "other_throttled_count",
        ];
        let unknown = unknown_throttled_families(names.map(str::to_owned));
        assert_eq!(unknown, ["temporal_cloud_v1_namespace_bandwidth_throttled_bytes"]);
    }
}
