//! When to retry a call, and how long to wait.

use std::time::Duration;

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
        // 250 ms shifted by 10 is far above the longest wait; a larger shift could overflow.
        .saturating_mul(1 << failed_attempts.saturating_sub(1).min(10))
        .min(LONGEST);
    ceiling.mul_f64(fastrand::f64().mul_add(0.8, 0.2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_stay_bounded() {
        for attempts in 1..40 {
            let wait = backoff(attempts);
            assert!(wait >= FIRST.mul_f64(0.2) && wait <= LONGEST, "{wait:?}");
        }
        assert!(backoff(1) <= FIRST);
    }
}
