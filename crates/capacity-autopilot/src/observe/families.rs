//! Which metric families feed which limit: the one table between the service's names and ours.
//!
//! Source: Temporal's documentation, OpenMetrics metrics reference.

use capacity_engine::LimitKind;

/// The families of one limit, by their full names.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LimitFamilies {
    /// Served per second.
    pub(crate) served: &'static str,
    /// Refused per second because of the limit.
    pub(crate) throttled: &'static str,
    /// The limit in force.
    pub(crate) limit: &'static str,
    /// What on-demand would give.
    pub(crate) envelope: &'static str,
    /// About how many `served` series a namespace has: foreground and background, or one an operation name.
    pub(crate) served_series: f64,
}

/// The families of a limit.
pub(crate) fn families(kind: LimitKind) -> LimitFamilies {
    match kind {
        LimitKind::Actions => LimitFamilies {
            served: "temporal_cloud_v1_total_action_count",
            throttled: "temporal_cloud_v1_total_action_throttled_count",
            limit: "temporal_cloud_v1_action_limit",
            envelope: "temporal_cloud_v1_action_on_demand_envelope_limit",
            served_series: 2.0,
        },
        LimitKind::Requests => LimitFamilies {
            served: "temporal_cloud_v1_service_request_count",
            throttled: "temporal_cloud_v1_service_request_throttled_count",
            limit: "temporal_cloud_v1_service_request_limit",
            envelope: "temporal_cloud_v1_service_request_on_demand_envelope_limit",
            served_series: 50.0,
        },
        LimitKind::Operations => LimitFamilies {
            served: "temporal_cloud_v1_operations_count",
            throttled: "temporal_cloud_v1_operations_throttled_count",
            limit: "temporal_cloud_v1_operations_limit",
            envelope: "temporal_cloud_v1_operations_on_demand_envelope_limit",
            served_series: 50.0,
        },
    }
}

/// What a family says about a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    /// Served per second.
    Served,
    /// Refused per second.
    Throttled,
    /// The limit in force.
    Limit,
    /// What on-demand would give.
    Envelope,
}

impl Role {
    /// All roles.
    pub(crate) const ALL: [Self; 4] = [Self::Served, Self::Throttled, Self::Limit, Self::Envelope];
}

impl LimitFamilies {
    /// Returns the family of a role.
    pub(crate) fn name(&self, role: Role) -> &'static str {
        match role {
            Role::Served => self.served,
            Role::Throttled => self.throttled,
            Role::Limit => self.limit,
            Role::Envelope => self.envelope,
        }
    }
}

/// Returns the full names of all metric families that are used.
pub fn metric_families() -> Vec<&'static str> {
    let all = LimitKind::ALL
        .into_iter()
        .flat_map(|kind| Role::ALL.map(|role| families(kind).name(role)));
    all.collect()
}

/// Finds the limit and role of a family name.
pub(crate) fn find(family: &str) -> Option<(LimitKind, Role)> {
    let all = LimitKind::ALL
        .into_iter()
        .flat_map(|kind| Role::ALL.map(|role| (kind, role)));
    all.into_iter()
        .find(|(kind, role)| families(*kind).name(*role) == family)
}
