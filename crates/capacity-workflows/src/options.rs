//! Timeouts and retries of activities.

use std::time::Duration;

use temporalio_client::RetryPolicy;
use temporalio_sdk::{ActivityCloseTimeouts, ActivityOptions, WorkflowCancellationToken};

/// Timeouts of an activity (one attempt, all attempts, heartbeat), and its maximum number of attempts.
pub(crate) struct ActivityTimeouts {
    pub(crate) attempt: Duration,
    pub(crate) total: Duration,
    pub(crate) heartbeat: Option<Duration>,
    pub(crate) attempts: u32,
}

impl ActivityTimeouts {
    /// Returns the options for work that continues after its workflow was canceled.
    pub(crate) fn detached(&self) -> ActivityOptions {
        let mut options = self.options();
        options.cancellation_token = Some(WorkflowCancellationToken::new());
        options
    }

    pub(crate) fn options(&self) -> ActivityOptions {
        let retry = RetryPolicy::builder()
            .initial_interval(Duration::from_secs(1))
            .maximum_interval(Duration::from_secs(30))
            .maximum_attempts(self.attempts)
            .build();
        let timeouts = ActivityCloseTimeouts::ScheduleAndStartToClose {
            start_to_close: self.attempt,
            schedule_to_close: self.total,
        };
        let mut options = ActivityOptions::with_close_timeouts(timeouts)
            .retry_policy(retry)
            .build();
        options.heartbeat_timeout = self.heartbeat;
        options
    }
}

/// For observing an account, which takes a while in a large one at the rate that the API allows.
pub(crate) const OBSERVE: ActivityTimeouts = ActivityTimeouts {
    attempt: Duration::from_mins(5),
    total: Duration::from_mins(15),
    heartbeat: Some(Duration::from_secs(30)),
    attempts: 3,
};

/// For a step: one read and one POST, each retried by the client within limits.
pub(crate) const STEP: ActivityTimeouts = ActivityTimeouts {
    attempt: Duration::from_mins(4),
    total: Duration::from_mins(12),
    heartbeat: Some(Duration::from_secs(15)),
    attempts: 5,
};

/// For reading a namespace, retried while the service does not respond.
pub(crate) const READ: ActivityTimeouts = ActivityTimeouts {
    attempt: Duration::from_mins(2),
    total: Duration::from_mins(10),
    heartbeat: Some(Duration::from_secs(15)),
    attempts: 0,
};

/// For a POST. Each attempt first checks whether an earlier one got through.
pub(crate) const POST: ActivityTimeouts = ActivityTimeouts {
    attempt: Duration::from_mins(2),
    total: Duration::from_mins(6),
    heartbeat: Some(Duration::from_secs(15)),
    attempts: 0,
};

/// For recording and announcing a change, so that its namespace is unlocked within a minute.
pub(crate) const CONCLUDE: ActivityTimeouts = ActivityTimeouts {
    attempt: Duration::from_secs(20),
    total: Duration::from_secs(25),
    heartbeat: None,
    attempts: 2,
};

/// For a scale-up-only evaluation, which has two minutes in total.
pub(crate) const EVALUATE_SCALE_UP: ActivityTimeouts = ActivityTimeouts {
    attempt: Duration::from_secs(100),
    total: Duration::from_mins(2),
    heartbeat: Some(Duration::from_secs(15)),
    attempts: 3,
};

/// For notifications, which never block other work for long.
pub(crate) const ANNOUNCE: ActivityTimeouts = ActivityTimeouts {
    attempt: Duration::from_mins(2),
    total: Duration::from_mins(4),
    heartbeat: Some(Duration::from_secs(15)),
    attempts: 2,
};

/// For requests to the controller. A refusal is retried; a timeout is final.
pub(crate) const ASK: ActivityTimeouts = ActivityTimeouts {
    attempt: Duration::from_mins(18),
    total: Duration::from_mins(25),
    heartbeat: Some(Duration::from_secs(15)),
    // A wait of 16 minutes, and workers that are killed every two minutes.
    attempts: 12,
};

/// Returns the options for sampling. One attempt lasts as long as its worker, and another worker continues immediately.
pub(crate) fn sampling() -> ActivityOptions {
    let retry = RetryPolicy::builder()
        .initial_interval(Duration::from_secs(1))
        // Attempts are counted over the lifetime of the sampler: an interval that grows with them would never
        // shrink.
        .backoff_coefficient(1.0)
        .build();
    // The service requires a limit, and the heartbeat is the real one.
    let timeouts = ActivityCloseTimeouts::StartToClose(Duration::from_hours(24 * 365));
    let mut options = ActivityOptions::with_close_timeouts(timeouts)
        .retry_policy(retry)
        .build();
    options.heartbeat_timeout = Some(Duration::from_secs(20));
    options
}

/// Returns the options for following a slow change. The retries are the polls.
pub(crate) fn follow() -> ActivityOptions {
    let every_minute = RetryPolicy::builder()
        .initial_interval(Duration::from_mins(1))
        .backoff_coefficient(1.0)
        .build();
    for_long(every_minute, Duration::from_hours(24))
}

/// Returns the options for recording what a change could not record itself.
pub(crate) fn record() -> ActivityOptions {
    let patient = RetryPolicy::builder()
        .initial_interval(Duration::from_secs(20))
        .maximum_interval(Duration::from_mins(5))
        .build();
    for_long(patient, Duration::from_hours(7 * 24))
}

/// Returns the options for work that must complete before anything else: opening a pause, starting the workflow that continues
/// recording.
pub(crate) fn until_done() -> ActivityOptions {
    let quick = RetryPolicy::builder()
        .initial_interval(Duration::from_secs(1))
        .maximum_interval(Duration::from_secs(10))
        .build();
    for_long(quick, Duration::from_hours(7 * 24))
}

fn for_long(retry: RetryPolicy, total: Duration) -> ActivityOptions {
    let timeouts = ActivityCloseTimeouts::ScheduleAndStartToClose {
        start_to_close: Duration::from_mins(1),
        schedule_to_close: total,
    };
    let mut options = ActivityOptions::with_close_timeouts(timeouts)
        .retry_policy(retry)
        .build();
    options.heartbeat_timeout = Some(Duration::from_secs(20));
    options.cancellation_token = Some(WorkflowCancellationToken::new());
    options
}

/// For waiting until a change that someone else started has ended.
pub(crate) const WAIT: ActivityTimeouts = ActivityTimeouts {
    attempt: Duration::from_mins(20),
    total: Duration::from_mins(40),
    heartbeat: Some(Duration::from_secs(15)),
    attempts: 5,
};
