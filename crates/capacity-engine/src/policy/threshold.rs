//! Row 11: the `threshold` rule. Provisioned capacity when throttled, on-demand again when idle.

use super::contract::{CapacityPolicy, PolicyTarget, PolicyView, Wish};
use super::settings::ThresholdSettings;
use crate::capacity::{Capacity, Trus};
use crate::decision::{ReasonCode, Share};
use crate::limit::{LimitKind, PerLimit};
use crate::pricing::{in_dollars, minimum_actions_per_hour, shortfall};
use crate::rate::{Rate, thousands};
use crate::snapshot::{Snapshot, UsageGap};
use crate::usage::{MinuteSample, Usage, UsageWindow};

/// The limit that throttles most.
#[derive(Debug, Clone, Copy)]
pub(super) struct Throttling {
    pub(super) kind: LimitKind,
    pub(super) usage: Usage,
    pub(super) share: Share,
}

/// Returns the limit with the highest throttled share, if any is throttled. If the served rate was not read, it is assumed to
/// be at the limit, as it is while work is throttled.
pub(super) fn most_throttled(sample: &MinuteSample, limits: &PerLimit<Option<Rate>>) -> Option<Throttling> {
    let throttled = LimitKind::ALL.into_iter().filter_map(|kind| {
        let mut usage = sample.usage[kind];
        if !sample.served_read[kind] {
            usage.served = limits[kind].unwrap_or_default();
        }
        let (refused, asked) = (
            usage.throttled.micros_per_second(),
            usage.asked().micros_per_second(),
        );
        if refused == 0 {
            return None;
        }
        let micros = u128::from(refused) * 1_000_000 / u128::from(asked);
        // At most a million, since throttled requests are part of all requests.
        let share = Share {
            micros: u32::try_from(micros).unwrap_or(1_000_000),
        };
        Some(Throttling { kind, usage, share })
    });
    // If shares are equal, the first limit is reported.
    throttled.reduce(|most, next| if next.share > most.share { next } else { most })
}

/// The `threshold` policy; its settings are in [`ThresholdSettings`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Threshold;

impl Threshold {
    /// The name of the policy.
    pub const NAME: &str = "threshold";
}

impl CapacityPolicy for Threshold {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn version(&self) -> i64 {
        1
    }

    fn target(&self, view: &PolicyView<'_>) -> PolicyTarget {
        rule(view, view.settings)
    }
}

fn rule(judged: &PolicyView<'_>, settings: &ThresholdSettings) -> PolicyTarget {
    let throttling = most_throttled(judged.window.newest(), &judged.snapshot.limits);
    match (judged.present, throttling) {
        (Capacity::Provisioned(trus), Some(throttling)) => {
            throttled_while_provisioned(judged, trus, &throttling)
        }
        (Capacity::Provisioned(trus), None) => provisioned(judged, settings, trus),
        (Capacity::OnDemand, Some(throttling)) => PolicyTarget::change(
            Capacity::Provisioned(settings.default_trus),
            ReasonCode::Throttled,
            throttled_words(judged, &throttling),
        ),
        (Capacity::OnDemand, None) => on_demand(judged),
    }
}

fn throttled_while_provisioned(judged: &PolicyView<'_>, trus: Trus, throttling: &Throttling) -> PolicyTarget {
    let kind = throttling.kind;
    let envelope = judged.snapshot.envelopes[kind].filter(|envelope| *envelope > judged.limits[kind]);
    let advice = envelope.map_or_else(
        || "this policy does not scale up further, increase it manually".to_owned(),
        |envelope| {
            format!(
                "on-demand would provide {}/s, release the capacity manually",
                envelope.limit()
            )
        },
    );
    let reason = format!("{} with {trus}; {advice}", throttled_words(judged, throttling));
    Wish::Keep {
        code: ReasonCode::ThrottledWhileProvisioned,
        reason,
        announce: true,
    }
    .into()
}

/// `12.5% of actions throttled (70.0 of 560.0/s) at the limit of 500/s`.
fn throttled_words(judged: &PolicyView<'_>, throttling: &Throttling) -> String {
    let Throttling { kind, usage, share } = throttling;
    let percent = share.percent();
    let percent = if share.micros < 500 {
        "less than 0.1".to_owned()
    } else {
        format!("{percent:.1}")
    };
    format!(
        "{percent}% of {} throttled ({} of {}/s) at the limit of {}/s",
        kind.noun(),
        usage.throttled.measured(),
        usage.asked().measured(),
        judged.limits[*kind].limit()
    )
}

fn provisioned(judged: &PolicyView<'_>, settings: &ThresholdSettings, trus: Trus) -> PolicyTarget {
    let window = judged.window;
    let hour = window.actions_of_the_hour();
    let used = format!(
        "{} in the last hour{}",
        counted(hour.whole()),
        estimate_note(window)
    );
    if !hour.is_below(settings.min_actions_per_hour) {
        let reason = format!(
            "{used} with {trus}{}",
            unused_minimum(hour.whole(), settings, trus)
        );
        return PolicyTarget::keep(ReasonCode::InUse, reason);
    }
    let because = format!(
        "{used}, below the threshold of {}",
        thousands(settings.min_actions_per_hour)
    );
    let held = |code, reason| {
        let blocked = Some(Capacity::OnDemand);
        PolicyTarget::from(Wish::Hold {
            code,
            reason,
            blocked,
        })
    };
    if window.is_estimate() && !settings.disable_on_estimate {
        let missing = window.minutes_missing();
        let reason = format!(
            "{because}; capacity is not released on an estimate, {missing} more {} of data needed",
            if missing == 1 { "minute" } else { "minutes" }
        );
        return held(ReasonCode::EstimateOnly, reason);
    }
    if let Some(gap) = gap_words(judged.snapshot) {
        let reason = format!("{because}, but {gap}; capacity is not released without them");
        return held(ReasonCode::MetricsFamilyMissing, reason);
    }
    if let Some((kind, known)) = window.least_known().filter(|_| !settings.disable_on_estimate) {
        let reason = format!(
            "{because}, but {known} of 60 minutes of its {} are known, and capacity is not released on an estimate; \
             run `temporal-capacity doctor` to see what is missing",
            kind.noun()
        );
        return held(ReasonCode::EstimateOnly, reason);
    }
    PolicyTarget::change(Capacity::OnDemand, ReasonCode::Idle, because)
}

pub(super) fn gap_words(snapshot: &Snapshot) -> Option<String> {
    LimitKind::ALL
        .into_iter()
        .find_map(|kind| match snapshot.usage_gaps[kind]? {
            UsageGap::FamilyMissing => Some(format!(
                "the metrics of {} are missing for the whole account",
                kind.noun()
            )),
            UsageGap::PartlyUnreadable => {
                Some(format!("some of its metrics of {} are unreadable", kind.noun()))
            }
            UsageGap::NotRead => Some(format!("its metrics of {} were not read", kind.noun())),
        })
}

/// What is paid for an hour below its minimum.
fn unused_minimum(actions: u128, settings: &ThresholdSettings, trus: Trus) -> String {
    let capacity = Capacity::Provisioned(trus);
    let missing = shortfall(capacity, u64::try_from(actions).unwrap_or(u64::MAX));
    if missing == 0 {
        return String::new();
    }
    format!(
        "; below the hourly minimum of {}, paying {}/h for unused capacity",
        thousands(minimum_actions_per_hour(capacity)),
        in_dollars(settings.price.of(missing))
    )
}

/// On-demand, and nothing is throttled.
pub(super) fn on_demand(judged: &PolicyView<'_>) -> PolicyTarget {
    let sample = judged.window.newest();
    let limit = judged.limits[LimitKind::Actions].limit();
    if sample.reported {
        let actions = sample.usage[LimitKind::Actions].served.measured();
        let reason = format!("on-demand, {actions} of {limit} actions/s");
        PolicyTarget::keep(ReasonCode::Quiet, reason)
    } else {
        let reason = format!("on-demand, no usage reported, limit of {limit} actions/s");
        PolicyTarget::keep(ReasonCode::IdleOnDemand, reason)
    }
}

fn counted(actions: u128) -> String {
    let noun = if actions == 1 {
        LimitKind::Actions.singular()
    } else {
        LimitKind::Actions.noun()
    };
    format!("{} {noun}", thousands(actions))
}

/// How many minutes the total comes from, unless it is all 60.
fn estimate_note(window: &UsageWindow) -> String {
    // An estimate uses only the newest minute, no matter how many are known.
    match (window.is_estimate(), window.known_minutes()) {
        (true, 1) => " (estimated from 1 minute)".to_owned(),
        (true, known) => format!(" (estimated from the newest minute; {known} of 60 are known)"),
        (false, 60) => String::new(),
        (false, known) => format!(" (from {known} of 60 minutes)"),
    }
}
