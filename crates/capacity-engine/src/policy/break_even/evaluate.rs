//! One evaluation: scale up now, plan the coming hour, carry out the plan, and apply the bounds.

use super::costs::Costs;
use super::load::{Demands, MinuteActions, WINDOW_MINUTES, count};
use super::model::{Outcome, Reason, Rule, Situation, Waiting};
use super::parameters::{MOST_HOURS, Parameters};
use super::plan::plan;
use super::raise::{Raise, raise};
use super::state::{BreakEvenState, RememberedHour};

/// Number of minutes that the newest sample may lag.
// The endpoint shows a minute 3 to 4 minutes after it ended.
const STALE_AFTER: i64 = 4;

/// Good samples that an hour needs to count as known: 80% of 60.
const KNOWN_HOUR: usize = 48;

/// Minute of the hour at which the coming hour is planned.
const PLANNING_MINUTE: i64 = 55;

/// Last minute at which a release takes effect before the next hour is billed.
// A change needs 2 minutes, and an hour is billed at the highest size in it.
const LAST_RELEASE_MINUTE: i64 = 57;

/// Last minute at which a larger plan is still carried out.
const LAST_PLANNED_MINUTE: i64 = 9;

/// Makes the decision for one namespace, and returns the state to store if the decision is carried out. Total and deterministic.
///
/// Counts in the window are clamped to 0 to 1,000,000,000 actions per minute.
pub fn evaluate(
    situation: &Situation<'_>,
    state: &BreakEvenState,
    parameters: &Parameters,
) -> (Outcome, BreakEvenState) {
    let (outcome, kept) = evaluate_only(situation, state, parameters);
    let state = kept.changed(situation.current, outcome.option, situation.now);
    (outcome, state)
}

/// Like [`evaluate`], but returns the state to store if the decision is not carried out: everything except
/// the change.
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
        // Before the scale-up, which prices a size by what this hour already costs.
        self.note_highest_option();
        let blind = self.blind();
        if !blind && let Some(raise) = raise(&self.costs, &self.state, &self.demands) {
            self.take(raise);
        }
        let planning = self.coming_hour() != self.state.last_plan_hour;
        // Even while blind and after a raise: later, the window no longer covers the hour that is ending.
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

    fn take(&mut self, raise: Raise) {
        let Raise {
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
            // Not an outcome: a plan or its release may still decide. The comparison is kept to explain the
            // throttling.
            None => self.outcome.waiting = Some(Waiting { costs, reason }),
        }
    }

    fn note_highest_option(&mut self) {
        let situation = self.costs.situation;
        let hour = situation.now.div_euclid(60);
        // The size that was current when the hour began is billed in it, even if it is released a minute
        // later.
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
        // The ring would drop more of them anyway, and a state from years ago would append tens of
        // thousands.
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
            let mean = good.iter().sum::<i64>() / count(good.iter());
            RememberedHour::new(self.demands.peak(), mean, self.demands.above(situation.envelope))
        } else {
            RememberedHour::UNKNOWN
        });
        // A shorter `history_days` than before shortens what is remembered.
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
        // 80%, in integers.
        good * 5 >= look_back * 4
    }

    fn plan(&mut self) {
        let parameters = self.costs.parameters;
        let current = self.costs.situation.current;
        let plan = plan(&self.costs, &self.state.hours, &self.demands, self.demands.peak());
        let option = plan.option.min(parameters.max_trus).max(parameters.min_trus);
        self.state.planned = Some(option);
        // A raise or a blind evaluation keeps its own reason; the plan is stored either way.
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
        // Limits, not TRUs: releasing 2 TRUs may raise the limit if on-demand provides more.
        let (wanted, present) = (situation.limit(planned), situation.limit(situation.current));
        if wanted < present && (planning || (PLANNING_MINUTE..=LAST_RELEASE_MINUTE).contains(&minute)) {
            self.outcome.option = planned;
            self.outcome.rule = Rule::Release;
        }
        // Any earlier, and the larger size would also be billed for the hour that is ending.
        let its_hour = self.state.last_plan_hour == situation.now.div_euclid(60);
        if wanted > present && minute <= LAST_PLANNED_MINUTE && its_hour {
            self.outcome.option = planned;
            self.outcome.rule = Rule::Planned;
        }
    }

    fn keep_bounds(&mut self) {
        let least = self.costs.parameters.min_trus;
        // Also when blind: the floor does not depend on any sample.
        if self.outcome.option < least {
            self.outcome.option = least;
            self.outcome.rule = Rule::Bounds;
            self.outcome.reason = Reason::Bounds { least };
        }
    }
}

/// Highest actions per minute used in calculations, so that all sums of a replay fit into 64 bits.
const MOST_ACTIONS: i64 = 1_000_000_000;

impl MinuteActions {
    /// Returns the counts, clamped to 0 to 1,000,000,000.
    #[must_use]
    pub fn within_bounds(self) -> Self {
        Self {
            served: self.served.clamp(0, MOST_ACTIONS),
            throttled: self.throttled.clamp(0, MOST_ACTIONS),
        }
    }
}
