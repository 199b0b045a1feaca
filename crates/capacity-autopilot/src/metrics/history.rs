//! Between the ledger's minutes and the engine's samples.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use capacity_engine::{
    LimitKind, MinuteSample, NamespaceId, PackedMinutes, PerLimit, Rate, Usage, UsageWindow,
};
use capacity_ledger::{Minute, NamespaceMinute};
use jiff::{SignedDuration, Timestamp};

use super::usage::{AccountMetrics, NamespaceMetrics};

/// How far clocks may differ.
const AHEAD: SignedDuration = SignedDuration::from_mins(1);

/// Minutes of namespaces, by full id, in any order.
#[derive(Debug, Default)]
pub(crate) struct Histories(HashMap<Arc<str>, PackedMinutes>);

impl Histories {
    /// Adds a minute of the ledger.
    pub(crate) fn take(&mut self, minute: &Minute) {
        for it in &minute.samples {
            self.add(&it.namespace, sample_of(minute.minute, it));
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn add(&mut self, namespace: &Arc<str>, sample: MinuteSample) {
        self.0.entry(Arc::clone(namespace)).or_default().push(&sample);
    }

    /// Returns the window that ends with a namespace's newest sample.
    pub(crate) fn window(&self, namespace: &NamespaceId, newest: MinuteSample) -> UsageWindow {
        window_of(self.0.get(namespace.as_str()), newest)
    }

    /// The same, and forgets the minutes: a large account has them once.
    pub(crate) fn take_window(&mut self, namespace: &NamespaceId, newest: MinuteSample) -> UsageWindow {
        window_of(self.0.remove(namespace.as_str()).as_ref(), newest)
    }

    /// Takes the minutes of a window back.
    pub(crate) fn put_back(&mut self, namespace: &NamespaceId, window: &UsageWindow) {
        self.0
            .insert(Arc::from(namespace.as_str()), window.minutes().collect());
    }
}

fn window_of(older: Option<&PackedMinutes>, newest: MinuteSample) -> UsageWindow {
    let older = older.into_iter().flatten();
    let older = older.filter(|sample| sample.minute <= newest.minute);
    UsageWindow::from_samples(older.chain([newest])).unwrap_or_else(|| UsageWindow::of_one(newest))
}

/// Adds a minute of the ledger, which is newer than all before, as if it had just been read.
pub(crate) fn keep_newest(metrics: &mut AccountMetrics, minute: &Minute) {
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

/// Returns what was read as minutes of the ledger. Most namespaces are of the same minute; who lags is of an older one. Where
/// the `whole` account was read, the newest is complete: a namespace absent from it had no usable sample. A sample from the future
/// is none: it would make all others look old.
pub(crate) fn minutes_of(metrics: &AccountMetrics, whole: bool, source: &str, now: Timestamp) -> Vec<Minute> {
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

pub(crate) fn sample_of(minute: Timestamp, it: &NamespaceMinute) -> MinuteSample {
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

/// From the ledger's order, which is that of `LimitKind::ALL`.
fn per_limit<T: Copy>(values: [T; 3]) -> PerLimit<T> {
    PerLimit::from_fn(|kind| values[kind as usize])
}
