//! Virtual time with a configurable start and speed, which can also be advanced manually.

use std::time::Instant;

use jiff::{SignedDuration, Timestamp};

/// The clock of a simulated cloud.
#[derive(Debug)]
pub(crate) struct VirtualClock {
    start: Timestamp,
    began: Instant,
    speed: f64,
    advanced: SignedDuration,
}

impl VirtualClock {
    /// Starts a clock. With a speed of 60, an hour passes in a minute; with 0, only [`advance`] moves it.
    ///
    /// [`advance`]: VirtualClock::advance
    pub(crate) fn start(start: Timestamp, speed: f64) -> Self {
        let speed = if speed.is_finite() { speed.max(0.0) } else { 1.0 };
        Self {
            start,
            began: Instant::now(),
            speed,
            advanced: SignedDuration::ZERO,
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        let elapsed = SignedDuration::from_secs_f64(self.began.elapsed().as_secs_f64() * self.speed);
        self.start
            .saturating_add(elapsed)
            .and_then(|time| time.saturating_add(self.advanced))
            .unwrap_or(self.start)
    }

    pub(crate) fn speed(&self) -> f64 {
        self.speed
    }

    pub(crate) fn advance(&mut self, by: SignedDuration) {
        self.advanced = self.advanced.saturating_add(by);
    }
}

/// Returns the minutes since 1970.
pub(crate) fn minute_of(time: Timestamp) -> i64 {
    time.as_second().div_euclid(60)
}

/// Returns the beginning of a minute.
pub(crate) fn start_of(minute: i64) -> Timestamp {
    Timestamp::from_second(minute.saturating_mul(60)).unwrap_or(Timestamp::UNIX_EPOCH)
}
