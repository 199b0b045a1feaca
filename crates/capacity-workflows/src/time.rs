//! Times in histories: milliseconds since 1970, and RFC 3339.

use std::time::SystemTime;

use jiff::Timestamp;

/// Returns a time in milliseconds since 1970.
pub(crate) fn milliseconds(time: SystemTime) -> Option<u64> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    u64::try_from(since.as_millis()).ok()
}

/// Formats milliseconds since 1970 as RFC 3339.
pub(crate) fn as_time(milliseconds: u64) -> Option<String> {
    let milliseconds = i64::try_from(milliseconds).ok()?;
    Timestamp::from_millisecond(milliseconds)
        .ok()
        .map(|time| time.to_string())
}
