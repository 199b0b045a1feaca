//! Converts between the ledger's minutes and the engine's samples.

use std::collections::BTreeMap;
use std::sync::Arc;

use capacity_engine::{LimitKind, MinuteSample, PerLimit, Rate, Usage};
use capacity_ledger::{Ledger, LedgerError, Minute, NamespaceMinute};
use jiff::{SignedDuration, Timestamp};

use crate::metrics::recorded::{LONGEST_PART, RecordedMinute, actions_of};
use crate::metrics::{AccountMetrics, Histories, NamespaceMetrics};

/// Maximum difference between clocks.
const AHEAD: SignedDuration = SignedDuration::from_mins(1);

/// Maximum number of namespace minutes in memory at the same time.
const CELLS: i64 = 100_000;

/// Number of minutes read first, while the number of namespaces in them is unknown.
const FIRST_PART: i64 = 15;

/// Adds a minute of the ledger to the minutes of its namespaces.
pub(super) fn add_to(histories: &mut Histories, minute: &Minute) {
    for it in &minute.samples {
        histories.add(&it.namespace, sample_of(minute.minute, it));
    }
}

/// Adds a minute of the ledger that is newer than all before, as if it had just been read.
pub(super) fn keep_newest(metrics: &mut AccountMetrics, minute: &Minute) {
    for it in &minute.samples {
        metrics.namespaces.insert(
            Arc::clone(&it.namespace),
            NamespaceMetrics {
                sample: Ok(sample_of(minute.minute, it)),
                limits: per_limit(it.limits.map(known)),
                envelopes: per_limit(it.envelopes.map(known)),
                gaps: PerLimit::default(),
                // Not in the ledger.
                standby: PerLimit::default(),
            },
        );
    }
}

/// Converts what was read to minutes of the ledger. Most namespaces have data for the same minute; those that
/// lag have an older one. If the `whole` account was read, the newest minute is complete: a namespace absent
/// from it had no usable sample. Samples from the future are skipped, because they would make all others look
/// old.
pub(super) fn minutes_of(metrics: &AccountMetrics, whole: bool, source: &str, now: Timestamp) -> Vec<Minute> {
    let mut by_minute: BTreeMap<i64, Vec<NamespaceMinute>> = BTreeMap::new();
    for (namespace, read) in &metrics.namespaces {
        if let Ok(sample) = &read.sample
            && sample.minute.duration_since(now) <= AHEAD
        {
            let minute = sample.minute.as_second().div_euclid(60);
            by_minute
                .entry(minute)
                .or_default()
                .push(record_of(namespace, sample, read));
        }
    }
    let newest = by_minute.keys().next_back().copied();
    by_minute
        .into_iter()
        .filter_map(|(minute, samples)| {
            Some(Minute {
                minute: Timestamp::from_second(minute.checked_mul(60)?).ok()?,
                complete: whole && Some(minute) == newest,
                source: source.to_owned(),
                samples,
            })
        })
        .collect()
}

fn record_of(namespace: &Arc<str>, sample: &MinuteSample, read: &NamespaceMetrics) -> NamespaceMinute {
    let micros = |rate: Option<Rate>| rate.map(Rate::micros_per_second);
    NamespaceMinute {
        namespace: Arc::clone(namespace),
        reported: sample.reported,
        unread: LimitKind::ALL.map(|kind| !sample.served_read[kind]),
        served: LimitKind::ALL.map(|kind| sample.usage[kind].served.micros_per_second()),
        throttled: LimitKind::ALL.map(|kind| sample.usage[kind].throttled.micros_per_second()),
        limits: LimitKind::ALL.map(|kind| micros(read.limits[kind])),
        envelopes: LimitKind::ALL.map(|kind| micros(read.envelopes[kind])),
    }
}

pub(super) fn sample_of(minute: Timestamp, it: &NamespaceMinute) -> MinuteSample {
    let (served, throttled) = (per_limit(it.served), per_limit(it.throttled));
    let unread = per_limit(it.unread);
    let mut sample = MinuteSample::idle(minute);
    sample.usage = PerLimit::from_fn(|kind| Usage {
        served: Rate::from_micros_per_second(served[kind]),
        throttled: Rate::from_micros_per_second(throttled[kind]),
    });
    sample.served_read = PerLimit::from_fn(|kind| !unread[kind]);
    sample.reported = it.reported;
    sample
}

fn known(micros: Option<u64>) -> Option<Rate> {
    micros.map(Rate::from_micros_per_second)
}

/// Converts from the ledger's order, which is that of `LimitKind::ALL`.
fn per_limit<T: Copy>(values: [T; 3]) -> PerLimit<T> {
    PerLimit::from_fn(|kind| values[kind as usize])
}

/// Passes the minutes of a span from a ledger to `each`, account by account, in order of time. Minutes that
/// were aggregated into hours are left out.
///
/// # Errors
///
/// If the ledger cannot be read, or a minute is damaged.
pub async fn minutes_of_ledger(
    ledger: &Ledger,
    from: Timestamp,
    to: Timestamp,
    mut each: impl FnMut(RecordedMinute<'_>),
) -> Result<(), LedgerError> {
    for account in ledger.accounts().await? {
        let mut from = from;
        let mut part = FIRST_PART;
        while from < to {
            let end = after(from, part).min(to);
            let minutes = ledger.window(&account, from, end).await?;
            let most = minutes.iter().map(|minute| minute.samples.len()).max();
            for minute in &minutes {
                let number = minute.minute.as_second().div_euclid(60);
                // Unread actions are unknown. As a zero, they would be a quiet minute.
                for sample in minute.samples.iter().filter(|sample| !sample.unread[0]) {
                    each(RecordedMinute {
                        namespace: &sample.namespace,
                        minute: number,
                        actions: actions_of(&sample_of(minute.minute, sample).usage),
                    });
                }
            }
            // The size of the account is known only after the first part, and may change over weeks.
            part = part_for(most.unwrap_or(1));
            from = end;
        }
    }
    Ok(())
}

fn part_for(namespaces: usize) -> i64 {
    let namespaces = i64::try_from(namespaces.max(1)).unwrap_or(CELLS);
    (CELLS / namespaces).clamp(5, LONGEST_PART)
}

fn after(time: Timestamp, minutes: i64) -> Timestamp {
    time.saturating_add(SignedDuration::from_mins(minutes))
        .unwrap_or(Timestamp::MAX)
}
