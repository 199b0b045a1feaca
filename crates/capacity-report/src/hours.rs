//! The billed hours of a namespace.

use capacity_engine::Capacity;
use capacity_engine::pricing::{minimum_actions_per_hour, shortfall};

use crate::capacity::{Evidence, Step};

/// Minutes in an hour.
pub(crate) const MINUTES: i64 = 60;

const MICRO: u128 = 1_000_000;

/// The counts of an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counted {
    /// Actions in millionths.
    pub(crate) served_micro: u128,
    /// Throttled attempts, in millionths.
    pub(crate) throttled_micro: u128,
    /// Minutes in which actions, requests or operations were throttled.
    pub(crate) throttled_minutes: i64,
    /// Minutes with known actions.
    pub(crate) known_minutes: i64,
    /// Whether the minutes were aggregated into an hour and deleted.
    pub(crate) is_folded: bool,
}

/// A calendar hour of a namespace, as it is billed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HourFigures {
    /// Hours since 1970 (UTC).
    pub hour: i64,
    /// The highest size in the hour; 0 means on-demand, `None` if unknown.
    pub highest_trus: Option<u32>,
    /// Actions used in its known minutes.
    pub used_actions: u64,
    /// Number of known minutes.
    pub known_minutes: i64,
    /// Whether the size changed so close to the beginning or end of the hour that it is uncertain which hour
    /// the change belongs to.
    pub is_changed_at_edge: bool,
    /// Whether the ledger has only the aggregated hour, not its minutes.
    pub is_folded: bool,
    pub(crate) evidence: Option<Evidence>,
}

impl HourFigures {
    /// Returns the minimum number of actions that the hour is billed for.
    pub fn minimum_actions(&self) -> u64 {
        minimum_actions_per_hour(self.capacity())
    }

    /// Returns the actions that are billed but were not used.
    pub fn idle_actions(&self) -> u64 {
        shortfall(self.capacity(), self.used_actions)
    }

    /// Returns the actions that are billed: those used, or the minimum.
    pub fn billed_actions(&self) -> u64 {
        self.used_actions.max(self.minimum_actions())
    }

    /// Returns whether all minutes of the hour are known.
    pub fn is_complete(&self) -> bool {
        self.known_minutes >= MINUTES
    }

    fn capacity(&self) -> Capacity {
        Capacity::from_trus(self.highest_trus.unwrap_or(0))
    }
}

/// Combines counts and sizes for every hour of a range.
pub(crate) fn billed(
    hours: std::ops::Range<i64>,
    counted: impl Fn(i64) -> Counted,
    steps: &[Step],
) -> Vec<HourFigures> {
    let mut next = 0;
    // Before the first step, assume its size, because nothing else is known.
    let mut present = steps.first();
    let mut figures = Vec::new();
    for hour in hours {
        let mut highest = present;
        let mut is_changed_at_edge = false;
        while let Some(step) = steps.get(next)
            && step.minute < (hour + 1) * MINUTES
        {
            // The first step is the first evidence, not a change.
            if next > 0 && step.minute >= hour * MINUTES {
                // Metrics have whole minutes, and it is not documented whether the time of the request or
                // of its effect is billed.
                is_changed_at_edge |= matches!(step.minute.rem_euclid(MINUTES), 0 | 59);
            }
            if step.minute >= hour * MINUTES {
                highest = highest.max_by_size(step);
            } else {
                // In effect before this hour: it replaces the size that was found earlier, even a higher
                // one.
                highest = Some(step);
            }
            present = Some(step);
            next += 1;
        }
        // The first and the last minute of an hour put the neighboring hour in doubt as well.
        let at_edge_of_next = steps
            .get(next)
            .is_some_and(|step| step.minute == (hour + 1) * MINUTES);
        let before = next
            .checked_sub(1)
            .and_then(|index| steps.get(index))
            .is_some_and(|step| step.minute == hour * MINUTES - 1);
        let counted = counted(hour);
        figures.push(HourFigures {
            hour,
            highest_trus: highest.map(|step| step.trus),
            used_actions: u64::try_from(counted.served_micro / MICRO).unwrap_or(u64::MAX),
            known_minutes: counted.known_minutes,
            is_changed_at_edge: is_changed_at_edge || at_edge_of_next || before,
            is_folded: counted.is_folded,
            evidence: highest.map(|step| step.evidence.clone()),
        });
    }
    figures
}

trait MaxBySize<'a> {
    fn max_by_size(self, step: &'a Step) -> Self;
}

impl<'a> MaxBySize<'a> for Option<&'a Step> {
    fn max_by_size(self, step: &'a Step) -> Self {
        match self {
            Some(highest) if highest.trus >= step.trus => Some(highest),
            _ => Some(step),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(minute: i64, trus: u32) -> Step {
        Step {
            minute,
            trus,
            evidence: Evidence::Limit { minute },
        }
    }

    fn highest(steps: &[Step], hours: std::ops::Range<i64>) -> Vec<(Option<u32>, bool)> {
        billed(hours, |_| Counted::default(), steps)
            .iter()
            .map(|hour| (hour.highest_trus, hour.is_changed_at_edge))
            .collect()
    }

    /// The example from the documentation: 2 TRUs until 09:40, 6 until 10:05, then 2.
    #[test]
    fn an_hour_is_billed_at_its_highest_size() {
        let steps = [step(0, 2), step(9 * 60 + 40, 6), step(10 * 60 + 5, 2)];
        let expected = [2, 6, 6, 2].map(|trus| (Some(trus), false));
        assert_eq!(highest(&steps, 8..12), expected);
    }

    #[test]
    fn a_change_at_the_edge_of_an_hour_is_marked_in_both_hours() {
        let steps = [step(0, 0), step(2 * 60 - 1, 4)];
        assert_eq!(
            highest(&steps, 0..3),
            [(Some(0), false), (Some(4), true), (Some(4), true)]
        );
        let steps = [step(0, 4), step(2 * 60, 0)];
        assert_eq!(
            highest(&steps, 0..4),
            [
                (Some(4), false),
                (Some(4), true),
                (Some(4), true),
                (Some(0), false)
            ]
        );
    }

    #[test]
    fn the_first_known_size_also_applies_before_it_and_without_one_the_size_is_unknown() {
        assert_eq!(
            highest(&[step(200, 3)], 0..2),
            [(Some(3), false), (Some(3), false)]
        );
        assert_eq!(highest(&[], 0..1), [(None, false)]);
    }

    /// The worked example from the pricing page: 4 TRUs for four hours.
    #[test]
    fn the_unused_part_of_the_minimum_is_idle() {
        let used = [2_000_000_u128, 5_000_000, 4_000_000, 500_000];
        let counted = |hour: i64| Counted {
            served_micro: used[usize::try_from(hour).expect("small")] * MICRO,
            known_minutes: 60,
            ..Counted::default()
        };
        let hours = billed(0..4, counted, &[step(0, 4)]);
        let idle: Vec<u64> = hours.iter().map(HourFigures::idle_actions).collect();
        assert_eq!(idle, [0, 0, 0, 580_000]);
        let all: u64 = hours.iter().map(HourFigures::billed_actions).sum();
        assert_eq!(all, 12_080_000);
    }
}
