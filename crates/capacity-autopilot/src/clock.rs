//! The one clock of a process, corrected by the `Date` header of the service's responses (namespace list and
//! metrics).
//!
//! The age of a sample is the difference between our clock and the service's. If a machine's clock is wrong,
//! fresh metrics would look stale, or stale ones fresh. Nothing else in the workspace reads time.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use jiff::{SignedDuration, Timestamp};

/// Difference from the service's clock above which a warning is reported.
const ANNOUNCED_SKEW: SignedDuration = SignedDuration::from_secs(60);

/// The service's time as far as it is known: the system's clock plus a correction.
#[derive(Debug)]
pub struct Clock {
    /// A moment by the system's clock, and the same moment by the service's.
    corrected: Mutex<(Timestamp, Timestamp)>,
    speed: f64,
}

impl Default for Clock {
    fn default() -> Self {
        Self::running_at(1.0)
    }
}

impl Clock {
    /// Creates a clock that shows the system's time until it is corrected.
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates a clock for a simulated service whose time runs `speed` times as fast as real time.
    pub fn running_at(speed: f64) -> Self {
        let now = Timestamp::now();
        Self {
            corrected: Mutex::new((now, now)),
            speed,
        }
    }

    /// Returns the corrected time.
    pub fn now(&self) -> Timestamp {
        let (system, service) = *self.corrected.lock().unwrap_or_else(PoisonError::into_inner);
        let since = Timestamp::now().duration_since(system);
        // Only a simulated clock has a speed other than 1, so the fallback is exact in production.
        let since = SignedDuration::try_from_secs_f64(since.as_secs_f64() * self.speed).unwrap_or(since);
        service.checked_add(since).unwrap_or(service)
    }

    /// Converts a duration of the service's time to real time.
    pub(crate) fn in_our_time(&self, service: Duration) -> Duration {
        service.div_f64(self.speed.max(1.0))
    }

    /// Returns how far the system's clock was behind the service's when it was last corrected (negative: ahead).
    pub fn behind(&self) -> SignedDuration {
        let (system, service) = *self.corrected.lock().unwrap_or_else(PoisonError::into_inner);
        service.duration_since(system)
    }

    /// Corrects the clock with the time that a service has just sent, and returns how far the system's clock
    /// is behind it (negative: ahead). The header has whole seconds, so a difference of one second is
    /// meaningless.
    pub fn correct(&self, service: Timestamp) -> SignedDuration {
        let system = Timestamp::now();
        *self.corrected.lock().unwrap_or_else(PoisonError::into_inner) = (system, service);
        service.duration_since(system)
    }
}

/// Returns the uncorrected time of this machine, for recording when local work began and ended. Never use it to compute the age
/// of service data.
pub fn machine_time() -> SystemTime {
    SystemTime::now()
}

/// Returns the difference if it is worth a warning. A service on this machine is simulated, and may show any
/// time.
pub(crate) fn announced_skew(behind: SignedDuration, is_local: bool) -> Option<SignedDuration> {
    (behind.abs() > ANNOUNCED_SKEW && !is_local).then_some(behind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_off_by_more_than_a_minute_is_announced_unless_the_service_is_simulated() {
        let (minute, hours) = (SignedDuration::from_mins(1), SignedDuration::from_hours(5));
        for off in [hours, -hours] {
            assert_eq!(announced_skew(off, false), Some(off));
            assert_eq!(announced_skew(off, true), None);
        }
        assert_eq!(announced_skew(minute, false), None);
    }

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
