//! A pause that all requests to one host share.
//!
//! A rate limit is the account's, not the request's: a request that is sent while another one has just been refused is refused as
//! well, and uses up the attempts that it has.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The longest pause: a service that asks for more is retried after that, so that one wrong answer does not stop everything for a
/// day.
const LONGEST: Duration = Duration::from_mins(15);

/// When requests may be sent again. Until then all of them wait.
#[derive(Debug, Default)]
pub struct SharedPause {
    until: Mutex<Option<Instant>>,
}

impl SharedPause {
    /// Pauses all requests for this long from now, 15 minutes at most; a pause that lasts longer already stays.
    pub fn begin(&self, wait: Duration) {
        let end = Instant::now() + wait.min(LONGEST);
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        if until.is_none_or(|until| until < end) {
            *until = Some(end);
        }
    }

    /// Returns how long the pause lasts from now; zero if there is none.
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
    /// With the remaining time, if that is longer than the caller is willing to wait.
    pub async fn over(&self, longest: Duration) -> Result<(), Duration> {
        loop {
            let left = self.left();
            if left.is_zero() {
                return Ok(());
            }
            if left > longest {
                return Err(left);
            }
            // Another refusal may have made it longer meanwhile.
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
