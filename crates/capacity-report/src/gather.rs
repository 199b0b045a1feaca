//! Reads the ledger: decisions and changes first, then minutes in order, so that at most an hour of minutes
//! is in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use capacity_backtest::{Rebuild, Rebuilt};
use capacity_engine::NamespacePatterns;
use capacity_engine::break_even::MinuteActions;
use capacity_ledger::{ChangeRecord, HistoryFilter, HistoryRow, Ledger, Minute, NamespaceMinute};
use human_text::at_minute;
use jiff::SignedDuration;

use crate::capacity::{Evidence, Observation, Tracker};
use crate::error::ReportError;
use crate::hours::{Counted, HourFigures, MINUTES, billed};
use crate::query::{Query, Span, hour_of, start_of_hour};
use crate::shadow::{Shadow, Shadows};

/// Days before the range that are replayed to establish the on-demand envelope of the alternatives.
const WARM_UP_DAYS: i64 = 7;

const DAY: i64 = 24 * MINUTES;

/// Time after the end of the range from which a recorded change cannot have been made within the range.
// A slow change is followed for 24 hours before its outcome is recorded.
const RECORDED_LATE: SignedDuration = SignedDuration::from_hours(25);

/// Progress of reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Hours of minutes read so far.
    pub hours: i64,
    /// Total hours to read.
    pub of: i64,
}

/// The data of a report.
#[derive(Debug)]
pub struct Gathered {
    pub(crate) account: String,
    pub(crate) span: Span,
    pub(crate) namespaces: BTreeMap<String, Namespace>,
    pub(crate) changes: Vec<ChangeRecord>,
    /// Plans in the range, by author.
    pub(crate) evaluations: Evaluations,
    /// Decisions of shadow policies.
    pub(crate) shadows: Vec<Shadow>,
    /// Minutes of the range without a row for the account, as ranges.
    pub(crate) without_metrics: Runs,
    patterns: Option<NamespacePatterns>,
}

impl Gathered {
    /// Returns whether a namespace was requested.
    pub(crate) fn is_wanted(&self, name: &str) -> bool {
        is_wanted(self.patterns.as_ref(), name)
    }
}

fn is_wanted(patterns: Option<&NamespacePatterns>, name: &str) -> bool {
    // A name that is not a namespace id is included only without a filter.
    patterns.is_none_or(|patterns| name.parse().is_ok_and(|id| patterns.matches(&id)))
}

/// Plans in the range, by author.
type Evaluations = BTreeMap<String, BTreeSet<String>>;

/// The data of one namespace.
#[derive(Debug)]
pub(crate) struct Namespace {
    pub(crate) hours: Vec<HourFigures>,
    pub(crate) counted: BTreeMap<i64, Counted>,
    pub(crate) rebuilt: Option<Rebuilt>,
    pub(crate) warm_up_days: usize,
    pub(crate) throttled: Runs,
    pub(crate) missing: Runs,
    /// Decisions by action and reason code.
    pub(crate) reasons: BTreeMap<(String, String), u64>,
}

/// Minutes, stored as ranges (first and last, inclusive).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Runs(pub(crate) Vec<(i64, i64)>);

impl Runs {
    pub(crate) fn add(&mut self, minute: i64) {
        self.add_all(minute, minute);
    }

    /// Adds the minutes from `first` to `last`, inclusive.
    pub(crate) fn add_all(&mut self, first: i64, last: i64) {
        if last < first {
            return;
        }
        match self.0.last_mut() {
            Some((_, end)) if *end + 1 == first => *end = last,
            _ => self.0.push((first, last)),
        }
    }

    /// Returns the part from `from` (inclusive) to `to` (exclusive).
    fn within(&self, from: i64, to: i64) -> Self {
        let mut part = Self::default();
        for (first, last) in &self.0 {
            part.add_all((*first).max(from), (*last).min(to - 1));
        }
        part
    }

    pub(crate) fn minutes(&self) -> i64 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }
}

/// The state of a namespace while its minutes are read.
struct Reading {
    tracker: Tracker,
    counted: BTreeMap<i64, Counted>,
    rebuild: Option<Rebuild>,
    warm_up_days: i64,
    throttled: Runs,
    missing: Runs,
    /// First and last minute with any data.
    seen: Option<(i64, i64)>,
    /// The minute after the last one with known actions.
    expected: Option<i64>,
    reasons: BTreeMap<(String, String), u64>,
    /// The fraction of served actions beyond whole ones, in millionths.
    left_over: u128,
}

impl Reading {
    fn new(observations: Vec<Observation>) -> Self {
        Self {
            tracker: Tracker::new(observations),
            counted: BTreeMap::new(),
            rebuild: None,
            warm_up_days: 0,
            throttled: Runs::default(),
            missing: Runs::default(),
            seen: None,
            expected: None,
            reasons: BTreeMap::new(),
            left_over: 0,
        }
    }

    fn see(&mut self, minute: i64) {
        let (first, last) = self.seen.unwrap_or((minute, minute));
        self.seen = Some((first.min(minute), last.max(minute)));
    }

    fn minute(&mut self, minute: i64, sample: &NamespaceMinute, span: Span) {
        let per_minute = |micro: u64| i64::try_from(u128::from(micro) * 60 / 1_000_000).unwrap_or(i64::MAX);
        let rounded =
            |micro: u64| i64::try_from((u128::from(micro) * 60 + 500_000) / 1_000_000).unwrap_or(i64::MAX);
        self.tracker.minute(
            minute,
            sample.limits[0].map(per_minute),
            sample.envelopes[0].map(per_minute),
        );
        // Minutes before the range only fill the envelope of the alternatives.
        let is_counted = span.contains(minute.div_euclid(MINUTES));
        if is_counted {
            self.see(minute);
        }
        let is_throttled = sample.throttled.iter().any(|rate| *rate > 0);
        let hour = minute.div_euclid(MINUTES);
        if is_counted {
            let counted = self.counted.entry(hour).or_default();
            counted.throttled_micro += u128::from(sample.throttled[0]) * 60;
            counted.throttled_minutes += i64::from(is_throttled);
            if is_throttled {
                self.throttled.add(minute);
            }
        }
        // Throttling was read even so, and is counted above.
        if sample.unread[0] {
            return;
        }
        if is_counted {
            let counted = self.counted.entry(hour).or_default();
            counted.served_micro += u128::from(sample.served[0]) * 60;
            counted.known_minutes += 1;
            // Everything before its first hour is cut off at the end.
            let expected = self.expected.unwrap_or(i64::MIN);
            self.missing
                .add_all(expected.max(span.from_hour * MINUTES), minute - 1);
        }
        self.expected = Some(minute + 1);
        // Less than one action per minute must not be rounded to one or zero.
        let served = u128::from(sample.served[0]) * 60 + self.left_over;
        self.left_over = served % 1_000_000;
        let actions = MinuteActions {
            served: i64::try_from(served / 1_000_000).unwrap_or(i64::MAX),
            throttled: rounded(sample.throttled[0]),
        };
        self.rebuild(minute, span).add(minute, actions);
    }

    /// Returns the load being rebuilt. It starts a whole number of days before the range, or with the first minute if that lies
    /// within the range.
    fn rebuild(&mut self, minute: i64, span: Span) -> &mut Rebuild {
        let from = span.from_hour * MINUTES;
        let days = ((from - minute).max(0) / DAY).min(WARM_UP_DAYS);
        let start = if minute < from { from - days * DAY } else { minute };
        let expected = usize::try_from(span.to_hour * MINUTES - start).unwrap_or(0);
        if self.rebuild.is_none() {
            self.warm_up_days = days;
        }
        self.rebuild
            .get_or_insert_with(|| Rebuild::starting_at(start, expected))
    }

    /// Returns the hours from the first to the last with any data about the namespace; `None` if there are
    /// none.
    fn finish(mut self) -> Option<Namespace> {
        let (first, last) = self.seen?;
        let hours = first.div_euclid(MINUTES)..last.div_euclid(MINUTES) + 1;
        let (from, to) = (hours.start * MINUTES, hours.end * MINUTES);
        self.missing
            .add_all(self.expected.unwrap_or(from).max(from), to - 1);
        let steps = self.tracker.finish(to);
        let counted = |hour: i64| self.counted.get(&hour).copied().unwrap_or_default();
        Some(Namespace {
            hours: billed(hours, counted, &steps),
            rebuilt: self.rebuild.as_ref().map(Rebuild::load),
            warm_up_days: usize::try_from(self.warm_up_days).unwrap_or(0),
            throttled: self.throttled,
            missing: self.missing.within(from, to),
            reasons: self.reasons,
            counted: self.counted,
        })
    }
}

/// Reads all data of a report, without changing anything.
///
/// # Errors
///
/// If the ledger has no data for the range, the account or the namespaces, or cannot be read.
pub async fn gather(
    ledger: &Ledger,
    query: &Query,
    mut progress: impl FnMut(Progress),
) -> Result<Gathered, ReportError> {
    let span = query.span()?;
    let account = query.account(&ledger.recorded_accounts().await?, ledger.location())?;
    let patterns = query.patterns()?;
    let is_wanted = |name: &str| is_wanted(patterns.as_ref(), name);

    let late = span.to().saturating_add(RECORDED_LATE).unwrap_or(span.to());
    let mut changes = ledger.changes(&account, span.from(), late).await?;
    changes.retain(|change| is_wanted(&change.namespace));
    let mut shadows = Shadows::read(ledger, &account, span).await?;
    let (mut readings, evaluations) =
        decided(ledger, &account, span, &changes, &is_wanted, &mut shadows).await?;
    // After `decided`, which needs the late ones to know the size.
    changes.retain(|change| change.ended_at_ms < span.to().as_millisecond());

    for hour in ledger
        .hours_between(&account, span.from_hour, span.to_hour)
        .await?
    {
        if !is_wanted(&hour.namespace) {
            continue;
        }
        let reading = readings
            .entry(hour.namespace.as_str().into())
            .or_insert_with(|| Reading::new(Vec::new()));
        reading.see(hour.hour * MINUTES);
        let micro = |sum: i64| u128::try_from(sum).unwrap_or(0) * 60;
        reading.counted.insert(
            hour.hour,
            Counted {
                served_micro: micro(hour.actions_sum),
                // Aggregated hours keep throttled minutes, but not how many actions were throttled.
                throttled_micro: 0,
                throttled_minutes: hour.throttled_minutes,
                known_minutes: hour.actions_known_minutes,
                is_folded: true,
            },
        );
    }

    let mut without_metrics = Runs::default();
    let first = span.from_hour - WARM_UP_DAYS * 24;
    let mut expected = span.from_hour * MINUTES;
    let of = span.to_hour - first;
    for hour in first..span.to_hour {
        let minutes = ledger
            .window(&account, start_of_hour(hour), start_of_hour(hour + 1))
            .await?;
        for minute in &minutes {
            let number = minute.minute.as_second().div_euclid(60);
            // Minutes of the warm-up are before `expected`.
            if number >= expected {
                without_metrics.add_all(expected, number - 1);
                expected = number + 1;
            }
            take(&mut readings, minute, number, span, &is_wanted);
        }
        progress(Progress {
            hours: hour - first + 1,
            of,
        });
    }
    without_metrics.add_all(expected, span.to_hour * MINUTES - 1);

    let mut namespaces = BTreeMap::new();
    for (name, reading) in readings {
        if let Some(namespace) = reading.finish() {
            namespaces.insert(name.to_string(), namespace);
        }
    }
    if namespaces.is_empty() {
        return Err(ReportError::NoData(nothing(ledger, &account, span, query).await?));
    }
    Ok(Gathered {
        account,
        span,
        namespaces,
        changes,
        evaluations,
        shadows: shadows.finish(),
        without_metrics,
        patterns,
    })
}

fn take(
    readings: &mut BTreeMap<Arc<str>, Reading>,
    minute: &Minute,
    number: i64,
    span: Span,
    is_wanted: &impl Fn(&str) -> bool,
) {
    for sample in &minute.samples {
        if !readings.contains_key(&sample.namespace) {
            if !is_wanted(&sample.namespace) {
                continue;
            }
            readings.insert(Arc::clone(&sample.namespace), Reading::new(Vec::new()));
        }
        if let Some(reading) = readings.get_mut(&sample.namespace) {
            reading.minute(number, sample, span);
        }
    }
}

/// Reads what decisions and changes show, by namespace.
async fn decided(
    ledger: &Ledger,
    account: &str,
    span: Span,
    changes: &[ChangeRecord],
    is_wanted: &impl Fn(&str) -> bool,
    shadows: &mut Shadows,
) -> Result<(BTreeMap<Arc<str>, Reading>, Evaluations), ReportError> {
    let mut observations: BTreeMap<Arc<str>, Vec<Observation>> = BTreeMap::new();
    let mut reasons: BTreeMap<Arc<str>, BTreeMap<(String, String), u64>> = BTreeMap::new();
    let mut plans: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    // Decisions from a day before the range show which size the first hour began with.
    let filter = HistoryFilter {
        from: Some(start_of_hour(span.from_hour - 24)),
        to: Some(span.to()),
        ..HistoryFilter::default()
    };
    let take = |row: HistoryRow| {
        let decision = row.decision;
        if !is_wanted(&decision.namespace) {
            return Ok(());
        }
        let name: Arc<str> = decision.namespace.as_str().into();
        let minute = row.evaluated_at_ms.div_euclid(60_000);
        if span.contains(minute.div_euclid(MINUTES)) {
            if plans
                // Looked up first, so that the texts are copied once per plan instead of once per decision.
                .get(&row.by)
                .is_none_or(|known| !known.contains(&decision.plan_id))
            {
                plans.entry(row.by).or_default().insert(decision.plan_id.clone());
            }
            shadows.compare(row.evaluated_at_ms, &decision);
            let by_reason = reasons.entry(Arc::clone(&name)).or_default();
            *by_reason
                .entry((decision.action, decision.reason_code))
                .or_default() += 1;
        }
        if let Some(trus) = decision.current_trus.and_then(|trus| u32::try_from(trus).ok()) {
            let seen = observations.entry(name).or_default();
            let observation = Observation {
                minute,
                trus,
                evidence: Evidence::Decision {
                    plan_id: decision.plan_id,
                },
            };
            // Of equal consecutive observations, keep only the first and the last.
            if matches!(seen.as_slice(), [.., before, last] if before.trus == trus && last.trus == trus) {
                seen.pop();
            }
            seen.push(observation);
        }
        Ok(())
    };
    ledger.each_in_history(Some(account), &filter, take).await?;
    for (name, observation) in changes.iter().filter_map(effect) {
        observations.entry(name).or_default().push(observation);
    }
    let mut readings: BTreeMap<Arc<str>, Reading> = observations
        .into_iter()
        .map(|(name, seen)| (name, seen_in(span, seen)))
        .collect();
    for (name, by_reason) in reasons {
        readings
            .entry(name)
            .or_insert_with(|| Reading::new(Vec::new()))
            .reasons = by_reason;
    }
    Ok((readings, plans))
}

/// Returns what a change shows: the size that it set, unless it had no effect.
fn effect(change: &ChangeRecord) -> Option<(Arc<str>, Observation)> {
    let trus = u32::try_from(change.to_trus).ok()?;
    let observation = Observation {
        minute: change.ended_at_ms.div_euclid(60_000),
        trus,
        evidence: Evidence::Change {
            operation_id: change.operation_id.clone(),
        },
    };
    took_effect(&change.outcome).then(|| (change.namespace.as_str().into(), observation))
}

/// Creates the reading of a namespace from observations, which may reach back to before the range.
fn seen_in(span: Span, observations: Vec<Observation>) -> Reading {
    // Earlier observations show the first size, but do not add hours to the namespace.
    let minutes = observations.iter().map(|it| it.minute);
    let in_range = minutes.filter(|minute| span.contains(minute.div_euclid(MINUTES)));
    let ends = (in_range.clone().min(), in_range.max());
    let mut reading = Reading::new(observations);
    if let (Some(first), Some(last)) = ends {
        reading.see(first);
        reading.see(last);
    }
    reading
}

/// Returns whether a change ended with the wanted size.
pub(crate) fn took_effect(outcome: &str) -> bool {
    // `already` changed nothing, but it shows the size.
    matches!(outcome, "changed" | "already")
}

/// Returns why there is nothing to report: no such namespace, or no rows in the range.
async fn nothing(ledger: &Ledger, account: &str, span: Span, query: &Query) -> Result<String, ReportError> {
    let info = ledger.info().await?;
    let holds = match (info.oldest_minute, info.newest_minute) {
        (Some(oldest), Some(newest)) => {
            format!(
                "across all accounts, it has minutes from {} to {}",
                at_minute(oldest),
                at_minute(newest)
            )
        }
        _ => "it has no minutes: run a worker with this ledger".to_owned(),
    };
    let range = format!("{} to {}", at_minute(span.from()), at_minute(span.to()));
    if query.namespaces.is_empty() {
        let remedy = match info.oldest_minute {
            Some(oldest) if query.to.is_none() && oldest >= span.to() => {
                format!(
                    "A report covers complete hours: the first one ends at {}",
                    at_minute(start_of_hour(hour_of(oldest) + 1))
                )
            }
            _ => "Use another --from and --to".to_owned(),
        };
        return Ok(format!(
            "the ledger {} has no data for account {account} from {range}; {holds}. {remedy}",
            ledger.location()
        ));
    }
    Ok(format!(
        "no namespace of account {account} in the ledger {} matches {} from {range}; {holds}. Names are bare (`orders`) or full (`orders.{account}`), with * and ? as wildcards",
        ledger.location(),
        query.namespaces.join(", ")
    ))
}
