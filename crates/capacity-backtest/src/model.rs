//! The simulated namespace: work arrives, and is served up to the limit or waits.

use crate::trace::Load;

/// Number of ten-second steps in a minute.
const STEPS: i64 = 6;

/// Twice the action-minutes of one action that waits for one step, because the queues before and after each
/// step are added up.
pub(crate) const WAITED_PER_MINUTE: i64 = 2 * STEPS;

/// The result of one minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Minute {
    /// Actions served.
    pub(crate) served: i64,
    /// Attempts that were throttled.
    pub(crate) throttled: i64,
    /// New actions that had to wait.
    pub(crate) delayed: i64,
    /// Action-minutes of waiting, times [`WAITED_PER_MINUTE`].
    pub(crate) waited: i64,
}

/// The queue of waiting work, and its progress within a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Backlog {
    /// Actions waiting.
    pub(crate) queue: i64,
}

impl Backlog {
    /// Simulates one minute at a limit in actions per minute. The first of six steps has the peak, and the
    /// others share the rest; older work is served first.
    pub(crate) fn minute(&mut self, load: Load, limit: i64) -> Minute {
        let (actions, peak) = (i64::from(load.actions), i64::from(load.peak));
        // The peak is the busiest step: if it fits, all steps do.
        if self.queue == 0 && peak <= limit / STEPS {
            return Minute {
                served: actions,
                ..Minute::default()
            };
        }
        let rest = actions - peak;
        let mut minute = Minute::default();
        let mut retried = 0;
        for step in 0..STEPS {
            let arriving = if step == 0 {
                peak
            } else {
                share(rest, step - 1, STEPS - 1)
            };
            let admitted = share(limit, step, STEPS);
            let served_from_queue = admitted.min(self.queue);
            let served = admitted.min(self.queue + arriving);
            let left = self.queue + arriving - served;
            minute.served += served;
            minute.delayed += left.min(arriving);
            minute.waited += self.queue + left;
            // A sixth of the queue is retried in each step; actions served from the queue were among these
            // attempts.
            retried += left - STEPS * served_from_queue;
            self.queue = left;
        }
        if minute.delayed > 0 {
            minute.throttled = minute.delayed + (retried.max(0) + STEPS - 1) / STEPS;
        }
        minute
    }

    /// Returns the action-minutes until the backlog has drained at a limit.
    pub(crate) fn tail(self, limit: i64) -> i64 {
        // The square of a long queue does not fit into 64 bits. The fallback leaves room for sums.
        let queue = i128::from(self.queue);
        i64::try_from(queue * queue / i128::from(2 * limit.max(1))).unwrap_or(i64::MAX / 4)
    }
}

/// Returns one of several whole-number parts that add up to a total.
fn share(total: i64, part: i64, parts: i64) -> i64 {
    // Differences of running totals, so that the parts add up exactly.
    total * (part + 1) / parts - total * part / parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_fits_is_served_at_once() {
        let mut backlog = Backlog::default();
        let minute = backlog.minute(
            Load {
                actions: 30_000,
                peak: 5_000,
            },
            30_000,
        );
        let expected = Minute {
            served: 30_000,
            ..Minute::default()
        };
        assert_eq!((minute, backlog.queue), (expected, 0));
    }

    #[test]
    fn a_peak_of_ten_seconds_waits_although_the_minute_fits() {
        let mut backlog = Backlog::default();
        let minute = backlog.minute(
            Load {
                actions: 20_000,
                peak: 10_000,
            },
            30_000,
        );
        assert_eq!(
            (minute.served, minute.throttled, minute.delayed, backlog.queue),
            (20_000, 7_000, 7_000, 0)
        );
        // 5,000, then 2,000 are left after the first two steps.
        assert_eq!(minute.waited, 5_000 + 5_000 + 2_000 + 2_000);
    }

    /// Two minutes of a real load, with results from the reference implementation.
    #[test]
    fn waiting_work_is_throttled_again_once_a_minute_while_new_work_waits() {
        let mut backlog = Backlog::default();
        let first = backlog.minute(
            Load {
                actions: 150_900,
                peak: 32_940,
            },
            30_000,
        );
        let second = backlog.minute(
            Load {
                actions: 185_760,
                peak: 33_150,
            },
            30_000,
        );
        assert_eq!((first.throttled, second.throttled), (195_320, 368_615));
        backlog.queue = 20_000;
        let quiet = backlog.minute(Load { actions: 0, peak: 0 }, 30_000);
        assert_eq!((quiet.served, quiet.throttled), (20_000, 0));
    }

    proptest! {
        #[test]
        fn no_work_is_lost(loads in proptest::collection::vec((0_u32..200_000, 0_u32..6), 1..50), limit in 0_i64..200_000) {
            let mut backlog = Backlog::default();
            let (mut asked, mut served) = (0, 0);
            for (actions, busier) in loads {
                let peak = (actions.div_ceil(6) * (1 + busier)).min(actions);
                asked += i64::from(actions);
                let minute = backlog.minute(Load { actions, peak }, limit);
                prop_assert!(minute.served <= limit);
                served += minute.served;
            }
            prop_assert_eq!(asked, served + backlog.queue);
        }
    }
}
