//! A pause that all requests to one host share.
//!
//! A rate limit applies to the account, not to one request: a request sent right after another one was refused would be refused
//! too, and would waste one of its attempts.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The longest pause. If a service asks for more, the request is retried after this time, so that one wrong
/// answer does not stop everything for a day.
const LONGEST: Duration = Duration::from_mins(15);

/// The time until which all requests to a host wait.
#[derive(Debug, Default)]
pub struct SharedPause {
    until: Mutex<Option<Instant>>,
}

impl SharedPause {
    /// Pauses all requests for this long from now, at most 15 minutes. A longer pause that is already in effect is kept.
    pub fn begin(&self, wait: Duration) {
        let end = Instant::now() + wait.min(LONGEST);
        // A panic cannot leave an `Option` half-written, so a poisoned lock still has a valid value.
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        if until.is_none_or(|until| until < end) {
            *until = Some(end);
        }
    }

    /// Returns the remaining time of the pause; zero if there is none.
    pub fn left(&self) -> Duration {
        let until = *self.until.lock().unwrap_or_else(PoisonError::into_inner);
        until.map_or(Duration::ZERO, |until| {
            until.saturating_duration_since(Instant::now())
        })
    }

    /// Waits until the pause is over.
    ///
    /// # Errors
    ///
    /// The remaining time, if it is longer than `longest`.
    pub async fn over(&self, longest: Duration) -> Result<(), Duration> {
        loop {
            let left = self.left();
            if left.is_zero() {
                return Ok(());
            }
            if left > longest {
                return Err(left);
            }
            // Another refusal may have extended the pause in the meantime.
            tokio::time::sleep(left).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_pause_is_waited_out_and_a_longer_one_is_not_shortened() {
        let pause = SharedPause::default();
        assert_eq!(pause.over(Duration::ZERO).await, Ok(()));
        let begun = std::time::Instant::now();
        pause.begin(Duration::from_millis(80));
        pause.begin(Duration::from_millis(1));
        assert_eq!(pause.over(Duration::from_secs(10)).await, Ok(()));
        assert!(
            begun.elapsed() >= Duration::from_millis(80),
            "{:?}",
            begun.elapsed()
        );
    }

    #[tokio::test]
    async fn a_pause_that_is_too_long_is_left_to_the_caller() {
        let pause = SharedPause::default();
        pause.begin(Duration::from_mins(10));
        let left = pause.over(Duration::from_secs(30)).await.expect_err("too long");
        assert!(
            left > Duration::from_mins(9) && left <= Duration::from_mins(10),
            "{left:?}"
        );
    }
}
