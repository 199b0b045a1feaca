//! Throttling of a kind that this version does not know: a family `temporal_cloud_v1_*throttled*` other than those of the known
//! limits. The service announced another limit; until this version supports it, namespaces throttled by it are not scaled down.

use std::collections::BTreeMap;

use capacity_engine::{Direction, NamespaceId, ReasonCode, Restriction, RestrictionOrigin};
use jiff::{SignedDuration, Timestamp};
use openmetrics_reader::scrape::{AccountQuery, FamilyQuery, Scraper};
use openmetrics_reader::temporal_cloud::{Family, PREFIX, Series};
use openmetrics_reader::{Event, Options, Reader};
use prometheus_reader::{PrometheusClient, Query, SeriesSample};

use crate::autopilot::Autopilot;
use crate::metrics::MetricsSource;
use crate::metrics::endpoint::bare_names;
use crate::metrics::stored::series_of;
use crate::text::chain;

const WORD: &str = "throttled";
/// The service gains families rarely, and each look is a request.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_hours(1);
/// How far back Prometheus is searched: this finds the newest minute even if it is late.
const LATELY: SignedDuration = SignedDuration::from_mins(10);

/// Returns the families of throttling among some names that belong to none of the known limits.
fn unknown_throttled_families(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let is_unknown = |name: &String| {
        let rest = name.strip_prefix(PREFIX);
        rest.is_some_and(|rest| rest.contains(WORD)) && Family::named(name).is_none()
    };
    names.into_iter().filter(is_unknown).collect()
}

/// Returns the families of throttling that the source has and this version does not know.
///
/// # Errors
///
/// Describes why they cannot be listed.
pub async fn families_of_unknown_throttling(
    source: &MetricsSource,
    now: Timestamp,
) -> Result<Vec<String>, String> {
    let names = match source {
        MetricsSource::Endpoint(scraper) => scraper.families().await.map_err(|error| chain(&error))?,
        MetricsSource::Prometheus(client) => client
            .families_like(PREFIX, WORD, now)
            .await
            .map_err(|error| chain(&error))?,
    };
    Ok(unknown_throttled_families(names))
}

/// Returns a restriction for each namespace that would be scaled down and is throttled in an unknown way.
///
/// # Errors
///
/// Describes why this cannot be determined.
pub(super) async fn restrictions(
    autopilot: &Autopilot,
    namespaces: &[NamespaceId],
) -> Result<Vec<Restriction>, String> {
    if namespaces.is_empty() {
        return Ok(Vec::new());
    }
    let families = known_lately(autopilot).await?;
    if families.is_empty() {
        return Ok(Vec::new());
    }
    let throttled = match autopilot.metrics() {
        MetricsSource::Endpoint(scraper) => scraped(scraper, namespaces, &families).await?,
        MetricsSource::Prometheus(client) => stored(client, namespaces, &families, autopilot.now()).await?,
    };
    Ok(throttled
        .into_iter()
        .map(|(number, family)| {
            let reason = format!(
                "{family} is not zero, a kind of throttling that this version does not know; upgrade, or release it manually"
            );
            let code = ReasonCode::UnknownThrottling;
            let of_all = Restriction::new(Direction::ScaleDown, code, reason, RestrictionOrigin::Metrics);
            of_all.on(namespaces[number].clone())
        })
        .collect())
}

async fn known_lately(autopilot: &Autopilot) -> Result<Vec<String>, String> {
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

/// By number of the namespace: the family.
type Throttled = BTreeMap<usize, String>;

async fn scraped(
    scraper: &Scraper,
    namespaces: &[NamespaceId],
    families: &[String],
) -> Result<Throttled, String> {
    let queries: Vec<FamilyQuery<'_>> = families
        .iter()
        .map(|name| FamilyQuery {
            name,
            points_per_namespace: 1.0,
            is_rate: false,
        })
        .collect();
    let query = AccountQuery {
        families: &queries,
        namespaces: &bare_names(namespaces),
        only_these: true,
    };
    let answer = scraper
        .read_account(&query)
        .await
        .map_err(|error| chain(&error))?;
    let mut throttled = Throttled::new();
    for document in &answer.documents {
        for event in Reader::new(document, Options::lenient()) {
            let event = event.map_err(|error| format!("the metrics cannot be read: {error}"))?;
            let Event::Sample(sample) = event else { continue };
            let family = sample.name().unescaped();
            if is_throttled(sample.value()) && families.iter().any(|it| *it == family) {
                let number = number_of(&Series::of_sample(&sample), namespaces);
                throttled.extend(number.map(|number| (number, family.to_string())));
            }
        }
    }
    Ok(throttled)
}

async fn stored(
    client: &PrometheusClient,
    namespaces: &[NamespaceId],
    families: &[String],
    now: Timestamp,
) -> Result<Throttled, String> {
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
    let mut throttled = Throttled::new();
    let each = |sample: SeriesSample<'_>| {
        if !is_throttled(sample.value) {
            return;
        }
        let number = number_of(&series_of(sample.labels), namespaces);
        throttled.extend(number.map(|number| (number, sample.family.to_owned())));
    };
    client
        .samples(&query, each)
        .await
        .map_err(|error| chain(&error))?;
    Ok(throttled)
}

/// Returns the number of the namespace that a series is of.
fn number_of(series: &Series<'_>, namespaces: &[NamespaceId]) -> Option<usize> {
    let id = series.namespace_id()?;
    namespaces.iter().position(|namespace| namespace.as_str() == id)
}

/// What is NaN is unknown, and unknown is not zero.
fn is_throttled(value: f64) -> bool {
    value.is_nan() || value.abs() > 0.0
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

    #[test]
    fn an_unreadable_sample_is_throttling() {
        assert!(is_throttled(f64::NAN) && is_throttled(0.5) && is_throttled(f64::INFINITY));
        assert!(!is_throttled(0.0));
    }
}
