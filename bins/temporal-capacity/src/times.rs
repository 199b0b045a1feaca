//! Parses times and durations from the command line.

use std::time::Duration;

use anyhow::Context;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// To observe for longer than this, run a worker with a ledger.
const LONGEST_OBSERVATION: SignedDuration = SignedDuration::from_hours(2);

/// Parses the duration of an observation.
pub(crate) fn observation(text: &str) -> anyhow::Result<Duration> {
    let duration = text.parse::<SignedDuration>().ok();
    duration
        .filter(|duration| *duration <= LONGEST_OBSERVATION)
        .and_then(|duration| Duration::try_from(duration).ok())
        .context("write a duration up to 2h, such as 15m")
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
        .context("write a date such as 2026-11-22, or a time with its zone such as 2026-11-22T08:00Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::date("2026-11-22", "2026-11-22T00:00:00Z")]
    #[case::time("2026-11-22T08:00Z", "2026-11-22T08:00:00Z")]
    #[case::zone("2026-11-22T08:00+01:00", "2026-11-22T07:00:00Z")]
    fn dates_and_times_are_read(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(time(text).expect("reads").to_string(), expected);
    }

    #[rstest]
    #[case::words("yesterday")]
    #[case::no_zone("2026-11-22T08:00")]
    fn what_is_no_time_is_refused_with_an_example(#[case] text: &str) {
        assert!(
            time(text)
                .expect_err("refused")
                .to_string()
                .contains("2026-11-22T08:00Z")
        );
    }
}
