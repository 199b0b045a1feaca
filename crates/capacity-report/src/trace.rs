//! Traces each figure to its source: tables, keys, minutes and the formula.

use std::collections::BTreeMap;

use human_text::{at_minute, counted, grouped};
use rust_decimal::Decimal;
use serde::Serialize;

use crate::capacity::Evidence;
use crate::gather::{Gathered, Namespace, Runs};
use crate::hours::HourFigures;
use crate::query::start_of_hour;
use crate::report::{Alternative, Figures, Report, UnitPrice};
use crate::shadow::Shadow;

const MINUTES: &str = "capacity_minutes";

/// One figure with its sources.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Figure {
    /// Full id of the namespace; empty for figures of the account.
    pub namespace: String,
    /// Name of the figure in the report, followed by a colon and the policy or reason if there is one.
    pub figure: String,
    /// Value of the figure.
    pub value: String,
    /// Formula that calculates the figure from the rows.
    pub formula: String,
    /// Rows that it is computed from.
    pub rows: Vec<Rows>,
}

/// Rows of one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
#[non_exhaustive]
pub struct Rows {
    /// Table of the ledger.
    pub table: &'static str,
    /// Keys of the rows, besides the minutes.
    pub keys: BTreeMap<&'static str, String>,
    /// Minutes, as ranges of first and last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub minutes: Vec<(jiff::Timestamp, jiff::Timestamp)>,
    /// The source of the hour's size, for billed hours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<String>,
    /// Contribution of the rows, as text with numbers.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub contribution: String,
    /// Contribution in dollars, if the figure is an amount.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usd: Option<Decimal>,
}

impl Report {
    /// Traces every figure to rows of the ledger.
    pub fn figures(&self) -> Vec<Figure> {
        let gathered = &*self.gathered.gathered;
        let mut figures = vec![without_metrics(gathered), evaluations(gathered)];
        figures.extend(self.shadow.iter().map(|it| shadow(gathered, it)));
        for report in &self.namespaces {
            if let Some(namespace) = gathered.namespaces.get(&report.namespace) {
                let of = Traced {
                    report: self,
                    gathered,
                    price: &self.gathered.price,
                    name: &report.namespace,
                    namespace,
                    its: &report.figures,
                };
                figures.extend(of.counted());
                figures.extend(of.alternatives());
                figures.extend(of.reasons());
            }
        }
        figures
    }
}

/// A namespace whose figures are traced.
struct Traced<'a> {
    report: &'a Report,
    gathered: &'a Gathered,
    price: &'a UnitPrice,
    name: &'a str,
    namespace: &'a Namespace,
    its: &'a Figures,
}

impl Traced<'_> {
    fn figure(
        &self,
        figure: impl Into<String>,
        value: &impl ToString,
        formula: String,
        rows: Vec<Rows>,
    ) -> Figure {
        Figure {
            namespace: self.name.to_owned(),
            figure: figure.into(),
            value: value.to_string(),
            formula,
            rows,
        }
    }

    fn minutes(&self, runs: &Runs) -> Vec<Rows> {
        vec![of_namespace(self.gathered, self.name, runs)]
    }

    fn counted(&self) -> Vec<Figure> {
        let its = self.its;
        let idle = self.namespace.hours.iter().filter(|hour| hour.idle_actions() > 0);
        let used = "per hour, the sum over known minutes of actions served per second x 60, whole actions";
        let throttled = "minutes in which actions, requests or operations were throttled; throttled_actions is the sum of actions throttled \
                         per second x 60";
        let missing =
            "minutes in the hours of the namespace for which the ledger has no row, or a row without actions";
        let changes = "rows with the outcome `changed`; changes_failed counts those that failed, were refused or are unknown";
        vec![
            self.figure(
                "used_actions",
                &its.used_actions,
                used.to_owned(),
                self.minutes(&known(self.namespace)),
            ),
            self.figure(
                "idle_usd",
                &its.idle_usd,
                format!(
                    "sum over hours of max(0, 360,000 x (highest TRUs - 1) - used actions) x {} per action ({})",
                    self.price.per_action(),
                    self.price
                ),
                idle.map(|hour| billed(self.gathered, self.name, hour, self.price)).collect(),
            ),
            self.figure(
                "throttled_minutes",
                &its.throttled_minutes,
                throttled.to_owned(),
                self.minutes(&self.namespace.throttled),
            ),
            self.figure(
                "missing_minutes",
                &its.missing_minutes,
                missing.to_owned(),
                self.minutes(&self.namespace.missing),
            ),
            self.figure(
                "changes",
                &its.changes,
                changes.to_owned(),
                self::changes(self.report, self.name),
            ),
        ]
    }

    fn alternatives(&self) -> Vec<Figure> {
        let of = |it: &Alternative| {
            let formula = format!(
                "capacity-backtest replays `{}` on the demand rebuilt from served and throttled actions ({} of {} minutes rebuilt), after {} \
                 days to establish the envelope: {} idle actions x {} per action",
                it.policy,
                grouped(self.its.rebuilt_minutes),
                grouped(self.its.known_minutes),
                self.namespace.warm_up_days,
                grouped(it.idle_actions),
                self.price.per_action()
            );
            let rows = vec![with_warm_up(self.gathered, self.name, self.namespace)];
            self.figure(format!("alternatives:{}", it.policy), &it.idle_usd, formula, rows)
        };
        self.its.alternatives.iter().map(of).collect()
    }

    fn reasons(&self) -> Vec<Figure> {
        let of = |((action, code), decisions): (&(String, String), &u64)| {
            let mut keys = keys(self.gathered, self.name);
            keys.extend([("action", action.clone()), ("reason_code", code.clone())]);
            let rows = Rows {
                table: "capacity_decisions",
                keys,
                minutes: vec![(self.gathered.span.from(), self.gathered.span.to())],
                ..Rows::default()
            };
            let formula = "decisions whose evaluation in capacity_evaluations was made in the range; those that are not changes are packed in \
                 capacity_decision_blocks"
                .to_owned();
            self.figure(format!("reasons:{action}:{code}"), decisions, formula, vec![rows])
        };
        self.namespace.reasons.iter().map(of).collect()
    }
}

fn keys(gathered: &Gathered, namespace: &str) -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("account", gathered.account.clone()),
        ("namespace", namespace.to_owned()),
    ])
}

fn times(runs: &Runs) -> Vec<(jiff::Timestamp, jiff::Timestamp)> {
    let time = |minute: i64| jiff::Timestamp::from_second(minute * 60).unwrap_or_default();
    runs.0
        .iter()
        .map(|(first, last)| (time(*first), time(*last)))
        .collect()
}

fn of_namespace(gathered: &Gathered, namespace: &str, runs: &Runs) -> Rows {
    Rows {
        table: MINUTES,
        keys: keys(gathered, namespace),
        minutes: times(runs),
        contribution: counted(runs.minutes(), "minute"),
        ..Rows::default()
    }
}

/// Returns all known minutes in the namespace's hours.
fn known(namespace: &Namespace) -> Runs {
    let (Some(first), Some(last)) = (namespace.hours.first(), namespace.hours.last()) else {
        return Runs::default();
    };
    let mut runs = Runs::default();
    let mut next = first.hour * 60;
    for (from, to) in &namespace.missing.0 {
        runs.add_all(next, from - 1);
        next = to + 1;
    }
    runs.add_all(next, last.hour * 60 + 59);
    runs
}

fn with_warm_up(gathered: &Gathered, name: &str, namespace: &Namespace) -> Rows {
    let mut runs = Runs::default();
    if let Some(rebuilt) = &namespace.rebuilt {
        let first = rebuilt.trace.first_minute();
        let minutes = i64::try_from(rebuilt.trace.len()).unwrap_or(0);
        runs.add_all(first, first + minutes - 1);
    }
    of_namespace(gathered, name, &runs)
}

fn billed(gathered: &Gathered, namespace: &str, hour: &HourFigures, price: &UnitPrice) -> Rows {
    let idle = hour.idle_actions();
    let mut keys = keys(gathered, namespace);
    let (table, minutes) = if hour.is_folded {
        keys.insert("hour", hour.hour.to_string());
        ("capacity_hours", Vec::new())
    } else {
        let first = hour.hour * 60;
        (MINUTES, times(&Runs(vec![(first, first + 59)])))
    };
    Rows {
        table,
        keys,
        minutes,
        capacity: hour.evidence.as_ref().map(|it| evidence(it, hour.highest_trus)),
        contribution: format!(
            "{}: minimum {} - used {} in {} known minutes = {} actions",
            at_minute(start_of_hour(hour.hour)),
            grouped(hour.minimum_actions()),
            grouped(hour.used_actions),
            hour.known_minutes,
            grouped(idle)
        ),
        usd: Some(price.cost(idle)),
    }
}

fn evidence(evidence: &Evidence, trus: Option<u32>) -> String {
    let trus = trus.unwrap_or(0);
    match evidence {
        Evidence::Limit { minute } => {
            let time = jiff::Timestamp::from_second(minute * 60).unwrap_or_default();
            format!("{trus} TRUs: the limit in {MINUTES} at {}", at_minute(time))
        }
        Evidence::Decision { plan_id } => {
            format!("{trus} TRUs: current_trus in capacity_decisions, plan_id {plan_id}")
        }
        Evidence::Change { operation_id } => {
            format!("{trus} TRUs: to_trus in capacity_changes, operation_id {operation_id}")
        }
    }
}

fn changes(report: &Report, namespace: &str) -> Vec<Rows> {
    let its = report
        .changes
        .iter()
        .filter(|change| change.namespace == namespace);
    its.map(|change| Rows {
        table: "capacity_changes",
        keys: BTreeMap::from([("operation_id", change.operation_id.clone())]),
        contribution: format!(
            "{}: {} to {} TRUs, {}, by {}",
            at_minute(change.at),
            change.from_trus,
            change.to_trus,
            change.outcome,
            change.by
        ),
        ..Rows::default()
    })
    .collect()
}

fn without_metrics(gathered: &Gathered) -> Figure {
    Figure {
        namespace: String::new(),
        figure: "minutes_without_metrics".to_owned(),
        value: gathered.without_metrics.minutes().to_string(),
        formula: "minutes of the range for which the account has no row".to_owned(),
        rows: vec![Rows {
            table: MINUTES,
            keys: BTreeMap::from([("account", gathered.account.clone())]),
            minutes: times(&gathered.without_metrics),
            ..Rows::default()
        }],
    }
}

fn shadow(gathered: &Gathered, shadow: &Shadow) -> Figure {
    Figure {
        namespace: String::new(),
        figure: format!("shadow:{}", shadow.policy),
        value: shadow.decisions.to_string(),
        formula: "rows of the policy in shadow, each joined with the row of capacity_decisions with the \
                  same plan_id and namespace; the size is wanted_trus for a change and current_trus for every other action"
            .to_owned(),
        rows: vec![Rows {
            table: "capacity_policy_decisions",
            keys: BTreeMap::from([
                ("account", gathered.account.clone()),
                ("policy", shadow.policy.clone()),
                // Booleans are integers in both databases.
                ("shadow", "1".to_owned()),
            ]),
            minutes: vec![(gathered.span.from(), gathered.span.to())],
            contribution: format!(
                "{} agreed, {} larger, {} smaller",
                shadow.agreed, shadow.larger, shadow.smaller
            ),
            ..Rows::default()
        }],
    }
}

fn evaluations(gathered: &Gathered) -> Figure {
    let by = gathered.evaluations.iter().map(|(by, plans)| Rows {
        table: "capacity_evaluations",
        keys: BTreeMap::from([("account", gathered.account.clone()), ("made_by", by.clone())]),
        minutes: vec![(gathered.span.from(), gathered.span.to())],
        contribution: format!("{} evaluations", plans.len()),
        ..Rows::default()
    });
    Figure {
        namespace: String::new(),
        figure: "evaluations".to_owned(),
        value: gathered
            .evaluations
            .values()
            .map(std::collections::BTreeSet::len)
            .sum::<usize>()
            .to_string(),
        formula: "rows with evaluated_at_ms in the range and a decision on a namespace of the report"
            .to_owned(),
        rows: by.collect(),
    }
}
