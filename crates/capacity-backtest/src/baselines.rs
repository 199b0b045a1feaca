//! The simple policies that every backtest compares with `break-even`.

use std::collections::VecDeque;

use capacity_engine::break_even::{MinuteActions, Size};

use crate::policy::{BacktestPolicy, Decided, View};

fn decided(option: u32, explain: bool, reason: impl FnOnce() -> String) -> Decided {
    Decided {
        option,
        reason: if explain { reason() } else { String::new() },
        costs: Vec::new(),
    }
}

/// One option for the whole series.
#[derive(Debug)]
pub(crate) struct Fixed;

impl BacktestPolicy for Fixed {
    fn decide(&mut self, view: &View<'_>, explain: bool) -> Decided {
        decided(view.current, explain, || "fixed".to_owned())
    }
}

/// Size of the `threshold` policy. Its default of 5 is not an available size.
const THRESHOLD_TRUS: u32 = 6;

/// Number of actions an hour below which `threshold` releases.
const IDLE_HOUR: i64 = 100;

/// Minimum number of samples for an hour to count as known.
const KNOWN_HOUR: i64 = 48;

/// The `threshold` policy on actions, with its guards, run by an hourly job: enables when a minute of the
/// last hour was throttled, and disables when the hour was idle.
#[derive(Debug)]
pub(crate) struct Threshold;

impl Threshold {
    fn enable(view: &View<'_>) -> u32 {
        // No regression: a size below the envelope would lower the limit.
        let helps = |size: &&Size| size.trus >= THRESHOLD_TRUS && size.limit > view.envelope;
        view.ladder
            .iter()
            .find(helps)
            .map_or(view.current, |size| size.trus)
    }

    fn fits_on_demand(view: &View<'_>) -> bool {
        let asked = view
            .window
            .iter()
            .flatten()
            .map(|minute| minute.served + minute.throttled);
        // The headroom guard of the product: 25% above the highest minute.
        asked.max().unwrap_or(0) * 5 / 4 <= view.envelope
    }
}

impl BacktestPolicy for Threshold {
    fn decide(&mut self, view: &View<'_>, explain: bool) -> Decided {
        let Some(newest) = view.newest_sample() else {
            return decided(view.current, explain, || "hold: metrics unavailable".to_owned());
        };
        if view.current == 0 {
            let throttled = view
                .window
                .iter()
                .flatten()
                .filter(|minute| minute.throttled > 0)
                .count();
            if throttled == 0 {
                return decided(0, explain, || "not throttled".to_owned());
            }
            let reason = || format!("throttled in {throttled} of the last 60 min");
            return decided(Self::enable(view), explain, reason);
        }
        let (known, sum) = view
            .window
            .iter()
            .flatten()
            .fold((0, 0), |(known, sum), minute| (known + 1, sum + minute.served));
        let used = sum * 60 / known.max(1);
        let idle = newest.throttled == 0 && known >= KNOWN_HOUR && used < IDLE_HOUR;
        let option = if idle && Self::fits_on_demand(view) {
            0
        } else {
            view.current
        };
        decided(option, explain, || format!("{used} actions in the last hour"))
    }
}

/// Target utilization of a size, in percent.
const TARGET_PERCENT: i64 = 70;

/// Relative deviation of the utilization that is ignored, in percent.
const TOLERANCE_PERCENT: i64 = 10;

/// Number of minutes whose largest recommendation counts for scaling down.
const STABILIZATION_MINUTES: i64 = 60;

/// Returns the smallest option whose utilization is at most the target; the largest if there is none.
fn sized(view: &View<'_>, rate: i64) -> u32 {
    let options =
        std::iter::once((0, view.envelope)).chain(view.ladder.iter().map(|size| (size.trus, size.limit)));
    let fits = options
        .clone()
        .filter(|(_, limit)| rate * 100 <= limit * TARGET_PERCENT);
    let fitting = fits.min_by_key(|(_, limit)| *limit);
    fitting
        .or_else(|| options.max_by_key(|(_, limit)| *limit))
        .map_or(0, |(trus, _)| trus)
}

fn asked(minute: MinuteActions) -> i64 {
    minute.served + minute.throttled
}

/// A target utilization policy, like a horizontal autoscaler.
#[derive(Debug, Default)]
pub(crate) struct TargetUtilization {
    recommended: VecDeque<(i64, i64)>,
}

impl BacktestPolicy for TargetUtilization {
    fn decide(&mut self, view: &View<'_>, explain: bool) -> Decided {
        let Some(newest) = view.newest_sample() else {
            return decided(view.current, explain, || "hold: metrics unavailable".to_owned());
        };
        let rate = asked(newest);
        let limit = view.limit(view.current);
        self.recommended.push_back((view.now, rate));
        while self
            .recommended
            .front()
            .is_some_and(|(at, _)| at + STABILIZATION_MINUTES < view.now)
        {
            self.recommended.pop_front();
        }
        let percent = rate * 100 / limit.max(1);
        let tolerated = (percent - TARGET_PERCENT).abs() * 100 <= TARGET_PERCENT * TOLERANCE_PERCENT;
        let highest = self
            .recommended
            .iter()
            .map(|(_, rate)| *rate)
            .max()
            .unwrap_or(rate);
        // Like the stabilization window of a horizontal autoscaler: a scale-down waits for an hour without
        // higher demand.
        let (up, down) = (sized(view, rate), sized(view, highest));
        let option = if tolerated {
            view.current
        } else if view.limit(up) > limit {
            up
        } else if view.limit(down) < limit {
            down
        } else {
            view.current
        };
        decided(option, explain, || {
            format!("utilization {percent}%, target {TARGET_PERCENT}%")
        })
    }
}

/// Minutes after a step up before the next step up.
const UP_COOLDOWN: i64 = 5;

/// Minutes after a step before a step down.
const DOWN_COOLDOWN: i64 = 60;

/// One step up above 70% of the limit, one step down if the smaller size would be used below 70%.
#[derive(Debug)]
pub(crate) struct OneStep {
    changed: i64,
}

impl Default for OneStep {
    fn default() -> Self {
        // Before any minute, so that the first step is not held back.
        Self { changed: -1000 }
    }
}

impl BacktestPolicy for OneStep {
    fn decide(&mut self, view: &View<'_>, explain: bool) -> Decided {
        let Some(newest) = view.newest_sample() else {
            return decided(view.current, explain, || "hold: metrics unavailable".to_owned());
        };
        let rate = asked(newest);
        let limit = view.limit(view.current);
        let options =
            std::iter::once((0, view.envelope)).chain(view.ladder.iter().map(|size| (size.trus, size.limit)));
        let larger = options
            .clone()
            .filter(|(_, other)| *other > limit)
            .min_by_key(|(_, other)| *other);
        let smaller = options
            .filter(|(_, other)| *other < limit)
            .max_by_key(|(_, other)| *other);
        let since = view.now - self.changed;
        let above = |limit: i64| rate * 100 > limit * TARGET_PERCENT;
        let option = match (larger, smaller) {
            (Some((trus, _)), _) if above(limit) && since >= UP_COOLDOWN => trus,
            (_, Some((trus, smaller))) if !above(smaller) && since >= DOWN_COOLDOWN => trus,
            _ => view.current,
        };
        if option != view.current {
            self.changed = view.now;
        }
        decided(option, explain, || {
            format!("utilization {}%", rate * 100 / limit.max(1))
        })
    }
}
