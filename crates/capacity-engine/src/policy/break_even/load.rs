//! Demand, and what happens to it at a limit.

// Exhaustive: the specification of the policy defines its fields.
/// Actions of one minute of a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MinuteActions {
    /// Actions that were served.
    pub served: i64,
    /// Attempts that were throttled.
    pub throttled: i64,
}

/// Sixty minutes, oldest first. The last one is the minute of the newest sample; `None` is a missing minute.
pub type Window = [Option<MinuteActions>; WINDOW_MINUTES];

/// Minutes of a window.
pub const WINDOW_MINUTES: usize = 60;

/// Longest queue for which the tail is computed: its square just fits into 64 bits.
const LONGEST_QUEUE: i64 = 3_000_000_000;

/// The demand of a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Demands {
    /// Demand of each good sample, oldest first; missing minutes are left out.
    pub(super) minutes: Vec<i64>,
    /// Actions still waiting after the newest minute.
    pub(super) queue: i64,
}

/// Reconstructs demand minute by minute. Throttled work is retried about once a minute, so the throttled
/// count equals the growth of the queue plus the queue itself. Missing minutes are skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DemandRebuild {
    queue: i64,
}

impl DemandRebuild {
    /// Returns the demand of the next good sample.
    pub fn minute(&mut self, minute: MinuteActions) -> i64 {
        // New waiting work is refused on arrival and, retried once a minute, half a time more on average in
        // the same minute: throttled = queue + 1.5 x growth.
        let growth = if minute.throttled > 0 {
            ((minute.throttled - self.queue) * 2 / 3).max(-self.queue)
        } else {
            -self.queue.min(minute.served)
        };
        self.queue += growth;
        (minute.served + growth).max(0)
    }

    /// Returns the number of actions still waiting after the newest minute.
    pub const fn queue(&self) -> i64 {
        self.queue
    }
}

impl Demands {
    pub(super) fn of(window: &Window) -> Self {
        let mut rebuild = DemandRebuild::default();
        let minutes = window.iter().flatten().map(|minute| rebuild.minute(*minute));
        Self {
            minutes: minutes.collect(),
            queue: rebuild.queue(),
        }
    }

    /// Returns the demand of the last `samples` good samples, or fewer if there are not that many.
    pub(super) fn last(&self, samples: usize) -> &[i64] {
        &self.minutes[self.minutes.len().saturating_sub(samples)..]
    }

    /// Returns the current demand: of the last three good samples, the higher mean of two adjacent ones.
    pub(super) fn current(&self) -> i64 {
        best(self.last(3), 2)
    }

    /// Returns the number of consecutive newest good samples above a rate.
    pub(super) fn in_a_row_above(&self, rate: i64) -> i64 {
        let above = self.minutes.iter().rev().take_while(|demand| **demand > rate);
        count(above)
    }

    /// Returns the number of good samples above a rate.
    pub(super) fn above(&self, rate: i64) -> usize {
        self.minutes.iter().filter(|demand| **demand > rate).count()
    }

    /// Returns the highest mean of three adjacent demands.
    pub(super) fn peak(&self) -> i64 {
        best(&self.minutes, 3)
    }
}

/// Returns the highest mean of `adjacent` consecutive values; with fewer values the highest value, with none
/// 0.
pub(super) fn best(values: &[i64], adjacent: usize) -> i64 {
    if values.len() < adjacent {
        return values.iter().copied().max().unwrap_or(0);
    }
    let divisor = i64::try_from(adjacent).unwrap_or(1);
    let means = values
        .windows(adjacent)
        .map(|window| window.iter().sum::<i64>() / divisor);
    means.max().unwrap_or(0)
}

/// Counts items as `i64`, the integer type of this module.
pub(super) fn count<T>(items: impl Iterator<Item = T>) -> i64 {
    i64::try_from(items.count()).unwrap_or(i64::MAX)
}

/// Actions that wait at a limit.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Queue {
    /// Actions waiting now.
    pub(super) waiting: i64,
    /// Sum of the queues before and after each minute: twice the action-minutes waited.
    pub(super) sum: i64,
}

impl Queue {
    pub(super) fn starting_with(waiting: i64) -> Self {
        Self { waiting, sum: 0 }
    }

    /// Simulates one minute; returns what was served.
    pub(super) fn minute(&mut self, demand: i64, limit: i64) -> i64 {
        let asked = demand + self.waiting;
        let served = asked.min(limit);
        let left = asked - served;
        self.sum += self.waiting + left;
        self.waiting = left;
        served
    }

    /// Simulates `minutes` minutes with the same demand and limit. Equivalent to calling [`Queue::minute`]
    /// that many times.
    pub(super) fn minutes(&mut self, minutes: i64, demand: i64, limit: i64) {
        let growth = demand - limit;
        // Number of minutes in which the queue changes by the full growth. At most one more is needed to
        // empty it.
        let whole = if growth < 0 {
            minutes.min(self.waiting / -growth)
        } else {
            minutes
        };
        // The sum of an arithmetic series: the queue before and after each of those minutes.
        self.sum += whole * (2 * self.waiting + growth * whole);
        self.waiting += growth * whole;
        if whole < minutes {
            self.sum += self.waiting;
            self.waiting = 0;
        }
    }

    /// Returns the action-minutes until the queue has drained at a limit, if no more work arrives.
    pub(super) fn tail(&self, limit: i64) -> i64 {
        let waiting = self.waiting.min(LONGEST_QUEUE);
        // A reported limit can be 0.
        waiting * waiting / (2 * limit.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn minute(served: i64, throttled: i64) -> MinuteActions {
        MinuteActions { served, throttled }
    }

    /// The worked example of the specification.
    #[test]
    fn throttled_minutes_show_growth_and_queue() {
        let mut window = [Some(minute(12_000, 0)); 60];
        window[58] = Some(minute(30_000, 45_000));
        window[59] = Some(minute(30_000, 75_000));
        let demands = Demands::of(&window);
        assert_eq!(demands.last(2), [60_000, 60_000]);
        assert_eq!((demands.queue, demands.current()), (60_000, 60_000));
        assert_eq!(demands.in_a_row_above(30_000), 2);
    }

    #[test]
    fn a_minute_without_throttling_serves_the_backlog() {
        let mut window = [None; 60];
        window[10] = Some(minute(30_000, 45_000));
        window[20] = Some(minute(50_000, 0));
        let demands = Demands::of(&window);
        assert_eq!(demands.minutes, [60_000, 20_000]);
        assert_eq!(demands.queue, 0);
    }

    proptest! {
        #[test]
        fn identical_minutes_can_be_simulated_at_once(
            segments in proptest::collection::vec((0..61_i64, 0..3_000_000_i64, 0..3_000_000_i64), 0..5),
            waiting in 0..50_000_000_i64,
        ) {
            let (mut one_by_one, mut at_once) = (Queue::starting_with(waiting), Queue::starting_with(waiting));
            for (minutes, demand, limit) in segments {
                for _ in 0..minutes {
                    one_by_one.minute(demand, limit);
                }
                at_once.minutes(minutes, demand, limit);
                prop_assert_eq!((at_once.waiting, at_once.sum), (one_by_one.waiting, one_by_one.sum));
            }
        }
    }

    #[test]
    fn the_best_mean_of_adjacent_values() {
        assert_eq!(best(&[1, 5, 6, 2], 2), 5);
        assert_eq!(best(&[7], 2), 7);
        assert_eq!(best(&[], 3), 0);
    }
}
