//! Ages, as several messages show them.

use jiff::SignedDuration;

/// Formats an age in its two largest units, without seconds from a minute on: `45 s`, `15 min`, `24 h 5 min`,
/// `3 days 4 h`.
pub(crate) fn age(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds} s"),
        (0, minutes) => format!("{minutes} min"),
        (hours @ 48.., _) if hours % 24 == 0 => format!("{} days", hours / 24),
        (hours @ 48.., _) => format!("{} days {} h", hours / 24, hours % 24),
        (hours, 0) => format!("{hours} h"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::seconds(45, "45 s")]
    #[case::minutes(15 * 60 + 20, "15 min")]
    #[case::hours(24 * 3_600 - 60, "23 h 59 min")]
    #[case::whole_hours(2 * 3_600, "2 h")]
    #[case::one_day(86_400, "24 h")]
    #[case::whole_days(3 * 86_400, "3 days")]
    #[case::days(2 * 86_400 + 3_600, "2 days 1 h")]
    #[case::clock_went_backwards(-5, "0 s")]
    fn ages_show_two_units(#[case] seconds: i64, #[case] expected: &str) {
        assert_eq!(age(SignedDuration::from_secs(seconds)), expected);
    }
}
