//! Check 13: the guards that a change must pass, in the order of the table of guards.
//!
//! A guard either lets a change pass, turns it into a `Hold`, or (for a scale-up) chooses another size of the ladder. If several
//! apply, the first one in the table is reported.

use std::fmt::Write as _;

use human_text::{at_minute, noun, span};
use jiff::Timestamp;

use super::judgment::Judged;
use super::rules::Rules;
use super::settings::{Bounds, Guards};
use super::throttling::most_throttled;
use super::trace::{Fit, Sizes};
use super::verdict::Verdict;
use super::words::{gap_words, minutes};
use crate::capacity::{Capacity, ReportedMode, RequestState, Trus};
use crate::decision::{Action, ReasonCode};
use crate::limit::LimitKind;
use crate::pricing::in_dollars;
use crate::rate::Rate;
use crate::snapshot::{AccountView, CapacityInfo, KnownCapacityInfo};

/// A smaller size must carry the highest recent minute plus 25%.
// As a fraction of integers: exactly at the headroom passes, and no float decides.
const ROOM_NUMERATOR: u128 = 5;
const ROOM_DENOMINATOR: u128 = 4;

/// The change to check, and its reason.
#[derive(Clone, Copy)]
struct Change<'a> {
    to: Capacity,
    code: ReasonCode,
    because: &'a str,
}

/// Turns the target of a policy into an action, or holds it.
pub(super) fn change(
    judged: &Judged<'_>,
    account: &AccountView,
    rules: &Rules,
    now: Timestamp,
    to: Capacity,
    code: ReasonCode,
    because: &str,
) -> Verdict {
    let wanted = Change { to, code, because };
    let guarded = match (to, judged.present) {
        (Capacity::Provisioned(wish), present) if to > present => {
            guarded_scale_up(judged, rules, now, wanted, wish)
        }
        (_, Capacity::Provisioned(from)) => guarded_scale_down(judged, account, rules, now, wanted, from),
        // Nothing is below on-demand.
        (_, Capacity::OnDemand) => Ok(Verdict::keep(code, because.to_owned())),
    };
    guarded.unwrap_or_else(|held| Verdict {
        // A guard that names a size of its own (the next step up) is more exact than what the policy wants.
        blocked: held.blocked.or(Some(to)),
        ..held
    })
}

fn guarded_scale_up(
    judged: &Judged<'_>,
    rules: &Rules,
    now: Timestamp,
    Change { code, because, .. }: Change<'_>,
    wish: Trus,
) -> Result<Verdict, Verdict> {
    let info = known_info(judged, because)?;
    let ceiling = told_ceiling(info, because)?;
    // All sizes, not only until one fits: `explain` prints the verdict of each.
    let sizes = look_at_sizes(judged, info, ceiling, rules.bounds, wish);
    let guarded = choose_step(judged, info, &sizes, because).and_then(|step| {
        not_set_by_support(judged, info, because)?;
        not_in_others_hands(judged, &rules.guards, now, because)?;
        let reason = format!("{because}{}", step.notes.concat());
        let action = match judged.present {
            Capacity::OnDemand => Action::Enable(step.trus),
            Capacity::Provisioned(_) => Action::Resize(step.trus),
        };
        let verdict = Verdict::new(action, code, reason);
        Ok(if step.announce {
            verdict.announced()
        } else {
            verdict
        })
    });
    match guarded {
        Ok(verdict) => Ok(verdict.among(sizes)),
        Err(held) => Err(held.among(sizes)),
    }
}

/// Checks every size of the ladder against ceiling, bounds, no regression, and whether a throttled limit
/// rises.
fn look_at_sizes(
    judged: &Judged<'_>,
    info: &KnownCapacityInfo,
    ceiling: Trus,
    bounds: Bounds,
    wish: Trus,
) -> Sizes {
    let fit = |step: Trus| {
        if step > ceiling {
            Fit::AboveCeiling
        } else if step > bounds.max_trus {
            Fit::AboveBounds
        } else {
            obstacle(judged, info, step).map_or(Fit::Fits, Fit::Obstacle)
        }
    };
    Sizes {
        wish,
        ceiling,
        bounds,
        fits: info
            .ladder
            .steps()
            .iter()
            .map(|step| (*step, fit(*step)))
            .collect(),
    }
}

fn guarded_scale_down(
    judged: &Judged<'_>,
    account: &AccountView,
    rules: &Rules,
    now: Timestamp,
    Change { to, code, because }: Change<'_>,
    from: Trus,
) -> Result<Verdict, Verdict> {
    usage_known(judged, &rules.guards, because)?;
    let info = known_info(judged, because)?;
    let to = match to {
        Capacity::OnDemand => to,
        // The next size up, so that no limit is below the wanted one.
        Capacity::Provisioned(trus) => match info.ladder.at_least(trus) {
            // A step up to the current size or beyond would turn a scale-down into nothing or a scale-up.
            Some(step) if step < from => Capacity::Provisioned(step),
            // Without a ladder, nothing says which sizes are available: `told_ceiling` holds the change.
            None if info.ladder.is_empty() => to,
            Some(_) | None => {
                return Ok(Verdict::keep(
                    code,
                    format!("{because}; {trus} is not an available size"),
                ));
            }
        },
    };
    room_below(judged, info, because, to, judged.policy.recent_minutes())?;
    not_set_by_support(judged, info, because)?;
    regainable(info, because, from)?;
    not_in_others_hands(judged, &rules.guards, now, because)?;
    told_ceiling(info, because)?;
    not_own_home(judged, account, because)?;
    let mut reason = because.to_owned();
    // Other policies state the savings themselves.
    if code == ReasonCode::Idle {
        let saved = in_dollars(rules.prices.idle_hour(Capacity::Provisioned(from)));
        let _ = write!(
            reason,
            "; releasing {from} saves up to {saved}/h at {}",
            rules.prices
        );
    }
    let action = match to {
        Capacity::OnDemand => Action::Disable,
        Capacity::Provisioned(trus) => Action::Resize(trus),
    };
    Ok(Verdict::new(action, code, reason))
}

/// Checks the data: nothing is scaled down on less than an hour of data, or while part of the usage is unknown.
fn usage_known(judged: &Judged<'_>, guards: &Guards, because: &str) -> Result<(), Verdict> {
    let window = judged.window;
    if window.is_estimate() && !guards.disable_on_estimate {
        let missing = window.minutes_missing();
        let reason = format!(
            "{because}, but capacity is not released on less than an hour of data, {missing} more {} needed",
            noun(missing, "minute")
        );
        return Err(Verdict::hold(ReasonCode::EstimateOnly, reason));
    }
    if let Some(gap) = gap_words(judged.snapshot) {
        let reason = format!("{because}, but {gap}; capacity is not released without them");
        return Err(Verdict::hold(ReasonCode::MetricsFamilyMissing, reason));
    }
    // After the gaps: a family that is missing altogether says so, instead of how many minutes it lacks.
    if let Some((kind, known)) = window.least_known().filter(|_| !guards.disable_on_estimate) {
        let reason = format!(
            "{because}, but its {} are known for only {known} of 60 minutes; capacity is not released on incomplete data",
            kind.noun()
        );
        return Err(Verdict::hold(ReasonCode::EstimateOnly, reason));
    }
    Ok(())
}

/// Checks the capacity info, which must be known and agree with the namespace list, and that the last change was not refused.
fn known_info<'a>(judged: &Judged<'a>, because: &str) -> Result<&'a KnownCapacityInfo, Verdict> {
    // Before the capacity info, which is not read for such a namespace.
    if let Some(refusal) = &judged.snapshot.change_refused {
        let reason = format!(
            "{because}, but the last change was refused ({refusal}); grant the Cloud Ops key the role Namespace Admin on this namespace"
        );
        return Err(Verdict::hold(ReasonCode::NotPermitted, reason));
    }
    let unavailable = |why: &str| {
        let reason = format!(
            "{because}, but its capacity info could not be read: {why}; the next evaluation tries again"
        );
        Err(Verdict::hold(ReasonCode::CapacityInfoUnavailable, reason))
    };
    let info = match &judged.snapshot.capacity_info {
        CapacityInfo::NotRead => return unavailable("it was not requested"),
        CapacityInfo::Unavailable { why } => return unavailable(why),
        CapacityInfo::Known(info) => info,
    };
    // An absent capacity does not contradict the list: a namespace that was never changed has none.
    if info.current != ReportedMode::Absent && info.current != ReportedMode::from(judged.present) {
        let reason = format!(
            "the current capacity is unknown: the namespace list reports {}, the capacity info {}",
            judged.present, info.current
        );
        return Err(Verdict::hold(ReasonCode::CapacityUnknown, reason));
    }
    Ok(info)
}

/// Holds if the region's inventory is unknown.
fn told_ceiling(info: &KnownCapacityInfo, because: &str) -> Result<Trus, Verdict> {
    let missing = match (info.ladder.is_empty(), info.ceiling) {
        (false, Some(ceiling)) => return Ok(ceiling),
        (true, _) => "the available sizes",
        (false, None) => "the largest size that the region can currently provide",
    };
    let reason = format!(
        "{because}, but {missing} cannot be read from the capacity info; will re-evaluate when the \
         service reports them"
    );
    Err(Verdict::hold(ReasonCode::NoInventory, reason))
}

/// The size to scale up to, with notes for the reason sentence.
struct Step {
    trus: Trus,
    notes: Vec<String>,
    announce: bool,
}

/// Returns the smallest size that helps, starting with the wanted one.
fn choose_step(
    judged: &Judged<'_>,
    info: &KnownCapacityInfo,
    sizes: &Sizes,
    because: &str,
) -> Result<Step, Verdict> {
    let ladder = &info.ladder;
    let default = sizes.wish;
    let mut notes = Vec::new();
    // The ladder has at least one step, as `told_ceiling` has checked.
    let wanted = ladder.at_least(default).or(ladder.highest()).unwrap_or(default);
    if wanted > default {
        notes.push(format!(
            "; {default} is not an available size, using {}",
            wanted.get()
        ));
    } else if wanted < default {
        notes.push(format!(
            "; {default} is not an available size, using the largest, {}",
            wanted.get()
        ));
    }
    if sizes.ceiling.min(sizes.bounds.max_trus) < wanted {
        return step_below(judged, info, sizes, wanted, notes, because);
    }
    let mut large_enough = sizes.allowed().filter(|(step, _)| *step >= wanted);
    if let Some((step, _)) = large_enough.find(|(_, fit)| *fit == Fit::Fits) {
        if *step > wanted {
            // The reason mentions the wanted size, to explain why a higher one is used.
            let why = sizes.obstacle(wanted).unwrap_or_default();
            notes.push(format!("; {why}, using {step}"));
        }
        return Ok(Step {
            trus: *step,
            notes,
            announce: *step > wanted,
        });
    }
    // The bounds allow at least `wanted`, but no size is enough: report the largest, which comes closest.
    let highest = sizes.allowed().next_back().map_or(wanted, |(step, _)| *step);
    let why = sizes.obstacle(highest).unwrap_or_default();
    let reason = format!("{}, but {why}", need(judged, because));
    Err(Verdict::hold(ReasonCode::NoStepHelps, reason).blocking(Capacity::Provisioned(wanted)))
}

/// Returns the highest allowed step, if it is sufficient, for a wanted size above the ceiling or the bound.
fn step_below(
    judged: &Judged<'_>,
    info: &KnownCapacityInfo,
    sizes: &Sizes,
    wanted: Trus,
    mut notes: Vec<String>,
    because: &str,
) -> Result<Step, Verdict> {
    let (ceiling, max) = (sizes.ceiling, sizes.bounds.max_trus);
    let by_inventory = ceiling < wanted;
    // If both apply, report the lower one.
    let told = if by_inventory && ceiling <= max {
        format!("the region can currently provide only {ceiling}")
    } else {
        format!("MAX_TRU_COUNT allows only {max}")
    };
    let why = match sizes.allowed().next_back() {
        None => format!(
            "the smallest available size is {}",
            info.ladder.steps().first().copied().unwrap_or(wanted)
        ),
        Some((_, Fit::Obstacle(why))) => why.clone(),
        Some((step, _)) => {
            notes.push(format!("; {told}"));
            return Ok(Step {
                trus: *step,
                notes,
                // The bound is the operator's own choice; the region's shortage is news.
                announce: by_inventory,
            });
        }
    };
    let reason = format!("{}, but {told}, and {why}", need(judged, because));
    let code = if by_inventory {
        ReasonCode::NoInventory
    } else {
        ReasonCode::NoStepHelps
    };
    Err(Verdict::hold(code, reason)
        .blocking(Capacity::Provisioned(wanted))
        .announced())
}

/// Returns why a step would not help: a limit below the on-demand limit, or no throttled limit that rises.
fn obstacle(judged: &Judged<'_>, info: &KnownCapacityInfo, step: Trus) -> Option<String> {
    for kind in LimitKind::ALL {
        let gives = on_demand_gives(judged, info, kind);
        if kind.at(step) < gives {
            return Some(format!(
                "{step} ({}/s) would lower the {} limit from the {}/s that on-demand provides",
                kind.at(step).limit(),
                kind.singular(),
                gives.limit()
            ));
        }
    }
    let newest = judged.window.newest();
    let throttled = |kind: &LimitKind| !newest.usage[*kind].throttled.is_zero();
    let rises = |kind: LimitKind| kind.at(step) > judged.limits[kind];
    let is_throttled = LimitKind::ALL.iter().any(throttled);
    // A size that is planned ahead helps if any limit rises.
    let helps = |kind: &LimitKind| throttled(kind) || !is_throttled;
    if LimitKind::ALL.into_iter().filter(helps).any(rises) {
        return None;
    }
    let kind = throttled_kind(judged);
    Some(format!(
        "{step} ({}/s) would not raise the {} limit of {}/s",
        kind.at(step).limit(),
        kind.singular(),
        judged.limits[kind].limit()
    ))
}

/// Returns the limit that on-demand provides now: the highest of the envelope in the metrics, the API's response and the limit in
/// effect, because the namespace is on-demand.
fn on_demand_gives(judged: &Judged<'_>, info: &KnownCapacityInfo, kind: LimitKind) -> Rate {
    let told = [judged.snapshot.envelopes[kind], api_envelope(info, kind)];
    told.into_iter().flatten().fold(judged.limits[kind], Rate::max)
}

/// Returns the envelope that the API reports, which it does for actions only.
fn api_envelope(info: &KnownCapacityInfo, kind: LimitKind) -> Option<Rate> {
    info.on_demand_actions.filter(|_| kind == LimitKind::Actions)
}

fn throttled_kind(judged: &Judged<'_>) -> LimitKind {
    most_throttled(judged.window.newest(), &judged.snapshot.limits)
        .map_or(LimitKind::Actions, |throttling| throttling.kind)
}

/// States in short why more capacity is needed.
fn need(judged: &Judged<'_>, because: &str) -> String {
    match most_throttled(judged.window.newest(), &judged.snapshot.limits) {
        Some(throttling) => format!("{} are throttled", throttling.kind.noun()),
        None => because.to_owned(),
    }
}

/// Checks the headroom: the smaller size must carry the highest of the recent minutes plus 25%.
fn room_below(
    judged: &Judged<'_>,
    info: &KnownCapacityInfo,
    because: &str,
    to: Capacity,
    recent_minutes: usize,
) -> Result<(), Verdict> {
    for kind in LimitKind::ALL {
        let highest = judged.window.highest_asked_within(kind, recent_minutes);
        let gives = match to {
            Capacity::OnDemand => {
                let told = [judged.snapshot.envelopes[kind], api_envelope(info, kind)];
                // The lower of the two, unlike for a scale-up: either source may be ahead of the other, and
                // each guard assumes the worst for its direction.
                told.into_iter().flatten().min()
            }
            Capacity::Provisioned(trus) => Some(kind.at(trus)),
        };
        let Some(gives) = gives else {
            // An unknown envelope cannot be too small for a limit that was not used.
            if highest.is_zero() {
                continue;
            }
            let reason = format!(
                "{because}, but the {} limit that on-demand would provide is unknown; will re-evaluate when it is reported",
                kind.singular()
            );
            return Err(Verdict::hold(ReasonCode::LimitsUnknown, reason));
        };
        let needed = u128::from(highest.micros_per_second()) * ROOM_NUMERATOR;
        if needed > u128::from(gives.micros_per_second()) * ROOM_DENOMINATOR {
            let reason = format!(
                "{because}, but {to} provides {} {}/s, below the recent peak of {}/s plus 25% headroom",
                gives.limit(),
                kind.noun(),
                highest.limit()
            );
            let code = match to {
                Capacity::OnDemand => ReasonCode::OnDemandTooSmall,
                Capacity::Provisioned(_) => ReasonCode::SizeTooSmall,
            };
            return Err(Verdict::hold(code, reason));
        }
    }
    Ok(())
}

/// Checks for limits set by Support, which cannot be restored by an API call.
fn not_set_by_support(judged: &Judged<'_>, info: &KnownCapacityInfo, because: &str) -> Result<(), Verdict> {
    let why = match judged.present {
        _ if info.has_legacy_limits => "its limits were set by Temporal Support".to_owned(),
        Capacity::Provisioned(trus) if !info.ladder.is_empty() && !info.ladder.contains(trus) => {
            format!("{trus} is not an available size and could not be chosen again")
        }
        Capacity::Provisioned(_) | Capacity::OnDemand => return Ok(()),
    };
    let reason = format!("{because}, but {why}; change it manually or through Support");
    Err(Verdict::hold(ReasonCode::SetBySupport, reason))
}

/// Checks that the region can currently provide the current size again.
fn regainable(info: &KnownCapacityInfo, because: &str, from: Trus) -> Result<(), Verdict> {
    match info.ceiling {
        Some(ceiling) if ceiling < from => {
            let reason = format!(
                "{because}, but the region can currently provide only {ceiling}, so {from} might not be available again; release it manually if you no longer need it"
            );
            Err(Verdict::hold(ReasonCode::NotRegainable, reason).announced())
        }
        Some(_) | None => Ok(()),
    }
}

/// Checks for a recent change by someone else, which is respected for a while.
fn not_in_others_hands(
    judged: &Judged<'_>,
    guards: &Guards,
    now: Timestamp,
    because: &str,
) -> Result<(), Verdict> {
    let Some(request) = &judged.snapshot.latest_request else {
        return Ok(());
    };
    let respect = guards.respect_foreign_changes;
    // One in progress is held by row 4, and a failed one changed nothing.
    if request.ours || request.state != RequestState::Completed || respect.is_zero() {
        return Ok(());
    }
    let when = match request.took_effect_at() {
        Some(effect) if now.duration_since(effect) > respect => return Ok(()),
        Some(effect) => format!(
            "at {} ({} ago",
            at_minute(effect),
            minutes(now.duration_since(effect))
        ),
        // Without a time, the change counts as recent.
        None => "at a time that the API does not show (".to_owned(),
    };
    let operation = request.operation_id.as_ref().map_or_else(
        || "no operation id shown".to_owned(),
        |id| format!("operation {id}"),
    );
    let separator = if when.ends_with('(') { "" } else { ", " };
    let reason = format!(
        "{because}, but someone else changed its capacity{} {when}{separator}{operation}); it is not changed for {} after that",
        request.from_to(),
        span(respect)
    );
    Err(Verdict::hold(ReasonCode::ChangedByOthers, reason).announced())
}

/// Checks that this autopilot does not run in the namespace, because its own namespace is never scaled down.
fn not_own_home(judged: &Judged<'_>, account: &AccountView, because: &str) -> Result<(), Verdict> {
    if account.home.as_ref() != Some(&judged.snapshot.namespace) {
        return Ok(());
    }
    let reason = format!("{because}, but this automation runs in it; release it manually");
    Err(Verdict::hold(ReasonCode::OwnNamespace, reason))
}
