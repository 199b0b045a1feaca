//! The window of a namespace's newest minutes, and values calculated from it.

use serde::{Deserialize, Serialize};

use crate::limit::LimitKind;
use crate::packed::PackedMinutes;
use crate::rate::Rate;
use crate::usage::MinuteSample;

/// Minutes in a full window.
const WINDOW_MINUTES: u32 = 60;

/// Number of known minutes below which an hour's total is an estimate (the `threshold` policy).
// 80% of 60 minutes.
const KNOWN_ENOUGH: usize = 48;

/// The newest samples of a namespace: at least one, at most one per minute, none more than an hour older than
/// the newest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<MinuteSample>", into = "Vec<MinuteSample>")]
pub struct UsageWindow {
    newest: MinuteSample,
    /// Older samples, newest first.
    older: PackedMinutes,
}

/// A stored window without a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a usage window must contain at least one sample")]
pub struct EmptyWindow;

impl TryFrom<Vec<MinuteSample>> for UsageWindow {
    type Error = EmptyWindow;

    fn try_from(samples: Vec<MinuteSample>) -> Result<Self, EmptyWindow> {
        Self::from_samples(samples).ok_or(EmptyWindow)
    }
}

impl From<UsageWindow> for Vec<MinuteSample> {
    fn from(window: UsageWindow) -> Self {
        window.minutes().collect()
    }
}

/// Actions of an hour, exact to a millionth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HourlyActions {
    micros: u128,
}

impl HourlyActions {
    /// Returns whole actions, rounded down, so that a number below a threshold is never displayed as the threshold.
    pub const fn whole(self) -> u128 {
        self.micros / 1_000_000
    }

    /// Returns whether this is less than the threshold; a number equal to the threshold is not below it.
    pub const fn is_below(self, threshold: u64) -> bool {
        self.micros < threshold as u128 * 1_000_000
    }
}

impl UsageWindow {
    /// Returns the window of one sample.
    pub fn of_one(newest: MinuteSample) -> Self {
        Self {
            newest,
            older: PackedMinutes::default(),
        }
    }

    /// Returns the window of some samples in any order; `None` if there are none.
    ///
    /// If a minute occurs twice, the sample with more rates read counts, or the one with the higher usage.
    /// Samples more than an hour older than the newest are left out.
    pub fn from_samples(samples: impl IntoIterator<Item = MinuteSample>) -> Option<Self> {
        let mut samples: Vec<MinuteSample> = samples.into_iter().collect();
        samples.sort_by_key(|sample| {
            (
                // `dedup_by_key` keeps the first of equals, so the best sample of a minute sorts first.
                std::cmp::Reverse(sample.number()),
                std::cmp::Reverse(LimitKind::ALL.map(|kind| sample.served_read[kind])),
                std::cmp::Reverse(LimitKind::ALL.map(|kind| sample.usage[kind].asked())),
            )
        });
        samples.dedup_by_key(|sample| sample.number());
        let mut samples = samples.into_iter();
        let newest = samples.next()?;
        let older = samples
            .filter(|sample| newest.number() - sample.number() < i64::from(WINDOW_MINUTES))
            .collect();
        Some(Self { newest, older })
    }

    /// Returns the newest minute.
    pub const fn newest(&self) -> &MinuteSample {
        &self.newest
    }

    /// Returns the number of minutes out of 60 in which the served actions were read; 0 if they were read in none.
    pub fn known_minutes(&self) -> usize {
        self.known_minutes_of(LimitKind::Actions)
    }

    /// Returns the number of minutes out of 60 in which the served rate of a limit was read.
    pub fn known_minutes_of(&self, kind: LimitKind) -> usize {
        self.minutes().filter(|sample| sample.served_read[kind]).count()
    }

    /// Returns whether too few minutes are known to compute an hour's total.
    pub fn is_estimate(&self) -> bool {
        self.known_minutes() < KNOWN_ENOUGH
    }

    /// Returns how many more known minutes are needed until the hour's total is no longer an estimate.
    pub fn minutes_missing(&self) -> usize {
        KNOWN_ENOUGH.saturating_sub(self.known_minutes())
    }

    /// Returns the limit with the fewest known minutes and their number, if they are too few to determine its
    /// peak. A limit whose newest minute was not read is left out: that is a gap, which another reading may
    /// close together with the older ones.
    pub fn least_known(&self) -> Option<(LimitKind, usize)> {
        let known = LimitKind::ALL.map(|kind| (kind, self.known_minutes_of(kind)));
        let few = known
            .into_iter()
            .filter(|(kind, minutes)| *minutes < KNOWN_ENOUGH && self.newest.served_read[*kind]);
        few.min_by_key(|(_, minutes)| *minutes)
    }

    /// Returns the actions of the last hour: known minutes scaled to 60, or the newest minute times 60 as an
    /// estimate.
    pub fn actions_of_the_hour(&self) -> HourlyActions {
        let minute = |sample: MinuteSample| {
            u128::from(sample.usage[LimitKind::Actions].served.micros_per_second()) * 60
        };
        let minutes = u128::from(WINDOW_MINUTES);
        let micros = if self.is_estimate() {
            minute(self.newest) * minutes
        } else {
            let known = self
                .minutes()
                .filter(|sample| sample.served_read[LimitKind::Actions]);
            // Multiplied before it is divided, so that nothing is lost to truncation.
            known.map(minute).sum::<u128>() * minutes / self.known_minutes() as u128
        };
        HourlyActions { micros }
    }

    /// Returns the highest rate of served plus throttled work in any minute.
    pub fn highest_asked(&self, kind: LimitKind) -> Rate {
        self.highest_asked_within(kind, 60)
    }

    /// Returns the highest rate of served plus throttled work in any of the last `minutes` minutes.
    pub fn highest_asked_within(&self, kind: LimitKind, minutes: usize) -> Rate {
        let minutes = i64::try_from(minutes).unwrap_or(i64::MAX);
        self.minutes()
            .filter(|sample| self.newest.number() - sample.number() < minutes)
            .map(|sample| sample.usage[kind].asked())
            .max()
            .unwrap_or_default()
    }

    /// Returns the known minutes, newest first.
    pub fn minutes(&self) -> impl Iterator<Item = MinuteSample> {
        std::iter::once(self.newest).chain(&self.older)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::limit::PerLimit;
    use crate::usage::Usage;

    fn sample(minute: i64, actions: u32) -> MinuteSample {
        let mut usage = PerLimit::<Usage>::default();
        usage[LimitKind::Actions].served = Rate::per_second(actions);
        let minute = Timestamp::from_second(1_790_000_000 + minute * 60).expect("in range");
        MinuteSample {
            minute,
            usage,
            served_read: PerLimit::from_fn(|_| true),
            reported: true,
        }
    }

    fn window(samples: impl IntoIterator<Item = MinuteSample>) -> UsageWindow {
        UsageWindow::from_samples(samples).expect("not empty")
    }

    #[test]
    fn forty_eight_known_minutes_are_scaled_to_sixty() {
        let window = window((12..60).map(|minute| sample(minute, 2)));
        assert!(!window.is_estimate());
        assert_eq!(window.actions_of_the_hour().whole(), 2 * 3_600);
    }

    #[test]
    fn forty_seven_known_minutes_are_an_estimate_by_the_newest() {
        let window = window((13..60).map(|minute| sample(minute, if minute == 59 { 3 } else { 100 })));
        assert!(window.is_estimate());
        assert_eq!(window.actions_of_the_hour().whole(), 3 * 3_600);
    }

    #[test]
    fn a_minute_whose_actions_were_not_read_is_unknown_and_not_idle() {
        let samples = (0..60).map(|minute| {
            let mut sample = sample(minute, if minute < 50 { 0 } else { 2 });
            sample.served_read[LimitKind::Actions] = minute >= 50;
            sample
        });
        let window = window(samples);
        assert_eq!(window.known_minutes(), 10);
        assert!(window.is_estimate());
        assert_eq!(window.actions_of_the_hour().whole(), 2 * 3_600);
        assert_eq!(window.least_known(), Some((LimitKind::Actions, 10)));
    }

    #[test]
    fn samples_given_twice_or_out_of_order_count_once() {
        let window = window([
            sample(1, 5),
            sample(3, 7),
            sample(1, 9),
            sample(2, 6),
            sample(3, 7),
        ]);
        assert_eq!(window.known_minutes(), 3);
        assert_eq!(window.newest().minute, sample(3, 0).minute);
        assert_eq!(window.highest_asked(LimitKind::Actions), Rate::per_second(9));
    }

    #[test]
    fn minutes_older_than_the_window_are_left_out() {
        let window = window([sample(60, 1), sample(1, 1), sample(0, 50)]);
        assert_eq!(window.known_minutes(), 2);
    }
}
