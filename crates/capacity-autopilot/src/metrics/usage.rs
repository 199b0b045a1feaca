//! Converts a minute as the service reported it to the engine's types.
//!
//! The aggregation rules are those of [`UsageFold`](openmetrics_reader::temporal_cloud::UsageFold). Unknown
//! is never zero. If a rate is NaN, infinite, negative or without a timestamp, and no other rate of the limit
//! is left, the namespace's usage is unknown; otherwise it has a gap.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use capacity_engine::{LimitKind, MinuteSample, PerLimit, Rate, Usage, UsageGap};
use jiff::Timestamp;
use openmetrics_reader::temporal_cloud::{
    self, AccountMinute, LimitUsage, NamespaceMinute, Reported, Unreadable,
};

use super::families::limit_of;

/// Number of active namespaces from which every limit is expected to have usage somewhere.
const SEVERAL: usize = 3;

/// Maximum number of unlisted namespaces named in the warning.
const NAMED_UNLISTED: usize = 5;

/// Why the newest minute of a namespace cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum UnusableMinute {
    #[error("throttling of {} is unknown: {why}", kind.noun())]
    Throttling { kind: LimitKind, why: Unreadable },
    #[error("the {} of the newest minute are unknown: {}", kind.noun(), listed(why))]
    Unreadable {
        kind: LimitKind,
        why: BTreeSet<Unreadable>,
    },
    #[error("only standby series are reported{}, none from an active replica", standby_words(.0))]
    OnlyStandby(PerLimit<Rate>),
    #[error("no sample has a timestamp")]
    NoTime,
}

fn listed(why: &BTreeSet<Unreadable>) -> String {
    let why: Vec<String> = why.iter().map(ToString::to_string).collect();
    why.join(", ")
}

/// The metrics of one namespace.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NamespaceMetrics {
    /// The newest minute, or why it is unknown.
    pub(crate) sample: Result<MinuteSample, UnusableMinute>,
    /// The limits in effect.
    pub(crate) limits: PerLimit<Option<Rate>>,
    /// The limits that on-demand would provide.
    pub(crate) envelopes: PerLimit<Option<Rate>>,
    /// Limits whose usage is partly unknown.
    pub(crate) gaps: PerLimit<Option<UsageGap>>,
    /// Traffic of standby replicas, which is excluded and reported.
    pub(crate) standby: PerLimit<Rate>,
}

/// The metrics of the whole account.
#[derive(Debug, Default)]
pub(crate) struct AccountMetrics {
    /// Metrics by full id. A namespace that is absent has no series at all.
    pub(crate) namespaces: HashMap<Arc<str>, NamespaceMetrics>,
    /// Limits whose usage family is missing from the whole account although others show traffic.
    pub(crate) missing_families: PerLimit<bool>,
    /// Samples without the namespace label.
    pub(crate) unlabeled: usize,
    /// Samples whose namespace label was overwritten by a scrape job.
    pub(crate) overwritten: usize,
    /// Whether Prometheus stored the times of its scrapes instead of the service's.
    pub(crate) has_scrape_times: bool,
    /// Namespaces that have metrics but are not listed; the first few by name.
    pub(crate) unlisted: BTreeSet<String>,
    /// Number of namespaces that have metrics but are not listed.
    pub(crate) unlisted_count: usize,
}

impl AccountMetrics {
    /// Keeps only listed namespaces. The others were deleted after their list was read, and count as unlisted.
    pub(crate) fn keep(&mut self, is_listed: impl Fn(&str) -> bool) {
        let Self {
            namespaces,
            unlisted,
            unlisted_count,
            ..
        } = self;
        namespaces.retain(|name, _| {
            let keeps = is_listed(name);
            if !keeps {
                unlisted.insert(name.to_string());
                *unlisted_count += 1;
            }
            keeps
        });
        while unlisted.len() > NAMED_UNLISTED {
            unlisted.pop_last();
        }
    }
}

/// Where a minute comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A scrape, whose document declares its families.
    Scraped,
    /// Storage, where nothing declares a family that has no sample.
    Stored,
}

/// Converts a minute. `asked` are the limits whose served family was requested.
pub(crate) fn account_metrics(
    minute: AccountMinute,
    asked: PerLimit<bool>,
    origin: Origin,
) -> AccountMetrics {
    let all = || minute.namespaces.values();
    let any_traffic = all().any(has_traffic);
    let missing_families =
        PerLimit::from_fn(|kind| any_traffic && asked[kind] && !minute.is_served_declared(limit_of(kind)));
    // Families without traffic although several namespaces show traffic in other families: they are more
    // likely not scraped than idle everywhere.
    let may_be_silent = origin == Origin::Stored && all().filter(|it| has_traffic(it)).count() >= SEVERAL;
    let is_silent = |kind| may_be_silent && !all().any(|it| has_rate(it.of(limit_of(kind))));
    let read = PerLimit::from_fn(|kind| asked[kind] && !missing_families[kind] && !is_silent(kind));
    AccountMetrics {
        missing_families,
        unlabeled: minute.unlabeled,
        overwritten: minute.overwritten,
        has_scrape_times: false,
        unlisted_count: minute.unlisted.len(),
        unlisted: minute.unlisted.into_iter().take(NAMED_UNLISTED).collect(),
        namespaces: minute
            .namespaces
            .into_iter()
            .map(|(name, reported)| (name, namespace_metrics(&reported, read)))
            .collect(),
    }
}

fn has_rate(usage: &LimitUsage) -> bool {
    usage.served.readable.is_some() || usage.throttled.readable.is_some()
}

fn has_traffic(minute: &NamespaceMinute) -> bool {
    let is_traffic = |rate: &Reported| rate.readable.is_some_and(|rate| !rate.is_zero());
    LimitKind::ALL.into_iter().any(|kind| {
        let usage = minute.of(limit_of(kind));
        is_traffic(&usage.served) || is_traffic(&usage.throttled)
    })
}

fn rate(reported: temporal_cloud::Rate) -> Rate {
    Rate::from_micros_per_second(reported.millionths())
}

/// Describes which part of a limit's usage cannot be read.
fn unreadable(usage: &LimitUsage) -> BTreeSet<Unreadable> {
    let both = usage.served.unreadable.iter().chain(&usage.throttled.unreadable);
    both.cloned().collect()
}

fn namespace_metrics(minute: &NamespaceMinute, read: PerLimit<bool>) -> NamespaceMetrics {
    let of = |kind| minute.of(limit_of(kind));
    let standby = PerLimit::from_fn(|kind| rate(of(kind).standby));
    let is_readable = PerLimit::from_fn(|kind| unreadable(of(kind)).is_empty());
    let usage = PerLimit::from_fn(|kind| {
        let sum = |reported: &Reported| reported.readable.map(rate).unwrap_or_default();
        Usage {
            served: sum(&of(kind).served),
            throttled: sum(&of(kind).throttled),
        }
    });
    let is_active = |kind| !of(kind).served.is_absent() || !of(kind).throttled.is_absent();
    let mut kinds = LimitKind::ALL.into_iter();
    // One unreadable rate next to a readable one is a gap (row 13 holds a release); nothing readable at all
    // is unknown usage (row 7).
    let unknown = kinds.find(|kind| !is_readable[*kind] && !has_rate(of(*kind)));
    // Throttling first: it decides whether to scale up, so it must be known for certain.
    let sample = if let Some((kind, why)) = unknown_throttling(minute) {
        Err(UnusableMinute::Throttling { kind, why })
    } else if let Some(kind) = unknown {
        let why = unreadable(of(kind));
        Err(UnusableMinute::Unreadable { kind, why })
    } else if minute.has_standby && !LimitKind::ALL.into_iter().any(is_active) {
        Err(UnusableMinute::OnlyStandby(standby))
    } else {
        let time = minute.timestamp_ms;
        let time = time.and_then(|milliseconds| Timestamp::from_millisecond(milliseconds).ok());
        time.map(|time| {
            let mut sample = MinuteSample::idle(time);
            sample.usage = usage;
            sample.served_read = PerLimit::from_fn(|kind| read[kind] && is_readable[kind]);
            sample.reported = minute.has_rates();
            sample
        })
        .ok_or(UnusableMinute::NoTime)
    };
    NamespaceMetrics {
        sample,
        limits: PerLimit::from_fn(|kind| of(kind).limit.map(rate)),
        envelopes: PerLimit::from_fn(|kind| of(kind).on_demand_limit.map(rate)),
        gaps: PerLimit::from_fn(|kind| (!is_readable[kind]).then_some(UsageGap::PartlyUnreadable)),
        standby,
    }
}

/// Formats standby traffic as ` (300.0 actions/s)`; empty if there is none.
fn standby_words(standby: &PerLimit<Rate>) -> String {
    let served: Vec<String> = LimitKind::ALL
        .into_iter()
        .filter(|kind| !standby[*kind].is_zero())
        .map(|kind| format!("{} {}/s", standby[kind].measured(), kind.noun()))
        .collect();
    if served.is_empty() {
        String::new()
    } else {
        format!(" ({})", served.join(" and "))
    }
}

/// Returns a limit whose throttling is unreadable, unless something is throttled for certain. Unknown never
/// counts as quiet.
fn unknown_throttling(minute: &NamespaceMinute) -> Option<(LimitKind, Unreadable)> {
    let throttled = |kind: LimitKind| &minute.of(limit_of(kind)).throttled;
    let is_throttled = |kind: LimitKind| throttled(kind).readable.is_some_and(|rate| !rate.is_zero());
    if LimitKind::ALL.into_iter().any(is_throttled) {
        return None;
    }
    LimitKind::ALL
        .into_iter()
        .find_map(|kind| Some((kind, throttled(kind).unreadable.first()?.clone())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The reader and the engine round a rate in the same way, so that a figure does not depend on which of them computed it.
        #[test]
        fn the_reader_and_the_engine_round_the_same_way(value in prop_oneof![0.0..1e6f64, prop::num::f64::ANY]) {
            let reported = temporal_cloud::Rate::from_per_second(value);
            prop_assert_eq!(reported.map(rate), Rate::from_per_second(value));
        }
    }
}
