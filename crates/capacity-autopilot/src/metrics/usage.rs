//! Folds the samples of a metrics document into the usage of each namespace.
//!
//! The rules are those of Temporal's metrics reference, aggregation section: foreground series of the
//! active replica are summed; a limit is taken by newest time, then by maximum; the newest point of a series
//! counts; background and standby series do not count against limits. Unknown is never zero: a rate that is
//! NaN, infinite, negative or without a time makes the namespace's usage unknown if nothing else of the
//! family is left, and is recorded as a gap otherwise.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use capacity_engine::{LimitKind, MinuteSample, NamespaceId, PerLimit, Rate, Usage, UsageGap};
use jiff::Timestamp;
use openmetrics_reader::temporal_cloud;

use super::families::{Role, find};

/// With this many active namespaces, every limit of an account has usage somewhere.
const SEVERAL: usize = 3;

/// How many names of unlisted namespaces are kept for the warning.
const NAMED_UNLISTED: usize = 5;

/// One sample as the reader hands it out, with the labels that matter.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Point<'a> {
    pub(crate) namespace: Option<&'a str>,
    pub(crate) account: Option<&'a str>,
    pub(crate) background: bool,
    pub(crate) standby: bool,
    /// Whether a scrape job has overwritten the namespace label, which is then useless.
    pub(crate) overwritten: bool,
    pub(crate) series: u64,
    pub(crate) value: f64,
    pub(crate) time: Option<Timestamp>,
}

/// Prometheus renames a label of the service to this where the scrape job sets its own and `honor_labels` is false.
pub(crate) const OVERWRITTEN_NAMESPACE: &str = "exported_temporal_namespace";

/// Returns whether the service gave a series this label, also where a scrape job has renamed it.
pub(super) fn is_of_service(label: &str) -> bool {
    temporal_cloud::SERIES_LABELS.contains(&label.strip_prefix("exported_").unwrap_or(label))
}

impl<'a> Point<'a> {
    /// Adds one label of the series. The labels of the service distinguish series, in any order; what a scrape
    /// pipeline adds does not, so that two scrapers of the same endpoint count once.
    pub(crate) fn label(&mut self, name: &str, value: &'a str) {
        match name {
            temporal_cloud::NAMESPACE => self.namespace = Some(value),
            temporal_cloud::ACCOUNT => self.account = Some(value),
            OVERWRITTEN_NAMESPACE => self.overwritten = true,
            _ if !is_of_service(name) => {}
            _ => {
                if name == temporal_cloud::IS_BACKGROUND {
                    self.background = temporal_cloud::is_background(value);
                } else if name == temporal_cloud::NAMESPACE_MODE {
                    self.standby = temporal_cloud::is_standby(value);
                }
                let mut hasher = DefaultHasher::new();
                (name, value).hash(&mut hasher);
                self.series = self.series.wrapping_add(hasher.finish());
            }
        }
    }
}

/// What the metrics report about one namespace.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NamespaceMetrics {
    /// The newest minute, or why it is unknown.
    pub(crate) sample: Result<MinuteSample, String>,
    /// The limits in effect.
    pub(crate) limits: PerLimit<Option<Rate>>,
    /// What on-demand would give.
    pub(crate) envelopes: PerLimit<Option<Rate>>,
    /// Limits whose usage is partly unknown.
    pub(crate) gaps: PerLimit<Option<UsageGap>>,
    /// What standby replicas served: left out, and reported.
    pub(crate) standby: PerLimit<Rate>,
}

/// What the metrics report about the whole account.
#[derive(Debug, Default)]
pub(crate) struct AccountMetrics {
    /// By full id; absent: no series at all.
    pub(crate) namespaces: HashMap<Arc<str>, NamespaceMetrics>,
    /// Limits whose usage family appears nowhere although others show traffic.
    pub(crate) missing_families: PerLimit<bool>,
    /// Samples without the namespace label.
    pub(crate) unlabelled: usize,
    /// Samples whose namespace label was overwritten by a scrape job.
    pub(crate) overwritten: usize,
    /// Whether a Prometheus stored the times of its scrapes in place of the service's.
    pub(crate) has_scrape_times: bool,
    /// Namespaces the metrics show and the list does not; the first few by name.
    pub(crate) unlisted: BTreeSet<String>,
    /// How many there are.
    pub(crate) unlisted_count: usize,
}

#[derive(Debug, Clone, Copy)]
struct Newest {
    time: Timestamp,
    value: f64,
}

#[derive(Debug, Clone, Default)]
struct Cell {
    limits: PerLimit<Option<Newest>>,
    envelopes: PerLimit<Option<Newest>>,
    unreadable: PerLimit<BTreeSet<String>>,
    /// What is wrong with a rate of refused work, if it is unreadable.
    throttled_unreadable: PerLimit<Option<String>>,
    standby: bool,
    active: bool,
    seen: bool,
}

/// The listed namespaces, by full id.
#[derive(Debug, Clone)]
pub(crate) struct Names<'a>(Arc<HashMap<&'a str, usize>>);

impl<'a> Names<'a> {
    pub(crate) fn new(listed: &'a [NamespaceId]) -> Self {
        let numbered = listed.iter().enumerate();
        Self(Arc::new(
            numbered.map(|(number, id)| (id.as_str(), number)).collect(),
        ))
    }

    /// Returns the number of the namespace that a series is of: by its full id, or by its bare name if the account agrees.
    pub(crate) fn number_of(&self, point: &Point<'_>) -> Option<usize> {
        let label = point.namespace.filter(|_| !point.overwritten)?;
        self.0.get(label).copied().or_else(|| {
            let account = point.account.filter(|_| !label.contains('.'))?;
            self.0.get(format!("{label}.{account}").as_str()).copied()
        })
    }
}

/// Collects samples, document by document.
#[derive(Debug)]
pub(crate) struct UsageFold<'a> {
    names: Names<'a>,
    listed: &'a [NamespaceId],
    cells: Vec<Cell>,
    rates: HashMap<(usize, LimitKind, Role, u64), Newest>,
    /// What was served on standby.
    standby: HashMap<(usize, LimitKind, u64), Newest>,
    declared: PerLimit<bool>,
    /// Of a minute that was stored: nothing declares a family that has no sample in it.
    is_stored: bool,
    /// Whose served family was asked for.
    asked: PerLimit<bool>,
    unlisted: BTreeSet<String>,
    unlabelled: usize,
    overwritten: usize,
}

impl<'a> UsageFold<'a> {
    /// Starts a fold over the listed namespaces; `asked` says whose served family was asked for.
    pub(crate) fn new(listed: &'a [NamespaceId], asked: PerLimit<bool>) -> Self {
        Self {
            names: Names::new(listed),
            listed,
            cells: vec![Cell::default(); listed.len()],
            rates: HashMap::new(),
            standby: HashMap::new(),
            declared: PerLimit::default(),
            is_stored: false,
            asked,
            unlisted: BTreeSet::new(),
            unlabelled: 0,
            overwritten: 0,
        }
    }

    /// Starts a fold of another, stored minute over the same namespaces, in which the same families were declared.
    pub(crate) fn another(&self) -> Self {
        Self {
            names: self.names.clone(),
            listed: self.listed,
            cells: vec![Cell::default(); self.listed.len()],
            rates: HashMap::new(),
            standby: HashMap::new(),
            declared: self.declared,
            is_stored: true,
            asked: self.asked,
            unlisted: BTreeSet::new(),
            unlabelled: 0,
            overwritten: 0,
        }
    }

    /// Notes that a family was declared, with or without samples.
    pub(crate) fn declare(&mut self, family: &str) {
        if let Some((kind, Role::Served)) = find(family) {
            self.declared[kind] = true;
        }
    }

    /// Adds one sample.
    pub(crate) fn add(&mut self, kind: LimitKind, role: Role, point: &Point<'_>) {
        if role == Role::Served {
            self.declared[kind] = true;
        }
        let Some(number) = self.number_of(point) else {
            return;
        };
        let cell = &mut self.cells[number];
        cell.seen = true;
        match role {
            Role::Limit => keep_newest(&mut cell.limits[kind], point),
            Role::Envelope => keep_newest(&mut cell.envelopes[kind], point),
            Role::Served | Role::Throttled if point.background => {}
            Role::Served | Role::Throttled if point.standby => {
                cell.standby = true;
                if let (Role::Served, Some(_), Some(time)) =
                    (role, Rate::from_per_second(point.value), point.time)
                {
                    let slot = self.standby.entry((number, kind, point.series));
                    take_newer(slot, time, point.value);
                }
            }
            Role::Served | Role::Throttled => self.add_rate(number, kind, role, point),
        }
    }

    fn add_rate(&mut self, number: usize, kind: LimitKind, role: Role, point: &Point<'_>) {
        let cell = &mut self.cells[number];
        cell.active = true;
        let problem = match (Rate::from_per_second(point.value), point.time) {
            (None, _) => Some(format!("a rate of {}", point.value)),
            (_, None) => Some("a sample without a time".to_owned()),
            (Some(_), Some(_)) => None,
        };
        if let Some(problem) = problem {
            if role == Role::Throttled {
                cell.throttled_unreadable[kind] = Some(problem.clone());
            }
            cell.unreadable[kind].insert(problem);
            return;
        }
        let Some(time) = point.time else { return };
        let slot = self.rates.entry((number, kind, role, point.series));
        take_newer(slot, time, point.value);
    }

    fn number_of(&mut self, point: &Point<'_>) -> Option<usize> {
        if point.overwritten {
            self.overwritten += 1;
            return None;
        }
        let Some(label) = point.namespace.filter(|label| !label.is_empty()) else {
            self.unlabelled += 1;
            return None;
        };
        let number = self.names.number_of(point);
        if number.is_none() {
            self.unlisted.insert(label.to_owned());
        }
        number
    }

    /// Families of a stored minute that are silent although several namespaces show traffic of others: more likely not scraped
    /// than idle everywhere.
    fn silent(&self, sums: &[NamespaceSums]) -> PerLimit<bool> {
        let has_traffic = |sums: &&NamespaceSums| {
            LimitKind::ALL
                .into_iter()
                .any(|kind| !sums.usage[kind].asked().is_zero())
        };
        let busy = sums.iter().filter(has_traffic).count();
        PerLimit::from_fn(|kind| {
            self.is_stored && busy >= SEVERAL && sums.iter().all(|sums| !sums.seen[kind])
        })
    }

    /// Ends the fold.
    pub(crate) fn finish(self) -> AccountMetrics {
        let mut sums: Vec<NamespaceSums> = vec![NamespaceSums::default(); self.cells.len()];
        let mut traffic: PerLimit<bool> = PerLimit::default();
        for ((number, kind, role, _), newest) in &self.rates {
            // The value was read as a rate when it came in.
            let Some(rate) = Rate::from_per_second(newest.value) else {
                continue;
            };
            traffic[*kind] |= !rate.is_zero();
            sums[*number].add(*kind, *role, rate, newest.time);
        }
        for ((number, kind, _), newest) in &self.standby {
            let rate = Rate::from_per_second(newest.value).unwrap_or_default();
            let standby = &mut sums[*number].standby[*kind];
            *standby = standby.saturating_add(rate);
        }
        let any_traffic = LimitKind::ALL.into_iter().any(|kind| traffic[kind]);
        let missing_families =
            PerLimit::from_fn(|kind| any_traffic && self.asked[kind] && !self.declared[kind]);
        let silent = self.silent(&sums);
        let mut namespaces = HashMap::new();
        for ((id, cell), sums) in self.listed.iter().zip(&self.cells).zip(&sums) {
            if cell.seen {
                let read =
                    PerLimit::from_fn(|kind| self.asked[kind] && !missing_families[kind] && !silent[kind]);
                namespaces.insert(Arc::from(id.as_str()), namespace_metrics(cell, sums, read));
            }
        }
        AccountMetrics {
            namespaces,
            missing_families,
            unlabelled: self.unlabelled,
            overwritten: self.overwritten,
            has_scrape_times: false,
            unlisted_count: self.unlisted.len(),
            unlisted: self.unlisted.into_iter().take(NAMED_UNLISTED).collect(),
        }
    }
}

/// Keeps the newest value of a series, and of equally new ones, the largest.
fn take_newer<K>(slot: Entry<'_, K, Newest>, time: Timestamp, value: f64) {
    let newest = slot.or_insert(Newest { time, value });
    if (time, value) > (newest.time, newest.value) {
        *newest = Newest { time, value };
    }
}

/// Keeps the newest value of a limit, and of equally new ones, the largest. A value that is not a rate is unknown.
fn keep_newest(slot: &mut Option<Newest>, point: &Point<'_>) {
    let (Some(_), Some(time)) = (Rate::from_per_second(point.value), point.time) else {
        return;
    };
    let newer = slot.is_none_or(|kept| (time, point.value) > (kept.time, kept.value));
    if newer {
        *slot = Some(Newest {
            time,
            value: point.value,
        });
    }
}

#[derive(Debug, Clone, Default)]
struct NamespaceSums {
    usage: PerLimit<Usage>,
    oldest: Option<Timestamp>,
    reported: bool,
    seen: PerLimit<bool>,
    standby: PerLimit<Rate>,
}

impl NamespaceSums {
    fn add(&mut self, kind: LimitKind, role: Role, rate: Rate, time: Timestamp) {
        let usage = &mut self.usage[kind];
        let sum = if role == Role::Served {
            &mut usage.served
        } else {
            &mut usage.throttled
        };
        *sum = sum.saturating_add(rate);
        self.oldest = Some(self.oldest.map_or(time, |oldest| oldest.min(time)));
        self.reported = true;
        self.seen[kind] = true;
    }
}

fn namespace_metrics(cell: &Cell, sums: &NamespaceSums, read: PerLimit<bool>) -> NamespaceMetrics {
    let rates = |newest: &PerLimit<Option<Newest>>| {
        PerLimit::from_fn(|kind| newest[kind].and_then(|kept| Rate::from_per_second(kept.value)))
    };
    let unknown = LimitKind::ALL
        .into_iter()
        .find(|kind| !cell.unreadable[*kind].is_empty() && !sums.seen[*kind]);
    let sample = if let Some((kind, problem)) = unknown_throttling(cell, sums) {
        Err(format!(
            "how much of its {} is throttled is unknown: {problem}",
            kind.noun()
        ))
    } else if let Some(kind) = unknown {
        let problems: Vec<&str> = cell.unreadable[kind].iter().map(String::as_str).collect();
        Err(format!(
            "the {} of the newest minute are unknown: {}",
            kind.noun(),
            problems.join(", ")
        ))
    } else if cell.standby && !cell.active {
        Err(format!(
            "only standby series are reported{}, none of an active replica",
            standby_words(&sums.standby)
        ))
    } else {
        minute_of(cell, sums)
            .map(|minute| {
                let mut sample = MinuteSample::idle(minute);
                sample.usage = sums.usage;
                sample.served_read = PerLimit::from_fn(|kind| read[kind] && cell.unreadable[kind].is_empty());
                sample.reported = sums.reported;
                sample
            })
            .ok_or_else(|| "no sample has a time".to_owned())
    };
    NamespaceMetrics {
        sample,
        limits: rates(&cell.limits),
        envelopes: rates(&cell.envelopes),
        gaps: PerLimit::from_fn(|kind| {
            (!cell.unreadable[kind].is_empty()).then_some(UsageGap::PartlyUnreadable)
        }),
        standby: sums.standby,
    }
}

/// ` (300.0 actions/s)`, or nothing.
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

/// A limit whose throttling is unreadable, unless something is throttled for certain. Unknown never counts as quiet.
fn unknown_throttling<'c>(cell: &'c Cell, sums: &NamespaceSums) -> Option<(LimitKind, &'c str)> {
    let is_throttled = |kind: LimitKind| !sums.usage[kind].throttled.is_zero();
    if LimitKind::ALL.into_iter().any(is_throttled) {
        return None;
    }
    LimitKind::ALL
        .into_iter()
        .find_map(|kind| Some((kind, cell.throttled_unreadable[kind].as_deref()?)))
}

/// The minute a sample counts for: the oldest of everything it is based on, so that nothing stale hides
/// behind something fresh. An idle namespace has only limits, which then determine the minute.
fn minute_of(cell: &Cell, sums: &NamespaceSums) -> Option<Timestamp> {
    let limits = LimitKind::ALL
        .into_iter()
        .filter_map(|kind| cell.limits[kind])
        .map(|newest| newest.time);
    limits.chain(sums.oldest).min()
}
