//! The `break-even` policy: capacity where it is cheaper than waiting.
//!
//! Queued work costs money; high utilization does not. Within a calendar hour, money is spent once its highest option is
//! reached. So the policy scales up only when that is cheaper than waiting, never releases before the end of an hour, and
//! considers releasing at the end of every hour. Both decisions compute the expected cost of each option over a few scenarios
//! from the namespace's own history, in actions; the cheapest option wins. All arithmetic is on integers: actions, actions per
//! minute, minutes.
//!
//! Start with [`evaluate`]. `load` rebuilds the demand, `costs` prices an option, `raise` scales up now, `plan` plans the coming
//! hour, `state` is what is remembered, and `reason` puts a decision into words.

mod costs;
mod load;
mod parameters;
mod plan;
mod policy;
mod raise;
mod reason;
mod scale;
mod state;
#[cfg(test)]
mod tests;

pub use load::{DemandRebuild, MinuteActions, WINDOW_MINUTES, Window};
pub use parameters::ParameterError;
pub use policy::BreakEven;
pub use reason::Reason;
pub use state::{BreakEvenState, RememberedHour, StateError};

use costs::{Costs, TRU_HOUR};
use load::Demands;
use serde::{Deserialize, Serialize};

/// Hours remembered with seven days of history.
pub(crate) const MOST_HOURS: usize = 169;

/// Minutes that the newest sample may be behind.
const STALE_AFTER: i64 = 4;

/// Good samples that make an hour known: 80 % of 60.
const KNOWN_HOUR: usize = 48;

/// Minute of the hour at which the coming hour is planned.
const PLANNING_MINUTE: i64 = 55;

/// Last minute at which a release takes effect before the next hour is billed.
const LAST_RELEASE_MINUTE: i64 = 57;

/// Last minute at which a larger plan is still carried out.
const LAST_PLANNED_MINUTE: i64 = 9;

/// What an operator may set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameters {
    /// Cost of delaying one action by one minute, in thousandths of an action.
    pub delay_milli: i64,
    /// Throttling that costs less than this is ignored, in thousandths of a TRU-hour.
    pub let_pass_milli: i64,
    /// Cost of a change, in thousandths of a TRU-hour.
    pub move_milli: i64,
    /// A raise is sized for this percentage of the current demand.
    pub margin_percent: i64,
    /// How much of the end of an hour predicts the next one, in minutes.
    pub look_back_minutes: usize,
    /// Days of history that are used: 0 to 7.
    pub history_days: usize,
    /// Also keep TRUs whose minimum this percentage of the day's quietest hour covers; 0 turns this off.
    pub free_share_percent: i64,
    /// TRUs that are never released; 0 for none.
    pub min_trus: u32,
    /// TRUs that are never exceeded.
    pub max_trus: u32,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            delay_milli: 1000,
            let_pass_milli: 100,
            move_milli: 100,
            margin_percent: 100,
            look_back_minutes: 15,
            history_days: 7,
            free_share_percent: 0,
            min_trus: 0,
            max_trus: 12,
        }
    }
}

impl Parameters {
    fn let_pass(&self) -> i64 {
        self.let_pass_milli * TRU_HOUR / 1000
    }

    fn change_cost(&self) -> i64 {
        self.move_milli * TRU_HOUR / 1000
    }

    fn remembered_hours(&self) -> usize {
        (24 * self.history_days + 1).clamp(25, MOST_HOURS)
    }
}

/// One size of the ladder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// TRUs, at least 1.
    pub trus: u32,
    /// Actions per minute that it admits.
    pub limit: i64,
}

impl Size {
    /// Actions per minute of one TRU where neither API nor metric reports a limit (500 a second).
    pub const ACTIONS_PER_MINUTE_AND_TRU: i64 = 30_000;

    /// Returns a size with the documented limit of 500 actions per second and TRU.
    pub const fn documented(trus: u32) -> Self {
        Self {
            trus,
            limit: Self::ACTIONS_PER_MINUTE_AND_TRU * trus as i64,
        }
    }
}

/// The inputs of one evaluation, in addition to parameters and state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Situation<'a> {
    /// Minute of the evaluation; minute 0 starts an hour.
    pub now: i64,
    /// Minute of the newest sample.
    pub newest: i64,
    /// Current TRUs, or those being provisioned; 0 is on-demand.
    pub current: u32,
    /// What on-demand admits, in actions per minute.
    pub envelope: i64,
    /// Sizes that may be chosen, smallest first.
    pub ladder: &'a [Size],
    /// The last hour of samples.
    pub window: &'a Window,
    /// How many of a thousand counted in the window are billed: 1,000 if it counts actions.
    pub billed_permille: i64,
}

impl Situation<'_> {
    /// On-demand and the sizes of the ladder, each with its limit.
    fn options(&self) -> impl Iterator<Item = (u32, i64)> {
        let sizes = self.ladder.iter().map(|size| (size.trus, size.limit));
        std::iter::once((0, self.envelope)).chain(sizes)
    }

    fn limit(&self, option: u32) -> i64 {
        let known = self.options().find(|(trus, _)| *trus == option);
        known.map_or(Size::documented(option).limit, |(_, limit)| limit)
    }
}

/// What decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rule {
    /// Scaled up now, because waiting is more expensive.
    Raise,
    /// Released at the end of an hour.
    Release,
    /// The planned larger option, at the start of its hour.
    Planned,
    /// The plan is the current option.
    Keep,
    /// The plan is larger, and its hour has not begun.
    Later,
    /// Nothing to do.
    Hold,
    /// The newest samples are missing or stale.
    Blind,
    /// The option was below `min_trus`.
    Bounds,
}

impl Rule {
    /// Returns the name of the rule.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raise => "raise",
            Self::Release => "release",
            Self::Planned => "planned",
            Self::Keep => "keep",
            Self::Later => "later",
            Self::Hold => "hold",
            Self::Blind => "blind",
            Self::Bounds => "bounds",
        }
    }
}

/// Expected cost of one option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionCost {
    /// TRUs; 0 is on-demand.
    pub trus: u32,
    /// What it admits, in actions per minute.
    pub limit: i64,
    /// Expected cost in actions; -1 if the option was not a candidate.
    pub cost: i64,
}

/// The end of one evaluation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// TRUs to request; the current ones if nothing changes.
    pub option: u32,
    /// What decided.
    pub rule: Rule,
    /// Expected costs of the options that were compared; empty if none were.
    pub costs: Vec<OptionCost>,
    /// The inputs of the decision.
    pub reason: Reason,
    /// Options that were compared with waiting, if waiting turned out to be cheaper.
    pub waiting: Option<Waiting>,
}

/// A comparison that found waiting cheaper than every larger option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Expected costs; -1 where an option was no candidate.
    pub costs: Vec<OptionCost>,
    /// Its inputs.
    pub reason: Reason,
}

/// Decides about one namespace and returns what to remember if the decision is carried out. Total and deterministic.
///
/// Counts of the window are used from 0 to a billion actions per minute; what is outside is read as the bound.
pub fn evaluate(
    situation: &Situation<'_>,
    state: &BreakEvenState,
    parameters: &Parameters,
) -> (Outcome, BreakEvenState) {
    let (outcome, kept) = evaluate_only(situation, state, parameters);
    let state = kept.changed(situation.current, outcome.option, situation.now);
    (outcome, state)
}

/// As [`evaluate`], but returns what to remember if the decision is not carried out: everything but the change.
pub fn evaluate_only(
    situation: &Situation<'_>,
    state: &BreakEvenState,
    parameters: &Parameters,
) -> (Outcome, BreakEvenState) {
    let window = situation
        .window
        .map(|slot| slot.map(MinuteActions::within_bounds));
    let situation = Situation {
        window: &window,
        ..*situation
    };
    Evaluation {
        costs: Costs::new(&situation, parameters),
        demands: Demands::of(&window),
        state: state.clone(),
        outcome: Outcome {
            option: situation.current,
            rule: Rule::Hold,
            costs: Vec::new(),
            reason: Reason::Nothing,
            waiting: None,
        },
    }
    .run()
}

struct Evaluation<'a> {
    costs: Costs<'a>,
    demands: Demands,
    state: BreakEvenState,
    outcome: Outcome,
}

impl Evaluation<'_> {
    fn run(mut self) -> (Outcome, BreakEvenState) {
        self.note_highest_option();
        let blind = self.blind();
        if !blind && let Some(raise) = raise::raise(&self.costs, &self.state, &self.demands) {
            self.take(raise);
        }
        let planning = self.coming_hour() != self.state.last_plan_hour;
        if planning {
            self.remember_ending_hour();
            if !blind && self.look_back_is_known() {
                self.plan();
            }
        }
        if !blind && self.outcome.rule != Rule::Raise {
            self.carry_out(planning);
        }
        self.keep_bounds();
        (self.outcome, self.state)
    }

    fn take(&mut self, raise: raise::Raise) {
        let raise::Raise {
            option,
            costs,
            reason,
        } = raise;
        match option {
            Some(option) => {
                self.outcome.option = option;
                self.outcome.rule = Rule::Raise;
                self.outcome.costs = costs;
                self.outcome.reason = reason;
            }
            None => self.outcome.waiting = Some(Waiting { costs, reason }),
        }
    }

    fn note_highest_option(&mut self) {
        let situation = self.costs.situation;
        let hour = situation.now.div_euclid(60);
        if self.state.top_hour != hour {
            self.state.top_hour = hour;
            self.state.top = situation.current;
        }
        self.state.top = self.state.top.max(situation.current);
    }

    fn blind(&mut self) -> bool {
        let situation = self.costs.situation;
        let last_two = &situation.window[WINDOW_MINUTES - 2..];
        let missing = last_two.iter().filter(|slot| slot.is_none()).count();
        let behind = situation.now - situation.newest;
        let blind = missing > 0 || behind > STALE_AFTER;
        if blind {
            self.outcome.rule = Rule::Blind;
            self.outcome.reason = Reason::Blind { missing, behind };
        }
        blind
    }

    fn coming_hour(&self) -> i64 {
        (self.costs.situation.now + 60 - PLANNING_MINUTE).div_euclid(60)
    }

    fn remember_ending_hour(&mut self) {
        let situation = self.costs.situation;
        let coming = self.coming_hour();
        let skipped = coming.saturating_sub(self.state.last_plan_hour).saturating_sub(1);
        let skipped = usize::try_from(skipped).unwrap_or(0).min(MOST_HOURS - 1);
        let hours = &mut self.state.hours;
        hours.extend(std::iter::repeat_n(RememberedHour::UNKNOWN, skipped));
        let good: Vec<i64> = situation
            .window
            .iter()
            .flatten()
            .map(|minute| minute.served)
            .collect();
        hours.push(if good.len() >= KNOWN_HOUR {
            let mean = good.iter().sum::<i64>() / load::count(good.iter());
            RememberedHour::new(self.demands.peak(), mean, self.demands.above(situation.envelope))
        } else {
            RememberedHour::UNKNOWN
        });
        let surplus = hours
            .len()
            .saturating_sub(self.costs.parameters.remembered_hours());
        hours.drain(..surplus);
        self.state.last_plan_hour = coming;
        self.state.planned = None;
    }

    fn look_back_is_known(&self) -> bool {
        let window = self.costs.situation.window;
        let look_back = self.costs.parameters.look_back_minutes.clamp(1, window.len());
        let good = window[window.len() - look_back..].iter().flatten().count();
        good * 5 >= look_back * 4
    }

    fn plan(&mut self) {
        let parameters = self.costs.parameters;
        let current = self.costs.situation.current;
        let plan = plan::plan(&self.costs, &self.state.hours, &self.demands, self.demands.peak());
        let option = plan.option.min(parameters.max_trus).max(parameters.min_trus);
        self.state.planned = Some(option);
        if self.outcome.rule == Rule::Hold {
            self.outcome.costs = plan.costs;
            self.outcome.reason = plan.reason;
            if option == current {
                self.outcome.rule = Rule::Keep;
            } else if self.is_larger(option) {
                self.outcome.rule = Rule::Later;
            }
        }
    }

    fn is_larger(&self, option: u32) -> bool {
        let situation = self.costs.situation;
        situation.limit(option) > situation.limit(situation.current)
    }

    fn carry_out(&mut self, planning: bool) {
        let situation = self.costs.situation;
        let Some(planned) = self.state.planned else { return };
        let minute = situation.now.rem_euclid(60);
        let (wanted, present) = (situation.limit(planned), situation.limit(situation.current));
        if wanted < present && (planning || (PLANNING_MINUTE..=LAST_RELEASE_MINUTE).contains(&minute)) {
            self.outcome.option = planned;
            self.outcome.rule = Rule::Release;
        }
        let its_hour = self.state.last_plan_hour == situation.now.div_euclid(60);
        if wanted > present && minute <= LAST_PLANNED_MINUTE && its_hour {
            self.outcome.option = planned;
            self.outcome.rule = Rule::Planned;
        }
    }

    fn keep_bounds(&mut self) {
        let least = self.costs.parameters.min_trus;
        if self.outcome.option < least {
            self.outcome.option = least;
            self.outcome.rule = Rule::Bounds;
            self.outcome.reason = Reason::Bounds { least };
        }
    }
}

/// Most actions per minute that are computed with: all sums of a replay then fit into 64 bits.
const MOST_ACTIONS: i64 = 1_000_000_000;

impl MinuteActions {
    /// Returns the counts from 0 to a billion; what is outside becomes the bound.
    #[must_use]
    pub fn within_bounds(self) -> Self {
        Self {
            served: self.served.clamp(0, MOST_ACTIONS),
            throttled: self.throttled.clamp(0, MOST_ACTIONS),
        }
    }
}
