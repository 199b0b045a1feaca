//! The one clock of a process, corrected by the `Date` header of the metrics answer.
//!
//! Ages of samples are differences between our clock and the service's; a machine whose clock is off
//! would call fresh metrics stale, or stale ones fresh. Nothing else in the workspace reads time.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};

/// A difference to the service's clock above which people are told.
pub const ANNOUNCED_SKEW: SignedDuration = SignedDuration::from_secs(60);

/// The time of the service, as far as we know it: the system's clock plus a correction.
#[derive(Debug, Default)]
pub struct Clock {
    correction_ms: AtomicI64,
}

impl Clock {
    /// Returns a clock that shows the system's time until it is corrected.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the corrected time.
    pub fn now(&self) -> Timestamp {
        let correction = SignedDuration::from_millis(self.correction_ms.load(Ordering::Relaxed));
        Timestamp::now()
            .checked_add(correction)
            .unwrap_or_else(|_| Timestamp::now())
    }

    /// Sets the clock by the time a service has just declared, and returns how far the system's clock
    /// is behind it (negative: ahead). The header counts whole seconds, so a second means nothing.
    pub fn correct(&self, service_time: Timestamp) -> SignedDuration {
        let behind = service_time.duration_since(Timestamp::now());
        let milliseconds = i64::try_from(behind.as_millis()).unwrap_or(0);
        self.correction_ms.store(milliseconds, Ordering::Relaxed);
        behind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_services_date_corrects_a_clock_that_is_off() {
        let clock = Clock::new();
        let service = Timestamp::now()
            .checked_add(SignedDuration::from_hours(5))
            .expect("in range");
        let behind = clock.correct(service);
        assert!(behind > SignedDuration::from_mins(299), "{behind:?}");
        assert!(clock.now().duration_since(service).abs() < SignedDuration::from_secs(60));
    }
}
