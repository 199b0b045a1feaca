//! `explain --trace`: explains what break-even decides at one minute of a backtest.

use std::path::Path;

use anyhow::{Context, ensure};
use capacity_autopilot::{ActionName, PlannedDecision};
use capacity_backtest::{BacktestPolicy, BreakEven, Decided, Settings, Trace, View, run_policy};
use capacity_engine::ConsideredOption;
use capacity_engine::break_even::{
    BreakEvenState, MinuteActions, Outcome, Parameters, Situation, Size, Window, evaluate,
};
use capacity_engine::explain::nearest;
use capacity_engine::pricing::in_dollars;
use capacity_engine::{Capacity, PricePerMillion};
use capacity_settings::Needs;
use human_text::{counted, grouped};
use jiff::Timestamp;
use serde_json::json;

use super::document::{Document, ShownFlip};
use crate::arguments::{Explain, Global};
use crate::backtest::{self, Load, parameters};
use crate::setup;
use crate::times;

/// Highest number of actions per minute that the search tries.
const MOST: u64 = 1_000_000_000;

/// One evaluation of break-even, with all of its inputs.
#[derive(Clone)]
struct Evaluated {
    now: i64,
    newest: i64,
    current: u32,
    envelope: i64,
    ladder: Vec<Size>,
    window: Window,
    state: BreakEvenState,
    parameters: Parameters,
}

impl Evaluated {
    fn situation(&self) -> Situation<'_> {
        Situation {
            now: self.now,
            newest: self.newest,
            current: self.current,
            envelope: self.envelope,
            ladder: &self.ladder,
            window: &self.window,
            // A trace counts actions, each of which is billed.
            billed_permille: 1000,
        }
    }

    fn decide(&self) -> Outcome {
        evaluate(&self.situation(), &self.state, &self.parameters).0
    }
}

/// Wraps break-even and keeps its last evaluation at or before a minute.
struct Watched {
    policy: BreakEven,
    parameters: Parameters,
    until: i64,
    last: Option<Evaluated>,
}

impl BacktestPolicy for Watched {
    fn decide(&mut self, view: &View<'_>, explain: bool) -> Decided {
        // The last evaluation at or before the minute: policies are not evaluated every minute.
        if view.now <= self.until {
            self.last = Some(Evaluated {
                now: view.now,
                newest: view.newest,
                current: view.current,
                envelope: view.envelope,
                ladder: view.ladder.to_vec(),
                window: *view.window,
                state: self.policy.state().clone(),
                parameters: self.parameters.clone(),
            });
        }
        self.policy.decide(view, explain)
    }
}

pub(super) fn explain(file: &Path, flags: &Explain, global: &Global) -> anyhow::Result<Document> {
    let shown = file.display();
    let at = flags.at.as_deref().unwrap_or_default();
    let settings = setup::settings(global, Needs::default())?;
    let price = PricePerMillion::try_new(settings.rules.prices.dollars())?;
    let Load { name, trace } = backtest::read(file)?;
    let minute = minute_of(at, &trace)?;
    let length = i64::try_from(trace.len())?;
    ensure!(
        (0..length).contains(&minute),
        "--at {at} is outside {shown}, which has {}{}",
        counted(length, "minute"),
        if trace.first_minute() == 0 {
            String::new()
        } else {
            format!(" from {}", time_of(trace.first_minute()))
        }
    );
    let parameters = parameters::parse(&flags.policy_param, flags.delay_value.as_deref())?;
    let usual = Settings::for_trace(&trace);
    let replay = Settings {
        cadence: flags.cadence.as_deref().map_or(Ok(usual.cadence), str::parse)?,
        parameters: parameters.clone(),
        price,
        ..usual
    };
    let mut watched = Watched {
        policy: BreakEven::new(parameters.clone()).with_price(price),
        parameters,
        until: minute,
        last: None,
    };
    run_policy(&trace, &mut watched, &replay);
    let evaluated = watched
        .last
        .with_context(|| format!("break-even is not evaluated before minute {minute} of {shown}"))?;
    Ok(document(name, &trace, &evaluated, price))
}

/// Parses `--at` as the number of minutes since the start of the trace.
fn minute_of(at: &str, trace: &Trace) -> anyhow::Result<i64> {
    if let Ok(minute) = at.parse::<i64>() {
        return Ok(minute);
    }
    let time =
        times::time(at).with_context(|| format!("--at {at} is neither a number of minutes nor a time"))?;
    ensure!(
        trace.first_minute() != 0,
        "--at {at}: the file has no `time` column; use the number of minutes since its start, such as --at 4320"
    );
    Ok(time.as_second().div_euclid(60) - trace.first_minute())
}

fn time_of(minute: i64) -> String {
    // RFC 3339: it is part of the JSON document, and `--at` accepts it.
    Timestamp::from_second(minute * 60).map_or_else(|_| minute.to_string(), |time| time.to_string())
}

fn told(evaluated: &Evaluated, outcome: &Outcome, price: PricePerMillion) -> PlannedDecision {
    let money = |cost: i64| in_dollars(price.of(u64::try_from(cost).unwrap_or(0)));
    let action = match (evaluated.current, outcome.option) {
        (one, other) if one == other => ActionName::Keep,
        (0, _) => ActionName::Enable,
        (_, 0) => ActionName::Disable,
        _ => ActionName::Resize,
    };
    PlannedDecision {
        action,
        current_trus: Some(evaluated.current),
        wanted_trus: Some(outcome.option),
        reason_code: outcome.rule.name().to_owned(),
        reason: outcome.sentence(&evaluated.situation(), &money),
        ..PlannedDecision::default()
    }
}

fn document(name: String, trace: &Trace, evaluated: &Evaluated, price: PricePerMillion) -> Document {
    let outcome = evaluated.decide();
    let at = if trace.first_minute() == 0 {
        let (day, hour, minute) = (
            evaluated.now / 1440 + 1,
            evaluated.now % 1440 / 60,
            evaluated.now % 60,
        );
        format!("minute {} (day {day}, {hour:02}:{minute:02})", evaluated.now)
    } else {
        time_of(trace.first_minute() + evaluated.now)
    };
    let newest = evaluated.window.last().copied().flatten();
    let known = evaluated.window.iter().flatten().count();
    let rate = |actions: i64| format!("{} actions/s", grouped(actions / 60));
    let mut seen = vec![
        (
            "capacity".to_owned(),
            crate::render::trus(Some(evaluated.current)),
        ),
        ("on-demand limit".to_owned(), rate(evaluated.envelope)),
        ("known minutes".to_owned(), format!("{known} of 60")),
    ];
    match newest {
        None => seen.push(("newest minute".to_owned(), "missing".to_owned())),
        Some(MinuteActions { served, throttled }) => seen.push((
            "newest minute".to_owned(),
            format!(
                "{} actions served, {} attempts throttled",
                grouped(served),
                grouped(throttled)
            ),
        )),
    }
    seen.push((
        "remembered hours".to_owned(),
        evaluated.state.hours.len().to_string(),
    ));
    let seen_json = json!({
        "minute": evaluated.now,
        "newest_minute": evaluated.newest,
        "current_trus": evaluated.current,
        "on_demand_actions_per_minute": evaluated.envelope,
        "known_minutes": known,
        "served": newest.map(|newest| newest.served),
        "throttled": newest.map(|newest| newest.throttled),
        "remembered_hours": evaluated.state.hours.len(),
    });
    Document::of_trace(
        (name, at),
        told(evaluated, &outcome, price),
        seen,
        seen_json,
        options(evaluated, &outcome, price),
        flips(evaluated, &outcome, price),
    )
}

fn options(evaluated: &Evaluated, outcome: &Outcome, price: PricePerMillion) -> Vec<ConsideredOption> {
    let costs = outcome.costs.iter();
    let chosen = outcome.costs.iter().find(|option| option.trus == outcome.option);
    let about = |option: &capacity_engine::break_even::OptionCost| {
        // The engine gives a size that is no candidate the cost -1.
        let cost = u64::try_from(option.cost).ok();
        let verdict = match (option.trus == outcome.option, chosen) {
            (true, _) => format!("chosen ({})", outcome.rule.name()),
            (false, _) if cost.is_none() => "not a candidate: does not raise the limit".to_owned(),
            (false, Some(chosen)) if option.cost > chosen.cost => {
                let more = u64::try_from(option.cost - chosen.cost).unwrap_or(0);
                format!("costs {} more", in_dollars(price.of(more)))
            }
            (false, _) if option.trus == evaluated.current => "current".to_owned(),
            (false, _) => {
                "saves less than the change itself costs, or the history outweighs the saving".to_owned()
            }
        };
        // The minimum per hour of each TRU after the first: 20% of 500 actions per second.
        let idle = price.of(360_000 * u64::from(option.trus.saturating_sub(1)));
        let limit = u64::try_from(option.limit / 60).unwrap_or(0);
        let considered = ConsideredOption::new(Capacity::from_trus(option.trus), limit, idle, verdict)
            .with_chosen(option.trus == outcome.option);
        match cost {
            Some(cost) => considered.with_cost(option.cost, price.of(cost)),
            None => considered,
        }
    };
    costs.map(about).collect()
}

/// An input of break-even.
struct Input {
    name: &'static str,
    is_observed: bool,
    value: u64,
    most: u64,
    set: fn(&mut Evaluated, i64),
    show: fn(u64) -> String,
}

fn flips(evaluated: &Evaluated, outcome: &Outcome, price: PricePerMillion) -> Vec<ShownFlip> {
    let mut found: Vec<(bool, u64, ShownFlip)> = Vec::new();
    for input in inputs(evaluated) {
        let at = |value: u64| {
            let mut changed = evaluated.clone();
            (input.set)(&mut changed, i64::try_from(value).unwrap_or(i64::MAX));
            changed
        };
        let differs = |value: u64| at(value).decide().option != outcome.option;
        let Some(value) = nearest(input.value, 0..=input.most, 1, &differs) else {
            continue;
        };
        let changed = at(value);
        // Relative, because inputs in different units cannot be compared otherwise.
        let share = value.abs_diff(input.value).saturating_mul(1_000) / input.value.max(1);
        let flip = ShownFlip {
            input: input.name.to_owned(),
            is_observed: input.is_observed,
            from: (input.show)(input.value),
            to: (input.show)(value),
            becomes: told(&changed, &changed.decide(), price),
        };
        found.push((!input.is_observed, share, flip));
    }
    found.sort_by_key(|(is_setting, share, _)| (*is_setting, *share));
    found.into_iter().map(|(_, _, flip)| flip).collect()
}

fn inputs(evaluated: &Evaluated) -> Vec<Input> {
    let whole = |value: i64| u64::try_from(value).unwrap_or(0);
    let plain = |value: u64| grouped(value);
    let newest = evaluated.window.last().copied().flatten();
    let newest = newest.unwrap_or(MinuteActions {
        served: 0,
        throttled: 0,
    });
    let milli = |value: u64| format!("{}.{:03}", grouped(value / 1_000), value % 1_000);
    vec![
        Input {
            name: "attempts throttled in the newest minute",
            is_observed: true,
            value: whole(newest.throttled),
            most: MOST,
            set: |evaluated, value| change_newest(evaluated, |newest| newest.throttled = value),
            show: plain,
        },
        Input {
            name: "actions served in the newest minute",
            is_observed: true,
            value: whole(newest.served),
            most: MOST,
            set: |evaluated, value| change_newest(evaluated, |newest| newest.served = value),
            show: plain,
        },
        Input {
            name: "actions per minute that on-demand allows",
            is_observed: true,
            value: whole(evaluated.envelope),
            most: MOST,
            set: |evaluated, value| evaluated.envelope = value,
            show: plain,
        },
        Input {
            name: "delay_value",
            is_observed: false,
            value: whole(evaluated.parameters.delay_milli),
            most: 100_000,
            set: |evaluated, value| evaluated.parameters.delay_milli = value,
            show: milli,
        },
        Input {
            name: "let_pass",
            is_observed: false,
            value: whole(evaluated.parameters.let_pass_milli),
            most: 10_000,
            set: |evaluated, value| evaluated.parameters.let_pass_milli = value,
            show: milli,
        },
    ]
}

fn change_newest(evaluated: &mut Evaluated, change: impl FnOnce(&mut MinuteActions)) {
    if let Some(slot) = evaluated.window.last_mut() {
        let newest = slot.get_or_insert(MinuteActions {
            served: 0,
            throttled: 0,
        });
        change(newest);
    }
}
