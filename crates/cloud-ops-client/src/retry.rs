//! When to retry a call, and how long to wait.

use std::time::Duration;

use http::HeaderMap;
use jiff::Timestamp;

/// The first wait. Each further one is up to twice as long.
const FIRST: Duration = Duration::from_millis(250);
/// Longest wait between attempts, unless the service requests a longer one.
const LONGEST: Duration = Duration::from_secs(8);
/// Maximum wait that is honored if the service asks for one. Longer waits are left to the caller.
pub(crate) const LONGEST_ASKED: Duration = Duration::from_secs(30);

/// Returns how long to wait after this number of failed attempts: exponential, with full jitter above a
/// minimum, so that clients that fail together do not retry together.
pub(crate) fn backoff(failed_attempts: u32) -> Duration {
    let ceiling = FIRST
        .saturating_mul(1 << failed_attempts.saturating_sub(1).min(10))
        .min(LONGEST);
    ceiling.mul_f64(fastrand::f64().mul_add(0.8, 0.2))
}

/// Parses `Retry-After`: seconds, or a date relative to the response's own `Date`, if present.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds.min(24 * 3_600)));
    }
    let at = http_date(text)?;
    let now = server_time(headers)?;
    Duration::try_from(at.duration_since(now)).ok()
}

/// Parses the `Date` header.
pub(crate) fn server_time(headers: &HeaderMap) -> Option<Timestamp> {
    http_date(headers.get(http::header::DATE)?.to_str().ok()?)
}

fn http_date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::DateTimeParser::new()
        .parse_timestamp(text.trim())
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::seconds("7", None, Some(7))]
    #[case::blanks(" 7 ", None, Some(7))]
    #[case::date(
        "Fri, 20 Nov 2026 10:00:30 GMT",
        Some("Fri, 20 Nov 2026 10:00:00 GMT"),
        Some(30)
    )]
    #[case::date_in_the_past("Fri, 20 Nov 2026 09:00:00 GMT", Some("Fri, 20 Nov 2026 10:00:00 GMT"), None)]
    #[case::date_without_a_clock("Fri, 20 Nov 2026 10:00:30 GMT", None, None)]
    #[case::neither("soon", None, None)]
    fn retry_after_is_seconds_or_a_date(
        #[case] text: &str,
        #[case] date: Option<&str>,
        #[case] expected: Option<u64>,
    ) {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::RETRY_AFTER, text.parse().expect("a header value"));
        if let Some(date) = date {
            headers.insert(http::header::DATE, date.parse().expect("a header value"));
        }
        assert_eq!(retry_after(&headers), expected.map(Duration::from_secs));
    }

    #[test]
    fn waits_grow_and_stay_bounded() {
        for attempts in 1..40 {
            let wait = backoff(attempts);
            assert!(wait >= FIRST.mul_f64(0.2) && wait <= LONGEST, "{wait:?}");
        }
        assert!(backoff(1) <= FIRST);
    }
}
