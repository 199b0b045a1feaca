//! Which part of a limit a metric family feeds. The families themselves are in the engine's table of limits.

use capacity_engine::{LimitFamilies, LimitKind};

/// What a family says about a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    /// Served per second.
    Served,
    /// Refused per second.
    Throttled,
    /// The limit in effect.
    Limit,
    /// What on-demand would give.
    Envelope,
}

impl Role {
    /// All roles.
    pub(crate) const ALL: [Self; 4] = [Self::Served, Self::Throttled, Self::Limit, Self::Envelope];

    /// Returns the family of this role among those of a limit.
    pub(crate) fn of(self, families: &LimitFamilies) -> &'static str {
        match self {
            Self::Served => families.served,
            Self::Throttled => families.throttled,
            Self::Limit => families.limit,
            Self::Envelope => families.envelope,
        }
    }
}

/// Returns all limits and roles, with their families.
fn all() -> impl Iterator<Item = (LimitKind, Role, &'static str)> {
    LimitKind::ALL
        .into_iter()
        .flat_map(|kind| Role::ALL.map(|role| (kind, role, role.of(kind.families()))))
}

/// Returns the full names of all metric families that are used.
pub fn metric_families() -> Vec<&'static str> {
    all().map(|(_, _, family)| family).collect()
}

/// Finds the limit and role of a family name.
pub(crate) fn find(family: &str) -> Option<(LimitKind, Role)> {
    all()
        .find(|(_, _, name)| *name == family)
        .map(|(kind, role, _)| (kind, role))
}

#[cfg(test)]
mod tests {
    use super::*;
    use openmetrics_reader::temporal_cloud;

    #[test]
    fn the_engine_and_the_reader_name_the_same_families() {
        for (kind, families) in LimitKind::ALL.into_iter().zip(temporal_cloud::LIMITS) {
            let read = [
                families.served,
                families.throttled,
                families.limit,
                families.on_demand_limit,
            ];
            assert_eq!(Role::ALL.map(|role| role.of(kind.families())), read);
        }
    }
}
