//! Reads weeks of minutes that Prometheus has stored.

use std::collections::BTreeSet;

use capacity_engine::{LimitKind, NamespaceId, PerLimit};
use jiff::SignedDuration;
use openmetrics_reader::temporal_cloud::{Part, Series};
use prometheus_reader::{PrometheusClient, Span};

use super::minutes::{self, Asked};
use crate::metrics::recorded::{LONGEST_PART, RecordedMinute, actions_of};

/// The time range of each query for namespace names, because some servers limit it.
const NAMES_PART: SignedDuration = SignedDuration::from_hours(7 * 24);

/// What is read for each minute. The limit is queried first: a minute that has it has everything else too.
const PARTS: [(LimitKind, Part); 3] = [
    (LimitKind::Actions, Part::Limit),
    (LimitKind::Actions, Part::Served),
    (LimitKind::Actions, Part::Throttled),
];

/// Notes about the minutes that were read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordedNotes {
    /// Spans for which the source reports that something may be missing. Nothing was read there.
    pub partial: Vec<Span>,
    /// Whether Prometheus stored the times of its scrapes instead of the service's.
    pub has_scrape_times: bool,
}

/// Returns the namespaces for which Prometheus has limits in a span, by name.
///
/// # Errors
///
/// If Prometheus cannot be queried.
pub async fn namespaces_of_prometheus(
    client: &PrometheusClient,
    span: Span,
) -> Result<Vec<NamespaceId>, prometheus_reader::Error> {
    let family = LimitKind::Actions.families().limit;
    let mut found: BTreeSet<NamespaceId> = BTreeSet::new();
    let mut from = span.from;
    while from < span.to {
        let to = from.saturating_add(NAMES_PART).unwrap_or(span.to).min(span.to);
        for labels in client.series(family, Span { from, to }).await? {
            let series = Series::of(labels.iter().map(|(name, value)| (name, value.as_str())));
            found.extend(series.namespace_id().and_then(|id| id.parse().ok()));
        }
        from = to;
    }
    Ok(found.into_iter().collect())
}

/// Passes the minutes that Prometheus has for some namespaces in a span to `each`, in order of time.
///
/// # Errors
///
/// If Prometheus cannot be queried.
pub async fn minutes_of_prometheus(
    client: &PrometheusClient,
    namespaces: &[NamespaceId],
    span: Span,
    mut each: impl FnMut(RecordedMinute<'_>),
) -> Result<RecordedNotes, prometheus_reader::Error> {
    let mut notes = RecordedNotes::default();
    let asked = Asked {
        namespaces,
        only_these: true,
        parts: &PARTS,
        served: PerLimit::from_fn(|kind| kind == LimitKind::Actions),
        from: span.from,
        to: minutes::look_ahead(span.to),
        now: span.to,
        longest_part: LONGEST_PART,
    };
    let read = minutes::each_minute(client, &asked, |minute| {
        for (name, read) in &minute.namespaces {
            let Ok(sample) = &read.sample else { continue };
            if !sample.served_read[LimitKind::Actions] || read.limits[LimitKind::Actions].is_none() {
                continue;
            }
            each(RecordedMinute {
                namespace: name,
                minute: sample.minute.as_second().div_euclid(60),
                actions: actions_of(&sample.usage),
            });
        }
    })
    .await?;
    notes.partial = read.partial;
    notes.has_scrape_times = read.has_scrape_times;
    Ok(notes)
}
