//! Reads minutes that Prometheus has stored, and folds each as if it had just been scraped.

use std::collections::{BTreeMap, BTreeSet};

use capacity_engine::{LimitKind, NamespaceId, PerLimit};
use jiff::{SignedDuration, Timestamp};
use openmetrics_reader::temporal_cloud::{ACCOUNT, Family, NAMESPACE, Part, Series, UsageFold};
use prometheus_reader::{PrometheusClient, Query, SeriesSample, Span};

use crate::metrics::detail::Detail;
use crate::metrics::families::family_of;
use crate::metrics::read::{Read, Unread};
use crate::metrics::usage::{AccountMetrics, NamespaceMetrics, Origin, account_metrics};

/// How far into the future samples are read, so that samples from the future can be detected.
const LOOK_AHEAD: SignedDuration = SignedDuration::from_mins(2);
/// Maximum number of namespace minutes that are folded at the same time, to bound memory.
const CELLS: i64 = 100_000;
/// Maximum number of minutes that are read at a time; an evaluation uses a little more than an hour.
const LONGEST_PART: i64 = 75;
/// The family that shows that a namespace was scraped: an idle one has limits but no rates, and one limit per minute is enough.
const SHOWS_IDLE: (LimitKind, Part) = (LimitKind::Actions, Part::Limit);

/// Returns the end of the range that is read at a given time.
pub(super) fn look_ahead(now: Timestamp) -> Timestamp {
    now.saturating_add(LOOK_AHEAD).unwrap_or(Timestamp::MAX)
}

/// Reads the minutes of namespaces from a time until now. Limits are read from `limits_from` on: a decision uses
/// only those of the newest minute, and more than half of all points are limits.
pub(crate) async fn read(
    client: &PrometheusClient,
    namespaces: &[NamespaceId],
    detail: Detail,
    only_these: bool,
    from: Timestamp,
    limits_from: Timestamp,
    now: Timestamp,
) -> Result<Read, Unread> {
    // The families are queried one after the other. If a scrape happens in between, only the later queries
    // see it. Limits are queried first, so a minute that has its limits has everything else too.
    let mut all: Vec<(LimitKind, Part)> = detail.parts().collect();
    all.sort_by_key(|(_, part)| part.is_rate());
    let is_used = |(kind, part): &(LimitKind, Part)| part.is_rate() || (*kind, *part) == SHOWS_IDLE;
    let used: Vec<(LimitKind, Part)> = all.iter().copied().filter(is_used).collect();
    let whole_from = whole_minute(limits_from).max(from);
    let mut read = Read::default();
    for (parts, from, to) in [(&used, from, whole_from), (&all, whole_from, look_ahead(now))] {
        let asked = Asked {
            namespaces,
            only_these,
            parts,
            served: detail.served(),
            from,
            to,
            now,
            longest_part: LONGEST_PART,
        };
        let minutes = each_minute(client, &asked, |minute| add(&mut read, minute))
            .await
            .map_err(Unread::from)?;
        // A partial response, such as one from Thanos, leaves out series without an error, and absent must
        // not look idle.
        if !minutes.partial.is_empty() {
            return Err(Unread::because(format!(
                "Prometheus reports a partial response: {}",
                minutes.warnings.join("; ")
            )));
        }
        read.metrics.has_scrape_times |= minutes.has_scrape_times;
    }
    Ok(read)
}

/// Describes the minutes to read.
pub(super) struct Asked<'a> {
    pub(super) namespaces: &'a [NamespaceId],
    /// Whether the query is limited to these namespaces.
    pub(super) only_these: bool,
    /// The limits and their parts, in the order in which they are queried.
    pub(super) parts: &'a [(LimitKind, Part)],
    /// The limits whose served rate is among the parts.
    pub(super) served: PerLimit<bool>,
    pub(super) from: Timestamp,
    /// End of the range (exclusive).
    pub(super) to: Timestamp,
    pub(super) now: Timestamp,
    /// Maximum number of minutes that are folded at the same time.
    pub(super) longest_part: i64,
}

/// Notes about the minutes that were read.
#[derive(Debug, Default)]
pub(super) struct MinutesRead {
    pub(super) has_scrape_times: bool,
    /// Spans for which the server reports that something may be missing. Their minutes were not returned.
    pub(super) partial: Vec<Span>,
    /// The server's warnings about them.
    pub(super) warnings: Vec<String>,
}

/// Folds minutes of namespaces, oldest first, one part of the span at a time.
pub(super) async fn each_minute(
    client: &PrometheusClient,
    asked: &Asked<'_>,
    mut each: impl FnMut(AccountMetrics),
) -> Result<MinutesRead, prometheus_reader::Error> {
    let names: Vec<&str> = asked.namespaces.iter().map(NamespaceId::as_str).collect();
    let families_read: Vec<&str> = asked
        .parts
        .iter()
        .map(|(kind, part)| family_of(*kind, *part).name())
        .collect();
    let minutes = CELLS / i64::try_from(names.len().max(1)).unwrap_or(CELLS);
    let step = SignedDuration::from_mins(minutes.clamp(5, asked.longest_part));
    let end = asked.to;
    let mut from = whole_minute(asked.from);
    let mut read = MinutesRead::default();
    if from >= end {
        return Ok(read);
    }
    let mut template = UsageFold::of(names.iter().copied());
    // A scrape declares its families with `# TYPE`; storage does not, so an idle family would look missing.
    for kind in declared(client, asked.served, asked.now).await? {
        template.declare(kind.families().served);
    }
    while from < end {
        let to = from.saturating_add(step).unwrap_or(end).min(end);
        let query = Query {
            families: &families_read,
            namespaces: asked.only_these.then_some(&names[..]),
            from,
            to,
        };
        let mut folds: BTreeMap<i64, UsageFold> = BTreeMap::new();
        let mut current = Current::default();
        let each_sample = |sample: SeriesSample<'_>| {
            current.follow(&sample);
            let time = measured_at(sample.time);
            read.has_scrape_times |= time != sample.time;
            let minute = time.as_second().div_euclid(60);
            let fold = folds.entry(minute).or_insert_with(|| template.another());
            if let Some(family) = current.family {
                fold.add_point(family, &current.series, sample.value, Some(time.as_millisecond()));
            }
        };
        let coverage = client.samples(&query, each_sample).await?;
        if coverage.partial {
            read.partial.push(Span { from, to });
            read.warnings.extend(coverage.warnings);
        } else {
            for fold in folds.into_values() {
                each(account_metrics(fold.finish(), asked.served, Origin::Stored));
            }
        }
        from = to;
    }
    Ok(read)
}

/// Maximum age of the endpoint's data when it is scraped.
const SHOWN_LATE: SignedDuration = SignedDuration::from_mins(4);

/// Returns when a sample was measured. The service measures full minutes, so any other timestamp is the time of the scrape
/// (`honor_timestamps: false`), and the sample is treated as being as old as possible.
fn measured_at(stored: Timestamp) -> Timestamp {
    if stored.as_millisecond().rem_euclid(60_000) == 0 {
        return stored;
    }
    stored.saturating_sub(SHOWN_LATE).unwrap_or(stored)
}

/// How Prometheus stores the service's series, to find mistakes in a scrape job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredSeries {
    /// Whether there are any samples; without them, the rest is unknown.
    pub has_samples: bool,
    /// Labels that the scrape pipeline added; they are ignored.
    pub pipeline_labels: BTreeSet<String>,
    /// Whether a scrape job overwrites `temporal_namespace` (`honor_labels: false`).
    pub namespace_overwritten: bool,
    /// Whether samples have the times of their scrapes (`honor_timestamps: false`).
    pub has_scrape_times: bool,
}

/// Checks the newest minutes of the series that every namespace has.
///
/// # Errors
///
/// If they cannot be read.
pub async fn stored_series(
    client: &PrometheusClient,
    now: Timestamp,
) -> Result<StoredSeries, prometheus_reader::Error> {
    const LATELY: SignedDuration = SignedDuration::from_mins(10);
    let query = Query {
        families: &[
            LimitKind::Actions.families().limit,
            LimitKind::Actions.families().served,
        ],
        namespaces: None,
        from: now.saturating_sub(LATELY).unwrap_or(now),
        to: now,
    };
    let mut found = StoredSeries::default();
    let each = |sample: SeriesSample<'_>| {
        found.has_samples = true;
        found.has_scrape_times |= measured_at(sample.time) != sample.time;
        for (name, _) in sample.labels {
            if name == Series::OVERWRITTEN_NAMESPACE {
                found.namespace_overwritten = true;
            } else if !Series::is_label_of_service(name) && !matches!(name.as_str(), NAMESPACE | ACCOUNT) {
                found.pipeline_labels.insert(name.clone());
            }
        }
    };
    client.samples(&query, each).await?;
    Ok(found)
}

/// Returns the families that have any sample in the last hour. The others are missing, not idle.
async fn declared(
    client: &PrometheusClient,
    served: PerLimit<bool>,
    now: Timestamp,
) -> Result<Vec<LimitKind>, prometheus_reader::Error> {
    let kinds: Vec<LimitKind> = LimitKind::ALL.into_iter().filter(|kind| served[*kind]).collect();
    let names: Vec<&str> = kinds.iter().map(|kind| kind.families().served).collect();
    let present = client.families_present(&names, now).await?;
    let found = kinds.into_iter().zip(present);
    Ok(found
        .filter(|(_, present)| present.is_present())
        .map(|(kind, _)| kind)
        .collect())
}

/// The series of the current samples. Its labels are interpreted once for all of them.
#[derive(Debug, Default)]
struct Current {
    run: Option<u64>,
    family: Option<Family>,
    series: Series<'static>,
}

impl Current {
    fn follow(&mut self, sample: &SeriesSample<'_>) {
        if self.run != Some(sample.run) {
            *self = Self {
                run: Some(sample.run),
                family: Family::named(sample.family),
                series: series_of(sample.labels).into_owned(),
            };
        }
    }
}

/// Returns the series with these labels.
pub(super) fn series_of(labels: &[(String, String)]) -> Series<'_> {
    Series::of(labels.iter().map(|(name, value)| (name, value.as_str())))
}

/// Adds a minute that is newer than all before it. For each namespace, the newest minute with limits is kept
/// as the newest one: a minute without limits has only partly arrived.
fn add(read: &mut Read, minute: AccountMetrics) {
    let Read { metrics, older } = read;
    metrics.unlabeled += minute.unlabeled;
    metrics.overwritten += minute.overwritten;
    metrics.unlisted.extend(minute.unlisted);
    metrics.unlisted_count = metrics.unlisted.len();
    metrics.missing_families =
        PerLimit::from_fn(|kind| metrics.missing_families[kind] || minute.missing_families[kind]);
    for (name, read) in minute.namespaces {
        if let Ok(sample) = &read.sample {
            older.add(&name, *sample);
        }
        let before = metrics.namespaces.get(&name);
        if tells_limits(&read) || !before.is_some_and(tells_limits) {
            metrics.namespaces.insert(name, read);
        }
    }
}

fn tells_limits(read: &NamespaceMetrics) -> bool {
    LimitKind::ALL.into_iter().all(|kind| read.limits[kind].is_some())
}

fn whole_minute(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second().div_euclid(60) * 60).unwrap_or(time)
}
