//! Row 13: what a change must pass, in the order of the table of guards.
//!
//! A guard either lets a change pass, turns it into a `Hold`, or (for `Enable`) takes another step of the ladder. Where
//! several would hold, the first of the table is told.

use jiff::Timestamp;

use super::judgement::Judged;
use super::settings::{Policy, ThresholdSettings};
use super::threshold::most_throttled;
use super::{Verdict, span};
use crate::capacity::{Capacity, ReportedMode, RequestState, Trus};
use crate::decision::{Action, ReasonCode};
use crate::limit::LimitKind;
use crate::pricing::in_dollars;
use crate::rate::Rate;
use crate::snapshot::{AccountView, CapacityInfo, KnownCapacityInfo};

/// On-demand must carry the highest minute of the window plus 25%.
const ROOM_NUMERATOR: u128 = 5;
const ROOM_DENOMINATOR: u128 = 4;

pub(super) fn enable(judged: &Judged<'_>, policy: &Policy, now: Timestamp, because: &str) -> Verdict {
    let settings = &policy.threshold;
    let wish = Capacity::Provisioned(settings.default_trus);
    guarded_enable(judged, settings, now, because).unwrap_or_else(|held| Verdict {
        blocked: held.blocked.or(Some(wish)),
        ..held
    })
}

fn guarded_enable(
    judged: &Judged<'_>,
    settings: &ThresholdSettings,
    now: Timestamp,
    because: &str,
) -> Result<Verdict, Verdict> {
    let info = known_info(judged, because)?;
    let ceiling = told_ceiling(info, because)?;
    let step = choose_step(judged, info, ceiling, settings)?;
    not_set_by_support(judged, info, because)?;
    not_in_others_hands(judged, settings, now, because)?;
    let reason = format!("{because}{}", step.notes.concat());
    let verdict = Verdict::new(Action::Enable(step.trus), ReasonCode::Throttled, reason);
    Ok(if step.announce {
        verdict.announced()
    } else {
        verdict
    })
}

pub(super) fn disable(
    judged: &Judged<'_>,
    account: &AccountView,
    policy: &Policy,
    now: Timestamp,
    because: &str,
    from: Trus,
) -> Verdict {
    let held = guarded_disable(judged, account, &policy.threshold, now, because, from);
    held.unwrap_or_else(|held| held.blocking(Capacity::OnDemand))
}

fn guarded_disable(
    judged: &Judged<'_>,
    account: &AccountView,
    settings: &ThresholdSettings,
    now: Timestamp,
    because: &str,
    from: Trus,
) -> Result<Verdict, Verdict> {
    let info = known_info(judged, because)?;
    room_below(judged, info, because)?;
    not_set_by_support(judged, info, because)?;
    regainable(info, because, from)?;
    not_in_others_hands(judged, settings, now, because)?;
    told_ceiling(info, because)?;
    not_own_home(judged, account, because)?;
    let saved = in_dollars(settings.price.idle_hour(Capacity::Provisioned(from)));
    let reason = format!(
        "{because}; releasing {from} saves up to {saved}/h at {}",
        settings.price
    );
    Ok(Verdict::new(Action::Disable, ReasonCode::Idle, reason))
}

/// The last change must not have been refused, and what may be chosen must be known and agree with the list.
fn known_info<'a>(judged: &Judged<'a>, because: &str) -> Result<&'a KnownCapacityInfo, Verdict> {
    if let Some(refusal) = &judged.snapshot.change_refused {
        let reason = format!(
            "{because}, but the last change was refused ({refusal}); give the Cloud Ops key the role Namespace Admin on this namespace"
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
    // Absent says nothing against the list: a namespace that was never changed has no capacity at all.
    if info.current != ReportedMode::Absent && info.current != ReportedMode::from(judged.present) {
        let reason = format!(
            "the current capacity is unknown: the namespace list reports {}, the capacity info {}",
            judged.present, info.current
        );
        return Err(Verdict::hold(ReasonCode::CapacityUnknown, reason));
    }
    Ok(info)
}

/// Inventory unknown.
fn told_ceiling(info: &KnownCapacityInfo, because: &str) -> Result<Trus, Verdict> {
    let missing = match (info.ladder.is_empty(), info.ceiling) {
        (false, Some(ceiling)) => return Ok(ceiling),
        (true, _) => "the available sizes",
        (false, None) => "the largest size that the region can currently provide",
    };
    let reason = format!(
        "{because}, but {missing} cannot be read from the capacity info; will re-evaluate when it is there"
    );
    Err(Verdict::hold(ReasonCode::NoInventory, reason))
}

/// The size to enable, with notes for the sentence.
struct Step {
    trus: Trus,
    notes: Vec<String>,
    announce: bool,
}

/// Step, no regression, ceiling, bounds.
fn choose_step(
    judged: &Judged<'_>,
    info: &KnownCapacityInfo,
    ceiling: Trus,
    settings: &ThresholdSettings,
) -> Result<Step, Verdict> {
    let ladder = &info.ladder;
    let default = settings.default_trus;
    let mut notes = Vec::new();
    // The ladder holds at least one step, as `told_ceiling` has seen.
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
    let bound = ceiling.min(settings.max_trus);
    let allowed: Vec<Trus> = ladder
        .steps()
        .iter()
        .copied()
        .filter(|step| *step <= bound)
        .collect();
    if bound < wanted {
        return step_below(
            judged,
            info,
            ceiling,
            settings,
            allowed.last().copied(),
            wanted,
            notes,
        );
    }
    for step in allowed.iter().copied().filter(|step| *step >= wanted) {
        if obstacle(judged, info, step).is_some() {
            continue;
        }
        if step > wanted {
            // Told from the step wanted: it is why a higher one is taken.
            let why = obstacle(judged, info, wanted).unwrap_or_default();
            notes.push(format!("; {why}, using {step}"));
        }
        return Ok(Step {
            trus: step,
            notes,
            announce: step > wanted,
        });
    }
    // At least `wanted` is allowed, and none will do: the highest has the best chance.
    let highest = allowed.last().copied().unwrap_or(wanted);
    let why = obstacle(judged, info, highest).unwrap_or_default();
    let reason = format!("{} are throttled, but {why}", throttled_noun(judged));
    Err(Verdict::hold(ReasonCode::NoStepHelps, reason).blocking(Capacity::Provisioned(wanted)))
}

/// What is wanted is above the ceiling or the bound: the highest allowed step, if it will do.
fn step_below(
    judged: &Judged<'_>,
    info: &KnownCapacityInfo,
    ceiling: Trus,
    settings: &ThresholdSettings,
    highest: Option<Trus>,
    wanted: Trus,
    mut notes: Vec<String>,
) -> Result<Step, Verdict> {
    let by_inventory = ceiling < wanted;
    // Where both bind, the one that leaves less is told.
    let told = if by_inventory && ceiling <= settings.max_trus {
        format!("the region can currently provide only {ceiling}")
    } else {
        format!("MAX_TRU_COUNT allows only {}", settings.max_trus)
    };
    let why = match highest {
        None => format!(
            "the smallest available size is {}",
            info.ladder.steps().first().copied().unwrap_or(wanted)
        ),
        Some(step) => {
            let Some(why) = obstacle(judged, info, step) else {
                notes.push(format!("; {told}"));
                return Ok(Step {
                    trus: step,
                    notes,
                    announce: by_inventory,
                });
            };
            why
        }
    };
    let reason = format!("{} are throttled, but {told}, and {why}", throttled_noun(judged));
    let code = if by_inventory {
        ReasonCode::NoInventory
    } else {
        ReasonCode::NoStepHelps
    };
    Err(Verdict::hold(code, reason)
        .blocking(Capacity::Provisioned(wanted))
        .announced())
}

/// Returns why a step would not help: a limit below what on-demand gives, or no throttled limit that rises.
pub(super) fn obstacle(judged: &Judged<'_>, info: &KnownCapacityInfo, step: Trus) -> Option<String> {
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
    if LimitKind::ALL.into_iter().filter(throttled).any(rises) {
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

/// What on-demand gives now: the highest of the envelope in the metrics, the API's answer and the limit in force, since
/// the namespace is on-demand.
fn on_demand_gives(judged: &Judged<'_>, info: &KnownCapacityInfo, kind: LimitKind) -> Rate {
    let told = [judged.snapshot.envelopes[kind], api_envelope(info, kind)];
    told.into_iter().flatten().fold(judged.limits[kind], Rate::max)
}

/// The API tells the envelope of actions only.
fn api_envelope(info: &KnownCapacityInfo, kind: LimitKind) -> Option<Rate> {
    match kind {
        LimitKind::Actions => info.on_demand_actions,
        LimitKind::Requests | LimitKind::Operations => None,
    }
}

fn throttled_kind(judged: &Judged<'_>) -> LimitKind {
    most_throttled(judged.window.newest(), &judged.snapshot.limits)
        .map_or(LimitKind::Actions, |throttling| throttling.kind)
}

fn throttled_noun(judged: &Judged<'_>) -> &'static str {
    throttled_kind(judged).noun()
}

/// Headroom: on-demand must carry the highest minute of the window plus 25%.
fn room_below(judged: &Judged<'_>, info: &KnownCapacityInfo, because: &str) -> Result<(), Verdict> {
    for kind in LimitKind::ALL {
        let highest = judged.window.highest_asked(kind);
        let told = [judged.snapshot.envelopes[kind], api_envelope(info, kind)];
        let Some(envelope) = told.into_iter().flatten().min() else {
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
        if needed > u128::from(envelope.micros_per_second()) * ROOM_DENOMINATOR {
            let reason = format!(
                "{because}, but on-demand provides {} {}/s, below the recent peak of {}/s plus 25% headroom",
                envelope.limit(),
                kind.noun(),
                highest.limit()
            );
            return Err(Verdict::hold(ReasonCode::OnDemandTooSmall, reason));
        }
    }
    Ok(())
}

/// Set by Support: such limits cannot be set again by an API call.
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

/// Not regainable: the region might not provide it again.
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

/// Changed by others: a recent change by somebody else is respected for a while.
fn not_in_others_hands(
    judged: &Judged<'_>,
    settings: &ThresholdSettings,
    now: Timestamp,
    because: &str,
) -> Result<(), Verdict> {
    let Some(request) = &judged.snapshot.latest_request else {
        return Ok(());
    };
    let respect = settings.respect_foreign_changes;
    if request.ours || request.state != RequestState::Completed || respect.is_zero() {
        return Ok(());
    }
    let when = match request.took_effect_at() {
        Some(effect) if now.duration_since(effect) > respect => return Ok(()),
        Some(effect) => format!("{} ago", span(now.duration_since(effect))),
        None => "at an unknown time".to_owned(),
    };
    let reason = format!(
        "{because}, but somebody else changed its capacity {when}; it is not changed for {} after that",
        span(respect)
    );
    Err(Verdict::hold(ReasonCode::ChangedByOthers, reason).announced())
}

/// Own namespace: the one this automation runs in is never scaled down.
fn not_own_home(judged: &Judged<'_>, account: &AccountView, because: &str) -> Result<(), Verdict> {
    if account.home.as_ref() != Some(&judged.snapshot.namespace) {
        return Ok(());
    }
    let reason = format!("{because}, but this automation runs in it; release it manually");
    Err(Verdict::hold(ReasonCode::OwnNamespace, reason))
}
