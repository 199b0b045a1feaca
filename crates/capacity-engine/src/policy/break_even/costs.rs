//! Prices an option: idle minimum, waiting, and remembered hours replayed at another size.

use super::load::Queue;
use super::model::Situation;
use super::parameters::{Parameters, TRU_HOUR};
use super::state::RememberedHour;

/// Upper bound of a cost, beyond any real amount, so that sums of costs fit into 64 bits.
const HIGHEST_COST: i64 = 1_000_000_000_000_000;

/// Minutes from the first throttled minute of a burst until a scale-up can take effect.
// Metrics lag 3 minutes, the alert takes 1, the change 2.
const MINUTES_UNTIL_SCALED_UP: i64 = 6;

/// Number of the worst remembered hours that are ignored, so that one bad hour never keeps capacity.
const WORST_LEFT_OUT: usize = 2;

/// Returns the actions billed in addition to those used, in a calendar hour whose highest option had this many TRUs.
fn topup(trus: u32, used: i64) -> i64 {
    (TRU_HOUR * i64::from(trus.saturating_sub(1)) - used).max(0)
}

/// The inputs that both kinds of decisions use to compare options.
pub(super) struct Costs<'a> {
    pub(super) situation: &'a Situation<'a>,
    pub(super) parameters: &'a Parameters,
    /// Options up to `max_trus`, with their limits, in ascending order.
    pub(super) options: Vec<(u32, i64)>,
}

impl<'a> Costs<'a> {
    pub(super) fn new(situation: &'a Situation<'a>, parameters: &'a Parameters) -> Self {
        let sizes = situation.ladder.iter().map(|size| (size.trus, size.limit));
        let options = std::iter::once((0, situation.envelope))
            .chain(sizes.filter(|(trus, _)| *trus <= parameters.max_trus))
            .collect();
        Self {
            situation,
            parameters,
            options,
        }
    }

    /// Returns the actions billed in addition to those used, in an hour that served `used` units of the deciding limit.
    pub(super) fn topup(&self, trus: u32, used: i64) -> i64 {
        topup(trus, used * self.situation.billed_permille / 1000)
    }

    /// Returns the cost of this many action-minutes of waiting.
    pub(super) fn delay(&self, action_minutes: i64) -> i64 {
        let thousandths = self.parameters.delay_milli.checked_mul(action_minutes);
        thousandths.map_or(HIGHEST_COST, |cost| (cost / 1000).min(HIGHEST_COST))
    }

    /// Returns the cost of one remembered hour if the namespace enters it at this option.
    pub(super) fn of_hour(&self, hour: RememberedHour, option: u32) -> i64 {
        let (peak, mean) = (hour.peak(), hour.mean());
        let used = 60 * mean;
        let limit = self.situation.limit(option);
        if peak <= limit {
            return self.topup(option, used);
        }
        // The stored peak is a mean of three minutes and the envelope may have changed since, so an hour
        // above the limit may have no minute beyond the envelope of its time.
        let busy = hour.minutes_beyond().clamp(1, 60);
        let rest = ((60 * mean - busy * peak) / (60 - busy).max(1)).clamp(0, mean);
        let larger = self.options.iter().copied();
        // Both conditions: the on-demand limit can exceed that of a small size.
        let larger = larger.filter(|(trus, higher)| *trus > option && *higher > limit);
        let changed = larger.map(|(trus, higher)| {
            self.of_replayed_hour(busy, peak, rest, limit, higher)
                .saturating_add(self.topup(trus, used) + self.parameters.change_cost())
        });
        let unchanged = self.of_replayed_hour(busy, peak, rest, limit, limit) + self.topup(option, used);
        changed.fold(unchanged, i64::min)
    }

    fn of_replayed_hour(&self, busy: i64, peak: i64, rest: i64, limit: i64, scaled: i64) -> i64 {
        let mut queue = Queue::default();
        let before = busy.min(MINUTES_UNTIL_SCALED_UP);
        queue.minutes(before, peak, limit);
        queue.minutes(MINUTES_UNTIL_SCALED_UP - before, rest, limit);
        queue.minutes(busy - before, peak, scaled);
        let left = 60 - MINUTES_UNTIL_SCALED_UP - (busy - before);
        queue.minutes(left, rest, scaled);
        self.delay(queue.sum / 2 + queue.tail(scaled))
    }

    /// Returns whether waiting in this hour would have cost enough to matter.
    pub(super) fn had_a_need(&self, hour: RememberedHour) -> bool {
        hour.is_known()
            && hour.peak() > self.situation.envelope
            && self.of_hour(hour, 0) >= self.parameters.let_pass()
    }

    /// Returns the hours without the two that would have cost the most on-demand.
    pub(super) fn without_the_worst(&self, mut hours: Vec<RememberedHour>) -> Vec<RememberedHour> {
        // The bytes break ties, so that the same history always gives the same decision. The key replays an
        // hour, which is too much work to repeat in every comparison.
        hours.sort_by_cached_key(|hour| (self.of_hour(*hour, 0), hour.bytes()));
        hours.truncate(hours.len().saturating_sub(WORST_LEFT_OUT));
        hours
    }
}
