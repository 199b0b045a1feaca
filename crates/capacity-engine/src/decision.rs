//! A decision: the action, the reason, and the price.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::capacity::{Capacity, Trus};
use crate::namespace::NamespaceId;
use crate::pricing::ActionPrice;

/// The action of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Action {
    /// From on-demand to this number of TRUs.
    Enable(Trus),
    /// From one number of TRUs to another.
    Resize(Trus),
    /// From provisioned capacity to on-demand.
    Disable,
    /// Evaluated: the current capacity is what the policy wants.
    Keep,
    /// The namespace could not be evaluated, or a change is not allowed now. The reason states what would end
    /// the hold.
    Hold,
    /// Excluded by the allowlist or denylist.
    Skip,
}

impl Action {
    /// Returns whether this action changes the capacity.
    pub const fn is_change(self) -> bool {
        match self {
            Self::Enable(_) | Self::Resize(_) | Self::Disable => true,
            Self::Keep | Self::Hold | Self::Skip => false,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Enable(trus) => write!(f, "Enable {trus}"),
            Self::Resize(trus) => write!(f, "Resize to {trus}"),
            Self::Disable => f.write_str("Disable"),
            Self::Keep => f.write_str("Keep"),
            Self::Hold => f.write_str("Hold"),
            Self::Skip => f.write_str("Skip"),
        }
    }
}

macro_rules! reason_codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $code:literal,)+) => {
        /// The reason for a decision. Codes are a stable interface: new ones may be added, and existing ones
        /// are never renamed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "&'static str")]
        #[non_exhaustive]
        pub enum ReasonCode {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl ReasonCode {
            /// All codes, in the order in which they are checked.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Returns the stable code, in snake case.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $code,)+
                }
            }

            /// Returns the code's meaning, as in the documentation.
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!($($doc),+).trim_ascii(),)+
                }
            }
        }
    };
}

reason_codes! {
    /// The namespace is on the denylist.
    Denied = "denied",
    /// There is an allowlist, and the namespace is not on it.
    NotAllowed = "not_allowed",
    /// The namespace is not active.
    NamespaceNotActive = "namespace_not_active",
    /// A replica is not active.
    ReplicaMoving = "replica_moving",
    /// An operation is running on the namespace, or its last capacity request is in progress.
    ChangeInProgress = "change_in_progress",
    /// The current capacity is unknown: status, spec and capacity info disagree, or one of them is unreadable.
    CapacityUnknown = "capacity_unknown",
    /// The metrics of the account are incomplete or could not be read.
    MetricsIncomplete = "metrics_incomplete",
    /// There are no usable metrics for this namespace.
    MetricsMissing = "metrics_missing",
    /// The newest metrics are too old, or from the future.
    MetricsStale = "metrics_stale",
    /// The newest metrics were measured before the last change took effect.
    WaitingForEffect = "waiting_for_effect",
    /// One of the limits is unknown.
    LimitsUnknown = "limits_unknown",
    /// Throttled while on-demand.
    Throttled = "throttled",
    /// On-demand, in use, and not throttled.
    Quiet = "quiet",
    /// On-demand, no usage reported.
    IdleOnDemand = "idle_on_demand",
    /// Throttled while provisioned; this policy does not scale up further.
    ThrottledWhileProvisioned = "throttled_while_provisioned",
    /// Provisioned, and below the threshold.
    Idle = "idle",
    /// Provisioned, and in use.
    InUse = "in_use",
    /// The policy wants another size (used by policies that are not built in).
    PolicyTarget = "policy_target",
    /// The newest minutes are missing, and the policy needs them to decide.
    RecentMinutesMissing = "recent_minutes_missing",
    /// Throttled, and waiting costs less than a larger size.
    CheaperToWait = "cheaper_to_wait",
    /// Throttled, and a larger size costs less than waiting.
    WaitingCostsMore = "waiting_costs_more",
    /// A larger size is planned for this hour or the next.
    PlannedForTheHour = "planned_for_the_hour",
    /// Provisioned, and kept at least until the end of the hour.
    WorthKeeping = "worth_keeping",
    /// The coming hour is expected to cost less at a smaller size.
    NotWorthKeeping = "not_worth_keeping",
    /// Below the smallest size that is allowed.
    BelowMinimum = "below_minimum",
    /// The actions of the last hour are an estimate, and capacity is not released on an estimate.
    EstimateOnly = "estimate_only",
    /// The ledger could not be read or written, and nothing is scaled down until it works again.
    LedgerUnavailable = "ledger_unavailable",
    /// Workers of one controller use different ledgers, and nothing is scaled down until they use the same
    /// one.
    LedgersDiffer = "ledgers_differ",
    /// This evaluation was triggered by high usage and only scales up.
    ScaleUpOnly = "scale_up_only",
    /// All changes are paused.
    Paused = "paused",
    /// Scaling up is paused.
    ScaleUpPaused = "scale_up_paused",
    /// Scaling down is paused.
    ScaleDownPaused = "scale_down_paused",
    /// The outcome of the last change is not recorded yet, and the namespace is not scaled down until it is.
    OutcomeNotRecorded = "outcome_not_recorded",
    /// After a change, the spec differed in more than the capacity.
    SpecChanged = "spec_changed",
    /// The namespace is throttled in a way that this version does not know, and is not scaled down until the
    /// throttling ends.
    UnknownThrottling = "unknown_throttling",
    /// The usage of a limit is missing or partly unreadable, and capacity is not released until it is known.
    MetricsFamilyMissing = "metrics_family_missing",
    /// The service refused the last change as not permitted.
    NotPermitted = "not_permitted",
    /// The capacity info of the namespace could not be read.
    CapacityInfoUnavailable = "capacity_info_unavailable",
    /// No available size would help without lowering a limit.
    NoStepHelps = "no_step_helps",
    /// The region cannot provide a size that helps, or does not report what it can provide.
    NoInventory = "no_inventory",
    /// The on-demand limit is below the recent peak plus headroom.
    OnDemandTooSmall = "on_demand_too_small",
    /// The smaller size is below the recent peak plus headroom.
    SizeTooSmall = "size_too_small",
    /// The limits of the namespace were set by Temporal Support.
    SetBySupport = "set_by_support",
    /// The region might not be able to provide the capacity again.
    NotRegainable = "not_regainable",
    /// Someone else changed the capacity recently.
    ChangedByOthers = "changed_by_others",
    /// This autopilot runs in the namespace.
    OwnNamespace = "own_namespace",
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A reason code that this version does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this version does not know the reason code `{0}`")]
pub struct UnknownReasonCode(String);

impl FromStr for ReasonCode {
    type Err = UnknownReasonCode;

    fn from_str(code: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.iter().copied().find(|known| known.as_str() == code);
        known.ok_or_else(|| UnknownReasonCode(code.chars().take(80).collect()))
    }
}

impl TryFrom<String> for ReasonCode {
    type Error = UnknownReasonCode;

    fn try_from(code: String) -> Result<Self, Self::Error> {
        code.parse()
    }
}

impl From<ReasonCode> for &'static str {
    fn from(code: ReasonCode) -> Self {
        code.as_str()
    }
}

/// What a capacity costs in an hour without actions, before and after the decision. Both are exact upper
/// bounds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DecisionPrice {
    /// Cost of the current capacity in US dollars per hour; `None` if unknown.
    pub per_hour_before: Option<Decimal>,
    /// Cost of the wanted capacity in US dollars per hour; `None` if unknown.
    pub per_hour_after: Option<Decimal>,
    /// The price that both are based on.
    pub price: ActionPrice,
}

/// The share of the demand that was throttled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Share {
    /// The share in millionths.
    pub(crate) micros: u32,
}

impl Share {
    /// Returns the share in percent, rounded to a tenth.
    pub fn percent(self) -> f64 {
        f64::from((self.micros + 500) / 1_000) / 10.0
    }
}

/// An available size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ConsideredOption {
    /// TRUs of the option; 0 means on-demand.
    pub trus: u32,
    /// Limit of the option, in actions per second; 0 if it is unknown.
    pub limit: u64,
    /// Cost of an hour without actions, in US dollars.
    pub idle_hour: Decimal,
    /// Expected cost in actions; `None` if it was not computed.
    pub cost_actions: Option<i64>,
    /// Expected cost in US dollars; `None` if it was not computed.
    pub cost: Option<Decimal>,
    /// Whether the policy chose this option.
    pub chosen: bool,
    /// Why the option was or was not chosen.
    pub verdict: String,
}

impl ConsideredOption {
    /// Returns an option that was not chosen, with its limit in actions per second, its cost of an hour without actions in US
    /// dollars, and the reason.
    pub fn new(capacity: Capacity, limit: u64, idle_hour: Decimal, verdict: impl Into<String>) -> Self {
        Self {
            trus: capacity.trus(),
            limit,
            idle_hour,
            cost_actions: None,
            cost: None,
            chosen: false,
            verdict: verdict.into(),
        }
    }

    /// Sets the expected cost, in actions and in US dollars.
    #[must_use]
    pub fn with_cost(self, actions: i64, dollars: Decimal) -> Self {
        Self {
            cost_actions: Some(actions),
            cost: Some(dollars),
            ..self
        }
    }

    /// Sets whether the policy chose this size.
    #[must_use]
    pub fn with_chosen(self, chosen: bool) -> Self {
        Self { chosen, ..self }
    }
}

/// The decision about one namespace: the action and the reason.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Decision {
    /// Namespace that the decision is about.
    pub namespace: NamespaceId,
    /// What to do with the capacity of the namespace.
    pub action: Action,
    /// Current capacity of the namespace; `None` if it is unknown.
    pub current: Option<Capacity>,
    /// Capacity of the namespace after the decision; `None` if it is unknown.
    pub wanted: Option<Capacity>,
    /// The capacity that the policy wanted but a restriction or guard blocked.
    pub blocked: Option<Capacity>,
    /// Stable code of the reason.
    pub reason_code: ReasonCode,
    /// The reason, in one sentence with its numbers.
    pub reason: String,
    /// Whether the decision is announced. Capacity changes are always announced.
    pub announce: bool,
    /// Cost of the capacity before and after the decision.
    pub price: DecisionPrice,
    /// The throttled share of the limit that throttles most; `None` if nothing is throttled.
    pub throttled_share: Option<Share>,
    /// The minute of the newest sample; `None` if there is none.
    pub sample_minute: Option<Timestamp>,
    /// How many of the last 60 minutes are known; `None` if there is no sample.
    pub known_minutes: Option<usize>,
    /// Name of the policy that decided.
    pub policy: String,
    /// Its trace: on-demand, the sizes that are known and the current one, smallest first, at most
    /// [`PolicyTarget::MOST_OPTIONS`](crate::PolicyTarget::MOST_OPTIONS), each with a verdict.
    pub options: Vec<ConsideredOption>,
}

/// Formats the decision as operators see it: `[orders.a1b2c] Disable: 45 actions ...`.
impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}: {}", self.namespace, self.action, self.reason)
    }
}
