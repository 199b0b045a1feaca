//! Everything known about one namespace, and about the account, at one `now`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::capacity::{Capacity, CapacityRequest, Ladder, ReportedMode, Trus};
use crate::limit::PerLimit;
use crate::namespace::NamespaceId;
use crate::rate::Rate;
use crate::restriction::Restriction;
use crate::usage::{MinuteSample, UsageWindow};

/// Everything known about one namespace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Snapshot {
    /// Its id.
    pub namespace: NamespaceId,
    /// The state it is not `ACTIVE` in; `None` while it is.
    pub inactive_state: Option<String>,
    /// The first replica that is not `ACTIVE`.
    pub moving_replica: Option<MovingReplica>,
    /// The operation that runs on it.
    pub running_operation: Option<String>,
    /// Current capacity, as the status says.
    pub status: ReportedMode,
    /// Requested capacity, as the spec says.
    pub spec: ReportedMode,
    /// The latest request for another capacity.
    pub latest_request: Option<CapacityRequest>,
    /// The limits in effect.
    #[serde(default)]
    pub limits: PerLimit<Option<Rate>>,
    /// The limits that on-demand would give, as the metrics say.
    #[serde(default)]
    pub envelopes: PerLimit<Option<Rate>>,
    /// What was used.
    pub usage: ReportedUsage,
    /// What is unknown about the usage. Capacity is not released on that.
    #[serde(default)]
    pub usage_gaps: PerLimit<Option<UsageGap>>,
    /// What standby replicas served per second. It counts against no limit and is only reported.
    #[serde(default)]
    pub standby: PerLimit<Rate>,
    /// The sizes that the service offers.
    #[serde(default)]
    pub capacity_info: CapacityInfo,
    /// Why the service refused the last change as not permitted, where it did.
    pub change_refused: Option<String>,
}

impl Snapshot {
    /// Returns an active namespace of which nothing else is known: neither its capacity nor limits, usage or capacity info.
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

    /// Returns an active namespace with this capacity and its documented limits, no change in progress, no usage reported, and
    /// capacity info not read. Set other fields afterwards.
    ///
    /// For tests and simulations: start from [`Snapshot::unknown`] for observed values, since a service's limits may differ from
    /// the documented ones.
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

    /// Sets what was used.
    #[must_use]
    pub fn with_usage(self, window: UsageWindow) -> Self {
        Self {
            usage: ReportedUsage::Known(window),
            ..self
        }
    }

    /// Sets what the service says may be chosen.
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
pub struct MovingReplica {
    /// Which, and its state: `replica aws-us-west-2 is being added`.
    pub what: String,
    /// Since when.
    pub since: Option<Since>,
}

/// When something began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Since {
    /// At this time.
    Exactly(Timestamp),
    /// At this time or earlier.
    AtLeast(Timestamp),
}

/// What the metrics say about the use of a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportedUsage {
    /// Not a single series.
    Missing,
    /// Series without usable data, and why.
    Unknown {
        /// In words.
        why: String,
    },
    /// Minutes. An idle namespace has them too, with rates of zero.
    Known(UsageWindow),
}

impl From<Result<MinuteSample, String>> for ReportedUsage {
    fn from(sample: Result<MinuteSample, String>) -> Self {
        match sample {
            Ok(sample) => Self::Known(UsageWindow::of_one(sample)),
            Err(why) => Self::Unknown { why },
        }
    }
}

/// Why the use of a limit is not fully known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum UsageGap {
    /// Its family appears nowhere in the account, while others show traffic.
    FamilyMissing,
    /// Some of its series have no usable rate.
    PartlyUnreadable,
    /// It was not asked for, to spare requests.
    NotRead,
}

/// The sizes that the service offers, read only if a change is wanted.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CapacityInfo {
    /// Not asked.
    #[default]
    NotRead,
    /// Requested, but not reported.
    Unavailable {
        /// In words.
        why: String,
    },
    /// Told.
    Known(KnownCapacityInfo),
}

/// What the service reported.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct KnownCapacityInfo {
    /// The available values; empty if none were reported.
    pub ladder: Ladder,
    /// The highest value available at the moment; `None` if not reported.
    pub ceiling: Option<Trus>,
    /// The actions a second that on-demand would give.
    pub on_demand_actions: Option<Rate>,
    /// Whether Temporal's support has set limits.
    pub has_legacy_limits: bool,
    /// Current capacity, as this answer says.
    pub current: ReportedMode,
}

impl KnownCapacityInfo {
    /// Returns an answer with the available sizes and what is in effect.
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

/// What concerns the whole account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AccountView {
    /// Whether the metrics can be relied on.
    pub metrics: MetricsHealth,
    /// The namespace that this autopilot runs in.
    pub home: Option<NamespaceId>,
    /// The restrictions of this evaluation; the first that applies to a change decides.
    #[serde(default)]
    pub restrictions: Vec<Restriction>,
}

impl AccountView {
    /// Returns an account without restrictions, in which this autopilot does not run itself.
    pub const fn new(metrics: MetricsHealth) -> Self {
        Self {
            metrics,
            home: None,
            restrictions: Vec::new(),
        }
    }
}

/// Whether the metrics of the account can be relied on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MetricsHealth {
    /// Everything asked for was there and could be read.
    Complete,
    /// Something was not: absence means nothing.
    Incomplete {
        /// What kind of problem it is.
        problem: MetricsProblem,
        /// In words.
        why: String,
    },
}

/// Why metrics are unavailable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MetricsProblem {
    /// The key was not accepted: someone has to act.
    Refused,
    /// No answer arrived, or the source failed.
    Unreachable,
    /// Not everything that was asked for was there, or it could not be read.
    Incomplete,
    /// The budget of requests is spent, or the source asks to wait.
    OverBudget,
    /// All of them are too old, or of no namespace that is listed.
    Stale,
}

impl MetricsProblem {
    /// Returns its word, in snake case.
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
