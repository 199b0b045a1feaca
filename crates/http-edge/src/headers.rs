//! Times in response headers.

use std::time::Duration;

use http::HeaderMap;
use http::header::{DATE, HeaderName, RETRY_AFTER};
use jiff::Timestamp;

/// Maximum wait that a service can request, in seconds; longer waits are capped.
const LONGEST: u64 = 24 * 3_600;

/// Parses `Retry-After`: seconds, or a date relative to the response's own `Date`.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds.min(LONGEST)));
    }
    let at = date(headers, &RETRY_AFTER)?;
    // Relative to the service's time, so that a wrong local clock does not matter. A past date is not a wait.
    Duration::try_from(at.duration_since(server_time(headers)?)).ok()
}

/// Parses the `Date` header.
pub fn server_time(headers: &HeaderMap) -> Option<Timestamp> {
    date(headers, &DATE)
}

fn date(headers: &HeaderMap, name: &HeaderName) -> Option<Timestamp> {
    let text = headers.get(name)?.to_str().ok()?;
    // HTTP dates are RFC 2822 dates in GMT.
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
        headers.insert(RETRY_AFTER, text.parse().expect("a header value"));
        if let Some(date) = date {
            headers.insert(DATE, date.parse().expect("a header value"));
        }
        assert_eq!(retry_after(&headers), expected.map(Duration::from_secs));
    }
}
