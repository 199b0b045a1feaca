//! Numeric inputs of a decision.

use human_text::{grouped, span};
use jiff::{SignedDuration, Timestamp};

use super::inputs::Inputs;
use crate::capacity::{CapacityRequest, Trus};
use crate::limit::LimitKind;
use crate::policy::ThresholdSettings;
use crate::rate::Rate;
use crate::snapshot::{CapacityInfo, ReportedUsage};
use crate::usage::MinuteSample;
use crate::window::UsageWindow;

/// Step of a rate: a thousandth per second, the precision of the metrics endpoint.
const RATE_GRAIN: u64 = 1_000;

/// One per second, in millionths.
const ONE: u64 = 1_000_000;

/// A million per second, in millionths: more than any limit.
const MOST_RATE: u64 = 1_000_000 * ONE;

/// The largest age to try, in seconds: a week.
const WEEK: u64 = 7 * 24 * 3_600;

/// Writes a number into the inputs.
type Set = Box<dyn Fn(&mut Inputs, u64)>;

/// A numeric input that can be varied.
pub(super) struct Dial {
    pub(super) input: String,
    pub(super) is_observed: bool,
    pub(super) value: u64,
    pub(super) least: u64,
    pub(super) most: u64,
    /// The smallest step by which the number changes.
    pub(super) grain: u64,
    /// A change is compared with this number if the value itself is smaller.
    pub(super) scale: u64,
    pub(super) set: Set,
    /// The value for display.
    pub(super) show: Box<dyn Fn(&Inputs) -> String>,
}

/// Returns every number that the decision may depend on.
pub(super) fn dials(inputs: &Inputs) -> Vec<Dial> {
    let mut dials = Vec::new();
    if let Some(window) = window_of(inputs) {
        dials.extend(LimitKind::ALL.map(|kind| throttled(window, kind)));
        dials.push(hour(window));
        dials.push(served(window));
        dials.extend(known_minutes(window));
        dials.extend(age(inputs, window));
        dials.extend(LimitKind::ALL.into_iter().filter_map(|kind| peak(window, kind)));
    }
    for kind in LimitKind::ALL {
        dials.extend(limit(inputs, kind));
        dials.extend(envelope(inputs, kind));
    }
    dials.extend(ceiling(inputs));
    dials.extend(since_last_change(inputs));
    dials.extend(settings(inputs));
    dials
}

fn window_of(inputs: &Inputs) -> Option<&UsageWindow> {
    match &inputs.snapshot.usage {
        ReportedUsage::Known(window) => Some(window),
        ReportedUsage::Missing | ReportedUsage::Unknown { .. } => None,
    }
}

/// Changes the samples, newest first.
pub(super) fn change_samples(inputs: &mut Inputs, change: impl FnOnce(&mut Vec<MinuteSample>)) {
    let Some(window) = window_of(inputs) else { return };
    let mut samples: Vec<MinuteSample> = window.minutes().collect();
    change(&mut samples);
    if let Some(window) = UsageWindow::from_samples(samples) {
        inputs.snapshot.usage = ReportedUsage::Known(window);
    }
}

fn of_newest(inputs: &Inputs, value: impl Fn(&MinuteSample) -> Rate) -> String {
    let rate = window_of(inputs).map_or(Rate::ZERO, |window| value(window.newest()));
    per_second(rate)
}

/// Formats a rate exactly to the thousandth: `0.001/s`, `500/s`.
fn per_second(rate: Rate) -> String {
    let thousandths = rate.micros_per_second() / RATE_GRAIN;
    let (whole, rest) = (thousandths / 1_000, thousandths % 1_000);
    if rest == 0 {
        format!("{}/s", grouped(whole))
    } else {
        let decimals = format!("{rest:03}");
        format!("{}.{}/s", grouped(whole), decimals.trim_end_matches('0'))
    }
}

fn rate_dial(
    input: String,
    value: Rate,
    set: impl Fn(&mut Inputs, Rate) + 'static,
    show: impl Fn(&Inputs) -> String + 'static,
) -> Dial {
    Dial {
        input,
        is_observed: true,
        value: value.micros_per_second(),
        least: 0,
        most: MOST_RATE,
        grain: RATE_GRAIN,
        scale: ONE,
        set: Box::new(move |inputs, value| set(inputs, Rate::from_micros_per_second(value))),
        show: Box::new(show),
    }
}

fn throttled(window: &UsageWindow, kind: LimitKind) -> Dial {
    rate_dial(
        format!("{} throttled in the newest minute", kind.noun()),
        window.newest().usage[kind].throttled,
        move |inputs, rate| {
            change_samples(inputs, |samples| {
                if let Some(newest) = samples.first_mut() {
                    newest.usage[kind].throttled = rate;
                    newest.reported |= !rate.is_zero();
                }
            });
        },
        move |inputs| of_newest(inputs, |newest| newest.usage[kind].throttled),
    )
}

fn served(window: &UsageWindow) -> Dial {
    let kind = LimitKind::Actions;
    rate_dial(
        "actions served in the newest minute".to_owned(),
        window.newest().usage[kind].served,
        move |inputs, rate| {
            change_samples(inputs, |samples| {
                if let Some(newest) = samples.first_mut() {
                    newest.usage[kind].served = rate;
                    newest.served_read[kind] = true;
                    newest.reported |= !rate.is_zero();
                }
            });
        },
        move |inputs| of_newest(inputs, |newest| newest.usage[kind].served),
    )
}

/// Varies the served and throttled work of the busiest minute, unless that is the newest one, which has its own dials.
fn peak(window: &UsageWindow, kind: LimitKind) -> Option<Dial> {
    if window.highest_asked(kind) == window.newest().usage[kind].asked() {
        return None;
    }
    let set = move |inputs: &mut Inputs, peak: Rate| {
        change_samples(inputs, |samples| {
            for sample in samples.iter_mut() {
                let usage = &mut sample.usage[kind];
                // Lowers the other minutes first, or one of them would be the peak. Throttled work goes
                // before served work.
                usage.served = usage.served.min(peak);
                let room = peak.micros_per_second() - usage.served.micros_per_second();
                usage.throttled = usage.throttled.min(Rate::from_micros_per_second(room));
            }
            let busiest = samples.iter_mut().max_by_key(|sample| sample.usage[kind].asked());
            if let Some(busiest) = busiest {
                let throttled = busiest.usage[kind].throttled.micros_per_second();
                let served = peak.micros_per_second() - throttled;
                busiest.usage[kind].served = Rate::from_micros_per_second(served);
            }
        });
    };
    Some(rate_dial(
        format!("{} in the busiest minute of the last hour", kind.noun()),
        window.highest_asked(kind),
        set,
        move |inputs| {
            let peak = window_of(inputs).map_or(Rate::ZERO, |window| window.highest_asked(kind));
            per_second(peak)
        },
    ))
}

/// Changes the served rate of every known minute by the same amount.
fn hour(window: &UsageWindow) -> Dial {
    let total =
        |window: &UsageWindow| u64::try_from(window.actions_of_the_hour().whole()).unwrap_or(u64::MAX);
    let before = total(window);
    let set = move |inputs: &mut Inputs, wanted: u64| {
        // A change of `by` millionths per second in each of 60 minutes adds one action, rounded up.
        let by = (u128::from(wanted.abs_diff(before)) * 1_000_000).div_ceil(3_600);
        let by = u64::try_from(by).unwrap_or(u64::MAX);
        change_samples(inputs, |samples| {
            for sample in samples
                .iter_mut()
                .filter(|sample| sample.served_read[LimitKind::Actions])
            {
                let served = &mut sample.usage[LimitKind::Actions].served;
                let micros = served.micros_per_second();
                let micros = if wanted >= before {
                    micros.saturating_add(by)
                } else {
                    micros.saturating_sub(by)
                };
                *served = Rate::from_micros_per_second(micros);
                sample.reported |= micros > 0;
            }
        });
    };
    Dial {
        input: "actions of the last hour".to_owned(),
        is_observed: true,
        value: before,
        least: 0,
        most: 3_600_000_000,
        grain: 1,
        scale: 1,
        set: Box::new(set),
        show: Box::new(move |inputs| grouped(window_of(inputs).map_or(0, total))),
    }
}

/// Adds known minutes, each a copy of the newest one.
fn known_minutes(window: &UsageWindow) -> Option<Dial> {
    let known = u64::try_from(window.known_minutes()).ok()?;
    let set = |inputs: &mut Inputs, wanted: u64| {
        change_samples(inputs, |samples| {
            let Some(newest) = samples.first().copied() else {
                return;
            };
            let known = |samples: &[MinuteSample]| {
                let read = samples
                    .iter()
                    .filter(|sample| sample.served_read[LimitKind::Actions]);
                u64::try_from(read.count()).unwrap_or(u64::MAX)
            };
            for back in 1..60 {
                if known(samples) >= wanted {
                    break;
                }
                let minute = newest.minute - SignedDuration::from_mins(back);
                let there = samples
                    .iter()
                    .any(|sample| sample.number() == newest.number() - back);
                if !there {
                    samples.push(MinuteSample { minute, ..newest });
                }
            }
        });
    };
    (known < 60).then(|| Dial {
        input: "known minutes of the last hour".to_owned(),
        is_observed: true,
        value: known,
        least: known,
        most: 60,
        grain: 1,
        scale: 1,
        set: Box::new(set),
        show: Box::new(|inputs| {
            window_of(inputs)
                .map_or(0, UsageWindow::known_minutes)
                .to_string()
        }),
    })
}

fn seconds_since(time: Timestamp, now: Timestamp) -> Option<u64> {
    u64::try_from(now.duration_since(time).as_secs()).ok()
}

/// Moves all samples to a later time by the same amount.
fn age(inputs: &Inputs, window: &UsageWindow) -> Option<Dial> {
    let value = seconds_since(window.newest().minute, inputs.now)?;
    let set = move |inputs: &mut Inputs, age: u64| {
        let later = SignedDuration::from_secs(i64::try_from(value - age.min(value)).unwrap_or(0));
        change_samples(inputs, |samples| {
            for sample in samples {
                sample.minute = sample.minute.saturating_add(later).unwrap_or(sample.minute);
            }
        });
    };
    Some(Dial {
        input: "age of the newest metrics".to_owned(),
        is_observed: true,
        value,
        least: 0,
        // Only toward fresher data: that older data would lead to a hold explains nothing.
        most: value,
        grain: 1,
        scale: 60,
        set: Box::new(set),
        show: Box::new(|inputs| {
            window_of(inputs).map_or_else(String::new, |window| {
                span(inputs.now.duration_since(window.newest().minute))
            })
        }),
    })
}

fn limit(inputs: &Inputs, kind: LimitKind) -> Option<Dial> {
    Some(rate_dial(
        format!("current limit on {}", kind.noun()),
        inputs.snapshot.limits[kind]?,
        move |inputs, rate| inputs.snapshot.limits[kind] = Some(rate),
        move |inputs| per_second(inputs.snapshot.limits[kind].unwrap_or_default()),
    ))
}

fn envelope(inputs: &Inputs, kind: LimitKind) -> Option<Dial> {
    Some(rate_dial(
        format!("limit on {} that on-demand would provide", kind.noun()),
        inputs.snapshot.envelopes[kind]?,
        move |inputs, rate| {
            inputs.snapshot.envelopes[kind] = Some(rate);
            // The capacity info reports the same envelope.
            if kind == LimitKind::Actions
                && let CapacityInfo::Known(info) = &mut inputs.snapshot.capacity_info
                && info.on_demand_actions.is_some()
            {
                info.on_demand_actions = Some(rate);
            }
        },
        move |inputs| per_second(inputs.snapshot.envelopes[kind].unwrap_or_default()),
    ))
}

fn count_dial(
    input: &str,
    is_observed: bool,
    value: u64,
    most: u64,
    set: impl Fn(&mut Inputs, u64) + 'static,
    show: impl Fn(&Inputs) -> String + 'static,
) -> Dial {
    Dial {
        input: input.to_owned(),
        is_observed,
        value,
        least: 1,
        most,
        grain: 1,
        scale: 1,
        set: Box::new(set),
        show: Box::new(show),
    }
}

fn trus(value: u64) -> Option<Trus> {
    u32::try_from(value).ok().and_then(Trus::try_new)
}

fn ceiling(inputs: &Inputs) -> Option<Dial> {
    let CapacityInfo::Known(info) = &inputs.snapshot.capacity_info else {
        return None;
    };
    Some(count_dial(
        "TRUs that the region can provide",
        true,
        u64::from(info.ceiling?.get()),
        100,
        |inputs, value| {
            if let CapacityInfo::Known(info) = &mut inputs.snapshot.capacity_info {
                info.ceiling = trus(value);
            }
        },
        |inputs| match &inputs.snapshot.capacity_info {
            CapacityInfo::Known(info) => info.ceiling.map_or(0, Trus::get).to_string(),
            CapacityInfo::NotRead | CapacityInfo::Unavailable { .. } => String::new(),
        },
    ))
}

/// Moves the time at which the last change took effect to an earlier time.
fn since_last_change(inputs: &Inputs) -> Option<Dial> {
    let effect = inputs
        .snapshot
        .latest_request
        .as_ref()
        .and_then(CapacityRequest::took_effect_at)?;
    let value = seconds_since(effect, inputs.now)?;
    Some(Dial {
        input: "time since the last change took effect".to_owned(),
        is_observed: true,
        value,
        least: value,
        most: WEEK.max(value),
        grain: 1,
        scale: 60,
        set: Box::new(|inputs, value| {
            let now = inputs.now;
            if let Some(request) = &mut inputs.snapshot.latest_request {
                let ago = SignedDuration::from_secs(i64::try_from(value).unwrap_or(0));
                request.ended_at = now.saturating_sub(ago).ok();
            }
        }),
        show: Box::new(|inputs| {
            let request = inputs.snapshot.latest_request.as_ref();
            let effect = request.and_then(CapacityRequest::took_effect_at);
            effect.map_or_else(String::new, |effect| span(inputs.now.duration_since(effect)))
        }),
    })
}

fn settings(inputs: &Inputs) -> Vec<Dial> {
    let rules = &inputs.rules;
    let seconds = |duration: SignedDuration| u64::try_from(duration.as_secs()).unwrap_or(0);
    let duration = |value: u64| SignedDuration::from_secs(i64::try_from(value).unwrap_or(i64::MAX));
    let mut dials = Vec::new();
    if let Some(threshold) = rules.policy.threshold_settings() {
        dials.extend(of_threshold(threshold));
    }
    dials.push(count_dial(
        "MAX_TRU_COUNT",
        false,
        u64::from(rules.bounds.max_trus.get()),
        100,
        |inputs, value| {
            let bounds = &mut inputs.rules.bounds;
            bounds.max_trus = trus(value).unwrap_or(bounds.max_trus);
        },
        |inputs| inputs.rules.bounds.max_trus.get().to_string(),
    ));
    dials.push(count_dial(
        "METRICS_MAX_AGE",
        false,
        seconds(rules.freshness.metrics_max_age),
        WEEK,
        move |inputs, value| inputs.rules.freshness.metrics_max_age = duration(value),
        |inputs| span(inputs.rules.freshness.metrics_max_age),
    ));
    let mut respect = count_dial(
        "RESPECT_FOREIGN_CHANGES",
        false,
        seconds(rules.guards.respect_foreign_changes),
        WEEK,
        move |inputs, value| inputs.rules.guards.respect_foreign_changes = duration(value),
        |inputs| span(inputs.rules.guards.respect_foreign_changes),
    );
    // Unlike a count or an age, zero is a value of this setting: it turns the guard off.
    respect.least = 0;
    dials.push(respect);
    dials
}

/// Returns the dials for the settings of the `threshold` policy, if it is the active one.
fn of_threshold(threshold: ThresholdSettings) -> [Dial; 2] {
    let of = |inputs: &Inputs| inputs.rules.policy.threshold_settings().unwrap_or_default();
    let set = |inputs: &mut Inputs, settings: ThresholdSettings| {
        inputs.rules.policy = inputs.rules.policy.clone().with_threshold(settings);
    };
    [
        count_dial(
            "MIN_ACTIONS_THRESHOLD",
            false,
            threshold.min_actions_per_hour,
            1_000_000_000_000,
            move |inputs, value| {
                let mut settings = of(inputs);
                settings.min_actions_per_hour = value;
                set(inputs, settings);
            },
            move |inputs| grouped(of(inputs).min_actions_per_hour),
        ),
        count_dial(
            "DEFAULT_TRU_COUNT",
            false,
            u64::from(threshold.default_trus.get()),
            100,
            move |inputs, value| {
                let mut settings = of(inputs);
                settings.default_trus = trus(value).unwrap_or(settings.default_trus);
                set(inputs, settings);
            },
            move |inputs| of(inputs).default_trus.get().to_string(),
        ),
    ]
}
