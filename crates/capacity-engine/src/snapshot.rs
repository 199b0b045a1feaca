//! Everything known about one namespace, and about the account, at the time of a decision.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::capacity::{Capacity, CapacityRequest, Ladder, ReportedMode, Trus};
use crate::limit::PerLimit;
use crate::namespace::NamespaceId;
use crate::rate::Rate;
use crate::restriction::Restriction;
use crate::usage::MinuteSample;
use crate::window::UsageWindow;

/// Everything known about one namespace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Snapshot {
    /// Full id of the namespace.
    pub namespace: NamespaceId,
    /// The state of the namespace; `None` if it is `ACTIVE`.
    pub inactive_state: Option<String>,
    /// The first replica that is not `ACTIVE`.
    pub moving_replica: Option<MovingReplica>,
    /// The operation that is running on the namespace.
    pub running_operation: Option<String>,
    /// Current capacity, from the status.
    pub status: ReportedMode,
    /// Requested capacity, from the spec.
    pub spec: ReportedMode,
    /// The latest request to change the capacity.
    pub latest_request: Option<CapacityRequest>,
    /// The limits in effect.
    #[serde(default)]
    pub limits: PerLimit<Option<Rate>>,
    /// The limits that on-demand would provide, from the metrics.
    #[serde(default)]
    pub envelopes: PerLimit<Option<Rate>>,
    /// Usage of the namespace.
    pub usage: ReportedUsage,
    /// Which part of the usage is unknown. Capacity is not released while it is.
    #[serde(default)]
    pub usage_gaps: PerLimit<Option<UsageGap>>,
    /// Work that standby replicas served per second. It counts toward no limit and is only reported.
    #[serde(default)]
    pub standby: PerLimit<Rate>,
    /// The sizes that the service offers.
    #[serde(default)]
    pub capacity_info: CapacityInfo,
    /// The service's message, if it refused the last change as not permitted.
    pub change_refused: Option<String>,
}

impl Snapshot {
    /// Returns an active namespace about which nothing else is known: no capacity, limits, usage or capacity
    /// info.
    pub fn unknown(namespace: NamespaceId) -> Self {
        Self {
            namespace,
            inactive_state: None,
            moving_replica: None,
            running_operation: None,
            status: ReportedMode::Absent,
            spec: ReportedMode::Absent,
            latest_request: None,
            limits: PerLimit::default(),
            envelopes: PerLimit::default(),
            usage: ReportedUsage::Missing,
            usage_gaps: PerLimit::default(),
            standby: PerLimit::default(),
            capacity_info: CapacityInfo::NotRead,
            change_refused: None,
        }
    }

    /// Returns an active namespace with this capacity and its documented limits, no change in progress, no
    /// usage reported, and capacity info not read. Set other fields afterward.
    ///
    /// For tests and simulations. For observed values, start from [`Snapshot::unknown`], since a service's
    /// limits may differ from the documented ones.
    pub fn at_rest(namespace: NamespaceId, capacity: Capacity) -> Self {
        let limits = |trus: Trus| PerLimit::from_fn(|kind| Some(kind.at(trus)));
        let one = Trus::try_new(1).expect("above zero");
        Self {
            status: capacity.into(),
            spec: capacity.into(),
            limits: match capacity {
                Capacity::OnDemand => limits(one),
                Capacity::Provisioned(trus) => limits(trus),
            },
            envelopes: limits(one),
            ..Self::unknown(namespace)
        }
    }

    /// Sets the usage.
    #[must_use]
    pub fn with_usage(self, window: UsageWindow) -> Self {
        Self {
            usage: ReportedUsage::Known(window),
            ..self
        }
    }

    /// Sets the capacity info.
    #[must_use]
    pub fn with_capacity_info(self, info: KnownCapacityInfo) -> Self {
        Self {
            capacity_info: CapacityInfo::Known(info),
            ..self
        }
    }
}

/// A replica that is not `ACTIVE`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MovingReplica {
    /// Which replica, and its state: `replica aws-us-west-2 is being added`.
    pub what: String,
    /// Start time of that state.
    pub since: Option<Since>,
}

impl MovingReplica {
    /// Creates a replica from its name and state, and the start time of that state.
    pub fn new(what: impl Into<String>, since: Option<Since>) -> Self {
        Self {
            what: what.into(),
            since,
        }
    }
}

/// The time when something began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Since {
    /// At exactly this time.
    Exactly(Timestamp),
    /// At this time or earlier.
    AtLeast(Timestamp),
}

/// The usage of a namespace according to the metrics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ReportedUsage {
    /// There are no series.
    Missing,
    /// There are series without usable data.
    Unknown {
        /// Why the metrics are unusable.
        why: String,
    },
    /// Usage by minute. An idle namespace has minutes too, with rates of zero.
    Known(UsageWindow),
}

impl<E: std::fmt::Display> From<Result<MinuteSample, E>> for ReportedUsage {
    fn from(sample: Result<MinuteSample, E>) -> Self {
        match sample {
            Ok(sample) => Self::Known(UsageWindow::of_one(sample)),
            Err(why) => Self::Unknown { why: why.to_string() },
        }
    }
}

/// Why the usage of a limit is not fully known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum UsageGap {
    /// Its family is missing from the whole account, while other families show traffic.
    FamilyMissing,
    /// Some of its series have no usable rate.
    PartlyUnreadable,
    /// It was not requested, to save requests.
    NotRead,
}

/// The sizes that the service offers. They are read only if a change is wanted.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CapacityInfo {
    /// The capacity info was not requested.
    #[default]
    NotRead,
    /// Requested, but not available.
    Unavailable {
        /// Why the capacity info is unavailable.
        why: String,
    },
    /// Reported by the service.
    Known(KnownCapacityInfo),
}

/// Capacity info as the service reported it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct KnownCapacityInfo {
    /// The available sizes; empty if none were reported.
    pub ladder: Ladder,
    /// The largest size that is available at the moment; `None` if not reported.
    pub ceiling: Option<Trus>,
    /// The limit that on-demand would provide, in actions per second.
    pub on_demand_actions: Option<Rate>,
    /// Whether Temporal Support has set limits.
    pub has_legacy_limits: bool,
    /// Current capacity, from this response.
    pub current: ReportedMode,
}

impl KnownCapacityInfo {
    /// Returns capacity info with the available sizes and the current capacity.
    pub fn new(ladder: Ladder, current: impl Into<ReportedMode>) -> Self {
        Self {
            ceiling: ladder.highest(),
            ladder,
            on_demand_actions: None,
            has_legacy_limits: false,
            current: current.into(),
        }
    }
}

/// Everything that concerns the whole account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AccountView {
    /// Whether the metrics are reliable.
    pub metrics: MetricsHealth,
    /// The namespace that this autopilot runs in.
    pub home: Option<NamespaceId>,
    /// The restrictions of this evaluation. The first one that applies to a change decides.
    #[serde(default)]
    pub restrictions: Vec<Restriction>,
}

impl AccountView {
    /// Returns an account without restrictions, in which this autopilot does not run.
    pub const fn new(metrics: MetricsHealth) -> Self {
        Self {
            metrics,
            home: None,
            restrictions: Vec::new(),
        }
    }
}

/// Whether the metrics of the account are reliable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MetricsHealth {
    /// Everything that was requested was returned and could be read.
    Complete,
    /// Something was missing or unreadable, so absent data means nothing.
    Incomplete {
        /// The kind of problem.
        problem: MetricsProblem,
        /// Description of the problem.
        why: String,
    },
}

/// Why metrics are unavailable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MetricsProblem {
    /// The key was rejected: someone has to act.
    Refused,
    /// No response arrived, or the source failed.
    Unreachable,
    /// Part of the requested data was missing or unreadable.
    Incomplete,
    /// The request budget is used up, or the source asked to wait.
    OverBudget,
    /// All metrics are too old, or belong to no listed namespace.
    Stale,
}

impl MetricsProblem {
    /// Returns the stable name, in snake case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Incomplete => "incomplete",
            Self::OverBudget => "over_budget",
            Self::Stale => "stale",
        }
    }
}

impl std::fmt::Display for MetricsProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
