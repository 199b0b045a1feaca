//! Plans the coming hour: the cheapest option over the last minutes, similar hours, and the same hour of past
//! days.

use super::costs::Costs;
use super::load::{Demands, Queue};
use super::model::{OptionCost, Reason};
use super::state::RememberedHour;

/// Number of remembered days on which an hour of the day must have needed capacity to count as scheduled.
const SCHEDULED_DAYS: usize = 6;

/// Longest distance from an hour that needed capacity, in hours, at which the comparison is still meaningful.
const FARTHEST: usize = 23;

/// Known hours required to compare with the same hour of past days.
const ENOUGH_DAYS: usize = 4;

/// The plan for the coming hour.
pub(super) struct Plan {
    pub(super) option: u32,
    /// Expected costs of the comparison that decided, for options up to `max_trus`.
    pub(super) costs: Vec<OptionCost>,
    pub(super) reason: Reason,
}

/// A weighted sum of costs for each option.
struct Comparison {
    sums: Vec<i64>,
    weight: i64,
}

impl Comparison {
    fn new(costs: Vec<i64>, weight: i64) -> Self {
        let sums = costs
            .into_iter()
            .map(|cost| cost.saturating_mul(weight))
            .collect();
        Self { sums, weight }
    }

    fn add(&mut self, costs: &Costs<'_>, hour: RememberedHour) {
        for (sum, (trus, _)) in self.sums.iter_mut().zip(&costs.options) {
            *sum = sum.saturating_add(costs.of_hour(hour, *trus));
        }
        self.weight += 1;
    }

    fn of(costs: &Costs<'_>, hours: &[RememberedHour]) -> Self {
        let mut comparison = Self::new(vec![0; costs.options.len()], 0);
        for hour in hours {
            comparison.add(costs, *hour);
        }
        comparison
    }

    /// Returns the cheapest option, including the cost of a change. If several are equal, the lowest one
    /// wins.
    fn cheapest(&self, costs: &Costs<'_>) -> (u32, i64) {
        let change = costs.parameters.change_cost() * self.weight;
        let with_change = costs
            .options
            .iter()
            .zip(&self.sums)
            .map(|(&(trus, limit), &sum)| {
                let stays = trus == costs.situation.current;
                (trus, limit, sum.saturating_add(if stays { 0 } else { change }))
            });
        let cheapest = with_change.min_by_key(|(_, _, sum)| *sum);
        cheapest.map_or((0, costs.situation.envelope), |(trus, limit, _)| (trus, limit))
    }

    fn means(&self, costs: &Costs<'_>) -> Vec<OptionCost> {
        let weight = self.weight.max(1);
        let options = costs.options.iter().zip(&self.sums);
        let means = options.map(|(&(trus, limit), sum)| OptionCost {
            trus,
            limit,
            cost: sum / weight,
        });
        means.collect()
    }
}

/// Plans the coming hour. `hours` ends with the hour that is about to end, and `peak` is that hour's exact
/// peak.
pub(super) fn plan(costs: &Costs<'_>, hours: &[RememberedHour], demands: &Demands, peak: i64) -> Plan {
    let parameters = costs.parameters;
    let (alone, quiet) = more_of_the_same(costs, demands);
    let heavy = demands.current() > costs.situation.envelope;
    let mut deciding = Comparison::new(alone, if heavy { 4 } else { 1 });
    let mut reason = quiet;
    // `free_share` is skipped too: it reads remembered hours.
    if parameters.history_days == 0 {
        let (option, _) = deciding.cheapest(costs);
        return Plan {
            option,
            costs: deciding.means(costs),
            reason,
        };
    }

    let needs: Vec<bool> = hours.iter().map(|hour| costs.had_a_need(*hour)).collect();
    let similar = costs.without_the_worst(similar_hours(hours, &needs));
    // One hour is not a pattern; with the two worst left out, it takes four to get here.
    if similar.len() >= 2 {
        for hour in &similar {
            deciding.add(costs, *hour);
        }
        let busy = similar.iter().filter(|hour| costs.had_a_need(**hour)).count();
        reason = reason.with_similar_hours(busy, similar.len());
    }
    let (mut option, mut limit) = deciding.cheapest(costs);

    let same = same_hour(hours, 0, parameters.history_days);
    if same.len() >= ENOUGH_DAYS {
        let busy = same.iter().filter(|hour| costs.had_a_need(**hour)).count();
        let days = same.len();
        let daily = Comparison::of(costs, &costs.without_the_worst(same));
        let (other, other_limit) = daily.cheapest(costs);
        // A smaller daily plan alone is not trusted: the ending hour may be an incident that goes on.
        let batch_ended = other_limit < limit && usual_batch(costs, hours, &needs, peak);
        if other_limit > limit || batch_ended {
            (option, limit, deciding) = (other, other_limit, daily);
            reason = reason.with_same_hour(busy, days);
        }
    }
    let means = deciding.means(costs);
    if let Some((free, free_limit)) = free(costs, hours).filter(|(_, free_limit)| *free_limit > limit) {
        (option, limit) = (free, free_limit);
        reason = Reason::Free { limit };
    }
    Plan {
        option,
        costs: means,
        reason,
    }
}

/// Computes scenario 1: the last minutes repeat, at every option.
fn more_of_the_same(costs: &Costs<'_>, demands: &Demands) -> (Vec<i64>, Reason) {
    let look_back = costs.parameters.look_back_minutes;
    let recent = demands.last(look_back);
    let minutes = i64::try_from(recent.len()).unwrap_or(1).max(1);
    let cost = |&(trus, limit): &(u32, i64)| {
        let mut queue = Queue::default();
        let served: i64 = recent.iter().map(|demand| queue.minute(*demand, limit)).sum();
        // `sum` counts every action-minute twice, so 60 / 2. The tail is not scaled: the queue drains only
        // once, after the hour.
        let waited = queue.sum * 30 / minutes + queue.tail(limit);
        costs.topup(trus, served * 60 / minutes) + costs.delay(waited)
    };
    let reason = Reason::Plan {
        minutes: look_back,
        peak: recent.iter().copied().max().unwrap_or(0),
        kept: costs.topup(costs.situation.current, recent.iter().sum::<i64>() * 60 / minutes),
        similar: None,
        same_hour: None,
    };
    (costs.options.iter().map(cost).collect(), reason)
}

/// Returns the hours of scenario 2: known hours at the same distance after an hour that needed capacity as the coming hour.
/// Scheduled hours are left out.
fn similar_hours(hours: &[RememberedHour], needs: &[bool]) -> Vec<RememberedHour> {
    let coming = hours.len();
    let mut needs_of_day = [0; 24];
    for (at, _) in needs.iter().enumerate().filter(|(_, need)| **need) {
        needs_of_day[(coming - at) % 24] += 1;
    }
    // A nightly batch says nothing about the hours after an unexpected burst.
    let is_scheduled = |at: usize| needs_of_day[(coming - at) % 24] >= SCHEDULED_DAYS;
    let mut latest = None;
    let mut classes = Vec::with_capacity(coming);
    let class_at = |latest: Option<usize>, at| latest.and_then(|need| class(at - need));
    for (at, need) in needs.iter().enumerate() {
        classes.push(class_at(latest, at));
        if *need && !is_scheduled(at) {
            latest = Some(at);
        }
    }
    let Some(wanted) = class_at(latest, coming) else {
        return Vec::new();
    };
    let matching = (0..coming).filter(|at| classes[*at] == Some(wanted));
    let known = matching.filter(|at| hours[*at].is_known() && !is_scheduled(*at));
    known.map(|at| hours[at]).collect()
}

/// Class of a distance, in hours, from an hour that needed capacity.
fn class(distance: usize) -> Option<u8> {
    match distance {
        1 => Some(1),
        2 => Some(2),
        3 => Some(3),
        4..=5 => Some(4),
        6..=11 => Some(5),
        12..=FARTHEST => Some(6),
        _ => None,
    }
}

/// Returns known hours at the same time of day as the hour `before` hours before the coming one, on each of the last `days` days.
fn same_hour(hours: &[RememberedHour], before: usize, days: usize) -> Vec<RememberedHour> {
    same_hour_at(hours.len(), before, days)
        .map(|at| hours[at])
        .filter(|hour| hour.is_known())
        .collect()
}

fn same_hour_at(coming: usize, before: usize, days: usize) -> impl Iterator<Item = usize> {
    (1..=days).filter_map(move |day| coming.checked_sub(before + 24 * day))
}

/// Returns whether the hour that is about to end is a daily batch, so that releasing capacity after it does no harm.
fn usual_batch(costs: &Costs<'_>, hours: &[RememberedHour], needs: &[bool], peak: i64) -> bool {
    let days = costs.parameters.history_days;
    let with_need = same_hour_at(hours.len(), 1, days).filter(|at| needs[*at]).count();
    let usual = same_hour(hours, 1, days)
        .into_iter()
        .map(RememberedHour::peak)
        .max();
    // One day without the batch must not make it unusual.
    with_need + 1 >= days && usual.is_some_and(|usual| peak <= usual * 5 / 4)
}

/// Returns the largest size whose minimum is covered by a share of the load in the day's quietest hour.
fn free(costs: &Costs<'_>, hours: &[RememberedHour]) -> Option<(u32, i64)> {
    let share = costs.parameters.free_share_percent;
    // With less than a day, the quietest hour may not have been seen.
    let day = hours.len().checked_sub(24).filter(|_| share > 0)?;
    let known = hours[day..].iter().filter(|hour| hour.is_known());
    let quietest = known.map(|hour| hour.mean()).min()?;
    let covered = costs.options.iter().copied().filter(|(trus, _)| *trus > 0);
    covered
        .filter(|(trus, _)| costs.topup(*trus, quietest * 60 * share / 100) == 0)
        .max_by_key(|(trus, _)| *trus)
}
