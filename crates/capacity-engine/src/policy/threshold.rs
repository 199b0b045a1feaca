//! Check 11: the `threshold` policy. It provisions capacity when throttled and releases it when idle.

use std::collections::BTreeMap;

use human_text::{counted, grouped, noun};
use serde::{Deserialize, Serialize};

use super::contract::{CapacityPolicy, PolicyTarget, PolicyView, Wish};
use super::options::{Namespace, kept};
use super::settings::Bounds;
use super::throttling::{Throttling, most_throttled};
use super::words::gap_words;
use crate::capacity::{Capacity, Trus};
use crate::decision::{ConsideredOption, ReasonCode};
use crate::limit::LimitKind;
use crate::pricing::{ActionPrice, in_dollars, minimum_actions_per_hour, shortfall};
use crate::window::UsageWindow;

/// A default size above the largest allowed size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the default size of {default} is above the largest allowed size of {max}")]
pub struct SizeOutOfBounds {
    default: Trus,
    max: Trus,
}

/// Settings of the `threshold` policy.
///
/// Start from `ThresholdSettings::default()`: 5 TRUs when throttled, released below 100 actions an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ThresholdSettings {
    pub(crate) default_trus: Trus,
    /// Capacity is released below this number of actions an hour (`MIN_ACTIONS_THRESHOLD`). A high value
    /// releases capacity that is in use; zero never releases.
    pub min_actions_per_hour: u64,
}

impl Default for ThresholdSettings {
    fn default() -> Self {
        Self {
            // The original tool's default. 5 is not on the ladder; the size guard makes it 6.
            default_trus: Trus::try_new(5).expect("a constant above zero"),
            min_actions_per_hour: 100,
        }
    }
}

impl ThresholdSettings {
    /// Sets the size to enable. Each TRU after the first costs 360,000 actions an hour, used or not.
    ///
    /// # Errors
    ///
    /// If it is above the largest allowed size.
    pub fn with_default_trus(self, default: Trus, bounds: Bounds) -> Result<Self, SizeOutOfBounds> {
        let max = bounds.max_trus;
        if default > max {
            return Err(SizeOutOfBounds { default, max });
        }
        Ok(Self {
            default_trus: default,
            ..self
        })
    }

    /// Returns the TRUs to enable (`DEFAULT_TRU_COUNT`). If this size is not available, the next one up is
    /// used.
    pub const fn default_trus(&self) -> Trus {
        self.default_trus
    }
}

/// The `threshold` policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Threshold {
    settings: ThresholdSettings,
}

impl Threshold {
    /// The name of the policy.
    pub const NAME: &str = "threshold";

    /// Returns the policy with these settings.
    pub const fn new(settings: ThresholdSettings) -> Self {
        Self { settings }
    }
}

impl CapacityPolicy for Threshold {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn version(&self) -> i64 {
        1
    }

    fn target(&self, view: &PolicyView<'_>) -> PolicyTarget {
        rule(view, &self.settings)
    }

    fn parameters(&self) -> BTreeMap<String, String> {
        let settings = [
            ("default_tru_count", self.settings.default_trus.get().to_string()),
            (
                "min_actions_threshold",
                self.settings.min_actions_per_hour.to_string(),
            ),
        ];
        settings
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
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
        (Capacity::OnDemand, None) => {
            let (code, reason) = on_demand(judged);
            let not_needed = |_| "not needed: nothing is throttled".to_owned();
            PolicyTarget::keep(code, reason).with_options(kept_options(judged, code, not_needed))
        }
    }
}

fn throttled_while_provisioned(judged: &PolicyView<'_>, trus: Trus, throttling: &Throttling) -> PolicyTarget {
    let kind = throttling.kind;
    // More usage raises the on-demand limit while provisioned, so it can overtake a small size.
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
    let code = ReasonCode::ThrottledWhileProvisioned;
    let target = PolicyTarget::from(Wish::Keep {
        code,
        reason,
        announce: true,
    });
    target.with_options(kept_options(judged, code, |other| {
        if other > judged.present {
            "this policy does not scale up further".to_owned()
        } else {
            "not released while throttled".to_owned()
        }
    }))
}

/// Returns the trace of a decision to keep the current size.
fn kept_options(
    judged: &PolicyView<'_>,
    code: ReasonCode,
    why_no_other: impl Fn(Capacity) -> String,
) -> Vec<ConsideredOption> {
    let verdict = |capacity: Capacity| {
        if capacity == judged.present {
            kept(code)
        } else {
            why_no_other(capacity)
        }
    };
    namespace(judged).options([], Some(judged.present), verdict)
}

/// Returns the trace of a request to release everything. Restrictions and guards add their verdicts.
fn release_options(judged: &PolicyView<'_>, used: &str) -> Vec<ConsideredOption> {
    let verdict = |capacity: Capacity| match capacity {
        // Left empty for `trace::completed`, which knows whether a guard held the release.
        Capacity::OnDemand => String::new(),
        _ if capacity == judged.present => format!("current: {used}"),
        Capacity::Provisioned(_) => "this policy releases all of the capacity or none".to_owned(),
    };
    namespace(judged).options([], Some(Capacity::OnDemand), verdict)
}

fn namespace<'a>(judged: &PolicyView<'a>) -> Namespace<'a> {
    Namespace {
        snapshot: judged.snapshot,
        current: Some(judged.present),
        prices: judged.prices,
    }
}

/// Formats the throttling: `12.5% of actions throttled (70.0 of 560.0/s) at the limit of 500/s`.
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
        counted(hour.whole(), LimitKind::Actions.singular()),
        estimate_note(window)
    );
    let threshold = |side: &str| {
        format!(
            "{} actions in the last hour, {side} the threshold of {}",
            grouped(hour.whole()),
            grouped(settings.min_actions_per_hour)
        )
    };
    if !hour.is_below(settings.min_actions_per_hour) {
        let reason = format!(
            "{used} with {trus}{}",
            unused_minimum(hour.whole(), judged.prices, trus)
        );
        let code = ReasonCode::InUse;
        return PolicyTarget::keep(code, reason).with_options(kept_options(judged, code, |other| {
            if other == Capacity::OnDemand {
                format!("not released: {}", threshold("not below"))
            } else {
                "this policy does not change between sizes".to_owned()
            }
        }));
    }
    let options = release_options(judged, &threshold("below"));
    let because = format!(
        "{used}, below the threshold of {}",
        grouped(settings.min_actions_per_hour)
    );
    let held = |code, reason| {
        let blocked = Some(Capacity::OnDemand);
        let target = PolicyTarget::from(Wish::Hold {
            code,
            reason,
            blocked,
        });
        target.with_options(options.clone())
    };
    if window.is_estimate() && !judged.guards.disable_on_estimate {
        let missing = window.minutes_missing();
        let reason = format!(
            "{because}; capacity is not released on an estimate, {missing} more {} of data needed",
            noun(missing, "minute")
        );
        return held(ReasonCode::EstimateOnly, reason);
    }
    if let Some(gap) = gap_words(judged.snapshot) {
        let reason = format!("{because}, but {gap}; capacity is not released without them");
        return held(ReasonCode::MetricsFamilyMissing, reason);
    }
    if let Some((kind, known)) = window
        .least_known()
        .filter(|_| !judged.guards.disable_on_estimate)
    {
        let reason = format!(
            "{because}, but its {} are known for only {known} of 60 minutes, and capacity is not released on an estimate; \
             run `temporal-capacity doctor` to see what is missing",
            kind.noun()
        );
        return held(ReasonCode::EstimateOnly, reason);
    }
    PolicyTarget::change(Capacity::OnDemand, ReasonCode::Idle, because).with_options(options)
}

/// Formats what an hour below its minimum costs.
fn unused_minimum(actions: u128, prices: &ActionPrice, trus: Trus) -> String {
    let capacity = Capacity::Provisioned(trus);
    let missing = shortfall(capacity, u64::try_from(actions).unwrap_or(u64::MAX));
    if missing == 0 {
        return String::new();
    }
    format!(
        "; below the hourly minimum of {}, paying {}/h for unused capacity",
        grouped(minimum_actions_per_hour(capacity)),
        in_dollars(prices.of(missing))
    )
}

/// Returns the target for a namespace that is on-demand and not throttled.
pub(super) fn on_demand(judged: &PolicyView<'_>) -> (ReasonCode, String) {
    let sample = judged.window.newest();
    let limit = judged.limits[LimitKind::Actions].limit();
    if sample.reported {
        let actions = sample.usage[LimitKind::Actions].served.measured();
        let reason = format!("on-demand, {actions} of {limit} actions/s");
        (ReasonCode::Quiet, reason)
    } else {
        let reason = format!("on-demand, no usage reported, limit of {limit} actions/s");
        (ReasonCode::IdleOnDemand, reason)
    }
}

/// Returns how many minutes the total is based on, unless it is all 60.
fn estimate_note(window: &UsageWindow) -> String {
    // An estimate uses only the newest minute, no matter how many are known.
    match (window.is_estimate(), window.known_minutes()) {
        (true, 1) => " (estimated from 1 minute)".to_owned(),
        (true, known) => format!(" (estimated from the newest minute; {known} of 60 are known)"),
        (false, 60) => String::new(),
        (false, known) => format!(" (from {known} of 60 minutes)"),
    }
}
