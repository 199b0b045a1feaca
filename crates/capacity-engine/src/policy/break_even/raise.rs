//! Scales up now: estimates how long the burst will last, and whether a larger size is cheaper than waiting.

use super::costs::Costs;
use super::load::{Demands, Queue, count};
use super::model::{OptionCost, Reason};
use super::parameters::TRU_HOUR;
use super::state::{BreakEvenState, MINUTES_UNTIL_EFFECT};

/// Number of newest slots in which throttling counts.
const RECENT_SLOTS: usize = 10;

/// Minutes after which a replay ends, even if actions are still waiting.
const LONGEST_REPLAY: i64 = 180;

/// Number of scenarios below which the fallback is added.
const ENOUGH_SCENARIOS: usize = 3;

/// The result of comparing waiting with scaling up.
pub(super) struct Raise {
    /// The size to scale up to, if that is cheaper than waiting.
    pub(super) option: Option<u32>,
    pub(super) costs: Vec<OptionCost>,
    pub(super) reason: Reason,
}

/// Throttling since the last change took effect.
struct Throttling {
    actions: i64,
    throttled_minutes: i64,
    good_minutes: i64,
}

struct Burst<'a> {
    costs: &'a Costs<'a>,
    state: &'a BreakEvenState,
    demand: i64,
    rate_after: i64,
    queue: i64,
    effect: i64,
    current_limit: i64,
}

/// Compares waiting with scaling up now, if there is throttling that matters. The result has a cost for every
/// option of the ladder, or -1 if the option is not a candidate.
pub(super) fn raise(costs: &Costs<'_>, state: &BreakEvenState, demands: &Demands) -> Option<Raise> {
    let (situation, parameters) = (costs.situation, costs.parameters);
    let throttling = throttling(costs, state)?;
    let current_limit = situation.limit(situation.current);
    let current_demand = demands.current();
    let burst = Burst {
        costs,
        state,
        demand: current_demand * parameters.margin_percent / 100,
        rate_after: rate_after(costs, current_demand, current_limit),
        queue: demands.queue,
        effect: situation.now + MINUTES_UNTIL_EFFECT,
        current_limit,
    };
    let (scenarios, similar) = scenarios(costs, state, demands, current_limit);
    let number = count(scenarios.iter());
    let expected = |option| {
        let sum: i64 = scenarios.iter().map(|minutes| burst.cost(option, *minutes)).sum();
        sum / number
    };
    let mut staying = expected(situation.current);
    if demands.queue <= current_limit - current_demand {
        // Bursts shorter than a minute: a replay in minutes shows no delay.
        let a_minute = throttling.actions / throttling.good_minutes.max(1);
        let minutes: i64 = scenarios.iter().map(|minutes| minutes.min(&60)).sum();
        staying = staying.max(costs.delay(minutes * a_minute / number));
    }
    let compared: Vec<OptionCost> = situation
        .options()
        .map(|(trus, limit)| {
            let candidate = trus <= parameters.max_trus && limit > current_limit;
            let cost = if trus == situation.current {
                staying
            } else if candidate {
                expected(trus)
            } else {
                -1
            };
            OptionCost { trus, limit, cost }
        })
        .collect();
    let candidates = compared.iter();
    let candidates = candidates.filter(|option| option.trus != situation.current && option.cost >= 0);
    // `min_by_key` returns the first of equals, and the options are in ascending order: ties go to the
    // smaller size.
    let cheapest = *candidates.min_by_key(|option| option.cost)?;
    let pays = cheapest.cost < staying - parameters.change_cost();
    let reason = Reason::Raise {
        throttled_minutes: throttling.throttled_minutes,
        of_minutes: throttling.good_minutes,
        queue: demands.queue,
        demand: current_demand,
        similar_bursts: similar,
        expected: cheapest.cost,
        staying,
    };
    Some(Raise {
        option: pays.then_some(cheapest.trus),
        costs: compared,
        reason,
    })
}

/// Returns the throttling at the current size if it is recent and costs more than the amount that is ignored.
fn throttling(costs: &Costs<'_>, state: &BreakEvenState) -> Option<Throttling> {
    let (situation, parameters) = (costs.situation, costs.parameters);
    let since = state.changed_minute.saturating_add(MINUTES_UNTIL_EFFECT);
    let eligible = usize::try_from(situation.newest.saturating_sub(since).saturating_add(1)).unwrap_or(0);
    let window = situation.window;
    let last = |slots: usize| {
        window[window.len() - slots.min(eligible).min(window.len())..]
            .iter()
            .flatten()
    };
    if !last(2).any(|minute| minute.throttled > 0) {
        return None;
    }
    let actions: i64 = last(RECENT_SLOTS).map(|minute| minute.throttled).sum();
    // Multiplied out instead of divided, so that nothing is truncated.
    let enough = i128::from(actions) * i128::from(parameters.delay_milli)
        >= i128::from(parameters.let_pass_milli) * i128::from(TRU_HOUR);
    enough.then(|| Throttling {
        actions,
        throttled_minutes: count(last(RECENT_SLOTS).filter(|minute| minute.throttled > 0)),
        good_minutes: count(last(RECENT_SLOTS)),
    })
}

/// Returns scenarios for how many more minutes the burst may last, and the number of similar bursts they are
/// based on.
fn scenarios(
    costs: &Costs<'_>,
    state: &BreakEvenState,
    demands: &Demands,
    current_limit: i64,
) -> (Vec<i64>, usize) {
    let age = demands.in_a_row_above(costs.situation.envelope.min(current_limit));
    let longer = state
        .hours
        .iter()
        .filter(|hour| hour.is_known() && hour.minutes_beyond() > age);
    let longer = longer.filter(|hour| costs.had_a_need(**hour));
    let mut scenarios: Vec<i64> = longer.map(|hour| hour.minutes_beyond() - age).collect();
    if let Some(longest) = scenarios.iter().copied().max() {
        let at = scenarios.iter().position(|minutes| *minutes == longest);
        // The order does not matter: scenarios are only summed.
        at.map(|at| scenarios.swap_remove(at));
    }
    let similar = scenarios.len();
    if similar < ENOUGH_SCENARIOS {
        scenarios.push((4 * age.max(2)).min(120));
    }
    (scenarios, similar)
}

/// Returns the demand per minute after the burst.
fn rate_after(costs: &Costs<'_>, current_demand: i64, current_limit: i64) -> i64 {
    let quiet = costs
        .situation
        .window
        .iter()
        .flatten()
        .filter(|minute| minute.throttled == 0);
    let (sum, minutes) = quiet.fold((0, 0), |(sum, minutes), minute| {
        (sum + minute.served, minutes + 1)
    });
    if minutes == 0 {
        // Throttled for the whole window, so nothing shows the rate after it.
        current_demand.min(current_limit) / 2
    } else {
        (sum / minutes).min(current_demand)
    }
}

impl Burst<'_> {
    /// Returns the cost of an option if the burst lasts `minutes` more minutes.
    fn cost(&self, option: u32, minutes: i64) -> i64 {
        let situation = self.costs.situation;
        let limit = situation.limit(option);
        let burst_ends = situation.newest + 1 + minutes;
        let mut billed = Billed::new(self);
        let mut queue = Queue::starting_with(self.queue);
        let first = situation.newest + 1;
        for t in first..first + LONGEST_REPLAY {
            if t >= billed.end {
                if t >= burst_ends && queue.waiting == 0 {
                    break;
                }
                billed.next_hour(self.costs, option);
            }
            // Until the change takes effect, the hour is billed at the size it had, so a replay that ends
            // earlier costs no top-up of the new one.
            if t == self.effect {
                billed.highest = billed.highest.max(option);
            }
            let limit = if t < self.effect {
                self.current_limit
            } else {
                limit
            };
            let demand = if t < burst_ends {
                self.demand
            } else {
                self.rate_after
            };
            let served = queue.minute(demand, limit);
            // The replay starts before the hour that is billed if the change takes effect after the hour
            // turns.
            if t >= billed.end - 60 {
                billed.used += served;
            }
            if t >= burst_ends && queue.waiting == 0 && t + 1 >= self.effect {
                let rest = billed.end - (t + 1);
                billed.used += rest * self.rate_after;
                break;
            }
        }
        billed.close(self.costs);
        // `limit` is that of the option here, also if the replay ended before the change took effect.
        billed.topups + self.costs.delay(queue.sum / 2 + queue.tail(limit))
    }
}

/// The hours that a replay is billed for.
struct Billed {
    /// The end of the billed hour (exclusive), as a minute number.
    end: i64,
    used: i64,
    highest: u32,
    topups: i64,
}

impl Billed {
    fn new(burst: &Burst<'_>) -> Self {
        let situation = burst.costs.situation;
        let hour = burst.effect / 60;
        let begin = hour * 60;
        let oldest = situation.newest + 1 - i64::try_from(situation.window.len()).unwrap_or(0);
        let served = situation
            .window
            .iter()
            .zip(oldest..)
            .filter(|(_, minute)| *minute >= begin);
        let used = served
            .filter_map(|(minute, _)| minute.as_ref())
            .map(|minute| minute.served)
            .sum();
        let top = if burst.state.top_hour == hour {
            burst.state.top
        } else {
            0
        };
        Self {
            end: begin + 60,
            used,
            highest: situation.current.max(top),
            topups: 0,
        }
    }

    fn close(&mut self, costs: &Costs<'_>) {
        self.topups += costs.topup(self.highest, self.used);
    }

    fn next_hour(&mut self, costs: &Costs<'_>, option: u32) {
        self.close(costs);
        self.end += 60;
        self.used = 0;
        self.highest = option;
    }
}
