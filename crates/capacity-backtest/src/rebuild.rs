//! Rebuilds the demand from recorded minutes, served and throttled.
//!
//! A namespace's served actions are bounded by its limit, so the demand of throttled minutes is reconstructed as
//! described in the policy's specification (*Demand of a minute*). The busiest ten seconds are not recorded;
//! the minute's rate is used instead.

use capacity_engine::break_even::{DemandRebuild, MinuteActions};

use crate::trace::{Load, Trace};

/// Marks an unknown minute.
const UNKNOWN: u32 = u32::MAX;

/// Number of missing minutes after which the queue is unknown, because no policy's window is longer.
const FORGOTTEN_AFTER: i64 = 60;

/// A load that is rebuilt minute by minute. Uses four bytes of memory per minute.
#[derive(Debug, Clone)]
pub struct Rebuild {
    /// Minute since 1970 of the first value: a full hour.
    first: i64,
    demands: Vec<u32>,
    state: DemandRebuild,
    known: usize,
    rebuilt: usize,
}

/// A rebuilt load, and how much of it was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rebuilt {
    /// The load, from the hour of the first known minute to the last known minute.
    pub trace: Trace,
    /// Number of recorded minutes.
    pub known_minutes: usize,
    /// Recorded minutes in which work was throttled or a backlog was served. Their demand is rebuilt, not
    /// measured.
    pub rebuilt_minutes: usize,
}

impl Rebuild {
    /// Starts with the first known minute, in minutes since 1970. `expected` is how many minutes may follow.
    pub fn starting_at(minute: i64, expected: usize) -> Self {
        let first = minute.div_euclid(60) * 60;
        Self {
            first,
            demands: Vec::with_capacity(expected.saturating_add(60)),
            state: DemandRebuild::default(),
            known: 0,
            rebuilt: 0,
        }
    }

    /// Adds a minute. Minutes must be in ascending order; others are ignored.
    pub fn add(&mut self, minute: i64, actions: MinuteActions) {
        let taken = i64::try_from(self.demands.len()).unwrap_or(i64::MAX);
        let Ok(missing) = usize::try_from(minute - self.first - taken) else {
            return;
        };
        if minute - self.first - taken >= FORGOTTEN_AFTER {
            self.state = DemandRebuild::default();
        }
        self.demands.extend(std::iter::repeat_n(UNKNOWN, missing));
        let actions = actions.within_bounds();
        let had_queue = self.state.queue() > 0;
        let demand = self.state.minute(actions);
        self.demands
            // The largest value marks an unknown minute.
            .push(u32::try_from(demand).unwrap_or(UNKNOWN - 1).min(UNKNOWN - 1));
        self.known += 1;
        self.rebuilt += usize::from(had_queue || actions.throttled > 0);
    }

    /// Returns the load up to the last minute that was added.
    pub fn load(&self) -> Rebuilt {
        let load = |demand: u32| {
            (demand != UNKNOWN).then(|| Load {
                actions: demand,
                peak: demand.div_ceil(6),
            })
        };
        Rebuilt {
            trace: Trace::from_minutes(self.demands.iter().copied().map(load), self.first),
            known_minutes: self.known,
            rebuilt_minutes: self.rebuilt,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::run_recorded;
    use crate::settings::{Contender, Settings};

    fn minute(served: i64, throttled: i64) -> MinuteActions {
        MinuteActions { served, throttled }
    }

    fn rebuilt(minutes: &[(i64, MinuteActions)]) -> Rebuilt {
        let mut rebuild = Rebuild::starting_at(minutes[0].0, 10);
        for (number, actions) in minutes {
            rebuild.add(*number, *actions);
        }
        rebuild.load()
    }

    fn demands(rebuilt: &Rebuilt) -> Vec<Option<u32>> {
        let minutes = rebuilt.trace.minutes();
        minutes.map(|load| load.map(|load| load.actions)).collect()
    }

    /// The worked example of the specification.
    #[test]
    fn throttled_minutes_are_rebuilt_and_counted() {
        let rebuilt = rebuilt(&[
            (6_000, minute(12_000, 0)),
            (6_001, minute(30_000, 45_000)),
            (6_002, minute(30_000, 75_000)),
            (6_003, minute(70_000, 0)),
            (6_004, minute(12_000, 0)),
        ]);
        let expected = [12_000, 60_000, 60_000, 10_000, 12_000].map(Some);
        assert_eq!(demands(&rebuilt), expected);
        assert_eq!((rebuilt.known_minutes, rebuilt.rebuilt_minutes), (5, 3));
    }

    #[test]
    fn missing_minutes_are_gaps_and_never_zero() {
        let rebuilt = rebuilt(&[(6_002, minute(5, 0)), (6_004, minute(7, 0))]);
        assert_eq!(demands(&rebuilt), [None, None, Some(5), None, Some(7)]);
        assert_eq!((rebuilt.trace.first_minute(), rebuilt.trace.gaps()), (6_000, 3));
    }

    #[test]
    fn a_queue_is_forgotten_over_an_hour_without_minutes() {
        let over = |gap: i64| {
            let rebuilt = rebuilt(&[(6_000, minute(100, 150)), (6_001 + gap, minute(300, 0))]);
            demands(&rebuilt).last().copied().flatten()
        };
        assert_eq!(over(59), Some(200), "the backlog of 100 was served");
        assert_eq!(over(60), Some(300), "the backlog is unknown");
    }

    #[test]
    fn a_minute_given_twice_or_out_of_order_is_left_out() {
        let rebuilt = rebuilt(&[
            (6_001, minute(5, 0)),
            (6_001, minute(9, 0)),
            (6_000, minute(9, 0)),
        ]);
        assert_eq!(demands(&rebuilt), [None, Some(5)]);
        assert_eq!(rebuilt.known_minutes, 1);
    }

    /// The load of a simulated on-demand namespace is rebuilt from its recording.
    #[test]
    fn the_load_is_rebuilt_from_served_and_throttled_actions() {
        let actions = |minute: u32| if minute % 600 < 20 { 90_000 } else { 6_000 };
        let asked = Trace::from_minutes(
            (0..3_000).map(|minute| {
                Some(Load {
                    actions: actions(minute),
                    peak: actions(minute) / 6,
                })
            }),
            6_000,
        );
        let settings = Settings::for_trace(&asked);
        let (_, course) = run_recorded(&asked, Contender::OnDemand, &settings);
        let mut rebuild = Rebuild::starting_at(6_000, 3_000);
        let served = course.served.iter().zip(&course.throttled);
        for (number, (served, throttled)) in (6_000..).zip(served) {
            rebuild.add(number, minute(i64::from(*served), i64::from(*throttled)));
        }
        let found = rebuild.load();
        let total = |trace: &Trace| -> i64 {
            trace
                .minutes()
                .flatten()
                .map(|load| i64::from(load.actions))
                .sum()
        };
        let (asked, again) = (total(&asked), total(&found.trace));
        assert!((asked - again).abs() * 20 < asked, "{asked} asked, {again} found");
        assert!(found.rebuilt_minutes > 100);
    }
}
