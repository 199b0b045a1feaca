//! Temporal Cloud's vocabulary: families, labels, and a fold from documents to the newest minute of each
//! namespace.
//!
//! The endpoint reports every series of a namespace: foreground and background work, the active replica and
//! standby replicas, and one series per operation. Only the foreground series of the active replica count
//! toward a limit, and they have to be summed (metrics reference of Temporal's documentation, aggregation).
//! [`UsageFold`] does that, for documents of the endpoint and for series that Prometheus has stored. Absent
//! or unreadable data is never zero.

mod fold;
mod minute;
mod series;

pub use fold::UsageFold;
pub use minute::{AccountMinute, LimitUsage, NamespaceMinute, Rate, Reported, Unreadable};
pub use series::Series;

/// Prefix of the names of all families.
pub const PREFIX: &str = "temporal_cloud_v1_";

/// The label of the namespace: `name.account`, or `name` alone next to [`ACCOUNT`].
pub const NAMESPACE: &str = "temporal_namespace";
/// The label of the account.
pub const ACCOUNT: &str = "temporal_account";
/// `true` for work that does not count toward a limit: exports, deletions and other background work.
pub const IS_BACKGROUND: &str = "is_background";
/// `active`, or `standby` for a replica that does not count toward a limit.
pub const NAMESPACE_MODE: &str = "namespace_mode";
/// The label of the gRPC operation.
pub const OPERATION: &str = "operation";
/// The label of the region.
pub const REGION: &str = "region";

/// The labels with which the service distinguishes the series of a namespace. Other labels are added by a
/// scrape pipeline.
pub const SERIES_LABELS: [&str; 4] = [IS_BACKGROUND, NAMESPACE_MODE, OPERATION, REGION];

/// Returns whether a value of [`IS_BACKGROUND`] means background work.
pub fn is_background(value: &str) -> bool {
    value == "true"
}

/// Returns whether a value of [`NAMESPACE_MODE`] means a standby replica.
pub fn is_standby(value: &str) -> bool {
    value != "active"
}

/// The metric families of one limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Families {
    /// Family of the served rate.
    pub served: &'static str,
    /// Family of the rate throttled because of the limit.
    pub throttled: &'static str,
    /// Family of the limit in effect.
    pub limit: &'static str,
    /// Family of the limit that on-demand would provide.
    pub on_demand_limit: &'static str,
}

/// Actions: what is billed.
pub const ACTIONS: Families = Families {
    served: "temporal_cloud_v1_total_action_count",
    throttled: "temporal_cloud_v1_total_action_throttled_count",
    limit: "temporal_cloud_v1_action_limit",
    on_demand_limit: "temporal_cloud_v1_action_on_demand_envelope_limit",
};
/// gRPC requests to the frontend.
pub const REQUESTS: Families = Families {
    served: "temporal_cloud_v1_service_request_count",
    throttled: "temporal_cloud_v1_service_request_throttled_count",
    limit: "temporal_cloud_v1_service_request_limit",
    on_demand_limit: "temporal_cloud_v1_service_request_on_demand_envelope_limit",
};
/// Lower-level operations.
pub const OPERATIONS: Families = Families {
    served: "temporal_cloud_v1_operations_count",
    throttled: "temporal_cloud_v1_operations_throttled_count",
    limit: "temporal_cloud_v1_operations_limit",
    on_demand_limit: "temporal_cloud_v1_operations_on_demand_envelope_limit",
};

/// The families of every limit.
pub const LIMITS: [Families; 3] = [ACTIONS, REQUESTS, OPERATIONS];

// Exhaustive: callers keep a value for each limit, and must notice a new one.
/// A limit of a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Limit {
    /// Limit of [`ACTIONS`].
    Actions,
    /// Limit of [`REQUESTS`].
    Requests,
    /// Limit of [`OPERATIONS`].
    Operations,
}

impl Limit {
    /// All limits, in the order of [`LIMITS`].
    pub const ALL: [Self; 3] = [Self::Actions, Self::Requests, Self::Operations];

    /// Returns the families of the limit.
    pub const fn families(self) -> Families {
        LIMITS[self as usize]
    }
}

// Exhaustive: callers keep a value for each part, and must notice a new one.
/// The kind of data that a family contains for a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Family of the served rate.
    Served,
    /// Family of the rate throttled because of the limit.
    Throttled,
    /// Family of the limit in effect.
    Limit,
    /// Family of the limit that on-demand would provide.
    OnDemandLimit,
}

impl Part {
    /// All parts.
    pub const ALL: [Self; 4] = [Self::Served, Self::Throttled, Self::Limit, Self::OnDemandLimit];

    /// Returns whether its series are summed. For limits, only one series counts.
    pub const fn is_rate(self) -> bool {
        matches!(self, Self::Served | Self::Throttled)
    }
}

/// A metric family: one part of one limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Family {
    /// The limit that the family belongs to.
    pub limit: Limit,
    /// The kind of data that the family contains.
    pub part: Part,
}

impl Family {
    /// Returns all families.
    pub fn all() -> impl Iterator<Item = Self> {
        let limits = Limit::ALL.into_iter();
        limits.flat_map(|limit| Part::ALL.map(|part| Self { limit, part }))
    }

    /// Returns the family with this name.
    pub fn named(name: &str) -> Option<Self> {
        // Most names in a document belong to other families.
        let may_be = name.starts_with(PREFIX);
        may_be.then(|| Self::all().find(|family| family.name() == name))?
    }

    /// Returns the full name of the family.
    pub const fn name(self) -> &'static str {
        let families = self.limit.families();
        match self.part {
            Part::Served => families.served,
            Part::Throttled => families.throttled,
            Part::Limit => families.limit,
            Part::OnDemandLimit => families.on_demand_limit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_is_found_by_its_name() {
        for family in Family::all() {
            assert_eq!(Family::named(family.name()), Some(family));
        }
        assert_eq!(Family::named("temporal_cloud_v1_replication_lag_p50"), None);
    }
}
