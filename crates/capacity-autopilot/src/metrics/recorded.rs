//! Minutes that were recorded over weeks: what namespaces served and what was throttled, from a ledger or
//! Prometheus.
//!
//! They are read one part of the span at a time and streamed, so that memory does not grow with the span.
//! Only the limit of actions is read, because it determines billing and size. A minute whose actions were not
//! read is skipped.

use capacity_engine::break_even::MinuteActions;
use capacity_engine::{LimitKind, PerLimit, Rate, Usage};

/// Maximum number of minutes that are read at a time.
pub(crate) const LONGEST_PART: i64 = 360;

/// One recorded minute of one namespace.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct RecordedMinute<'a> {
    /// Full id of the namespace.
    pub namespace: &'a str,
    /// Minutes since 1970.
    pub minute: i64,
    /// Served actions, and throttled attempts.
    pub actions: MinuteActions,
}

/// Returns the whole actions that were served and throttled in a minute.
pub(crate) fn actions_of(usage: &PerLimit<Usage>) -> MinuteActions {
    let usage = &usage[LimitKind::Actions];
    MinuteActions {
        served: in_a_minute(usage.served),
        throttled: in_a_minute(usage.throttled),
    }
}

/// Converts a rate to whole actions in a minute, rounded half up.
fn in_a_minute(rate: Rate) -> i64 {
    let actions = (u128::from(rate.micros_per_second()) * 60 + 500_000) / 1_000_000;
    i64::try_from(actions).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::whole(100.0, 6_000)]
    #[case::third(33.333, 2_000)]
    #[case::trace(0.017, 1)]
    #[case::nothing(0.0, 0)]
    fn a_rate_is_whole_actions_of_a_minute(#[case] rate: f64, #[case] expected: i64) {
        assert_eq!(
            in_a_minute(Rate::from_per_second(rate).expect("a rate")),
            expected
        );
    }
}
