//! From a snapshot to a decision: the order of checks, the rule, the guards.
//!
//! Each part is a file: [`settings`] the settings, `judgement` checks 1 to 10, `contract` the trait of a policy (check 11),
//! `threshold` and `break_even` the built-ins, this file the restrictions (check 12), `guards` the guards (check 13). A part
//! either lets a snapshot pass or ends with a [`Verdict`].

pub mod break_even;
mod contract;
pub mod explain;
mod guards;
mod judgement;
mod settings;
#[cfg(test)]
mod tests;
mod threshold;

use jiff::{SignedDuration, Timestamp};

use crate::capacity::{Capacity, RequestState};
use crate::decision::{Action, Decision, DecisionPrice, ReasonCode};
use crate::limit::{LimitKind, PerLimit};
use crate::rate::Rate;
use crate::restriction::Direction;
use crate::snapshot::{AccountView, ReportedUsage, Snapshot};
use crate::usage::UsageWindow;

pub use contract::{
    CapacityPolicy, ConsideredOption, PolicyRef, PolicyState, PolicyTarget, PolicyView, Wish,
};
pub use settings::{InvalidSizes, Policy, ThresholdSettings};
pub use threshold::Threshold;

/// The end of a judgment.
#[derive(Debug, Clone, PartialEq)]
struct Verdict {
    action: Action,
    code: ReasonCode,
    reason: String,
    blocked: Option<Capacity>,
    announce: bool,
}

impl Verdict {
    fn new(action: Action, code: ReasonCode, reason: String) -> Self {
        Self {
            action,
            code,
            reason,
            blocked: None,
            announce: false,
        }
    }

    fn hold(code: ReasonCode, reason: String) -> Self {
        Self::new(Action::Hold, code, reason)
    }

    fn keep(code: ReasonCode, reason: String) -> Self {
        Self::new(Action::Keep, code, reason)
    }

    fn blocking(self, wish: Capacity) -> Self {
        Self {
            blocked: Some(wish),
            ..self
        }
    }

    fn announced(self) -> Self {
        Self {
            announce: true,
            ..self
        }
    }
}

/// Decides about one namespace that nothing is remembered of. Total: every snapshot gets a decision.
pub fn decide(snapshot: &Snapshot, account: &AccountView, policy: &Policy, now: Timestamp) -> Decision {
    decide_with_state(snapshot, account, policy, None, now).0
}

/// Decides about one namespace, with what the policy remembers of it, and returns the state to store.
///
/// The state that is returned never takes the decision for carried out; `None` if there is nothing to store.
pub fn decide_with_state(
    snapshot: &Snapshot,
    account: &AccountView,
    policy: &Policy,
    state: Option<&PolicyState>,
    now: Timestamp,
) -> (Decision, Option<PolicyState>) {
    decide_by(&*policy.acting, snapshot, account, policy, state, now)
}

/// Decides about a target of your own instead of a built-in policy's: filter, state, metrics, restrictions and guards apply to it
/// as to any other. The result is a change to make, or a hold with the reason.
///
/// The target is computed from what is known of the namespace, and only if the namespace can be evaluated at all.
pub fn judge(
    snapshot: &Snapshot,
    account: &AccountView,
    policy: &Policy,
    now: Timestamp,
    target: impl Fn(&PolicyView<'_>) -> PolicyTarget + Send + Sync,
) -> Decision {
    let own = contract::Own(target);
    decide_by(&own, snapshot, account, policy, None, now).0
}

fn decide_by(
    acting: &dyn CapacityPolicy,
    snapshot: &Snapshot,
    account: &AccountView,
    policy: &Policy,
    state: Option<&PolicyState>,
    now: Timestamp,
) -> (Decision, Option<PolicyState>) {
    let judged = match judgement::judge(snapshot, account, policy, acting, now) {
        Err(verdict) => return (conclude(snapshot, policy, acting, verdict, Vec::new()), None),
        Ok(judged) => judged,
    };
    let PolicyTarget {
        wish,
        mut options,
        next_state,
    } = target(&judged, account, policy, state, now);
    options.truncate(PolicyTarget::MOST_OPTIONS);
    let mut verdict = match wish {
        Wish::Keep {
            code,
            reason,
            announce,
        } => Verdict {
            announce,
            ..Verdict::keep(code, reason)
        },
        Wish::Hold {
            code,
            reason,
            blocked,
        } => Verdict {
            blocked,
            ..Verdict::hold(code, reason)
        },
        Wish::Change { to, code, because } => match direction(&judged, to) {
            None => Verdict::keep(code, because),
            Some(direction) => restricted(snapshot, account, now, direction, &because, to)
                .unwrap_or_else(|| guards::change(&judged, account, policy, now, to, code, &because)),
        },
    };
    verdict.reason.push_str(&standby_note(&snapshot.standby));
    (conclude(snapshot, policy, acting, verdict, options), next_state)
}

/// Row 11: what the policy wants.
fn target(
    judged: &judgement::Judged<'_>,
    account: &AccountView,
    policy: &Policy,
    state: Option<&PolicyState>,
    now: Timestamp,
) -> PolicyTarget {
    let mut restrictions = account.restrictions.iter();
    let view = PolicyView {
        snapshot: judged.snapshot,
        present: judged.present,
        window: judged.window,
        limits: judged.limits,
        settings: &policy.threshold,
        state,
        scale_up_only: restrictions.any(|it| it.code == ReasonCode::ScaleUpOnly),
        now,
    };
    judged.acting.target(&view)
}

fn direction(judged: &judgement::Judged<'_>, to: Capacity) -> Option<Direction> {
    match to.cmp(&judged.present) {
        std::cmp::Ordering::Greater => Some(Direction::ScaleUp),
        std::cmp::Ordering::Less => Some(Direction::ScaleDown),
        std::cmp::Ordering::Equal => None,
    }
}

/// Says what standby replicas served, and that it was left out.
fn standby_note(standby: &PerLimit<Rate>) -> String {
    let parts: Vec<String> = LimitKind::ALL
        .into_iter()
        .filter(|kind| !standby[*kind].is_zero())
        .map(|kind| format!("{} {}/s", standby[kind].measured(), kind.noun()))
        .collect();
    if parts.is_empty() {
        return String::new();
    }
    format!("; standby traffic of {} is not counted", parts.join(" and "))
}

/// Row 12: the first restriction that forbids a change in this direction holds it.
fn restricted(
    snapshot: &Snapshot,
    account: &AccountView,
    now: Timestamp,
    direction: Direction,
    because: &str,
    wish: Capacity,
) -> Option<Verdict> {
    let mut restrictions = account.restrictions.iter();
    let restriction = restrictions.find(|it| it.forbids(&snapshot.namespace, direction, now))?;
    let reason = format!("{because}, but {}", restriction.reason);
    let verdict = Verdict::hold(restriction.code, reason).blocking(wish);
    Some(if restriction.code == ReasonCode::UnknownThrottling {
        verdict.announced()
    } else {
        verdict
    })
}

/// Returns whether capacity info must be read before a decision can be made: only if checks 1 to 12 let a change
/// pass, and no guard holds it that works without capacity info.
pub fn wants_capacity_info(
    snapshot: &Snapshot,
    account: &AccountView,
    policy: &Policy,
    now: Timestamp,
) -> bool {
    wants_capacity_info_with_state(snapshot, account, policy, None, now)
}

/// As [`wants_capacity_info`], with what the policy remembers.
pub fn wants_capacity_info_with_state(
    snapshot: &Snapshot,
    account: &AccountView,
    policy: &Policy,
    state: Option<&PolicyState>,
    now: Timestamp,
) -> bool {
    if snapshot.change_refused.is_some() {
        return false;
    }
    let Ok(judged) = judgement::judge(snapshot, account, policy, &*policy.acting, now) else {
        return false;
    };
    let Wish::Change { to, .. } = target(&judged, account, policy, state, now).wish else {
        return false;
    };
    let Some(direction) = direction(&judged, to) else {
        return false;
    };
    let mut restrictions = account.restrictions.iter();
    !restrictions.any(|it| it.forbids(&snapshot.namespace, direction, now))
}

fn conclude(
    snapshot: &Snapshot,
    policy: &Policy,
    acting: &dyn CapacityPolicy,
    verdict: Verdict,
    options: Vec<ConsideredOption>,
) -> Decision {
    let current = judgement::present(snapshot).ok();
    let wanted = match verdict.action {
        Action::Enable(trus) | Action::Resize(trus) => Some(Capacity::Provisioned(trus)),
        Action::Disable => Some(Capacity::OnDemand),
        Action::Keep | Action::Hold | Action::Skip => current,
    };
    let window = match &snapshot.usage {
        ReportedUsage::Known(window) => Some(window),
        ReportedUsage::Missing | ReportedUsage::Unknown { .. } => None,
    };
    let newest = window.map(UsageWindow::newest);
    let throttling = newest.and_then(|newest| threshold::most_throttled(newest, &snapshot.limits));
    let price = &policy.threshold.price;
    let idle_hour = |capacity: Option<Capacity>| capacity.map(|capacity| price.idle_hour(capacity));
    Decision {
        namespace: snapshot.namespace.clone(),
        action: verdict.action,
        current,
        wanted,
        blocked: verdict.blocked,
        reason_code: verdict.code,
        reason: verdict.reason,
        announce: verdict.announce
            || (verdict.action == Action::Hold
                && throttling.is_some()
                && !waits_for_own_change(snapshot, verdict.code)),
        price: DecisionPrice {
            per_hour_before: idle_hour(current),
            per_hour_after: idle_hour(wanted),
            price: price.clone(),
        },
        throttled_share: throttling.map(|throttling| throttling.share),
        sample_minute: newest.map(|sample| sample.minute),
        known_minutes: window.map(UsageWindow::known_minutes),
        policy: acting.name().to_owned(),
        options,
    }
}

/// Whether a hold only waits until our own change has ended and shows in the metrics: a throttled namespace needs attention
/// while it is held for any other reason.
fn waits_for_own_change(snapshot: &Snapshot, code: ReasonCode) -> bool {
    let ours = snapshot.latest_request.as_ref().filter(|request| request.ours);
    match code {
        ReasonCode::ChangeInProgress | ReasonCode::WaitingForEffect => ours.is_some(),
        // The service says of a namespace that it is updating while a change is in progress.
        ReasonCode::NamespaceNotActive => {
            snapshot.moving_replica.is_none()
                && ours.is_some_and(|request| request.state == RequestState::InProgress)
        }
        _ => false,
    }
}

/// Writes a point in time to the minute, in UTC.
fn at_minute(time: Timestamp) -> impl std::fmt::Display {
    time.strftime("%Y-%m-%d %H:%M UTC")
}

/// Writes a span of time in whole minutes.
fn minutes(duration: SignedDuration) -> String {
    if duration.as_mins() == 0 {
        return "less than a minute".to_owned();
    }
    span(SignedDuration::from_mins(duration.as_mins()))
}

/// Writes a span of time as people say it: `9 min`, `6 min 30 s`, `4 h`.
fn span(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().unsigned_abs();
    let parts = [
        (seconds / 3_600, "h"),
        (seconds % 3_600 / 60, "min"),
        (seconds % 60, "s"),
    ];
    let shown: Vec<String> = parts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count} {unit}"))
        .collect();
    if shown.is_empty() {
        "0 s".to_owned()
    } else {
        shown.join(" ")
    }
}
