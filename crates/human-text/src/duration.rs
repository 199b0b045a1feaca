//! Durations: `30s`, `5m`, `1h 30m`, `14d`.

use std::time::Duration;

use jiff::{Span, SpanRelativeTo};

/// A text that is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}`: use {expected}", expected = Self::EXPECTED)]
pub struct InvalidDuration {
    text: String,
}

impl InvalidDuration {
    /// What is accepted, for messages that show the value themselves: `use ...`, `must be ...`.
    pub const EXPECTED: &'static str = "a duration with a unit, such as 30s, 5m or 14d";
}

/// Parses a duration such as `250ms`, `30s`, `5m`, `1h 30m` or `14d`. A day has 24 hours.
///
/// # Errors
///
/// If the text has another format or no unit, or the duration is negative.
pub fn parse_duration(text: &str) -> Result<Duration, InvalidDuration> {
    let span: Option<Span> = text.trim().parse().ok();
    // A span of days has no length without this: days may have 23 or 25 hours.
    span.and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()).ok())
        .and_then(|duration| Duration::try_from(duration).ok())
        .ok_or_else(|| InvalidDuration {
            text: text.to_owned(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const SECOND: u64 = 1_000;
    const MINUTE: u64 = 60 * SECOND;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;

    #[rstest]
    #[case::zero("0s", 0)]
    #[case::milliseconds("250ms", 250)]
    #[case::seconds("30s", 30 * SECOND)]
    #[case::minutes("5m", 5 * MINUTE)]
    #[case::hours("4h", 4 * HOUR)]
    #[case::days("14d", 14 * DAY)]
    #[case::weeks("2w", 14 * DAY)]
    #[case::fraction("1.5h", 90 * MINUTE)]
    #[case::two_units("1h 30m", 90 * MINUTE)]
    #[case::without_a_blank("1h30m", 90 * MINUTE)]
    #[case::days_and_hours("1d 12h", 36 * HOUR)]
    #[case::comma("1h, 30m", 90 * MINUTE)]
    #[case::words("5 minutes", 5 * MINUTE)]
    #[case::clock("01:30:00", 90 * MINUTE)]
    #[case::iso("PT1H30M", 90 * MINUTE)]
    #[case::iso_days("P2D", 2 * DAY)]
    #[case::blanks_around(" 30s\n", 30 * SECOND)]
    #[case::long("9999999h", 9_999_999 * HOUR)]
    fn a_duration_is_read_as_people_write_it(#[case] text: &str, #[case] milliseconds: u64) {
        assert_eq!(parse_duration(text), Ok(Duration::from_millis(milliseconds)));
    }

    #[rstest]
    #[case::nothing("")]
    #[case::no_unit("30")]
    #[case::zero_without_a_unit("0")]
    #[case::word("soon")]
    #[case::negative("-5s")]
    #[case::ago("5m ago")]
    #[case::months("1mo")]
    #[case::years("1y")]
    #[case::unknown_unit("3 fortnights")]
    #[case::wrong_order("30m 1h")]
    #[case::rest("30s please")]
    #[case::too_long("99999999999h")]
    fn anything_else_is_refused_with_its_text_and_an_example(#[case] text: &str) {
        let problem = parse_duration(text).expect_err("not a duration").to_string();
        let expected = format!("`{text}`: use a duration with a unit, such as 30s, 5m or 14d");
        assert_eq!(problem, expected);
    }
}
