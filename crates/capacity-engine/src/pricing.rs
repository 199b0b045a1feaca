//! What provisioned capacity costs, in exact decimals.
//!
//! The rule is that of Temporal's pricing page, section on capacity modes: each calendar hour has a minimum of actions
//! set by the highest number of TRUs in it; what the hour's actions fall short of it is billed at the ordinary price.

use std::fmt;

use rust_decimal::{Decimal, RoundingStrategy};

use crate::capacity::Capacity;
use crate::rate::thousands;

/// Actions an hour that each TRU after the first must see: 500 a second x 3,600 s x 20 %.
const MINIMUM_ACTIONS_PER_FURTHER_TRU: u64 = 360_000;

const MILLION: Decimal = Decimal::from_parts(1_000_000, 0, 0, false, 0);

/// Returns the actions that a calendar hour is billed for at least, with this the highest capacity in it.
pub fn minimum_actions_per_hour(highest: Capacity) -> u64 {
    u64::from(highest.trus().saturating_sub(1)) * MINIMUM_ACTIONS_PER_FURTHER_TRU
}

/// Returns the actions that are billed beside those used in an hour.
pub fn shortfall(highest: Capacity, actions_used: u64) -> u64 {
    minimum_actions_per_hour(highest).saturating_sub(actions_used)
}

/// US dollars for a million actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PricePerMillion(Decimal);

/// A price that no one pays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPrice {
    /// Zero, negative, or above what any price list shows.
    #[error("{0} is no price: it must be above 0 and at most 10,000 dollars per million actions")]
    OutOfRange(Decimal),
    /// Tiers must rise, and only the last is open.
    #[error("the tiers of a price list must rise, and the last must have no upper end")]
    Tiers,
    /// A share that no support plan takes.
    #[error("{0} is no share of a support plan: it must be from 0 to 1")]
    PlanShare(Decimal),
}

impl PricePerMillion {
    /// The price of the first tier (Temporal's pricing page, 2026): 50 dollars.
    pub const FIRST_TIER: Self = Self(Decimal::from_parts(50, 0, 0, false, 0));

    /// Returns a price in dollars.
    ///
    /// # Errors
    ///
    /// Unless it is above 0 and at most 10,000.
    pub fn try_new(dollars: Decimal) -> Result<Self, InvalidPrice> {
        if dollars > Decimal::ZERO && dollars <= Decimal::from(10_000) {
            Ok(Self(dollars.normalize()))
        } else {
            Err(InvalidPrice::OutOfRange(dollars))
        }
    }

    /// Returns the dollars.
    pub const fn dollars(self) -> Decimal {
        self.0
    }

    /// Returns what so many actions cost, exactly.
    pub fn of(self, actions: u64) -> Decimal {
        Decimal::from(actions) * self.0 / MILLION
    }

    /// Returns what a capacity costs in an hour without a single action: an upper bound of what it adds to the bill.
    pub fn idle_hour(self, capacity: Capacity) -> Decimal {
        self.of(minimum_actions_per_hour(capacity))
    }
}

impl fmt::Display for PricePerMillion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${}/M", self.0)
    }
}

/// Writes dollars with cents, rounded half to even: `$1,054.00`.
pub fn in_dollars(money: Decimal) -> String {
    let rounded = money.round_dp_with_strategy(2, RoundingStrategy::MidpointNearestEven);
    let text = format!("{:.2}", rounded.abs());
    let (whole, cents) = text.split_once('.').unwrap_or((&text, "00"));
    let whole = whole.parse::<u128>().map_or_else(|_| whole.to_owned(), thousands);
    let sign = if rounded.is_sign_negative() && !rounded.is_zero() {
        "-"
    } else {
        ""
    };
    format!("{sign}${whole}.{cents}")
}

/// One tier of a price list: actions of a month up to `up_to`, at one price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PriceTier {
    /// Where the tier ends, in actions of the account and calendar month; the last has no end.
    pub up_to: Option<u64>,
    /// What it costs.
    pub price: PricePerMillion,
}

/// A price list: tiers by the account's actions of a calendar month, and the share a support plan adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceList {
    tiers: Vec<PriceTier>,
    plan_share: Decimal,
}

impl PriceList {
    /// Returns a price list. `plan_share` is what the support plan adds: 0.10 where it charges ten percent.
    ///
    /// # Errors
    ///
    /// Unless tiers rise and only the last is open, and the share is from 0 to 1.
    pub fn try_new(tiers: Vec<PriceTier>, plan_share: Decimal) -> Result<Self, InvalidPrice> {
        let ends: Vec<Option<u64>> = tiers.iter().map(|tier| tier.up_to).collect();
        let rising = ends.windows(2).all(|pair| match pair {
            [Some(first), Some(second)] => first < second,
            [Some(_), None] => true,
            _ => false,
        });
        if !rising || ends.last() != Some(&None) {
            return Err(InvalidPrice::Tiers);
        }
        if plan_share < Decimal::ZERO || plan_share > Decimal::ONE {
            return Err(InvalidPrice::PlanShare(plan_share));
        }
        Ok(Self { tiers, plan_share })
    }

    /// Returns one price for every action, with nothing added.
    pub fn flat(price: PricePerMillion) -> Self {
        Self {
            tiers: vec![PriceTier { up_to: None, price }],
            plan_share: Decimal::ZERO,
        }
    }

    /// Returns what so many more actions cost in a month that has already seen some, exactly.
    pub fn cost(&self, already: u64, more: u64) -> Decimal {
        let end = already.saturating_add(more);
        let mut from = already;
        let mut cost = Decimal::ZERO;
        for tier in &self.tiers {
            let up_to = tier.up_to.map_or(end, |up_to| up_to.min(end));
            if up_to > from {
                cost += tier.price.of(up_to - from);
                from = up_to;
            }
        }
        cost * (Decimal::ONE + self.plan_share)
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
        assert_eq!(in_dollars(price(50).idle_hour(trus(count))), at_50);
        assert_eq!(in_dollars(price(25).idle_hour(trus(count))), at_25);
    }

    /// The worked example of the pricing page: 4 TRUs for four hours.
    #[test]
    fn only_the_hour_below_the_minimum_falls_short() {
        let used = [2_000_000, 5_000_000, 4_000_000, 500_000];
        let short: Vec<u64> = used.into_iter().map(|used| shortfall(trus(4), used)).collect();
        assert_eq!(short, [0, 0, 0, 580_000]);
        assert_eq!(used.into_iter().sum::<u64>() + 580_000, 12_080_000);
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

    fn published_tiers() -> Vec<PriceTier> {
        let tier = |up_to: Option<u64>, dollars| PriceTier {
            up_to: up_to.map(|millions| millions * 1_000_000),
            price: price(dollars),
        };
        vec![
            tier(Some(5), 50),
            tier(Some(10), 45),
            tier(Some(20), 40),
            tier(Some(50), 35),
            tier(Some(100), 30),
            tier(None, 25),
        ]
    }

    #[test]
    fn the_first_200_million_actions_cost_what_the_tiers_add_up_to() {
        let list = PriceList::try_new(published_tiers(), Decimal::ZERO).expect("a list");
        assert_eq!(list.cost(0, 200_000_000), Decimal::from(5_925));
        let with_plan =
            PriceList::try_new(published_tiers(), "0.10".parse().expect("a decimal")).expect("a list");
        assert_eq!(
            with_plan.cost(0, 200_000_000),
            "6517.5".parse().expect("a decimal")
        );
    }

    #[test]
    fn tiers_that_do_not_rise_or_do_not_end_open_are_refused() {
        let mut tiers = published_tiers();
        tiers.swap(0, 1);
        assert_eq!(PriceList::try_new(tiers, Decimal::ZERO), Err(InvalidPrice::Tiers));
        let closed = published_tiers().into_iter().take(2).collect();
        assert_eq!(
            PriceList::try_new(closed, Decimal::ZERO),
            Err(InvalidPrice::Tiers)
        );
        assert_eq!(
            PriceList::try_new(Vec::new(), Decimal::ZERO),
            Err(InvalidPrice::Tiers)
        );
    }

    proptest! {
        #[test]
        fn a_month_costs_the_same_however_it_is_cut(
            already in 0_u64..300_000_000, first in 0_u64..300_000_000, second in 0_u64..300_000_000,
        ) {
            let list = PriceList::try_new(published_tiers(), Decimal::ZERO).expect("a list");
            let whole = list.cost(already, first + second);
            prop_assert_eq!(list.cost(already, first) + list.cost(already + first, second), whole);
        }
    }
}
