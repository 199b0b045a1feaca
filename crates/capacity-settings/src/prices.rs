//! Parses the price of actions: one price, or tiers by the account's actions in a calendar month.

use capacity_engine::PriceList;
use capacity_engine::pricing::{PlanPercentage, PricePerMillion, PriceTier};
use rust_decimal::Decimal;

use crate::wrong::Wrong;

/// Highest accepted number of actions, more than any account uses in a month.
const MOST_ACTIONS: u64 = 1_000_000_000_000;

/// An example for error messages.
const TIERS: &str = "5M:50, 10M:45, 25";

/// Parses `50`, or `5M:50, 10M:45, 25`. Each price applies up to its number of actions, and the last one has
/// no limit.
pub(crate) fn list(text: &str) -> Result<PriceList, Wrong> {
    let (tiers, last) = match text.rsplit_once(',') {
        Some((tiers, last)) => (tiers.split(',').map(tier).collect::<Result<_, _>>()?, last),
        None => (Vec::new(), text),
    };
    PriceList::try_new(tiers, beyond(last)?).map_err(|error| format!("{error}, as in {TIERS}").into())
}

fn tier(text: &str) -> Result<PriceTier, Wrong> {
    let (end, dollars) = text.split_once(':').ok_or_else(|| {
        format!(
            "{} has no upper limit, which only the last price may omit; for example {TIERS}",
            quoted(text)
        )
    })?;
    Ok(PriceTier {
        up_to: actions(end)?,
        price: price(dollars)?,
    })
}

/// Parses the price beyond all tiers.
fn beyond(text: &str) -> Result<PricePerMillion, Wrong> {
    if text.contains(':') {
        return Err(format!(
            "{} is the last price and must not have an upper limit: add the price beyond it, such as {TIERS}",
            quoted(text)
        )
        .into());
    }
    price(text)
}

fn price(text: &str) -> Result<PricePerMillion, Wrong> {
    let number = text.trim();
    let number = number.strip_prefix('$').unwrap_or(number).trim();
    // Exact: a price with too many digits is refused instead of rounded.
    let dollars = Decimal::from_str_exact(number).map_err(|_| {
        format!(
            "{} is not a price: use dollars as a number, such as 50 or 47.50, or tiers, such as {TIERS}",
            quoted(text)
        )
    })?;
    PricePerMillion::try_new(dollars).map_err(|error| error.to_string().into())
}

/// Parses `5M`, `2.5B` or `5_000_000`.
pub(crate) fn actions(text: &str) -> Result<u64, Wrong> {
    let number = text.trim();
    let (number, unit) = match number.char_indices().last() {
        Some((at, 'M' | 'm')) => (&number[..at], 1_000_000),
        Some((at, 'B' | 'b')) => (&number[..at], 1_000_000_000),
        _ => (number, 1),
    };
    Decimal::from_str_exact(number.trim())
        .ok()
        .and_then(|number| number.checked_mul(Decimal::from(unit)))
        // 2.5M is a whole number of actions, 1.5 is not.
        .filter(Decimal::is_integer)
        .and_then(|actions| u64::try_from(actions).ok())
        .filter(|actions| *actions <= MOST_ACTIONS)
        .ok_or_else(|| {
            format!(
                "{} is not a number of actions from 0 to 1000B; for example 5M, 2B or 5_000_000",
                quoted(text)
            )
            .into()
        })
}

/// Parses `10` or `7.5%`.
pub(crate) fn plan_percentage(text: &str) -> Result<PlanPercentage, Wrong> {
    let number = text.strip_suffix('%').unwrap_or(text).trim();
    Decimal::from_str_exact(number)
        .ok()
        .and_then(|percentage| PlanPercentage::try_new(percentage).ok())
        .ok_or_else(|| "use a percentage from 0 to 100 with at most 4 decimals, such as 10 or 7.5".into())
}

/// Quotes part of the input in a message, shortened if it is long.
fn quoted(text: &str) -> String {
    let part: String = text.trim().chars().take(40).collect();
    format!("`{}`", part.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    /// Cost in dollars of 12 million actions from the start of a month.
    #[rstest]
    #[case::flat("50", "600")]
    #[case::cents("47.50", "570")]
    #[case::sign("$50", "600")]
    #[case::published("5M:50, 10M:45, 20M:40, 50M:35, 100M:30, 25", "555")]
    #[case::no_blanks("5M:50,10M:45,40", "555")]
    #[case::many_blanks(" 5 M : $50 ,10m: 45 , $ 40 ", "555")]
    #[case::plain_numbers("5_000_000:50, 10000000:45, 40", "555")]
    #[case::parts_of_millions("2.5M:50, 0.01B:45, 40", "542.5")]
    #[case::rising_prices("5M:40, 50", "550")]
    fn prices_are_exact(#[case] text: &str, #[case] expected: &str) {
        let list = list(text).expect("a list");
        assert_eq!(list.cost(0, 12_000_000).to_string(), expected);
    }

    #[rstest]
    #[case::zero(
        "0",
        "0 is not a price: it must be above 0 and at most 10,000 dollars per million actions"
    )]
    #[case::negative(
        "-1",
        "-1 is not a price: it must be above 0 and at most 10,000 dollars per million actions"
    )]
    #[case::too_fine(
        "47.1234567",
        "47.1234567 has too many decimals for a price: at most 6 are allowed"
    )]
    #[case::word(
        "fifty",
        "`fifty` is not a price: use dollars as a number, such as 50 or 47.50, or tiers, such as 5M:50, 10M:45, 25"
    )]
    #[case::thousands(
        "1,000",
        "`1` has no upper limit, which only the last price may omit; for example 5M:50, 10M:45, 25"
    )]
    #[case::no_last_price(
        "5M:50, 10M:45",
        "`10M:45` is the last price and must not have an upper limit: add the price beyond it, such as 5M:50, 10M:45, 25"
    )]
    #[case::comma_at_the_end(
        "5M:50, ",
        "`` is not a price: use dollars as a number, such as 50 or 47.50, or tiers, such as 5M:50, 10M:45, 25"
    )]
    #[case::unknown_unit(
        "5K:50, 45",
        "`5K` is not a number of actions from 0 to 1000B; for example 5M, 2B or 5_000_000"
    )]
    #[case::no_dollars(
        "5M:, 45",
        "`` is not a price: use dollars as a number, such as 50 or 47.50, or tiers, such as 5M:50, 10M:45, 25"
    )]
    #[case::price_of_a_tier(
        "5M:0, 45",
        "0 is not a price: it must be above 0 and at most 10,000 dollars per million actions"
    )]
    #[case::falling(
        "10M:50, 5M:45, 40",
        "a tier up to 5,000,000 actions cannot follow one up to 10,000,000: tiers must be in ascending order, as in 5M:50, 10M:45, 25"
    )]
    fn invalid_prices_are_reported_with_a_valid_example(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(list(text).expect_err("wrong").to_string(), expected);
    }

    #[rstest]
    #[case("0", Some(0))]
    #[case("30M", Some(30_000_000))]
    #[case("2.5m", Some(2_500_000))]
    #[case("2B", Some(2_000_000_000))]
    #[case("30_000_000", Some(30_000_000))]
    #[case("1000B", Some(MOST_ACTIONS))]
    #[case("1001B", None)]
    #[case("79228162514264337593543950335B", None)]
    #[case("-1", None)]
    #[case("1.5", None)]
    #[case("1.0000001M", None)]
    #[case("M", None)]
    #[case("30 millions", None)]
    #[case("30Ⅿ", None)]
    fn actions_have_a_unit_or_none(#[case] text: &str, #[case] expected: Option<u64>) {
        assert_eq!(actions(text).ok(), expected);
    }

    #[rstest]
    #[case("0", Some("0"))]
    #[case("10", Some("10"))]
    #[case("10%", Some("10"))]
    #[case("7.50 %", Some("7.5"))]
    #[case("100", Some("100"))]
    #[case("100.1", None)]
    #[case("-1", None)]
    #[case("7.12345", None)]
    #[case("ten", None)]
    #[case("%", None)]
    fn a_plan_takes_a_percentage(#[case] text: &str, #[case] expected: Option<&str>) {
        let expected = expected.map(|text| PlanPercentage::try_new(text.parse().expect("a decimal")));
        assert_eq!(plan_percentage(text).ok().map(Ok), expected);
    }
}
