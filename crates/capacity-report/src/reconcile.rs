//! Compares the ledger's hours with the billing report, per namespace and hour.

use std::collections::BTreeMap;

use capacity_engine::Capacity;
use capacity_engine::pricing::minimum_actions_per_hour;
use cloud_ops_client::Charge;
use jiff::{SignedDuration, Timestamp};
use rust_decimal::Decimal;
use serde::Serialize;

use crate::error::ReportError;
use crate::hours::HourFigures;
use crate::query::start_of_hour;
use crate::report::{Report, UnitPrice};

/// Half a cent. Smaller differences count as equal.
const HALF_A_CENT: Decimal = Decimal::from_parts(5, 0, 0, false, 3);

/// Minimum time between the end of an hour and a billing report that contains it.
const NOT_BILLED_YET: SignedDuration = SignedDuration::from_hours(24);

/// Actions by which an hour's sum can be off, because rates have three decimals.
// 0.0005 a second x 3,600 seconds is 1.8.
const ROUNDING_ACTIONS: Decimal = Decimal::TWO;

/// The billed actions of one namespace in one hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct BilledHour {
    /// Billed actions.
    pub actions: Decimal,
    /// Cost of the actions in US dollars.
    pub cost_usd: Decimal,
}

/// The billed actions of an account, by namespace and hour since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bill {
    hours: BTreeMap<(String, i64), BilledHour>,
    not_hourly: bool,
}

impl Bill {
    /// Adds a row. Only actions count, because capacity is billed as actions.
    pub fn add(&mut self, charge: &Charge) {
        let Some(actions) = charge.actions else {
            return;
        };
        let start = charge.start.as_second();
        self.not_hourly |= charge.end.as_second() - start != 3_600;
        let key = (charge.namespace.clone(), start.div_euclid(3_600));
        let hour = self.hours.entry(key).or_default();
        hour.actions += actions;
        hour.cost_usd += charge.cost_usd;
    }

    /// Returns the billed hour of a namespace that begins at a time.
    pub fn hour(&self, namespace: &str, start: Timestamp) -> Option<BilledHour> {
        let key = (namespace.to_owned(), start.as_second().div_euclid(3_600));
        self.hours.get(&key).copied()
    }
}

/// The comparison of the bill with the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reconciliation {
    /// Id of the billing report.
    pub billing_report_id: String,
    /// End of the billed hours in the range.
    pub billed_until: Timestamp,
    /// Hours of the range that are not billed yet, or are not in the billing report.
    pub hours_not_billed: i64,
    /// Actions according to the ledger: used actions or the hourly minimum, whichever is higher.
    pub ledger_actions: u64,
    /// Actions according to the bill.
    pub billed_actions: Decimal,
    /// Cost of the ledger's actions, without a support plan, which the bill lists separately.
    pub ledger_usd: Decimal,
    /// Cost according to the bill.
    pub billed_usd: Decimal,
    /// Bill minus ledger.
    pub difference_usd: Decimal,
    /// Whether both are equal to the cent: each hour, each namespace, and in total.
    pub is_equal: bool,
    /// Number of hours with an unexplained difference.
    pub unexplained: usize,
    /// Namespaces, largest difference first.
    pub namespaces: Vec<NamespaceBill>,
    /// Hours that differ by half a cent or more.
    pub differences: Vec<Difference>,
}

/// The comparison for one namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NamespaceBill {
    /// Full id of the namespace.
    pub namespace: String,
    /// Number of hours compared.
    pub hours: i64,
    /// Actions according to the ledger.
    pub ledger_actions: u64,
    /// Actions according to the bill.
    pub billed_actions: Decimal,
    /// Cost of the ledger's actions, without a support plan, which the bill lists separately.
    pub ledger_usd: Decimal,
    /// Cost according to the bill.
    pub billed_usd: Decimal,
    /// Bill minus ledger.
    pub difference_usd: Decimal,
    /// Number of hours that differ.
    pub hours_that_differ: i64,
    /// Explanations of the differences, most frequent first.
    pub explained_by: Vec<Explanation>,
}

/// An hour that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Difference {
    /// Full id of the namespace.
    pub namespace: String,
    /// Beginning of the hour.
    pub hour: Timestamp,
    /// The highest size according to the ledger; `None` if unknown.
    pub ledger_trus: Option<u32>,
    /// Known minutes in the ledger.
    pub known_minutes: i64,
    /// Actions according to the ledger.
    pub ledger_actions: u64,
    /// Actions according to the bill.
    pub billed_actions: Decimal,
    /// Bill minus ledger.
    pub difference_usd: Decimal,
    /// Explanation of the difference.
    pub explanation: Explanation,
}

/// The explanation of a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Explanation {
    /// The actions are equal, but their price is not.
    Price,
    /// Minutes without metrics: their usage is not in the ledger.
    MissingMinutes,
    /// Capacity changed so close to the edge of the hour that it is uncertain which hour the change belongs
    /// to.
    ChangeAtEdge,
    /// The ledger does not contain the capacity in this hour.
    CapacityUnknown,
    /// The ledger has no data for the namespace in this hour.
    NotInLedger,
    /// The bill has more actions than the metrics, for example background actions, replication (high availability doubles
    /// actions) or fairness.
    MoreActionsBilled,
    /// Nothing in the ledger explains it.
    Unexplained,
}

impl Explanation {
    /// Returns the explanation as a sentence.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Price => {
                "the actions match but the price does not: the bill uses another price tier, or PRICE_PER_MILLION_ACTIONS is wrong"
            }
            Self::MissingMinutes => "minutes without metrics: their usage is not in the ledger",
            Self::ChangeAtEdge => {
                "capacity changed close to the start or end of the hour: metrics have a resolution of one minute, the bill is exact"
            }
            Self::CapacityUnknown => "the ledger does not contain the capacity in this hour",
            Self::NotInLedger => "the ledger has no data for the namespace in this hour",
            Self::MoreActionsBilled => {
                "more actions are billed than the metrics show: background actions, replication (high availability doubles actions), or fairness"
            }
            Self::Unexplained => {
                "nothing in the ledger explains it; another size may have been set for a few seconds: check who else changed the capacity"
            }
        }
    }
}

/// One hour in the ledger and the bill.
struct Compared<'a> {
    hour: i64,
    ledger: Option<&'a HourFigures>,
    billed: BilledHour,
}

impl Compared<'_> {
    fn ledger_actions(&self) -> u64 {
        self.ledger.map_or(0, HourFigures::billed_actions)
    }

    fn difference(&self, price: &UnitPrice) -> Decimal {
        self.billed.cost_usd - price.on_the_bill(self.ledger_actions())
    }

    fn explanation(&self) -> Explanation {
        let actions = self.billed.actions - Decimal::from(self.ledger_actions());
        if actions.abs() <= ROUNDING_ACTIONS {
            // Equal actions leave only the price, even if the ledger is incomplete.
            return Explanation::Price;
        }
        let Some(ledger) = self.ledger else {
            return Explanation::NotInLedger;
        };
        // The ledger's own gaps first: only a complete hour can show that the bill has more.
        if ledger.highest_trus.is_none() {
            Explanation::CapacityUnknown
        } else if ledger.is_changed_at_edge {
            Explanation::ChangeAtEdge
        } else if !ledger.is_complete() {
            Explanation::MissingMinutes
        } else if actions > Decimal::ZERO && !is_a_minimum(self.billed.actions) {
            Explanation::MoreActionsBilled
        } else {
            Explanation::Unexplained
        }
    }
}

/// Compares the hours of a report with the billed hours. `made` is when the billing report was generated.
///
/// # Errors
///
/// If the billing report is for another account, is not hourly, or has no hour of the range.
pub fn reconcile(
    report: &Report,
    billing_report_id: &str,
    bill: &Bill,
    made: Timestamp,
) -> Result<Reconciliation, ReportError> {
    if bill.not_hourly {
        return Err(ReportError::NotHourly);
    }
    let billed = &bill.hours;
    let account = format!(".{}", report.account);
    let others = billed.keys().map(|(namespace, _)| namespace.as_str());
    if let Some(other) = others.clone().find(|namespace| !namespace.ends_with(&account))
        && !others.clone().any(|namespace| namespace.ends_with(&account))
    {
        return Err(ReportError::OtherAccount {
            billed: other.to_owned(),
            account: report.account.clone(),
        });
    }
    let from = report.from.as_second().div_euclid(3_600);
    let to = report.to.as_second().div_euclid(3_600);
    let known = made
        .saturating_sub(NOT_BILLED_YET)
        .unwrap_or(made)
        .as_second()
        .div_euclid(3_600);
    let newest = billed.keys().map(|(_, hour)| hour + 1).max().unwrap_or(from);
    // The delay of 24 hours is approximate: what is in the bill already counts as billed.
    let until = known.max(newest).min(to);
    if until <= from {
        return Err(ReportError::NotBilledYet {
            from: report.from,
            to: report.to,
        });
    }
    let price = report.unit_price();
    let mut namespaces = Vec::new();
    let mut differences = Vec::new();
    for (name, hours) in compared(report, billed, from..until) {
        namespaces.push(namespace_bill(&name, &hours, price, &mut differences));
    }
    namespaces.sort_by_key(|it| std::cmp::Reverse(it.difference_usd.abs()));
    let sum = |of: fn(&NamespaceBill) -> Decimal| namespaces.iter().map(of).sum::<Decimal>();
    Ok(Reconciliation {
        billing_report_id: billing_report_id.to_owned(),
        billed_until: start_of_hour(until),
        hours_not_billed: to - until,
        ledger_actions: namespaces.iter().map(|it| it.ledger_actions).sum(),
        billed_actions: sum(|it| it.billed_actions),
        ledger_usd: sum(|it| it.ledger_usd),
        billed_usd: sum(|it| it.billed_usd),
        difference_usd: sum(|it| it.difference_usd),
        is_equal: differences.is_empty()
            // Differences that are too small in one hour can add up.
            && namespaces.iter().all(|it| is_same_amount(it.difference_usd))
            && is_same_amount(sum(|it| it.difference_usd)),
        unexplained: differences
            .iter()
            .filter(|it| it.explanation == Explanation::Unexplained)
            .count(),
        namespaces,
        differences,
    })
}

/// Returns whether a number of actions is exactly the hourly minimum of some size, and therefore not usage.
fn is_a_minimum(actions: Decimal) -> bool {
    // Usage is a multiple of 360,000 only by chance.
    let further_tru = Decimal::from(minimum_actions_per_hour(Capacity::from_trus(2)));
    (actions % further_tru).is_zero()
}

fn is_same_amount(difference_usd: Decimal) -> bool {
    difference_usd.abs() < HALF_A_CENT
}

fn compared<'a>(
    report: &'a Report,
    billed: &BTreeMap<(String, i64), BilledHour>,
    hours: std::ops::Range<i64>,
) -> BTreeMap<String, Vec<Compared<'a>>> {
    let mut compared: BTreeMap<String, BTreeMap<i64, Compared<'a>>> = BTreeMap::new();
    for it in &report.namespaces {
        let of_namespace = compared.entry(it.namespace.clone()).or_default();
        for ledger in report.billed_hours(&it.namespace) {
            if hours.contains(&ledger.hour) {
                let entry = Compared {
                    hour: ledger.hour,
                    ledger: Some(ledger),
                    billed: BilledHour::default(),
                };
                of_namespace.insert(ledger.hour, entry);
            }
        }
    }
    for ((name, hour), billed) in billed {
        // If namespaces were specified, ignore all others.
        let is_reported = report.covers(name);
        if hours.contains(hour) && is_reported {
            let entry = compared
                .entry(name.clone())
                .or_default()
                .entry(*hour)
                .or_insert(Compared {
                    hour: *hour,
                    ledger: None,
                    billed: BilledHour::default(),
                });
            entry.billed = *billed;
        }
    }
    compared
        .into_iter()
        .map(|(name, hours)| (name, hours.into_values().collect()))
        .collect()
}

fn namespace_bill(
    name: &str,
    hours: &[Compared<'_>],
    price: &UnitPrice,
    differences: &mut Vec<Difference>,
) -> NamespaceBill {
    let mut explained: BTreeMap<Explanation, usize> = BTreeMap::new();
    let before = differences.len();
    for hour in hours {
        let difference_usd = hour.difference(price);
        if is_same_amount(difference_usd) {
            continue;
        }
        let explanation = hour.explanation();
        *explained.entry(explanation).or_default() += 1;
        differences.push(Difference {
            namespace: name.to_owned(),
            hour: start_of_hour(hour.hour),
            ledger_trus: hour.ledger.and_then(|it| it.highest_trus),
            known_minutes: hour.ledger.map_or(0, |it| it.known_minutes),
            ledger_actions: hour.ledger_actions(),
            billed_actions: hour.billed.actions,
            difference_usd,
            explanation,
        });
    }
    let mut explained_by: Vec<(Explanation, usize)> = explained.into_iter().collect();
    explained_by.sort_by_key(|(_, hours)| std::cmp::Reverse(*hours));
    let ledger_actions: u64 = hours.iter().map(Compared::ledger_actions).sum();
    let ledger_usd = price.on_the_bill(ledger_actions);
    let billed_usd: Decimal = hours.iter().map(|it| it.billed.cost_usd).sum();
    let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    NamespaceBill {
        namespace: name.to_owned(),
        hours: count(hours.len()),
        ledger_actions,
        billed_actions: hours.iter().map(|it| it.billed.actions).sum(),
        ledger_usd,
        billed_usd,
        difference_usd: billed_usd - ledger_usd,
        hours_that_differ: count(differences.len() - before),
        explained_by: explained_by
            .into_iter()
            .map(|(explanation, _)| explanation)
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn ledger(trus: Option<u32>, used_actions: u64) -> HourFigures {
        HourFigures {
            hour: 7,
            highest_trus: trus,
            used_actions,
            known_minutes: 60,
            is_changed_at_edge: false,
            is_folded: false,
            evidence: None,
        }
    }

    fn explained(ledger: Option<&HourFigures>, actions: u64) -> Explanation {
        let compared = Compared {
            hour: 7,
            ledger,
            billed: BilledHour {
                actions: Decimal::from(actions),
                cost_usd: Decimal::ONE,
            },
        };
        compared.explanation()
    }

    #[rstest]
    #[case::the_same_actions(Some(4), 0, 1_080_000, Explanation::Price)]
    #[case::within_the_rounding_of_rates(Some(0), 5_000, 5_002, Explanation::Price)]
    #[case::background_actions(Some(0), 5_000, 6_000, Explanation::MoreActionsBilled)]
    #[case::replicas_above_the_minimum(Some(2), 400_000, 800_000, Explanation::MoreActionsBilled)]
    #[case::below_the_minimum(Some(4), 0, 360_000, Explanation::Unexplained)]
    #[case::the_minimum_of_another_size(Some(4), 0, 1_800_000, Explanation::Unexplained)]
    #[case::fewer_actions(Some(0), 6_000, 5_000, Explanation::Unexplained)]
    #[case::unknown_size(None, 5_000, 360_000, Explanation::CapacityUnknown)]
    fn a_difference_has_one_explanation(
        #[case] trus: Option<u32>,
        #[case] used: u64,
        #[case] billed: u64,
        #[case] expected: Explanation,
    ) {
        assert_eq!(explained(Some(&ledger(trus, used)), billed), expected);
    }

    #[test]
    fn uncertainty_in_the_ledger_takes_precedence_as_an_explanation() {
        let certain = ledger(Some(4), 0);
        let at_edge = HourFigures {
            is_changed_at_edge: true,
            ..certain.clone()
        };
        let incomplete = HourFigures {
            known_minutes: 59,
            ..certain.clone()
        };
        assert_eq!(explained(Some(&at_edge), 360_000), Explanation::ChangeAtEdge);
        assert_eq!(
            explained(Some(&incomplete), 1_200_000),
            Explanation::MissingMinutes
        );
        assert_eq!(explained(Some(&certain), 360_000), Explanation::Unexplained);
        assert_eq!(explained(None, 360_000), Explanation::NotInLedger);
    }
}
