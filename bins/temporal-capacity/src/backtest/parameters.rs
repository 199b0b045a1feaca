//! `--policy-param NAME=VALUE`: parameters of `break-even`, with the bounds that make sense.

use anyhow::{Context, bail, ensure};
use capacity_engine::break_even::Parameters;
use rust_decimal::Decimal;

/// What may be set, for errors and help.
const NAMES: &str =
    "delay_value, let_pass, margin, look_back_minutes, history_days, free_share, min_trus, max_trus";

pub(super) fn parse(assignments: &[String]) -> anyhow::Result<Parameters> {
    let mut parameters = Parameters::default();
    for assignment in assignments {
        let (name, value) = assignment.split_once('=').with_context(|| {
            format!("--policy-param takes NAME=VALUE, not `{assignment}`; names are {NAMES}")
        })?;
        set(&mut parameters, name.trim(), value.trim())?;
    }
    ensure!(
        parameters.min_trus <= parameters.max_trus,
        "min_trus={} is above max_trus={}; lower one or raise the other",
        parameters.min_trus,
        parameters.max_trus
    );
    Ok(parameters)
}

pub(super) fn delay_value(value: &str) -> anyhow::Result<i64> {
    in_parts("delay_value", value, 1000, (1, 100_000))
}

fn set(parameters: &mut Parameters, name: &str, value: &str) -> anyhow::Result<()> {
    match name {
        "delay_value" => parameters.delay_milli = delay_value(value)?,
        "let_pass" => parameters.let_pass_milli = in_parts(name, value, 1000, (0, 10_000))?,
        "margin" => parameters.margin_percent = in_parts(name, value, 100, (100, 300))?,
        "free_share" => parameters.free_share_percent = in_parts(name, value, 100, (0, 100))?,
        "look_back_minutes" => parameters.look_back_minutes = whole(name, value, (5, 60))?,
        "history_days" => parameters.history_days = whole(name, value, (0, 7))?,
        "min_trus" => parameters.min_trus = trus(name, value)?,
        "max_trus" => parameters.max_trus = trus(name, value)?,
        _ => bail!("unknown policy parameter `{name}`; choose from {NAMES}"),
    }
    Ok(())
}

fn trus(name: &str, value: &str) -> anyhow::Result<u32> {
    let trus: u32 = whole(name, value, (0, 12))?;
    ensure!(
        [0, 2, 3, 4, 6, 8, 10, 12].contains(&trus),
        "{name}={trus} is not an available size; use 0, 2, 3, 4, 6, 8, 10 or 12"
    );
    Ok(trus)
}

/// A decimal as so many whole parts.
fn in_parts(name: &str, value: &str, parts: i64, (least, most): (i64, i64)) -> anyhow::Result<i64> {
    let bound = |bound: i64| (Decimal::from(bound) / Decimal::from(parts)).normalize();
    let in_parts = Decimal::from_str_exact(value)
        .ok()
        .and_then(|number| number.checked_mul(Decimal::from(parts)))
        .and_then(|number| i64::try_from(number.round()).ok())
        .filter(|number| (least..=most).contains(number));
    in_parts.with_context(|| {
        format!(
            "{name}={value} is out of range; use a number from {} to {}",
            bound(least),
            bound(most)
        )
    })
}

fn whole<Number>(name: &str, value: &str, (least, most): (Number, Number)) -> anyhow::Result<Number>
where
    Number: std::str::FromStr + PartialOrd + std::fmt::Display + Copy,
{
    let number = value
        .parse()
        .ok()
        .filter(|number| (least..=most).contains(number));
    number
        .with_context(|| format!("{name}={value} is out of range; use a whole number from {least} to {most}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[test]
    fn parameters_are_set_by_name() {
        let given = ["delay_value=0.1", "margin=1.25", "history_days=0", "max_trus=6"].map(str::to_owned);
        let parameters = parse(&given).expect("valid");
        let expected = Parameters {
            delay_milli: 100,
            margin_percent: 125,
            history_days: 0,
            max_trus: 6,
            ..Parameters::default()
        };
        assert_eq!(parameters, expected);
    }

    #[rstest]
    #[case::no_value("margin", "takes NAME=VALUE")]
    #[case::unknown("speed=1", "choose from delay_value")]
    #[case::not_a_number("margin=much", "from 1 to 3")]
    #[case::zero("delay_value=0", "from 0.001 to 100")]
    #[case::size("max_trus=5", "not an available size")]
    #[case::bounds("min_trus=12,max_trus=2", "above max_trus=2")]
    fn what_cannot_be_used_is_refused_with_the_remedy(#[case] given: &str, #[case] text: &str) {
        let given: Vec<String> = given.split(',').map(str::to_owned).collect();
        let error = parse(&given).expect_err("refused").to_string();
        assert!(error.contains(text), "{error}");
    }
}
