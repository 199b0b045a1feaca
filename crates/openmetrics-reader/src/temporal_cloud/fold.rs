//! Folds documents: keeps the newest point of each series, and sums the points.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::minute::{AccountMinute, NamespaceMinute, Rate, Unreadable};
use super::series::Series;
use super::{Family, Limit, Part};
use crate::{Error, Event, Options, Reader, Sample};

/// The year 9999. A later time is invalid.
const LATEST_MS: i64 = 253_402_207_200_000;

/// The newest point of a series.
#[derive(Debug, Clone, Copy)]
struct Newest {
    timestamp_ms: i64,
    rate: Rate,
}

impl Newest {
    /// Keeps the newer point, or the larger one if both are equally new.
    fn follow(&mut self, other: Self) {
        if (other.timestamp_ms, other.rate) > (self.timestamp_ms, self.rate) {
            *self = other;
        }
    }
}

/// What was read about one namespace.
#[derive(Debug, Clone, Default)]
struct Cell {
    limits: [Option<Newest>; 3],
    on_demand_limits: [Option<Newest>; 3],
    unreadable: BTreeMap<Family, BTreeSet<Unreadable>>,
    has_standby: bool,
    is_seen: bool,
}

impl Cell {
    fn merge(&mut self, other: Self) {
        let newest = self.limits.iter_mut().chain(&mut self.on_demand_limits);
        for (newest, more) in newest.zip(other.limits.into_iter().chain(other.on_demand_limits)) {
            if let Some(more) = more {
                newest.get_or_insert(more).follow(more);
            }
        }
        for (family, why) in other.unreadable {
            self.unreadable.entry(family).or_default().extend(why);
        }
        self.has_standby |= other.has_standby;
        self.is_seen |= other.is_seen;
    }
}

/// A series: number of the namespace, family, whether on standby, and its labels.
type Key = (usize, Family, bool, u64);

/// Namespaces and their numbers.
#[derive(Debug, Clone, Default)]
struct Names {
    numbers: HashMap<Arc<str>, usize>,
    names: Vec<Arc<str>>,
}

impl Names {
    fn add(&mut self, name: Arc<str>) -> usize {
        *self.numbers.entry(name).or_insert_with_key(|name| {
            self.names.push(Arc::clone(name));
            self.names.len() - 1
        })
    }
}

/// Folds documents into the newest minute of each namespace. Documents of one minute may come in any order.
///
/// ```
/// use openmetrics_reader::temporal_cloud::UsageFold;
///
/// let document = br#"temporal_cloud_v1_total_action_count{temporal_namespace="pay.a1b2c",is_background="false"} 5 1790000040
/// temporal_cloud_v1_total_action_count{temporal_namespace="pay.a1b2c",is_background="true"} 90 1790000040
/// "#;
/// let mut fold = UsageFold::default();
/// fold.read(document)?;
/// let minute = fold.finish();
/// assert_eq!(minute.namespaces["pay.a1b2c"].actions.served.per_second(), Some(5.0));
/// # Ok::<(), openmetrics_reader::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct UsageFold {
    names: Arc<Names>,
    /// Whether namespaces other than the given ones are left out.
    is_closed: bool,
    cells: Vec<Cell>,
    rates: HashMap<Key, Newest>,
    declared: [bool; 3],
    unlisted: BTreeSet<String>,
    unlabeled: usize,
    overwritten: usize,
}

impl UsageFold {
    /// Creates a fold of these namespaces only, by full id. Others are reported as unlisted.
    pub fn of(namespaces: impl IntoIterator<Item = impl Into<Arc<str>>>) -> Self {
        let mut names = Names::default();
        for name in namespaces {
            names.add(name.into());
        }
        Self {
            names: Arc::new(names),
            is_closed: true,
            ..Self::default()
        }
    }

    /// Creates a fold of another minute, with the same namespaces and declared families, without samples.
    #[must_use]
    pub fn another(&self) -> Self {
        Self {
            names: Arc::clone(&self.names),
            is_closed: self.is_closed,
            declared: self.declared,
            ..Self::default()
        }
    }

    /// Records that a family was declared, with or without samples.
    pub fn declare(&mut self, family: &str) {
        if let Some(family) = Family::named(family) {
            self.note(family);
        }
    }

    fn note(&mut self, family: Family) {
        if family.part == Part::Served {
            self.declared[family.limit as usize] = true;
        }
    }

    /// Adds a document, parsed leniently.
    ///
    /// # Errors
    ///
    /// The first line that cannot be parsed. Samples before it have been added, so drop the fold.
    pub fn read(&mut self, document: &[u8]) -> Result<(), Error> {
        for event in Reader::new(document, Options::lenient()) {
            match event? {
                Event::Type { family, .. } => self.declare(&family.unescaped()),
                Event::Sample(sample) => self.add(&sample),
                Event::Help { .. } | Event::Unit { .. } | Event::Comment(_) | Event::End => {}
            }
        }
        Ok(())
    }

    /// Adds one sample. Samples of other families are ignored.
    pub fn add(&mut self, sample: &Sample<'_>) {
        if let Some(family) = Family::named(&sample.name().unescaped()) {
            let series = Series::of_sample(sample);
            self.add_point(family, &series, sample.value(), sample.timestamp_ms());
        }
    }

    /// Adds one point of a series. Background work and standby replicas do not count as usage.
    pub fn add_point(&mut self, family: Family, series: &Series<'_>, value: f64, timestamp_ms: Option<i64>) {
        self.note(family);
        let Some(number) = self.number_of(series) else {
            return;
        };
        if self.cells.len() <= number {
            self.cells.resize_with(self.names.names.len(), Cell::default);
        }
        let cell = &mut self.cells[number];
        // Before background work is left out: a namespace that only has background work is idle, not missing.
        cell.is_seen = true;
        if family.part.is_rate() && series.is_background() {
            return;
        }
        let is_standby = family.part.is_rate() && series.is_standby();
        cell.has_standby |= is_standby;
        let time = timestamp_ms.filter(|time| (0..=LATEST_MS).contains(time));
        let newest = match (Rate::from_per_second(value), time) {
            (Some(rate), Some(timestamp_ms)) => Newest { timestamp_ms, rate },
            // An unreadable limit of one region may be known from another region, and standby replicas are
            // not checked.
            _ if is_standby || !family.part.is_rate() => return,
            (rate, _) => {
                let why = match rate {
                    None => Unreadable::NotARate(value.to_string()),
                    Some(_) => Unreadable::WithoutTime,
                };
                cell.unreadable.entry(family).or_default().insert(why);
                return;
            }
        };
        let slot = match family.part {
            Part::Limit => cell.limits[family.limit as usize].get_or_insert(newest),
            Part::OnDemandLimit => cell.on_demand_limits[family.limit as usize].get_or_insert(newest),
            Part::Throttled if is_standby => return,
            Part::Served | Part::Throttled => {
                let key = (number, family, is_standby, series.identity());
                self.rates.entry(key).or_insert(newest)
            }
        };
        slot.follow(newest);
    }

    /// Merges another fold of the same namespaces, which must have been created by [`UsageFold::another`].
    pub fn merge(&mut self, other: Self) {
        if self.cells.len() < other.cells.len() {
            self.cells.resize_with(other.cells.len(), Cell::default);
        }
        for (cell, more) in self.cells.iter_mut().zip(other.cells) {
            cell.merge(more);
        }
        for (key, newest) in other.rates {
            self.rates.entry(key).or_insert(newest).follow(newest);
        }
        for (declared, more) in self.declared.iter_mut().zip(other.declared) {
            *declared |= more;
        }
        self.unlisted.extend(other.unlisted);
        self.unlabeled += other.unlabeled;
        self.overwritten += other.overwritten;
    }

    fn number_of(&mut self, series: &Series<'_>) -> Option<usize> {
        if series.is_overwritten() {
            self.overwritten += 1;
            return None;
        }
        let Some(id) = series.namespace_id() else {
            self.unlabeled += 1;
            return None;
        };
        if let Some(number) = self.names.numbers.get(&*id) {
            return Some(*number);
        }
        // Counting an unlisted namespace would hide that the list is out of date.
        if self.is_closed {
            self.unlisted.insert(series.namespace()?.to_owned());
            return None;
        }
        // Copies the names only if another fold shares them.
        Some(Arc::make_mut(&mut self.names).add(Arc::from(id)))
    }

    /// Returns the newest minute of each namespace.
    pub fn finish(self) -> AccountMinute {
        let mut minutes: Vec<NamespaceMinute> = self.cells.iter().map(start).collect();
        // In any order: whole millionths add up to the same sum.
        for ((number, family, is_standby, _), newest) in self.rates {
            let minute = &mut minutes[number];
            let usage = minute.of_mut(family.limit);
            if is_standby {
                usage.standby = usage.standby.saturating_add(newest.rate);
            } else if let Some(sum) = usage.rate_mut(family.part) {
                sum.readable = Some(sum.readable.unwrap_or_default().saturating_add(newest.rate));
                be_as_old_as(minute, newest);
            }
        }
        let names = self.names.names.iter().cloned();
        let seen = names.zip(minutes).zip(&self.cells);
        AccountMinute {
            namespaces: seen
                .filter(|(_, cell)| cell.is_seen)
                .map(|(named, _)| named)
                .collect(),
            unlabeled: self.unlabeled,
            overwritten: self.overwritten,
            unlisted: self.unlisted,
            declared: self.declared,
        }
    }
}

/// Returns a minute without rates.
fn start(cell: &Cell) -> NamespaceMinute {
    let mut minute = NamespaceMinute {
        has_standby: cell.has_standby,
        ..NamespaceMinute::default()
    };
    for limit in Limit::ALL {
        let (in_effect, on_demand) = (cell.limits[limit as usize], cell.on_demand_limits[limit as usize]);
        let usage = minute.of_mut(limit);
        usage.limit = in_effect.map(|newest| newest.rate);
        usage.on_demand_limit = on_demand.map(|newest| newest.rate);
        if let Some(newest) = in_effect {
            be_as_old_as(&mut minute, newest);
        }
    }
    for (family, why) in &cell.unreadable {
        if let Some(sum) = minute.of_mut(family.limit).rate_mut(family.part) {
            sum.unreadable.clone_from(why);
        }
    }
    minute
}

fn be_as_old_as(minute: &mut NamespaceMinute, newest: Newest) {
    let oldest = minute.timestamp_ms.unwrap_or(newest.timestamp_ms);
    minute.timestamp_ms = Some(oldest.min(newest.timestamp_ms));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::temporal_cloud::PREFIX;

    fn folded_into(mut fold: UsageFold, lines: &str) -> AccountMinute {
        let lines: Vec<String> = lines
            .trim()
            .lines()
            .map(|line| {
                let line = line.trim().replace("NS", "temporal_namespace");
                format!("{PREFIX}{line}\n")
            })
            .collect();
        fold.read(lines.concat().as_bytes()).expect("readable");
        fold.finish()
    }

    fn folded(lines: &str) -> AccountMinute {
        folded_into(UsageFold::default(), lines)
    }

    fn rate(per_second: f64) -> Option<Rate> {
        Rate::from_per_second(per_second)
    }

    #[test]
    fn foreground_series_of_the_active_replica_are_summed() {
        let account = folded(
            r#"
            service_request_count{NS="pay.a1b2c",operation="Poll"} 30 1790000040
            service_request_count{NS="pay.a1b2c",operation="Start"} 12 1790000040
            total_action_count{NS="pay.a1b2c",is_background="false",namespace_mode="active"} 5 1790000040
            total_action_count{NS="pay.a1b2c",is_background="true",namespace_mode="active"} 100 1790000040
            total_action_count{NS="pay.a1b2c",is_background="false",namespace_mode="standby"} 70 1790000040
            "#,
        );
        let minute = &account.namespaces["pay.a1b2c"];
        assert_eq!(minute.requests.served.rate(), rate(42.0));
        assert_eq!(minute.actions.served.rate(), rate(5.0));
        assert_eq!(Some(minute.actions.standby), rate(70.0));
        assert!(minute.actions.throttled.is_absent() && minute.has_standby);
        assert_eq!(minute.timestamp_ms, Some(1_790_000_040_000));
    }

    #[test]
    fn sums_are_exact() {
        let lines: Vec<String> = (0..10)
            .map(|number| {
                format!(r#"service_request_count{{NS="pay.a1b2c",operation="{number}"}} 0.1 1790000040"#)
            })
            .collect();
        let account = folded(&lines.join("\n"));
        let served = account.namespaces["pay.a1b2c"].requests.served.rate();
        assert_eq!(served.map(Rate::millionths), Some(1_000_000));
        assert!(
            (0..10).map(|_| 0.1_f64).sum::<f64>() < 1.0,
            "floats would be below"
        );
    }

    #[test]
    fn two_scrapers_of_one_endpoint_count_once() {
        let account = folded(
            r#"
            total_action_count{NS="pay",temporal_account="a1b2c",pod="one"} 5 1790000040
            total_action_count{NS="pay",temporal_account="a1b2c",pod="two"} 5 1790000040
            "#,
        );
        assert_eq!(account.namespaces["pay.a1b2c"].actions.served.rate(), rate(5.0));
    }

    #[test]
    fn a_limit_is_the_newest_and_of_equally_new_ones_the_largest() {
        let account = folded(
            r#"
            action_limit{NS="pay.a1b2c",region="a"} 500 1790000040
            action_limit{NS="pay.a1b2c",region="b"} 800 1790000040
            action_limit{NS="pay.a1b2c",region="c"} 9000 1789999980
            action_limit{NS="pay.a1b2c",region="d"} NaN 1790000040
            "#,
        );
        let minute = &account.namespaces["pay.a1b2c"];
        assert_eq!(minute.actions.limit, rate(800.0));
        assert!(!minute.has_rates(), "idle");
        assert_eq!(minute.timestamp_ms, Some(1_790_000_040_000));
    }

    #[test]
    fn unreadable_values_are_unknown_and_not_zero() {
        let account = folded(
            r#"
            total_action_count{NS="pay.a1b2c",region="a"} NaN 1790000040
            total_action_count{NS="pay.a1b2c",region="b"} 5 1790000040
            operations_count{NS="pay.a1b2c"} 5
            "#,
        );
        let minute = &account.namespaces["pay.a1b2c"];
        let actions = &minute.actions.served;
        assert_eq!((actions.rate(), actions.readable), (None, rate(5.0)));
        assert!(
            actions
                .unreadable
                .iter()
                .map(ToString::to_string)
                .eq(["a rate of NaN"])
        );
        let operations = &minute.operations.served;
        assert_eq!((operations.readable, operations.is_absent()), (None, false));
        assert!(operations.unreadable.contains(&Unreadable::WithoutTime));
        assert_eq!(minute.requests.served.per_second(), None);
    }

    #[test]
    fn only_the_requested_namespaces_are_folded() {
        let fold = UsageFold::of(["pay.a1b2c", "idle.a1b2c"]);
        let account = folded_into(
            fold,
            r#"
            action_limit{NS="pay",temporal_account="a1b2c"} 500 1790000040
            action_limit{NS="orders.a1b2c"} 500 1790000040
            action_limit{region="x"} 500 1790000040
            action_limit{NS="x",exported_temporal_namespace="pay.a1b2c"} 500 1790000040
            "#,
        );
        assert!(account.namespaces.keys().map(|name| &**name).eq(["pay.a1b2c"]));
        assert!(account.unlisted.iter().eq(["orders.a1b2c"]));
        assert_eq!((account.unlabeled, account.overwritten), (1, 1));
    }

    #[test]
    fn documents_can_be_folded_separately_and_merged() {
        let lines = r#"
            service_request_count{NS="pay.a1b2c",operation="Poll"} 30 1790000040
            service_request_count{NS="pay.a1b2c",operation="Start"} 12 1790000040
            service_request_count{NS="idle.a1b2c",operation="Start"} NaN 1790000040
            action_limit{NS="pay.a1b2c",region="a"} 500 1790000040
            action_limit{NS="pay.a1b2c",region="b"} 800 1790000040
            total_action_count{NS="idle.a1b2c",namespace_mode="standby"} 3 1790000040
            total_action_count{NS="orders.a1b2c"} 5 1790000040
            operations_count{region="a"} 5 1790000040
            "#;
        let fold = UsageFold::of(["pay.a1b2c", "idle.a1b2c"]);
        let whole = folded_into(fold.clone(), lines);
        let mut merged = fold;
        for line in lines.trim().lines() {
            let mut part = merged.another();
            let line = line.trim().replace("NS", "temporal_namespace");
            part.read(format!("{PREFIX}{line}\n").as_bytes())
                .expect("readable");
            merged.merge(part);
        }
        assert_eq!(merged.finish(), whole);
    }

    #[test]
    fn another_minute_has_the_same_namespaces_and_families_and_no_samples() {
        let mut fold = UsageFold::of(["pay.a1b2c"]);
        fold.declare("temporal_cloud_v1_operations_count");
        fold.read(b"temporal_cloud_v1_action_limit{temporal_namespace=\"pay.a1b2c\"} 5 1790000040\n")
            .expect("readable");
        let another = fold.another().finish();
        assert!(another.namespaces.is_empty() && another.is_served_declared(Limit::Operations));
        assert!(!another.is_served_declared(Limit::Actions));
    }
}
