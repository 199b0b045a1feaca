//! A decision: what is to be done, why, and what it costs.

use std::fmt;

use jiff::Timestamp;
use rust_decimal::Decimal;

use crate::capacity::{Capacity, Trus};
use crate::namespace::NamespaceId;
use crate::pricing::ActionPrice;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// From on-demand to so many TRUs.
    Enable(Trus),
    /// From one number of TRUs to another.
    Resize(Trus),
    /// From provisioned capacity to on-demand.
    Disable,
    /// Looked at, nothing to do: the present capacity is what the policy wants.
    Keep,
    /// Not judged or not allowed; the reason says what would end it.
    Hold,
    /// Not ours: filtered out.
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
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    /// The deny list names it.
    Denied = "denied",
    /// There is an allow list, and it does not name it.
    NotAllowed = "not_allowed",
    /// The namespace is not active.
    NamespaceNotActive = "namespace_not_active",
    /// A replica is not active.
    ReplicaMoving = "replica_moving",
    /// An operation runs on it, or its last capacity request is in progress.
    ChangeInProgress = "change_in_progress",
    /// Its present capacity cannot be told.
    CapacityUnknown = "capacity_unknown",
    /// The metrics of the account are incomplete or could not be read.
    MetricsIncomplete = "metrics_incomplete",
    /// The metrics tell nothing about this namespace.
    MetricsMissing = "metrics_missing",
    /// The newest metrics are too old, or from the future.
    MetricsStale = "metrics_stale",
    /// The newest metrics were measured before the last change took effect.
    WaitingForEffect = "waiting_for_effect",
    /// A limit is unknown.
    LimitsUnknown = "limits_unknown",
    /// Throttled while on-demand.
    Throttled = "throttled",
    /// On-demand, with some usage, and not throttled.
    Quiet = "quiet",
    /// On-demand, without any usage reported.
    IdleOnDemand = "idle_on_demand",
    /// Throttled although provisioned: this policy raises no further, so people should.
    ThrottledWhileProvisioned = "throttled_while_provisioned",
    /// Provisioned, and used less than the threshold.
    Idle = "idle",
    /// Provisioned, and in use.
    InUse = "in_use",
    /// The usage of the hour is an estimate, and nothing is given back on that.
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
    /// The usage of a limit is missing or partly unreadable, and nothing is given back on that.
    MetricsFamilyMissing = "metrics_family_missing",
    /// The service refused the last change as not permitted.
    NotPermitted = "not_permitted",
    /// What may be chosen could not be read.
    CapacityInfoUnavailable = "capacity_info_unavailable",
    /// No allowed step would help without lowering a limit.
    NoStepHelps = "no_step_helps",
    /// The region cannot give what is needed, or does not tell what it can give.
    NoInventory = "no_inventory",
    /// On-demand could not carry the recent peak.
    OnDemandTooSmall = "on_demand_too_small",
    /// Temporal's support has set its limits.
    SetBySupport = "set_by_support",
    /// The region could not give the capacity again.
    NotRegainable = "not_regainable",
    /// Somebody else has changed its capacity lately.
    ChangedByOthers = "changed_by_others",
    /// This automation runs in it.
    OwnNamespace = "own_namespace",
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a capacity costs in an hour without actions, before and after: upper bounds, exact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionPrice {
    /// US dollars an hour of the present capacity; `None` where that is unknown.
    pub per_hour_before: Option<Decimal>,
    /// US dollars an hour of the wanted capacity; `None` where that is unknown.
    pub per_hour_after: Option<Decimal>,
    /// The price both rest on.
    pub price: ActionPrice,
}

/// The share of what was asked for that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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

/// What is to be done with one namespace, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// The namespace.
    pub namespace: NamespaceId,
    /// What is to be done.
    pub action: Action,
    /// Its present capacity; `None` where it cannot be told.
    pub current: Option<Capacity>,
    /// Its capacity once the decision is carried out; `None` where it cannot be told.
    pub wanted: Option<Capacity>,
    /// What the rule wished for and a guard held back.
    pub blocked: Option<Capacity>,
    /// Why, as a stable code.
    pub reason_code: ReasonCode,
    /// Why, in one sentence with its numbers.
    pub reason: String,
    /// Whether people should be told, beside any change of capacity.
    pub announce: bool,
    /// What it costs.
    pub price: DecisionPrice,
    /// The share refused by the limit that throttles most; `None` where nothing is throttled.
    pub throttled_share: Option<Share>,
    /// The minute of the newest sample; `None` where there is none.
    pub sample_minute: Option<Timestamp>,
    /// How many of the last 60 minutes are known; `None` where there is no sample.
    pub known_minutes: Option<usize>,
}

/// The line an operator reads: `[orders.a1b2c] Disable: 45 actions ...`.
impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}: {}", self.namespace, self.action, self.reason)
    }
}

/// Returns the decisions that change capacity, in the order in which they are carried out: raising before lowering, the
/// most throttled first, then by name.
pub fn changes_in_order<'a>(decisions: impl IntoIterator<Item = &'a Decision>) -> Vec<&'a Decision> {
    let mut changes: Vec<&Decision> = decisions
        .into_iter()
        .filter(|decision| decision.action.is_change())
        .collect();
    changes.sort_by_key(|decision| {
        let lowers = decision.wanted < decision.current;
        (
            lowers,
            std::cmp::Reverse(decision.throttled_share),
            &decision.namespace,
        )
    });
    changes
}
