//! Minutes that were recorded over weeks: what namespaces served and what was throttled, from a ledger or a Prometheus.
//!
//! They are read one part of the span at a time and streamed, not collected, so that memory does not grow with the span. Only the
//! limit of actions is read, which determines billing and size. A minute whose actions were not read is skipped.

use std::collections::BTreeSet;

use capacity_engine::break_even::MinuteActions;
use capacity_engine::{LimitKind, MinuteSample, NamespaceId, PerLimit, Rate};
use capacity_ledger::{Ledger, LedgerError, NamespaceMinute};
use jiff::{SignedDuration, Timestamp};
use openmetrics_reader::temporal_cloud::{Part, Series};
use prometheus_reader::{PrometheusClient, Span};

use super::stored::{self, Asked};

/// Namespaces times minutes of a ledger that are held at a time.
const CELLS: i64 = 100_000;

/// Minutes of a ledger that are read first, when it is not known how many namespaces they hold.
const FIRST_PART: i64 = 15;

/// Minutes that are read at a time, at most.
const LONGEST_PART: i64 = 360;

/// The time range of each query for namespaces: some servers limit it.
const NAMES_PART: SignedDuration = SignedDuration::from_hours(7 * 24);

/// What is read of each minute. The limit comes first: a minute that has it has everything else too.
const PARTS: [(LimitKind, Part); 3] = [
    (LimitKind::Actions, Part::Limit),
    (LimitKind::Actions, Part::Served),
    (LimitKind::Actions, Part::Throttled),
];

/// One recorded minute of one namespace.
#[derive(Debug, Clone, Copy)]
pub struct RecordedMinute<'a> {
    /// Full id of the namespace.
    pub namespace: &'a str,
    /// Minutes since 1970.
    pub minute: i64,
    /// Actions that were served, and attempts that were throttled.
    pub actions: MinuteActions,
}

/// Facts about the minutes that were read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordedNotes {
    /// Where the source reports that something may be missing: nothing was read there.
    pub partial: Vec<Span>,
    /// Whether a Prometheus stored the times of its scrapes in place of the service's.
    pub has_scrape_times: bool,
}

/// Passes on the minutes of a span from a ledger, account by account, each in order of time. Hours that were
/// folded are not looked at.
///
/// # Errors
///
/// If the ledger cannot be read, or a minute is damaged.
pub async fn minutes_of_ledger(
    ledger: &Ledger,
    span: Span,
    mut each: impl FnMut(RecordedMinute<'_>),
) -> Result<(), LedgerError> {
    for account in ledger.accounts().await? {
        let mut from = span.from;
        let mut part = FIRST_PART;
        while from < span.to {
            let to = after(from, part).min(span.to);
            let minutes = ledger.window(&account, from, to).await?;
            let most = minutes.iter().map(|minute| minute.samples.len()).max();
            for minute in &minutes {
                let number = minute.minute.as_second().div_euclid(60);
                for sample in minute.samples.iter().filter(|sample| !sample.unread[0]) {
                    each(RecordedMinute {
                        namespace: &sample.namespace,
                        minute: number,
                        actions: actions_of(sample),
                    });
                }
            }
            part = part_for(most.unwrap_or(1));
            from = to;
        }
    }
    Ok(())
}

/// Returns the namespaces of which a Prometheus has limits in a span, by name.
///
/// # Errors
///
/// If it cannot be asked.
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

/// Passes on the minutes that a Prometheus holds of some namespaces in a span, in the order of time.
///
/// # Errors
///
/// If it cannot be asked.
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
        to: span.to,
        longest_part: LONGEST_PART,
    };
    let read = stored::each_minute(client, &asked, |minute| {
        for (name, read) in &minute.namespaces {
            let Ok(sample) = &read.sample else { continue };
            if !sample.served_read[LimitKind::Actions] || read.limits[LimitKind::Actions].is_none() {
                continue;
            }
            each(RecordedMinute {
                namespace: name,
                minute: sample.minute.as_second().div_euclid(60),
                actions: actions_in(sample),
            });
        }
    })
    .await?;
    notes.partial = read.partial;
    notes.has_scrape_times = read.has_scrape_times;
    Ok(notes)
}

fn part_for(namespaces: usize) -> i64 {
    let namespaces = i64::try_from(namespaces.max(1)).unwrap_or(CELLS);
    (CELLS / namespaces).clamp(5, LONGEST_PART)
}

fn after(time: Timestamp, minutes: i64) -> Timestamp {
    time.saturating_add(SignedDuration::from_mins(minutes))
        .unwrap_or(Timestamp::MAX)
}

fn actions_of(sample: &NamespaceMinute) -> MinuteActions {
    MinuteActions {
        served: in_a_minute(Rate::from_micros_per_second(sample.served[0])),
        throttled: in_a_minute(Rate::from_micros_per_second(sample.throttled[0])),
    }
}

fn actions_in(sample: &MinuteSample) -> MinuteActions {
    let usage = &sample.usage[LimitKind::Actions];
    MinuteActions {
        served: in_a_minute(usage.served),
        throttled: in_a_minute(usage.throttled),
    }
}

/// Whole actions of a minute at a rate, rounded half up.
fn in_a_minute(rate: Rate) -> i64 {
    let actions = (u128::from(rate.micros_per_second()) * 60 + 500_000) / 1_000_000;
    i64::try_from(actions).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::whole(100.0, 6_000)]
    #[case::third(33.333, 2_000)]
    #[case::trace(0.017, 1)]
    #[case::nothing(0.0, 0)]
    fn a_rate_is_whole_actions_of_a_minute(#[case] rate: f64, #[case] expected: i64) {
        assert_eq!(
            in_a_minute(Rate::from_per_second(rate).expect("a rate")),
            expected
        );
    }
}
