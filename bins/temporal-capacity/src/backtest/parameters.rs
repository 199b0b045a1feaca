//! Parses `--policy-param NAME=VALUE` and `--delay-value` into the parameters of `break-even`.

use anyhow::Context;
use capacity_engine::break_even::Parameters;

/// Parses `--policy-param` and `--delay-value`, which takes precedence.
pub(crate) fn parse(assignments: &[String], delay_value: Option<&str>) -> anyhow::Result<Parameters> {
    let mut parameters = Parameters::parse(&assignments.join(",")).context("invalid --policy-param")?;
    if let Some(value) = delay_value {
        parameters
            .set("delay_value", value)
            .context("invalid --delay-value")?;
    }
    Ok(parameters)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[test]
    fn parameters_are_set_by_name_in_one_flag_or_several() {
        let given = ["delay_value=0.1,margin=1.25", "history_days=0", "max_trus=6"].map(str::to_owned);
        let parameters = parse(&given, None).expect("valid");
        let expected = Parameters {
            delay_milli: 100,
            margin_percent: 125,
            history_days: 0,
            max_trus: 6,
            ..Parameters::default()
        };
        assert_eq!(parameters, expected);
    }

    #[test]
    fn the_delay_value_flag_overrides_the_parameter() {
        let given = ["delay_value=0.1".to_owned()];
        let parameters = parse(&given, Some("10")).expect("valid");
        assert_eq!(parameters.delay_milli, 10_000);
    }

    #[rstest]
    #[case::no_value("margin", "use NAME=VALUE")]
    #[case::unknown("speed=1", "choose from delay_value")]
    #[case::not_a_number("margin=much", "from 1 to 3")]
    #[case::zero("delay_value=0", "from 0.001 to 100")]
    #[case::size("max_trus=5", "not an available size")]
    #[case::bounds("min_trus=12,max_trus=2", "above max_trus=2")]
    fn an_invalid_parameter_is_refused_with_the_remedy(#[case] given: &str, #[case] text: &str) {
        let error = format!("{:#}", parse(&[given.to_owned()], None).expect_err("refused"));
        assert!(
            error.contains("--policy-param") && error.contains(text),
            "{error}"
        );
    }
}
