//! Timeouts and retries of activities: up to 3 attempts, 1 s to 60 s apart.

use std::time::Duration;

use temporalio_client::RetryPolicy;
use temporalio_common::error::ActivityExecutionError;
use temporalio_sdk::{ActivityCloseTimeouts, ActivityOptions};

/// Timeouts and maximum number of attempts of one activity.
pub(super) struct Limits {
    attempt: Duration,
    total: Duration,
    attempts: u32,
}

impl Limits {
    pub(super) fn options(&self) -> ActivityOptions {
        let retry = RetryPolicy::builder()
            .initial_interval(Duration::from_secs(1))
            .backoff_coefficient(2.0)
            .maximum_interval(Duration::from_mins(1))
            .maximum_attempts(self.attempts)
            .build();
        let timeouts = ActivityCloseTimeouts::ScheduleAndStartToClose {
            start_to_close: self.attempt,
            schedule_to_close: self.total,
        };
        let mut options = ActivityOptions::with_close_timeouts(timeouts)
            .retry_policy(retry)
            .build();
        options.heartbeat_timeout = Some(Duration::from_secs(10));
        options
    }
}

pub(super) const SHORT: Limits = Limits {
    attempt: Duration::from_mins(3),
    total: Duration::from_mins(15),
    attempts: 3,
};
/// Lists all stacks, within the rate limit of the CI system.
pub(super) const PLAN: Limits = Limits {
    attempt: Duration::from_mins(10),
    total: Duration::from_mins(40),
    attempts: 3,
};
/// The total determines how long the end of a run is held; see `MOST_OFFERS`.
pub(super) const TRIGGER: Limits = Limits {
    attempt: Duration::from_mins(3),
    total: Duration::from_mins(10),
    attempts: 3,
};
/// An outage of the CI system must not fail a stack whose run continues.
pub(super) const POLL: Limits = Limits {
    attempt: Duration::from_mins(3),
    total: Duration::from_hours(2),
    attempts: 100,
};
/// If this fails, the event is lost.
pub(super) const OFFER: Limits = Limits {
    attempt: Duration::from_mins(2),
    total: Duration::from_hours(24),
    attempts: 2_000,
};
pub(super) const REPORT: Limits = Limits {
    attempt: Duration::from_mins(1),
    total: Duration::from_mins(5),
    attempts: 3,
};

/// Returns the cause of a failure as text, because the error itself only states that an activity failed.
pub(super) fn cause_of(error: &ActivityExecutionError) -> String {
    error
        .cause()
        .map_or_else(|| error.to_string(), ToString::to_string)
}
