//! Parses human-readable durations: `30s`, `5m`, `1h 30m`.

use std::time::Duration;

/// A text that is not a valid duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a duration such as `30s`, `5m` or `1h 30m`")]
pub struct InvalidDuration {
    text: String,
}

/// Parses a duration such as `250ms`, `30s`, `5m` or `1h 30m`.
///
/// # Errors
///
/// If the text has another format, or the duration is negative.
pub fn parse_duration(text: &str) -> Result<Duration, InvalidDuration> {
    let invalid = || InvalidDuration {
        text: text.to_owned(),
    };
    let signed: jiff::SignedDuration = text.trim().parse().map_err(|_| invalid())?;
    Duration::try_from(signed).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, seconds) in [("30s", 30), ("5m", 300), ("1h 30m", 5_400), ("0s", 0)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "30", "soon", "-5s"] {
            let problem = parse_duration(text).expect_err("not a duration");
            assert!(problem.to_string().contains("such as `30s`"), "{problem}");
        }
    }
}
