//! From a snapshot to a decision: checks 1 to 10, the policy's target, restrictions (check 12), guards (check 13).

use jiff::Timestamp;

use super::contract::{self, CapacityPolicy, PolicyState, PolicyTarget, PolicyView, Wish};
use super::rules::Rules;
use super::throttling::most_throttled;
use super::trace::trace;
use super::verdict::Verdict;
use super::words::standby_note;
use super::{guards, judgment};
use crate::capacity::{Capacity, RequestState};
use crate::decision::{Action, ConsideredOption, Decision, DecisionPrice, ReasonCode};
use crate::restriction::Direction;
use crate::snapshot::{AccountView, ReportedUsage, Snapshot};
use crate::window::UsageWindow;

/// Makes the decision for one namespace, using the stored state of the policy, and returns the state to store next. Total: every
/// snapshot gets a decision.
///
/// The returned state never assumes that the decision is carried out. It is `None` if there is nothing to
/// store.
pub fn decide(
    snapshot: &Snapshot,
    account: &AccountView,
    rules: &Rules,
    state: Option<&PolicyState>,
    now: Timestamp,
) -> (Decision, Option<PolicyState>) {
    decide_by(&*rules.policy, snapshot, account, rules, state, now)
}

/// Decides based on your own target instead of a built-in policy's. Filter, state, metrics, restrictions and
/// guards apply to it as to any other target. The result is a change to make, or a hold with the reason.
///
/// `target` is computed from what is known about the namespace, and only if the namespace can be evaluated at
/// all.
pub fn judge(
    snapshot: &Snapshot,
    account: &AccountView,
    rules: &Rules,
    now: Timestamp,
    target: impl Fn(&PolicyView<'_>) -> PolicyTarget + Send + Sync,
) -> Decision {
    let own = contract::Own(target);
    decide_by(&own, snapshot, account, rules, None, now).0
}

fn decide_by(
    policy: &dyn CapacityPolicy,
    snapshot: &Snapshot,
    account: &AccountView,
    rules: &Rules,
    state: Option<&PolicyState>,
    now: Timestamp,
) -> (Decision, Option<PolicyState>) {
    let judged = match judgment::judge(snapshot, account, rules, policy, now) {
        // No state either: the policy has seen nothing, and what it stored before stays valid.
        Err(verdict) => return (conclude(snapshot, rules, policy, verdict, Vec::new()), None),
        Ok(judged) => judged,
    };
    let PolicyTarget {
        wish,
        options,
        next_state,
    } = target(&judged, account, rules, state, now);
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
                .unwrap_or_else(|| guards::change(&judged, account, rules, now, to, code, &because)),
        },
    };
    verdict.reason.push_str(&standby_note(&snapshot.standby));
    (conclude(snapshot, rules, policy, verdict, options), next_state)
}

/// Runs check 11: the policy's target.
fn target(
    judged: &judgment::Judged<'_>,
    account: &AccountView,
    rules: &Rules,
    state: Option<&PolicyState>,
    now: Timestamp,
) -> PolicyTarget {
    let mut restrictions = account.restrictions.iter();
    let view = PolicyView {
        snapshot: judged.snapshot,
        present: judged.present,
        window: judged.window,
        limits: judged.limits,
        bounds: &rules.bounds,
        prices: &rules.prices,
        guards: &rules.guards,
        state,
        scale_up_only: restrictions.any(|it| it.code == ReasonCode::ScaleUpOnly),
        now,
    };
    judged.policy.target(&view)
}

fn direction(judged: &judgment::Judged<'_>, to: Capacity) -> Option<Direction> {
    match to.cmp(&judged.present) {
        std::cmp::Ordering::Greater => Some(Direction::ScaleUp),
        std::cmp::Ordering::Less => Some(Direction::ScaleDown),
        std::cmp::Ordering::Equal => None,
    }
}

/// Runs check 12: the first restriction that forbids a change in this direction holds it.
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
    // Nobody asked for this restriction, unlike a pause, and someone has to find out what is throttled.
    Some(if restriction.code == ReasonCode::UnknownThrottling {
        verdict.announced()
    } else {
        verdict
    })
}

/// Returns whether capacity info must be read before a decision can be made: only if checks 1 to 12 let a
/// change pass, and no guard that works without capacity info holds it.
pub fn wants_capacity_info(
    snapshot: &Snapshot,
    account: &AccountView,
    rules: &Rules,
    state: Option<&PolicyState>,
    now: Timestamp,
) -> bool {
    // The guard holds such a change before it reads the capacity info; a request would be wasted.
    if snapshot.change_refused.is_some() {
        return false;
    }
    let Ok(judged) = judgment::judge(snapshot, account, rules, &*rules.policy, now) else {
        return false;
    };
    let Wish::Change { to, .. } = target(&judged, account, rules, state, now).wish else {
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
    rules: &Rules,
    policy: &dyn CapacityPolicy,
    verdict: Verdict,
    compared: Vec<ConsideredOption>,
) -> Decision {
    let current = judgment::present(snapshot).ok();
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
    let throttling = newest.and_then(|newest| most_throttled(newest, &snapshot.limits));
    let price = &rules.prices;
    let idle_hour = |capacity: Option<Capacity>| capacity.map(|capacity| price.idle_hour(capacity));
    let decision = Decision {
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
        policy: policy.name().to_owned(),
        options: Vec::new(),
    };
    Decision {
        options: trace(snapshot, &decision, compared, verdict.sizes.as_ref()),
        ..decision
    }
}

/// Returns whether a hold only waits until our own change has ended and shows in the metrics. A throttled namespace
/// that is held for any other reason needs attention.
fn waits_for_own_change(snapshot: &Snapshot, code: ReasonCode) -> bool {
    let ours = snapshot.latest_request.as_ref().filter(|request| request.ours);
    match code {
        ReasonCode::ChangeInProgress | ReasonCode::WaitingForEffect => ours.is_some(),
        // The service reports a namespace as updating while a change is in progress.
        ReasonCode::NamespaceNotActive => {
            snapshot.moving_replica.is_none()
                && ours.is_some_and(|request| request.state == RequestState::InProgress)
        }
        _ => false,
    }
}
