//! Everything known about one namespace, and about the account, at one `now`.

use jiff::Timestamp;

use crate::capacity::{CapacityRequest, Ladder, ReportedMode, Trus};
use crate::limit::PerLimit;
use crate::namespace::NamespaceId;
use crate::rate::Rate;
use crate::restriction::Restriction;
use crate::usage::{MinuteSample, UsageWindow};

/// Everything known about one namespace.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// Its id.
    pub namespace: NamespaceId,
    /// The state it is not `ACTIVE` in; `None` while it is.
    pub inactive_state: Option<String>,
    /// The first replica that is not `ACTIVE`.
    pub moving_replica: Option<MovingReplica>,
    /// The operation that runs on it.
    pub running_operation: Option<String>,
    /// Present capacity, as the status says.
    pub status: ReportedMode,
    /// Wished capacity, as the spec says.
    pub spec: ReportedMode,
    /// The latest request for another capacity.
    pub latest_request: Option<CapacityRequest>,
    /// The limits in force.
    pub limits: PerLimit<Option<Rate>>,
    /// The limits that on-demand would give, as the metrics say.
    pub envelopes: PerLimit<Option<Rate>>,
    /// What was used.
    pub usage: ReportedUsage,
    /// What is not known of the usage. Nothing is given back on that.
    pub usage_gaps: PerLimit<Option<UsageGap>>,
    /// What replicas on standby served a second. It counts against no limit, and is only told.
    pub standby: PerLimit<Rate>,
    /// What the service says may be chosen.
    pub capacity_info: CapacityInfo,
    /// Why the service refused the last change as not permitted, where it did.
    pub change_refused: Option<String>,
}

/// A replica that is not `ACTIVE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovingReplica {
    /// Which, and its state: `replica aws-us-west-2 is being added`.
    pub what: String,
    /// Since when.
    pub since: Option<Since>,
}

/// When something began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// At this time.
    Exactly(Timestamp),
    /// At this time or earlier.
    AtLeast(Timestamp),
}

/// What the metrics say about the use of a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReportedUsage {
    /// Not a single series.
    Missing,
    /// Series that tell nothing, and why.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsageGap {
    /// Its family appears nowhere in the account, while others show traffic.
    FamilyMissing,
    /// Some of its series hold no usable rate.
    PartlyUnreadable,
    /// It was not asked for, to spare requests.
    NotRead,
}

/// What the service says may be chosen, read only where a change is wished.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum CapacityInfo {
    /// Not asked.
    #[default]
    NotRead,
    /// Asked in vain.
    Unavailable {
        /// In words.
        why: String,
    },
    /// Told.
    Known(KnownCapacityInfo),
}

/// What the service told.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownCapacityInfo {
    /// The values that may be chosen; empty if none were told.
    pub ladder: Ladder,
    /// The highest value available at the moment; `None` if not reported.
    pub ceiling: Option<Trus>,
    /// The actions a second that on-demand would give.
    pub on_demand_actions: Option<Rate>,
    /// Whether Temporal's support has set limits.
    pub has_legacy_limits: bool,
    /// Present capacity, as this answer says.
    pub current: ReportedMode,
}

/// What concerns the whole account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountView {
    /// Whether the metrics can be relied on.
    pub metrics: MetricsHealth,
    /// The namespace that this automation runs in.
    pub home: Option<NamespaceId>,
    /// What forbids changes in this evaluation; the first that applies to a change decides.
    pub restrictions: Vec<Restriction>,
}

/// Whether the metrics of the account can be relied on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetricsHealth {
    /// Everything asked for was there and could be read.
    Complete,
    /// Something was not: nothing may be concluded from what is absent.
    Incomplete {
        /// In words.
        why: String,
    },
}
