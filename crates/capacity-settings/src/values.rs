//! Parses text into valid values. Each parser returns what is wrong and how to fix it.

use capacity_engine::{NamespacePatterns, Trus};
use human_text::{InvalidDuration, parse_duration};
use jiff::SignedDuration;

use crate::wrong::Wrong;

pub(crate) fn boolean(text: &str) -> Result<bool, Wrong> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err("this is neither true nor false; use true or false".into()),
    }
}

pub(crate) fn whole(text: &str, lowest: u64, highest: u64) -> Result<u64, Wrong> {
    // Digits may be grouped, as in TOML: 1_000.
    match text.replace('_', "").parse::<u64>() {
        Ok(number) if (lowest..=highest).contains(&number) => Ok(number),
        _ => Err(format!("use a whole number from {lowest} to {highest}").into()),
    }
}

pub(crate) fn trus(text: &str) -> Result<Trus, Wrong> {
    let number = whole(text, 1, 1_000)?;
    u32::try_from(number)
        .ok()
        .and_then(Trus::try_new)
        .ok_or_else(|| "use a number of TRUs from 1 to 1000".into())
}

pub(crate) fn duration(text: &str, zero_is_fine: bool) -> Result<SignedDuration, Wrong> {
    let duration = unsigned(text).ok_or_else(|| format!("use {}", InvalidDuration::EXPECTED))?;
    if (duration.is_zero() && !zero_is_fine) || duration > SignedDuration::from_hours(24 * 30) {
        let shortest = if zero_is_fine {
            "0s or more"
        } else {
            "more than 0s"
        };
        return Err(format!(
            "it must be {shortest} and at most 30 days; use {}",
            InvalidDuration::EXPECTED
        )
        .into());
    }
    Ok(duration)
}

/// Parses a duration for values that are computed with signed times.
fn unsigned(text: &str) -> Option<SignedDuration> {
    SignedDuration::try_from(parse_duration(text).ok()?).ok()
}

/// Parses a retention time: days or hours, at least one hour.
pub(crate) fn keeping(text: &str) -> Result<SignedDuration, Wrong> {
    let problem = "use a duration from 1h to 3650d, such as 14d or 36h";
    let allowed = SignedDuration::from_hours(1)..=SignedDuration::from_hours(24 * 3_650);
    unsigned(text)
        .filter(|kept| allowed.contains(kept))
        .ok_or_else(|| problem.into())
}

/// Parses labels in the usual notation: `cluster=eu, replica="a"`.
pub(crate) fn labels(text: &str) -> Result<Vec<(String, String)>, Wrong> {
    let label = |item: &str| {
        let (name, value) = item
            .split_once('=')
            .ok_or_else(|| format!("`{item}` is not a label; use name=value, separated by commas"))?;
        Ok((name.trim().to_owned(), value.trim().trim_matches('"').to_owned()))
    };
    let labels: Vec<(String, String)> = text
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .map(label)
        .collect::<Result<_, Wrong>>()?;
    if labels.is_empty() {
        return Err("it has no labels, only separators; use name=value, or remove it".into());
    }
    Ok(labels)
}

/// Parses a list in the usual notation: spaces after commas, quotes around items, a trailing comma.
pub(crate) fn patterns(text: &str) -> Result<NamespacePatterns, Wrong> {
    let items: Vec<&str> = text
        .split(',')
        .map(|item| item.trim().trim_matches(['"', '\'']).trim())
        .filter(|item| !item.is_empty())
        .collect();
    if items.is_empty() {
        return Err("it contains only separators; name at least one, or remove it".into());
    }
    NamespacePatterns::try_new(&items)
        .map_err(|error| format!("{error}; globs support *, ?, [ab] and {{a,b}}").into())
}

/// Parses names of top-level fields of a spec.
pub(crate) fn spec_fields(text: &str) -> Result<Vec<String>, Wrong> {
    let fields: Vec<String> = text
        .split(',')
        .map(|field| field.trim().to_owned())
        .filter(|field| !field.is_empty())
        .collect();
    let is_name = |field: &String| {
        field
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
    };
    match fields.iter().find(|field| !is_name(field)) {
        Some(field) => Err(format!(
            "`{field}` is not the name of a top-level field; list names as the API writes them, such as codecServer,lifecycle"
        ).into()),
        None => Ok(fields),
    }
}

pub(crate) fn installation(text: &str) -> Result<String, Wrong> {
    let is_fine = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    if text.len() <= 40 && text.chars().all(is_fine) && !text.starts_with('-') && !text.ends_with('-') {
        Ok(text.to_owned())
    } else {
        Err("use at most 40 lowercase letters, digits and hyphens, such as emea".into())
    }
}

pub(crate) fn address(text: &str) -> Result<String, Wrong> {
    let right = "use host and port, such as localhost:7233 or orders.a1b2c.tmprl.cloud:7233";
    // The port is after the last colon: an IPv6 address has several.
    match text.rsplit_once(':') {
        Some((host, port))
            if !host.is_empty() && !text.contains('/') && port.parse::<u16>().is_ok_and(|port| port > 0) =>
        {
            Ok(text.to_owned())
        }
        _ => Err(right.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("true", Some(true))]
    #[case("True", Some(true))]
    #[case("1", Some(true))]
    #[case("yes", Some(true))]
    #[case("FALSE", Some(false))]
    #[case("off", Some(false))]
    #[case("maybe", None)]
    #[case("2", None)]
    fn booleans_as_people_write_them(#[case] text: &str, #[case] expected: Option<bool>) {
        assert_eq!(boolean(text).ok(), expected);
    }

    #[rstest]
    #[case("6m", Some(360))]
    #[case("90s", Some(90))]
    #[case("4h", Some(14_400))]
    #[case("1h 30m", Some(5_400))]
    #[case("2d", Some(2 * 86_400))]
    #[case("6", None)]
    #[case("0s", None)]
    #[case("-6m", None)]
    #[case("9999999h", None)]
    fn durations_need_a_unit(#[case] text: &str, #[case] expected: Option<i64>) {
        assert_eq!(
            duration(text, false).ok().map(|duration| duration.as_secs()),
            expected
        );
    }

    #[rstest]
    #[case("a,b", "a")]
    #[case("a, b", "b")]
    #[case("\"a\", 'b',", "b")]
    fn lists_as_people_write_them(#[case] text: &str, #[case] name: &str) {
        let patterns = patterns(text).expect("parses");
        assert!(patterns.matches(&name.parse().expect("an id")));
    }

    #[rstest]
    #[case::commas(" , ,")]
    #[case::one_comma(",")]
    #[case::quoted_nothing("\"\",''")]
    fn a_list_that_names_nothing_is_refused(#[case] text: &str) {
        assert!(patterns(text).is_err_and(|wrong| wrong.to_string().contains("contains only separators")));
        assert!(labels(text).is_err());
    }

    #[rstest]
    #[case("14d", Some(14 * 24))]
    #[case("36h", Some(36))]
    #[case("2w", Some(14 * 24))]
    #[case("10m", None)]
    #[case("-3d", None)]
    #[case("9000d", None)]
    #[case("fourteen", None)]
    fn retention_times_are_hours_or_days(#[case] text: &str, #[case] hours: Option<i64>) {
        assert_eq!(keeping(text).ok().map(|kept| kept.as_hours()), hours);
    }

    #[test]
    fn labels_as_people_write_them() {
        let expected =
            [("cluster", "eu"), ("replica", "a")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(labels("cluster=eu, replica=\"a\",").expect("labels"), expected);
        assert!(labels("cluster").is_err());
    }

    #[rstest]
    #[case("localhost:7233", true)]
    #[case("orders.a1b2c.tmprl.cloud:7233", true)]
    #[case("orders.a1b2c.tmprl.cloud", false)]
    #[case("https://x:7233", false)]
    #[case("x:99999", false)]
    fn addresses_are_host_and_port(#[case] text: &str, #[case] expected: bool) {
        assert_eq!(address(text).is_ok(), expected);
    }
}
