//! A decision: the action, the reason, and the price.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::capacity::{Capacity, Trus};
use crate::namespace::NamespaceId;
use crate::pricing::ActionPrice;

/// What a decision does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// From on-demand to this number of TRUs.
    Enable(Trus),
    /// From one number of TRUs to another.
    Resize(Trus),
    /// From provisioned capacity to on-demand.
    Disable,
    /// Evaluated: the current capacity is what the policy wants.
    Keep,
    /// Could not be evaluated, or a change is not allowed now; the reason says what would end it.
    Hold,
    /// Excluded by the allow or deny list.
    Skip,
}

impl Action {
    /// Returns whether capacity changes.
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
        /// Why a decision is what it is. Codes are an interface: added to, never renamed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "&'static str")]
        #[non_exhaustive]
        pub enum ReasonCode {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl ReasonCode {
            /// All of them, in the order in which they are judged.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Returns the stable code, in snake case.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $code,)+
                }
            }

            /// Returns what it means, as the documentation says.
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!($($doc),+).trim_ascii(),)+
                }
            }
        }
    };
}

reason_codes! {
    /// It is on the deny list.
    Denied = "denied",
    /// There is an allow list, and it is not on it.
    NotAllowed = "not_allowed",
    /// The namespace is not active.
    NamespaceNotActive = "namespace_not_active",
    /// A replica is not active.
    ReplicaMoving = "replica_moving",
    /// An operation runs on it, or its last capacity request is in progress.
    ChangeInProgress = "change_in_progress",
    /// Its current capacity is unknown: status, spec or capacity info disagree or are unreadable.
    CapacityUnknown = "capacity_unknown",
    /// The metrics of the account are incomplete or could not be read.
    MetricsIncomplete = "metrics_incomplete",
    /// There are no usable metrics for this namespace.
    MetricsMissing = "metrics_missing",
    /// Its newest metrics are too old, or from the future.
    MetricsStale = "metrics_stale",
    /// Its newest metrics were measured before the last change took effect.
    WaitingForEffect = "waiting_for_effect",
    /// One of its limits is unknown.
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
    /// The policy wants another size: the code of policies that are not built in.
    PolicyTarget = "policy_target",
    /// The newest minutes are missing, and the policy does not decide without them.
    RecentMinutesMissing = "recent_minutes_missing",
    /// Throttled, and waiting costs less than a larger size.
    CheaperToWait = "cheaper_to_wait",
    /// Throttled, and a larger size costs less than waiting.
    WaitingCostsMore = "waiting_costs_more",
    /// The plan for the hour is a larger size.
    PlannedForTheHour = "planned_for_the_hour",
    /// Provisioned, and kept until the end of the hour at least.
    WorthKeeping = "worth_keeping",
    /// The coming hour is expected to cost less at a smaller size.
    NotWorthKeeping = "not_worth_keeping",
    /// Below the smallest size that is allowed.
    BelowMinimum = "below_minimum",
    /// The actions of the last hour are an estimate, and capacity is not released on an estimate.
    EstimateOnly = "estimate_only",
    /// The ledger could not be read or written, and nothing is scaled down without it.
    LedgerUnavailable = "ledger_unavailable",
    /// Workers of one controller use different ledgers, and nothing is scaled down meanwhile.
    LedgersDiffer = "ledgers_differ",
    /// This evaluation was triggered by high use and only scales up.
    ScaleUpOnly = "scale_up_only",
    /// All changes are paused.
    Paused = "paused",
    /// Scaling up is paused.
    ScaleUpPaused = "scale_up_paused",
    /// Scaling down is paused.
    ScaleDownPaused = "scale_down_paused",
    /// The outcome of its last change is not recorded yet, and it is not scaled down until it is.
    OutcomeNotRecorded = "outcome_not_recorded",
    /// Its spec changed in more than the capacity after a change.
    SpecChanged = "spec_changed",
    /// It is throttled in a way that this version does not know, and is not scaled down meanwhile.
    UnknownThrottling = "unknown_throttling",
    /// The usage of a limit is missing or partly unreadable, and capacity is not released without it.
    MetricsFamilyMissing = "metrics_family_missing",
    /// The last change was refused as not permitted.
    NotPermitted = "not_permitted",
    /// Its capacity info could not be read.
    CapacityInfoUnavailable = "capacity_info_unavailable",
    /// No allowed size would help without lowering a limit.
    NoStepHelps = "no_step_helps",
    /// The region cannot provide a size that helps, or does not report what it can provide.
    NoInventory = "no_inventory",
    /// On-demand is below the recent peak plus headroom.
    OnDemandTooSmall = "on_demand_too_small",
    /// The smaller size is below the recent peak plus headroom.
    SizeTooSmall = "size_too_small",
    /// Its limits were set by Temporal Support.
    SetBySupport = "set_by_support",
    /// The region might not be able to provide the capacity again.
    NotRegainable = "not_regainable",
    /// Someone else changed its capacity recently.
    ChangedByOthers = "changed_by_others",
    /// This autopilot runs in it.
    OwnNamespace = "own_namespace",
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A reason code that this version does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a reason code of this version")]
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

/// What a capacity costs in an hour without actions, before and after: upper bounds, exact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionPrice {
    /// US dollars an hour of the current capacity; `None` if that is unknown.
    pub per_hour_before: Option<Decimal>,
    /// US dollars an hour of the wanted capacity; `None` if that is unknown.
    pub per_hour_after: Option<Decimal>,
    /// The price that both are based on.
    pub price: ActionPrice,
}

/// The share of what was asked for that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Share {
    /// In millionths.
    pub(crate) micros: u32,
}

impl Share {
    /// Returns the share in percent, rounded to a tenth.
    pub fn percent(self) -> f64 {
        f64::from((self.micros + 500) / 1_000) / 10.0
    }
}

/// One option that a policy compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsideredOption {
    /// TRUs; 0 means on-demand.
    pub trus: u32,
    /// What it admits, in actions a second.
    pub limit: u64,
    /// US dollars of an hour without actions.
    pub idle_hour: Decimal,
    /// Expected cost in actions; `None` if it was not computed.
    pub cost_actions: Option<i64>,
    /// Expected cost in US dollars; `None` if it was not computed.
    pub cost: Option<Decimal>,
    /// Whether it is what the policy wants.
    pub chosen: bool,
    /// Why it was or was not chosen.
    pub verdict: String,
}

/// The decision about one namespace: the action, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Decision {
    /// The namespace.
    pub namespace: NamespaceId,
    /// The action.
    pub action: Action,
    /// Its current capacity; `None` if it is unknown.
    pub current: Option<Capacity>,
    /// Its capacity after the decision; `None` if it is unknown.
    pub wanted: Option<Capacity>,
    /// What the policy wanted and a restriction or guard held.
    pub blocked: Option<Capacity>,
    /// Why, as a stable code.
    pub reason_code: ReasonCode,
    /// Why, in one sentence with its numbers.
    pub reason: String,
    /// Whether it is announced, in addition to changes of capacity.
    pub announce: bool,
    /// What it costs.
    pub price: DecisionPrice,
    /// The share refused by the limit that throttles most; `None` if nothing is throttled.
    pub throttled_share: Option<Share>,
    /// The minute of the newest sample; `None` if there is none.
    pub sample_minute: Option<Timestamp>,
    /// How many of the last 60 minutes are known; `None` if there is no sample.
    pub known_minutes: Option<usize>,
    /// The policy that decided.
    pub policy: String,
    /// What that policy compared; empty where it compared nothing.
    pub options: Vec<ConsideredOption>,
}

/// The line an operator reads: `[orders.a1b2c] Disable: 45 actions ...`.
impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}: {}", self.namespace, self.action, self.reason)
    }
}
