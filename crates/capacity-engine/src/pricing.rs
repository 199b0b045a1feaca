//! Computes what provisioned capacity costs, in exact decimals.
//!
//! The rule is from Temporal's pricing page, section on capacity modes: each calendar hour has a minimum
//! number of actions, set by the highest number of TRUs in it. If the hour's actions are below it, the
//! difference is billed at the regular price.

use std::fmt;

use human_text::grouped;
use rust_decimal::{Decimal, RoundingStrategy};
use serde::{Deserialize, Serialize};

use crate::capacity::Capacity;

/// Minimum actions an hour for each TRU after the first: 500 a second x 3,600 s x 20%.
const MINIMUM_ACTIONS_PER_FURTHER_TRU: u64 = 360_000;

// `Decimal::from` is not const.
const MILLION: Decimal = Decimal::from_parts(1_000_000, 0, 0, false, 0);

/// Maximum decimals of a price. Together with those of a support plan, a cost of up to a trillion actions
/// fits into a decimal exactly.
const PRICE_DECIMALS: u32 = 6;

/// Maximum decimals of a support plan's percentage.
const PERCENTAGE_DECIMALS: u32 = 4;

/// Returns the minimum number of actions billed for a calendar hour with this highest capacity.
pub fn minimum_actions_per_hour(highest: Capacity) -> u64 {
    u64::from(highest.trus().saturating_sub(1)) * MINIMUM_ACTIONS_PER_FURTHER_TRU
}

/// Returns the actions that are billed in addition to those used in an hour.
pub fn shortfall(highest: Capacity, actions_used: u64) -> u64 {
    minimum_actions_per_hour(highest).saturating_sub(actions_used)
}

/// A price in US dollars per million actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Decimal", into = "Decimal")]
pub struct PricePerMillion(Decimal);

/// A price outside the allowed range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidPrice {
    /// Zero, negative, or above any published price.
    #[error("{0} is not a price: it must be above 0 and at most 10,000 dollars per million actions")]
    OutOfRange(Decimal),
    /// Too many decimals for exact arithmetic.
    #[error("{0} has too many decimals for a price: at most 6 are allowed")]
    TooFine(Decimal),
    /// A tier that does not end after the one before it.
    #[error(
        "a tier up to {} actions cannot follow one up to {}: tiers must be in ascending order",
        grouped(*end), grouped(*before)
    )]
    Tiers {
        /// End of the previous tier; 0 for the first one.
        before: u64,
        /// End of this tier.
        end: u64,
    },
    /// A percentage outside the allowed range.
    #[error("{0} is not a support plan percentage: it must be from 0 to 100, with at most 4 decimals")]
    PlanPercentage(Decimal),
}

impl PricePerMillion {
    /// The price of the first tier: 50 dollars (Temporal's pricing page, 2026).
    pub const FIRST_TIER: Self = Self(Decimal::from_parts(50, 0, 0, false, 0));

    /// Returns a price in dollars.
    ///
    /// # Errors
    ///
    /// Unless it is above 0 and at most 10,000, with at most 6 decimals.
    pub fn try_new(dollars: Decimal) -> Result<Self, InvalidPrice> {
        if dollars <= Decimal::ZERO || dollars > Decimal::from(10_000) {
            return Err(InvalidPrice::OutOfRange(dollars));
        }
        // 50 and 50.00 are the same price and print alike.
        let dollars = dollars.normalize();
        if dollars.scale() > PRICE_DECIMALS {
            return Err(InvalidPrice::TooFine(dollars));
        }
        Ok(Self(dollars))
    }

    /// Returns the dollars.
    pub const fn dollars(self) -> Decimal {
        self.0
    }

    /// Returns the exact cost of this number of actions.
    pub fn of(self, actions: u64) -> Decimal {
        Decimal::from(actions) * self.0 / MILLION
    }
}

impl TryFrom<Decimal> for PricePerMillion {
    type Error = InvalidPrice;

    fn try_from(dollars: Decimal) -> Result<Self, InvalidPrice> {
        Self::try_new(dollars)
    }
}

impl From<PricePerMillion> for Decimal {
    fn from(price: PricePerMillion) -> Self {
        price.dollars()
    }
}

impl TryFrom<Decimal> for PlanPercentage {
    type Error = InvalidPrice;

    fn try_from(percentage: Decimal) -> Result<Self, InvalidPrice> {
        Self::try_new(percentage)
    }
}

impl From<PlanPercentage> for Decimal {
    fn from(PlanPercentage(percentage): PlanPercentage) -> Self {
        percentage
    }
}

impl fmt::Display for PricePerMillion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&per_million(self.0))
    }
}

/// Formats a price per million actions, exactly: `$50/M`, `$47.50/M`.
pub fn per_million(dollars: Decimal) -> String {
    let mut dollars = dollars.normalize();
    if dollars.scale() == 1 {
        dollars.rescale(2);
    }
    let whole = grouped(dollars.trunc());
    match dollars.to_string().split_once('.') {
        Some((_, decimals)) => format!("${whole}.{decimals}/M"),
        None => format!("${whole}/M"),
    }
}

/// Formats dollars with cents, rounded half to even: `$1,054.00`.
pub fn in_dollars(money: Decimal) -> String {
    let rounded = money.round_dp_with_strategy(2, RoundingStrategy::MidpointNearestEven);
    let text = format!("{:.2}", rounded.abs());
    let (whole, cents) = text.split_once('.').unwrap_or((&text, "00"));
    let whole = whole.parse::<u128>().map_or_else(|_| whole.to_owned(), grouped);
    // `Decimal` keeps the sign of a small negative amount that rounds to zero.
    let sign = if rounded.is_sign_negative() && !rounded.is_zero() {
        "-"
    } else {
        ""
    };
    format!("{sign}${whole}.{cents}")
}

// Exhaustive: a value without one of these fields has no meaning.
/// One tier of a price list: one price for the actions of a month up to `up_to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceTier {
    /// End of the tier, in actions of the account in a calendar month.
    pub up_to: u64,
    /// Price of actions in this tier.
    pub price: PricePerMillion,
}

/// The percentage that a support plan adds to a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Decimal", into = "Decimal")]
pub struct PlanPercentage(Decimal);

impl PlanPercentage {
    /// No support plan.
    pub const NONE: Self = Self(Decimal::ZERO);

    /// Returns a percentage; 10 means 10%.
    ///
    /// # Errors
    ///
    /// If it is not between 0 and 100, or has more than 4 decimals.
    pub fn try_new(percentage: Decimal) -> Result<Self, InvalidPrice> {
        let fits = (Decimal::ZERO..=Decimal::ONE_HUNDRED).contains(&percentage);
        if fits && percentage.normalize().scale() <= PERCENTAGE_DECIMALS {
            Ok(Self(percentage.normalize()))
        } else {
            Err(InvalidPrice::PlanPercentage(percentage))
        }
    }

    /// Returns the amount including this percentage, exactly.
    fn added_to(self, money: Decimal) -> Decimal {
        money * (Decimal::ONE + self.0 / Decimal::ONE_HUNDRED)
    }
}

/// A price list: tiers by the account's actions in a calendar month, the price beyond them, and the support
/// plan's percentage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceList {
    tiers: Vec<PriceTier>,
    beyond: PricePerMillion,
    plan: PlanPercentage,
}

impl PriceList {
    /// Returns a price list without a support plan; `beyond` is the price after the last tier.
    ///
    /// # Errors
    ///
    /// Unless each tier ends after the one before it, and the first one after 0.
    pub fn try_new(tiers: Vec<PriceTier>, beyond: PricePerMillion) -> Result<Self, InvalidPrice> {
        let mut before = 0;
        for tier in &tiers {
            let end = tier.up_to;
            if end <= before {
                return Err(InvalidPrice::Tiers { before, end });
            }
            before = end;
        }
        Ok(Self {
            tiers,
            beyond,
            plan: PlanPercentage::NONE,
        })
    }

    /// Returns a price list with one price for every action, without a support plan.
    pub const fn flat(price: PricePerMillion) -> Self {
        Self {
            tiers: Vec::new(),
            beyond: price,
            plan: PlanPercentage::NONE,
        }
    }

    /// Adds a support plan to the list.
    #[must_use]
    pub fn with_plan(self, plan: PlanPercentage) -> Self {
        Self { plan, ..self }
    }

    /// Returns the price of the next action in a month that already had `already` actions, without the
    /// support plan.
    pub fn marginal(&self, already: u64) -> PricePerMillion {
        let tier = self.tiers.iter().find(|tier| already < tier.up_to);
        tier.map_or(self.beyond, |tier| tier.price)
    }

    /// Returns the cost of `more` actions in a month that already had `already` actions. Exact up to a
    /// trillion actions.
    pub fn cost(&self, already: u64, more: u64) -> Decimal {
        let (mut from, mut left) = (already, more);
        let mut cost = Decimal::ZERO;
        for tier in &self.tiers {
            let part = tier.up_to.saturating_sub(from).min(left);
            cost += tier.price.of(part);
            from += part;
            left -= part;
        }
        self.plan.added_to(cost + self.beyond.of(left)).normalize()
    }
}

/// What the account's next actions cost: its price list, from the current point in the month.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionPrice {
    list: PriceList,
    already: u64,
}

impl ActionPrice {
    /// Returns the price after `already` actions in the month.
    pub const fn new(list: PriceList, already: u64) -> Self {
        Self { list, already }
    }

    /// Returns one price for every action, without a support plan.
    pub const fn flat(price: PricePerMillion) -> Self {
        Self::new(PriceList::flat(price), 0)
    }

    /// Returns the exact cost of this number of actions. If they cross a tier, each part is billed at its own
    /// price.
    pub fn of(&self, actions: u64) -> Decimal {
        self.list.cost(self.already, actions)
    }

    /// Returns what a capacity costs in an hour without any actions: an upper bound for what it adds to the
    /// bill.
    pub fn idle_hour(&self, capacity: Capacity) -> Decimal {
        self.of(minimum_actions_per_hour(capacity))
    }

    /// Returns the price of a million actions in dollars, based on the price of the next one, without the
    /// support plan.
    pub fn dollars(&self) -> Decimal {
        self.list.marginal(self.already).dollars()
    }
}

/// Formats the price of the next action and the support plan: `$50/M`, `$35/M + 10%`.
impl fmt::Display for ActionPrice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.list.marginal(self.already).fmt(f)?;
        let PlanPercentage(percentage) = self.list.plan;
        if percentage.is_zero() {
            Ok(())
        } else {
            write!(f, " + {percentage}%")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    fn trus(count: u32) -> Capacity {
        Capacity::from_trus(count)
    }

    fn price(dollars: i64) -> PricePerMillion {
        PricePerMillion::try_new(Decimal::from(dollars)).expect("a price")
    }

    /// The published table of minimum actions and of the cost of an idle hour.
    #[rstest]
    #[case::on_demand(0, 0, "$0.00", "$0.00")]
    #[case::included(1, 0, "$0.00", "$0.00")]
    #[case::two(2, 360_000, "$18.00", "$9.00")]
    #[case::three(3, 720_000, "$36.00", "$18.00")]
    #[case::four(4, 1_080_000, "$54.00", "$27.00")]
    #[case::six(6, 1_800_000, "$90.00", "$45.00")]
    #[case::eight(8, 2_520_000, "$126.00", "$63.00")]
    #[case::ten(10, 3_240_000, "$162.00", "$81.00")]
    #[case::twelve(12, 3_960_000, "$198.00", "$99.00")]
    fn an_idle_hour_costs_the_published_minimum(
        #[case] count: u32,
        #[case] minimum: u64,
        #[case] at_50: &str,
        #[case] at_25: &str,
    ) {
        assert_eq!(minimum_actions_per_hour(trus(count)), minimum);
        let idle_hour = |dollars| in_dollars(ActionPrice::flat(price(dollars)).idle_hour(trus(count)));
        assert_eq!((idle_hour(50).as_str(), idle_hour(25).as_str()), (at_50, at_25));
    }

    /// The worked example from the pricing page: 4 TRUs for four hours.
    #[test]
    fn only_the_hour_below_the_minimum_falls_short() {
        let used = [2_000_000, 5_000_000, 4_000_000, 500_000];
        let short: Vec<u64> = used.into_iter().map(|used| shortfall(trus(4), used)).collect();
        assert_eq!(short, [0, 0, 0, 580_000]);
        assert_eq!(used.into_iter().sum::<u64>() + 580_000, 12_080_000);
    }

    #[rstest]
    #[case::whole("50", "$50/M")]
    #[case::one_decimal("47.5", "$47.50/M")]
    #[case::cents("47.25", "$47.25/M")]
    #[case::fine("0.125", "$0.125/M")]
    #[case::most("10000", "$10,000/M")]
    fn a_price_of_a_million_is_exact(#[case] price: &str, #[case] expected: &str) {
        assert_eq!(per_million(price.parse().expect("a decimal")), expected);
    }

    #[rstest]
    #[case::half_to_even_down("0.125", "$0.12")]
    #[case::half_to_even_up("0.135", "$0.14")]
    #[case::thousands("1234567.891", "$1,234,567.89")]
    #[case::negative("-54", "-$54.00")]
    #[case::no_negative_zero("-0.001", "$0.00")]
    fn money_is_rounded_half_to_even_when_printed(#[case] money: &str, #[case] expected: &str) {
        assert_eq!(in_dollars(money.parse().expect("a decimal")), expected);
    }

    fn decimal(text: &str) -> Decimal {
        text.parse().expect("a decimal")
    }

    fn percentage(text: &str) -> PlanPercentage {
        PlanPercentage::try_new(decimal(text)).expect("a percentage")
    }

    fn tiers(tiers: &[(u64, i64)]) -> Vec<PriceTier> {
        let tier = |&(millions, dollars): &(u64, i64)| PriceTier {
            up_to: millions * 1_000_000,
            price: price(dollars),
        };
        tiers.iter().map(tier).collect()
    }

    /// The published price list of 2026.
    fn published() -> PriceList {
        let tiers = tiers(&[(5, 50), (10, 45), (20, 40), (50, 35), (100, 30)]);
        PriceList::try_new(tiers, price(25)).expect("a list")
    }

    #[rstest]
    #[case::the_first_200_million(0, 200_000_000, "5925", "6517.5")]
    #[case::within_the_first_tier(0, 360_000, "18", "19.8")]
    #[case::up_to_its_end(4_640_000, 360_000, "18", "19.8")]
    #[case::across_its_end(4_820_000, 360_000, "17.1", "18.81")]
    #[case::from_its_end_on(5_000_000, 360_000, "16.2", "17.82")]
    #[case::across_two_ends(4_000_000, 7_000_000, "315", "346.5")]
    #[case::beyond_the_tiers(100_000_000, 360_000, "9", "9.9")]
    #[case::one_action(0, 1, "0.00005", "0.000055")]
    #[case::nothing(7, 0, "0", "0")]
    #[case::no_end_of_numbers(u64::MAX, 1_000_000, "25", "27.5")]
    fn tiers_are_summed_exactly(
        #[case] already: u64,
        #[case] more: u64,
        #[case] cost: &str,
        #[case] with_ten_percent: &str,
    ) {
        assert_eq!(published().cost(already, more).to_string(), cost);
        let with_plan = published().with_plan(percentage("10"));
        assert_eq!(with_plan.cost(already, more).to_string(), with_ten_percent);
    }

    #[rstest]
    #[case::first(0, 50)]
    #[case::last_of_a_tier(4_999_999, 50)]
    #[case::first_of_the_next(5_000_000, 45)]
    #[case::beyond(100_000_000, 25)]
    fn the_next_action_falls_into_one_tier(#[case] already: u64, #[case] dollars: i64) {
        assert_eq!(published().marginal(already), price(dollars));
    }

    /// The price shown next to the money is that of the next action; the money itself crosses tiers.
    #[rstest]
    #[case::first_tier(0, "0", "$50/M", "54")]
    #[case::tier_crossed(4_000_000, "0", "$50/M", "53.6")]
    #[case::later_tier(30_000_000, "0", "$35/M", "37.8")]
    #[case::plan(30_000_000, "10", "$35/M + 10%", "41.58")]
    #[case::plan_with_decimals(100_000_000, "7.50", "$25/M + 7.5%", "29.025")]
    #[case::plan_across_a_tier(4_000_000, "10.0", "$50/M + 10%", "58.96")]
    fn four_trus_idle_for_an_hour(
        #[case] already: u64,
        #[case] plan: &str,
        #[case] shown: &str,
        #[case] idle_hour: &str,
    ) {
        let price = ActionPrice::new(published().with_plan(percentage(plan)), already);
        assert_eq!(price.to_string(), shown);
        assert_eq!(price.idle_hour(trus(4)), decimal(idle_hour));
        assert_eq!(price.dollars(), published().marginal(already).dollars());
    }

    #[rstest]
    #[case::falling(&[(10, 50), (5, 45)], 10_000_000, 5_000_000)]
    #[case::twice(&[(5, 50), (5, 45)], 5_000_000, 5_000_000)]
    #[case::empty(&[(0, 50)], 0, 0)]
    fn tiers_that_do_not_rise_are_refused(
        #[case] list: &[(u64, i64)],
        #[case] before: u64,
        #[case] end: u64,
    ) {
        assert_eq!(
            PriceList::try_new(tiers(list), price(25)),
            Err(InvalidPrice::Tiers { before, end })
        );
    }

    #[rstest]
    #[case::six_decimals("47.123456", true)]
    #[case::zeros_at_the_end("47.50000000", true)]
    #[case::seven_decimals("47.1234567", false)]
    #[case::highest("10000", true)]
    #[case::above_it("10000.01", false)]
    #[case::nothing("0", false)]
    #[case::negative("-1", false)]
    fn prices_are_positive_and_not_too_fine(#[case] dollars: &str, #[case] expected: bool) {
        assert_eq!(PricePerMillion::try_new(decimal(dollars)).is_ok(), expected);
    }

    #[rstest]
    #[case::none("0", true)]
    #[case::all("100", true)]
    #[case::four_decimals("7.1234", true)]
    #[case::five_decimals("7.12345", false)]
    #[case::above("100.01", false)]
    #[case::negative("-0.01", false)]
    fn a_plan_adds_from_0_to_100_percent(#[case] percentage: &str, #[case] expected: bool) {
        assert_eq!(PlanPercentage::try_new(decimal(percentage)).is_ok(), expected);
    }

    fn any_price() -> impl Strategy<Value = PricePerMillion> {
        (1_i64..10_000_000_000).prop_map(|micros| {
            PricePerMillion::try_new(Decimal::new(micros, PRICE_DECIMALS)).expect("a price")
        })
    }

    fn any_list() -> impl Strategy<Value = PriceList> {
        let ends = prop::collection::btree_set(1_u64..1_000_000_000, 0..6);
        let prices = prop::collection::vec(any_price(), 6);
        (ends, prices, any_price(), 0_i64..=1_000_000).prop_map(|(ends, prices, beyond, percentage)| {
            let tier = |(up_to, price)| PriceTier { up_to, price };
            let tiers = ends.into_iter().zip(prices).map(tier).collect();
            let plan = PlanPercentage::try_new(Decimal::new(percentage, PERCENTAGE_DECIMALS));
            let list = PriceList::try_new(tiers, beyond).expect("a list");
            list.with_plan(plan.expect("a percentage"))
        })
    }

    proptest! {
        #[test]
        fn a_month_costs_the_same_however_it_is_split(
            list in any_list(), already in 0_u64..2_000_000_000,
            first in 0_u64..2_000_000_000, second in 0_u64..500_000_000_000,
        ) {
            let whole = list.cost(already, first + second);
            prop_assert_eq!(list.cost(already, first) + list.cost(already + first, second), whole);
        }

        #[test]
        fn more_actions_cost_more(
            list in any_list(), already in 0_u64..2_000_000_000,
            actions in 0_u64..2_000_000_000, more in 1_u64..2_000_000_000,
        ) {
            prop_assert!(list.cost(already, actions) < list.cost(already, actions + more));
        }
    }
}
