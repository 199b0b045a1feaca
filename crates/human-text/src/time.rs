//! Times and ages, as people read them. Documents for programs (JSON, CSV) have RFC 3339 instead.

use jiff::{SignedDuration, Timestamp};

/// Formats a time to the minute: `2026-11-30 00:39 UTC`.
pub fn at_minute(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// Formats a time whose seconds matter: `2026-11-30 00:39:12 UTC`.
pub fn at_second(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// Formats a duration: `9 min`, `6 min 30 s`, `4 h`.
pub fn span(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().unsigned_abs();
    let parts = [
        (seconds / 3_600, "h"),
        (seconds % 3_600 / 60, "min"),
        (seconds % 60, "s"),
    ];
    let shown: Vec<String> = parts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count} {unit}"))
        .collect();
    if shown.is_empty() {
        "0 s".to_owned()
    } else {
        shown.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[test]
    fn times_are_in_utc_without_fractions() {
        let time: Timestamp = "2026-11-30T01:39:12.387433092+01:00".parse().expect("a time");
        assert_eq!(at_minute(time), "2026-11-30 00:39 UTC");
        assert_eq!(at_second(time), "2026-11-30 00:39:12 UTC");
    }

    #[rstest]
    #[case(0, "0 s")]
    #[case(390, "6 min 30 s")]
    #[case(4 * 3_600, "4 h")]
    fn durations_name_their_units(#[case] seconds: i64, #[case] expected: &str) {
        assert_eq!(span(SignedDuration::from_secs(seconds)), expected);
    }
}
