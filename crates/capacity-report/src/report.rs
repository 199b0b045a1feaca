//! The report: one document for table, JSON, CSV, Markdown, HTML and the channel.

use std::collections::{BTreeMap, BTreeSet};

use capacity_backtest::Contender;
use capacity_engine::pricing::in_dollars;
use capacity_engine::{ActionPrice, PricePerMillion};
use human_text::{counted, grouped};
use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::Serialize;

use crate::alternatives::{COMPARED, Replayed, replayed};
use crate::gather::{Gathered, Namespace};
use crate::hours::HourFigures;
use crate::shadow::Shadow;

/// Version of the document. It increases when a field changes its meaning or is removed.
pub const REPORT_SCHEMA: u32 = 1;

/// Cost of one action: the price of the account's next action, including the support plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitPrice {
    shown: String,
    per_action: Decimal,
    per_million: PricePerMillion,
}

impl UnitPrice {
    /// Returns the price of the next action.
    pub fn of(price: &ActionPrice) -> Self {
        Self {
            shown: price.to_string(),
            per_action: price.of(1),
            // `dollars` is that of a valid price, so the fallback is never used.
            per_million: PricePerMillion::try_new(price.dollars()).unwrap_or(PricePerMillion::FIRST_TIER),
        }
    }

    /// Returns the exact cost of this number of actions.
    pub fn cost(&self, actions: u64) -> Decimal {
        (Decimal::from(actions) * self.per_action).normalize()
    }

    /// Returns the cost of these actions on the bill, where a support plan is a separate charge.
    pub(crate) fn on_the_bill(&self, actions: u64) -> Decimal {
        self.per_million.of(actions).normalize()
    }

    /// Returns the cost of one action in dollars.
    pub fn per_action(&self) -> Decimal {
        self.per_action
    }
}

impl std::fmt::Display for UnitPrice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown)
    }
}

/// Formats what was paid for unused capacity: `$12.00 paid for unused capacity`. It is an upper bound if minutes
/// without metrics, which count as unused, are part of it.
pub fn paid(figures: &Figures) -> String {
    let is_certain = figures.idle_usd_uncertain.is_zero();
    let bound = if is_certain { "" } else { "up to " };
    format!("{bound}{} paid for unused capacity", in_dollars(figures.idle_usd))
}

/// A report. Amounts of money are exact and serialized as text.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Version of this document.
    pub schema: u32,
    /// Id of the Temporal Cloud account.
    pub account: String,
    /// Beginning of the range, a full hour.
    pub from: Timestamp,
    /// End of the range, a full hour.
    pub to: Timestamp,
    /// Number of hours in the range.
    pub hours: i64,
    /// The price that amounts are based on: `$50/M`.
    pub price: String,
    /// Totals over all namespaces.
    pub total: Figures,
    /// Figures of each namespace, highest cost of unused minimums first.
    pub namespaces: Vec<NamespaceReport>,
    /// Recorded capacity changes, oldest first.
    pub changes: Vec<Change>,
    /// Changes by author and outcome.
    pub changes_by: Vec<ByWhom>,
    /// Decisions by reason, the most frequent first.
    pub reasons: Vec<Reason>,
    /// Decisions of shadow policies, compared with the active policy.
    pub shadow: Vec<Shadow>,
    /// Number of evaluations.
    pub evaluations: u64,
    /// Minutes of the range for which the ledger has no metrics of any namespace.
    pub minutes_without_metrics: i64,
    /// Notes about the figures.
    pub notes: Vec<String>,
    #[serde(skip)]
    pub(crate) gathered: Shared,
}

/// The data that figures are traced to.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) gathered: std::sync::Arc<Gathered>,
    pub(crate) price: UnitPrice,
}

/// A namespace and its figures.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct NamespaceReport {
    /// Full id of the namespace.
    pub namespace: String,
    /// Figures of the namespace.
    #[serde(flatten)]
    pub figures: Figures,
}

/// The figures of a namespace, or of all namespaces.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Figures {
    /// Hours that count: from the first to the last with any data about the namespace.
    pub hours: i64,
    /// Hours with provisioned capacity.
    pub hours_provisioned: i64,
    /// Hours with unknown capacity, which count as on-demand.
    pub hours_capacity_unknown: i64,
    /// Actions used in known minutes.
    pub used_actions: u64,
    /// Actions billed in addition to those used: the hourly minimums minus the used actions.
    pub idle_actions: u64,
    /// Cost of these actions: paid for unused capacity.
    pub idle_usd: Decimal,
    /// The part of that cost in hours with missing minutes, which count as unused. The bill may be lower by
    /// up to this amount.
    pub idle_usd_uncertain: Decimal,
    /// Attempts that were throttled.
    pub throttled_actions: u64,
    /// Minutes in which actions, requests or operations were throttled.
    pub throttled_minutes: i64,
    /// Changes that took effect.
    pub changes: u64,
    /// Changes that failed, were refused, or whose outcome is unknown.
    pub changes_failed: u64,
    /// Minutes with metrics.
    pub known_minutes: i64,
    /// Minutes without metrics.
    pub missing_minutes: i64,
    /// Known minutes whose demand was rebuilt for the alternatives.
    pub rebuilt_minutes: i64,
    /// Cost and throttling that other policies would have caused.
    pub alternatives: Vec<Alternative>,
}

/// The cost and throttling that another policy would have caused over the same minutes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Alternative {
    /// `on-demand`, `static-peak`, `threshold` or `break-even`.
    pub policy: &'static str,
    /// Actions billed in addition to those used.
    pub idle_actions: u64,
    /// Cost of these actions.
    pub idle_usd: Decimal,
    /// Amount saved compared with this policy; negative if more was actually paid.
    pub saved_usd: Decimal,
    /// Attempts that would have been throttled.
    pub throttled_actions: u64,
    /// Minutes with throttling.
    pub throttled_minutes: i64,
    /// Actions that would have had to wait.
    pub delayed_actions: u64,
    /// Capacity changes.
    pub changes: u64,
}

/// A capacity change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Time when the change was recorded.
    pub at: Timestamp,
    /// Full id of the namespace.
    pub namespace: String,
    /// TRUs before; 0 means on-demand.
    pub from_trus: i64,
    /// Requested TRUs; 0 means on-demand.
    pub to_trus: i64,
    /// Outcome of the change.
    pub outcome: String,
    /// Worker or person that carried out the change.
    pub by: String,
    /// Id of the row in `capacity_changes`.
    pub operation_id: String,
    /// The evaluation that decided it.
    pub plan_id: String,
}

/// Changes by one author with one outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ByWhom {
    /// Worker or person that carried out the changes.
    pub by: String,
    /// Outcome of the changes.
    pub outcome: String,
    /// Number of changes.
    pub changes: u64,
}

/// Decisions with one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Reason {
    /// `Enable`, `Resize`, `Disable`, `Keep`, `Hold` or `Skip`.
    pub action: String,
    /// Stable code of the reason.
    pub reason_code: String,
    /// Number of decisions.
    pub decisions: u64,
    /// Number of namespaces with these decisions.
    pub namespaces: u64,
}

/// The replays of one namespace, in the order of [`COMPARED`].
type Replays = [Option<Replayed>; COMPARED.len()];

impl Report {
    /// Computes the figures, and replays the alternatives on all cores. `progress` is called with the number
    /// of finished replays.
    pub fn of(gathered: Gathered, price: &ActionPrice, progress: impl Fn(usize, usize) + Sync) -> Self {
        let price = UnitPrice::of(price);
        let replays = replay_all(&gathered, price.per_million, &progress);
        let mut namespaces: Vec<NamespaceReport> = gathered
            .namespaces
            .iter()
            .zip(&replays)
            .map(|((name, namespace), replays)| NamespaceReport {
                namespace: name.clone(),
                figures: figures(&gathered, name, namespace, replays, &price),
            })
            .collect();
        let mut total = Figures::default();
        for namespace in &namespaces {
            total.add(&namespace.figures);
        }
        // Highest amount first; equal ones are ordered by name.
        namespaces.sort_by_key(|it| std::cmp::Reverse(it.figures.idle_usd));
        let changes: Vec<Change> = gathered.changes.iter().map(Change::of).collect();
        Self {
            schema: REPORT_SCHEMA,
            account: gathered.account.clone(),
            from: gathered.span.from(),
            to: gathered.span.to(),
            hours: gathered.span.hours(),
            price: price.to_string(),
            notes: notes(&gathered, &total),
            total,
            namespaces,
            changes_by: by_whom(&changes),
            changes,
            reasons: reasons(&gathered),
            shadow: gathered.shadows.clone(),
            evaluations: gathered
                .evaluations
                .values()
                .map(|plans| plans.len() as u64)
                .sum(),
            minutes_without_metrics: gathered.without_metrics.minutes(),
            gathered: Shared {
                gathered: std::sync::Arc::new(gathered),
                price,
            },
        }
    }

    /// Returns the price of an action.
    pub fn unit_price(&self) -> &UnitPrice {
        &self.gathered.price
    }

    /// Returns whether the report covers a namespace: it was requested, and belongs to the account.
    pub fn covers(&self, namespace: &str) -> bool {
        let gathered = &self.gathered.gathered;
        let is_of_account = namespace
            .split_once('.')
            .is_some_and(|(_, account)| account == gathered.account);
        is_of_account && gathered.is_wanted(namespace)
    }

    /// Returns the billed hours of a namespace.
    pub fn billed_hours(&self, namespace: &str) -> &[HourFigures] {
        let namespaces = &self.gathered.gathered.namespaces;
        namespaces.get(namespace).map_or(&[], |it| &it.hours)
    }
}

fn replay_all(
    gathered: &Gathered,
    price: PricePerMillion,
    progress: &(impl Fn(usize, usize) + Sync),
) -> Vec<Replays> {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    let namespaces: Vec<&Namespace> = gathered.namespaces.values().collect();
    let of = namespaces.len() * COMPARED.len();
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let replays = Mutex::new(vec![[None; COMPARED.len()]; namespaces.len()]);
    let threads = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(of.max(1));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    // Relaxed, because it only has to be unique: the lock below publishes the results.
                    let job = next.fetch_add(1, Ordering::Relaxed);
                    let (index, policy) = (job / COMPARED.len(), job % COMPARED.len());
                    let Some(namespace) = namespaces.get(index) else {
                        return;
                    };
                    let replay = replayed(namespace, COMPARED[policy], price);
                    // Poisoned only if another replay panicked, which ends the scope with that panic.
                    if let Ok(mut replays) = replays.lock() {
                        replays[index][policy] = replay;
                    }
                    progress(done.fetch_add(1, Ordering::Relaxed) + 1, of);
                }
            });
        }
    });
    replays.into_inner().unwrap_or_default()
}

fn figures(
    gathered: &Gathered,
    name: &str,
    namespace: &Namespace,
    replays: &Replays,
    price: &UnitPrice,
) -> Figures {
    let hours = &namespace.hours;
    let count =
        |is: fn(&HourFigures) -> bool| i64::try_from(hours.iter().filter(|it| is(it)).count()).unwrap_or(0);
    let sum = |of: fn(&HourFigures) -> u64| hours.iter().map(of).sum::<u64>();
    let idle_actions = sum(HourFigures::idle_actions);
    let idle_usd = price.cost(idle_actions);
    // Usage in unknown minutes would lower the shortfall.
    let uncertain = hours
        .iter()
        .filter(|hour| !hour.is_complete())
        .map(HourFigures::idle_actions)
        .sum();
    let of_namespace = gathered.changes.iter().filter(|change| change.namespace == name);
    let (changed, failed) = of_namespace.fold((0, 0), |(changed, failed), change| {
        match change.outcome.as_str() {
            "changed" => (changed + 1, failed),
            // Neither changed anything nor failed. An open change is counted when it has ended.
            "already" | "in_progress" | "not_started" | "replaced" | "superseded" => (changed, failed),
            _ => (changed, failed + 1),
        }
    });
    let alternative = |(contender, replay): (&Contender, &Option<Replayed>)| {
        let replay = (*replay)?;
        let cost = price.cost(replay.idle_actions);
        Some(Alternative {
            policy: contender.name(),
            idle_actions: replay.idle_actions,
            idle_usd: cost,
            saved_usd: cost - idle_usd,
            throttled_actions: replay.throttled_actions,
            throttled_minutes: replay.throttled_minutes,
            delayed_actions: replay.delayed_actions,
            changes: replay.changes,
        })
    };
    let throttled: u128 = namespace.counted.values().map(|hour| hour.throttled_micro).sum();
    let rebuilt = namespace.rebuilt.as_ref().map_or(0, |it| it.rebuilt_minutes);
    let hours_provisioned = count(|hour| hour.highest_trus.is_some_and(|trus| trus > 0));
    let replays = &fixed_where_needed(*replays, hours_provisioned > 0);
    Figures {
        hours: i64::try_from(hours.len()).unwrap_or(0),
        hours_provisioned,
        hours_capacity_unknown: count(|hour| hour.highest_trus.is_none()),
        used_actions: sum(|hour| hour.used_actions),
        idle_actions,
        idle_usd,
        idle_usd_uncertain: price.cost(uncertain),
        throttled_actions: u64::try_from(throttled / 1_000_000).unwrap_or(u64::MAX),
        throttled_minutes: namespace
            .counted
            .values()
            .map(|hour| hour.throttled_minutes)
            .sum(),
        changes: changed,
        changes_failed: failed,
        known_minutes: hours.iter().map(|hour| hour.known_minutes).sum(),
        missing_minutes: hours.iter().map(|hour| (60 - hour.known_minutes).max(0)).sum(),
        rebuilt_minutes: i64::try_from(rebuilt).unwrap_or(0),
        alternatives: COMPARED.iter().zip(replays).filter_map(alternative).collect(),
    }
}

/// Uses on-demand as the fixed size of a namespace that was never provisioned and would never have been throttled on-demand.
fn fixed_where_needed(mut replays: Replays, is_provisioned: bool) -> Replays {
    let at = |contender: Contender| COMPARED.iter().position(|it| *it == contender);
    if let (Some(on_demand), Some(fixed)) = (at(Contender::OnDemand), at(Contender::StaticPeak))
        && !is_provisioned
        && replays[on_demand].is_some_and(|it| it.throttled_minutes == 0)
    {
        replays[fixed] = replays[on_demand];
    }
    replays
}

impl Figures {
    fn add(&mut self, other: &Self) {
        self.hours += other.hours;
        self.hours_provisioned += other.hours_provisioned;
        self.hours_capacity_unknown += other.hours_capacity_unknown;
        self.used_actions += other.used_actions;
        self.idle_actions += other.idle_actions;
        self.idle_usd += other.idle_usd;
        self.idle_usd_uncertain += other.idle_usd_uncertain;
        self.throttled_actions += other.throttled_actions;
        self.throttled_minutes += other.throttled_minutes;
        self.changes += other.changes;
        self.changes_failed += other.changes_failed;
        self.known_minutes += other.known_minutes;
        self.missing_minutes += other.missing_minutes;
        self.rebuilt_minutes += other.rebuilt_minutes;
        for alternative in &other.alternatives {
            match self
                .alternatives
                .iter_mut()
                .find(|it| it.policy == alternative.policy)
            {
                Some(sum) => sum.add(alternative),
                None => self.alternatives.push(alternative.clone()),
            }
        }
    }

    /// Returns the figures of another policy.
    pub fn alternative(&self, policy: &str) -> Option<&Alternative> {
        self.alternatives.iter().find(|it| it.policy == policy)
    }
}

impl Alternative {
    fn add(&mut self, other: &Self) {
        self.idle_actions += other.idle_actions;
        self.idle_usd += other.idle_usd;
        self.saved_usd += other.saved_usd;
        self.throttled_actions += other.throttled_actions;
        self.throttled_minutes += other.throttled_minutes;
        self.delayed_actions += other.delayed_actions;
        self.changes += other.changes;
    }
}

impl Change {
    fn of(record: &capacity_ledger::ChangeRecord) -> Self {
        Self {
            at: Timestamp::from_millisecond(record.ended_at_ms).unwrap_or_default(),
            namespace: record.namespace.clone(),
            from_trus: record.from_trus,
            to_trus: record.to_trus,
            outcome: record.outcome.clone(),
            by: record.by.clone(),
            operation_id: record.operation_id.clone(),
            plan_id: record.plan_id.clone(),
        }
    }
}

fn by_whom(changes: &[Change]) -> Vec<ByWhom> {
    let mut counts: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for change in changes {
        *counts.entry((&change.by, &change.outcome)).or_default() += 1;
    }
    let by_whom = |((by, outcome), changes): ((&str, &str), u64)| ByWhom {
        by: by.to_owned(),
        outcome: outcome.to_owned(),
        changes,
    };
    counts.into_iter().map(by_whom).collect()
}

fn reasons(gathered: &Gathered) -> Vec<Reason> {
    let mut counts: BTreeMap<(&str, &str), (u64, BTreeSet<&str>)> = BTreeMap::new();
    for (name, namespace) in &gathered.namespaces {
        for ((action, code), decisions) in &namespace.reasons {
            let (sum, names) = counts.entry((action, code)).or_default();
            *sum += decisions;
            names.insert(name);
        }
    }
    let mut reasons: Vec<Reason> = counts
        .into_iter()
        .map(|((action, code), (decisions, names))| Reason {
            action: action.to_owned(),
            reason_code: code.to_owned(),
            decisions,
            namespaces: names.len() as u64,
        })
        .collect();
    reasons.sort_by_key(|it| std::cmp::Reverse(it.decisions));
    reasons
}

fn notes(gathered: &Gathered, total: &Figures) -> Vec<String> {
    let mut notes = Vec::new();
    let whole: i64 = total.hours * 60;
    if total.missing_minutes > 0 {
        notes.push(format!(
            "{} of {} namespace minutes have no metrics; these minutes count as unused{}",
            grouped(total.missing_minutes),
            grouped(whole),
            if total.idle_usd_uncertain.is_zero() {
                String::new()
            } else {
                format!(
                    ", so the bill may be up to {} lower",
                    in_dollars(total.idle_usd_uncertain)
                )
            }
        ));
    }
    if total.hours_capacity_unknown > 0 {
        notes.push(format!(
            "no limits, decisions or changes in the ledger show the capacity of {}, counted as on-demand",
            counted(total.hours_capacity_unknown, "hour")
        ));
    }
    let folded: usize = gathered
        .namespaces
        .values()
        .map(|it| it.hours.iter().filter(|hour| hour.is_folded).count())
        .sum();
    if folded > 0 {
        notes.push(format!(
            "the minutes of {} have already been aggregated and deleted, so the other policies are \
             replayed without them. Increase LEDGER_KEEP_MINUTES to keep minutes longer",
            counted(folded, "hour")
        ));
    }
    let warm = gathered
        .namespaces
        .values()
        .map(|it| it.warm_up_days)
        .min()
        .unwrap_or(0);
    if warm < 7 {
        notes.push(format!(
            "the on-demand envelope of the other policies depends on the 7 days before the range, but the ledger has only {warm} of them; the first days of those policies are estimates"
        ));
    }
    if gathered.span.hours() < 24 {
        notes.push("the range covers less than a day, so it is not representative of other days".to_owned());
    }
    notes
}
