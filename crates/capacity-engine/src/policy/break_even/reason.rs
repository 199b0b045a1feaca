//! Formats a decision of the policy, with the numbers behind it.

use human_text::{counted, grouped};

use super::model::{Outcome, Reason, Rule, Situation};
use super::state::MINUTES_UNTIL_EFFECT;
use crate::capacity::Capacity;

impl Reason {
    /// Formats the comparison of waiting with scaling up.
    pub(super) fn raised(&self, money: &dyn Fn(i64) -> String) -> String {
        let Reason::Raise {
            throttled_minutes,
            of_minutes,
            queue,
            demand,
            similar_bursts,
            expected,
            staying,
        } = *self
        else {
            return String::new();
        };
        let over = match similar_bursts {
            0 => String::new(),
            bursts => format!(" over {}", counted(bursts, "similar burst")),
        };
        format!(
            "throttled in {throttled_minutes} of the last {of_minutes} min, {} actions queued, demand {} APS; \
             expected cost{over} {}, or {} without scaling up",
            count(queue),
            aps(demand),
            money(expected),
            money(staying)
        )
    }

    pub(super) fn with_similar_hours(self, busy: usize, hours: usize) -> Self {
        match self {
            Self::Plan {
                minutes,
                peak,
                kept,
                same_hour,
                ..
            } => Self::Plan {
                minutes,
                peak,
                kept,
                similar: Some((busy, hours)),
                same_hour,
            },
            other => other,
        }
    }

    pub(super) fn with_same_hour(self, busy: usize, days: usize) -> Self {
        match self {
            Self::Plan {
                minutes,
                peak,
                kept,
                similar,
                ..
            } => Self::Plan {
                minutes,
                peak,
                kept,
                similar,
                same_hour: Some((busy, days)),
            },
            other => other,
        }
    }
}

impl Outcome {
    /// Returns one sentence with the numbers behind the decision. `money` formats a cost in actions, in
    /// dollars if the price is known.
    pub fn sentence(&self, situation: &Situation<'_>, money: &dyn Fn(i64) -> String) -> String {
        let because = self.because(situation, money);
        match self.rule {
            Rule::Hold | Rule::Blind if because.is_empty() => "hold: nothing to do".to_owned(),
            Rule::Hold | Rule::Blind => format!("hold: {because}"),
            Rule::Keep => format!("keep {}: {because}", Capacity::from_trus(self.option)),
            Rule::Later => {
                let hour = clock((situation.now + 5) / 60 * 60);
                let current = Capacity::from_trus(situation.current);
                format!("keep {current} until {hour}, then scale up: {because}")
            }
            Rule::Raise => format!("{}: {because}", Capacity::from_trus(self.option)),
            Rule::Release | Rule::Planned | Rule::Bounds => {
                let from = clock(situation.now + MINUTES_UNTIL_EFFECT);
                format!("{} from {from}: {because}", Capacity::from_trus(self.option))
            }
        }
    }

    /// Returns the numbers behind the decision, without the decision itself.
    pub(super) fn because(&self, situation: &Situation<'_>, money: &dyn Fn(i64) -> String) -> String {
        match &self.reason {
            Reason::Nothing => match self.rule {
                Rule::Planned | Rule::Release => "as planned at the end of the last hour".to_owned(),
                _ => String::new(),
            },
            Reason::Blind { missing: 0, behind } => {
                format!("metrics unavailable, the newest sample is {behind} min old")
            }
            Reason::Blind { missing: 1, .. } => {
                "metrics unavailable, 1 of the 2 newest samples is missing".to_owned()
            }
            Reason::Blind { missing, .. } => {
                format!("metrics unavailable, {missing} of the 2 newest samples are missing")
            }
            Reason::Raise { .. } => self.reason.raised(money),
            Reason::Plan { .. } => self.planned(situation, money),
            Reason::Free { limit } => format!(
                "the quietest hour of the day covers the minimum of a limit of {} APS",
                aps(*limit)
            ),
            Reason::Bounds { least } => format!("never below {}", Capacity::from_trus(*least)),
        }
    }

    fn planned(&self, situation: &Situation<'_>, money: &dyn Fn(i64) -> String) -> String {
        let Reason::Plan {
            minutes,
            peak,
            kept,
            similar,
            same_hour,
        } = self.reason
        else {
            return String::new();
        };
        let cost = |option: u32| {
            let found = self.costs.iter().find(|cost| cost.trus == option);
            found.map_or_else(|| "unknown".to_owned(), |found| money(found.cost))
        };
        if let Some((busy, days)) = same_hour {
            return format!("this hour was busy on {busy} of the last {days} days");
        }
        let quiet = format!(
            "peak of the last {minutes} min {} APS, envelope {} APS",
            aps(peak),
            aps(situation.envelope)
        );
        match (self.rule, similar) {
            (Rule::Release, _) => {
                let present = Capacity::from_trus(situation.current);
                format!("{quiet}; keeping {present} would cost {} in top-up", money(kept))
            }
            (_, Some((busy, hours))) if busy > 0 => format!(
                "{busy} of {hours} hours this soon after a busy hour were busy too; expected cost {}, on-demand {}",
                cost(self.quoted_option()),
                cost(0)
            ),
            _ => quiet,
        }
    }

    /// Returns the option whose cost the reason quotes: the cheapest one compared if a scale-up was put off,
    /// otherwise the chosen one.
    fn quoted_option(&self) -> u32 {
        if self.rule != Rule::Later {
            return self.option;
        }
        let cheapest = self.costs.iter().min_by_key(|cost| cost.cost);
        cheapest.map_or(self.option, |cheapest| cheapest.trus)
    }
}

/// Converts actions per minute to actions per second.
fn aps(per_minute: i64) -> String {
    count((per_minute + 30) / 60)
}

fn count(number: i64) -> String {
    grouped(number.max(0).unsigned_abs())
}

/// Formats a minute since midnight as a time of day.
fn clock(minute: i64) -> String {
    let of_day = minute.rem_euclid(24 * 60);
    format!("{:02}:{:02}", of_day / 60, of_day % 60)
}
