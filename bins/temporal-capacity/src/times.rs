//! Parses times, durations and numbers from the command line.

use std::time::Duration;

use anyhow::{Context, anyhow};
use human_text::{InvalidDuration, at_minute, parse_duration};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// Maximum for `--observe`. To observe for longer, run a worker with a ledger.
const LONGEST_OBSERVATION: Duration = Duration::from_hours(2);

/// Parses the duration for `--observe`.
pub(crate) fn observation(text: &str) -> anyhow::Result<Duration> {
    let duration = parse_duration(text).ok();
    duration
        .filter(|duration| *duration <= LONGEST_OBSERVATION)
        .context("use a duration up to 2h, such as 15m")
}

/// Parses a duration. The caller's message shows the text.
pub(crate) fn duration(text: &str) -> anyhow::Result<Duration> {
    parse_duration(text).map_err(|_| anyhow!("use {}", InvalidDuration::EXPECTED))
}

/// Parses a waiting time. A number without a unit is in seconds.
pub(crate) fn seconds(text: &str) -> anyhow::Result<Duration> {
    let span = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => duration(text)?,
    };
    anyhow::ensure!(!span.is_zero(), "use at least 1s");
    Ok(span)
}

/// Parses a retention period. A number without a unit is in days.
pub(crate) fn days(text: &str) -> anyhow::Result<SignedDuration> {
    let span = match text.parse::<u32>() {
        Ok(days) => Some(SignedDuration::from_hours(24 * i64::from(days))),
        Err(_) => parse_duration(text)
            .ok()
            .and_then(|span| SignedDuration::try_from(span).ok()),
    };
    span.filter(|span| *span >= SignedDuration::from_hours(24))
        .context("use a number of days, at least 1, such as 14 or 14d")
}

/// Parses a number without a fraction.
pub(crate) fn whole<T: std::str::FromStr>(text: &str) -> anyhow::Result<T> {
    text.parse().ok().context("write a whole number, such as 20")
}

/// Parses a number that may have a fraction.
pub(crate) fn number(text: &str) -> anyhow::Result<f64> {
    let number = text.parse().ok();
    number.context("write a number, such as 1 or 2.5")
}

/// Checks that a time range starts before it ends.
pub(crate) fn range(from: Option<Timestamp>, to: Option<Timestamp>) -> anyhow::Result<()> {
    if let (Some(from), Some(to)) = (from, to) {
        anyhow::ensure!(
            from < to,
            "--from {} is not before --to {}. Swap them, or omit one",
            at_minute(from),
            at_minute(to)
        );
    }
    Ok(())
}

/// Parses a time, or a date as the start of that day in UTC.
pub(crate) fn time(text: &str) -> anyhow::Result<Timestamp> {
    let date = || {
        // Parsing a time without a zone as a date would silently drop the time.
        let date = jiff::civil::Date::strptime("%Y-%m-%d", text).ok()?;
        Some(date.to_zoned_datetime(TimeZone::UTC).ok()?.timestamp())
    };
    text.parse()
        .ok()
        .or_else(date)
        .context("use a date such as 2026-11-22, or a time with its zone such as 2026-11-22T08:00Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::date("2026-11-22", "2026-11-22T00:00:00Z")]
    #[case::time("2026-11-22T08:00Z", "2026-11-22T08:00:00Z")]
    #[case::zone("2026-11-22T08:00+01:00", "2026-11-22T07:00:00Z")]
    fn dates_and_times_are_parsed(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(time(text).expect("reads").to_string(), expected);
    }

    #[test]
    fn durations_without_a_unit_use_the_default_unit_of_their_flag() {
        assert_eq!(duration("14d").expect("read"), Duration::from_hours(14 * 24));
        assert_eq!(seconds("90").expect("read"), Duration::from_secs(90));
        assert_eq!(seconds("5m").expect("read"), Duration::from_mins(5));
        assert_eq!(days("14").expect("read"), days("14d").expect("read"));
        assert_eq!(days("2w").expect("read"), days("336h").expect("read"));
        for text in ["0", "12h", "-3d", "many", "1mo", ""] {
            assert!(days(text).is_err(), "{text}");
        }
        let problem = duration("90").expect_err("no unit").to_string();
        assert_eq!(problem, "use a duration with a unit, such as 30s, 5m or 14d");
        assert!(seconds("0s").is_err());
    }

    #[test]
    fn a_range_starts_before_it_ends() {
        let at = |text| Some(time(text).expect("a time"));
        assert!(range(at("2026-11-22"), at("2026-11-23")).is_ok());
        assert!(range(at("2026-11-23"), None).is_ok());
        let error = range(at("2026-11-23"), at("2026-11-22")).expect_err("reversed");
        assert!(error.to_string().contains("is not before --to"), "{error}");
    }

    #[rstest]
    #[case::words("yesterday")]
    #[case::no_zone("2026-11-22T08:00")]
    fn an_invalid_time_is_refused_with_an_example(#[case] text: &str) {
        assert!(
            time(text)
                .expect_err("refused")
                .to_string()
                .contains("2026-11-22T08:00Z")
        );
    }
}
