//! Restrictions: rules outside the policy that block scaling up, scaling down or both.
//!
//! A pause, a scale-up-only evaluation or an unavailable ledger each block a direction, for the account or
//! for one namespace, until a time or until they are lifted. `decide` checks them after the policy's target
//! and before the guards. The first one in the list that applies decides.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::decision::ReasonCode;
use crate::namespace::NamespaceId;

/// The direction of changes that a restriction forbids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Changes to a larger size.
    ScaleUp,
    /// Changes to a smaller size, on-demand included.
    ScaleDown,
    /// All changes.
    Both,
}

impl Direction {
    /// Returns whether this direction includes changes in direction `change`.
    pub const fn covers(self, change: Self) -> bool {
        matches!(
            (self, change),
            (Self::Both, _) | (Self::ScaleUp, Self::ScaleUp) | (Self::ScaleDown, Self::ScaleDown)
        )
    }
}

/// The namespaces that a restriction applies to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[serde(rename_all = "snake_case")]
pub enum RestrictionScope {
    /// All namespaces of the account.
    Account,
    /// One namespace.
    Namespace(NamespaceId),
}

/// The source of a restriction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
#[serde(rename_all = "snake_case")]
pub enum RestrictionOrigin {
    /// A scale-up-only evaluation.
    Evaluation,
    /// The metrics: not everything that a scale-down needs could be read.
    Metrics,
    /// The ledger: unavailable, or not shared by all workers.
    Ledger,
    /// A pause.
    Pause,
    /// An earlier change: its outcome is not recorded, or it changed more than the capacity.
    Change,
}

/// A rule that forbids scaling up, scaling down or both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Restriction {
    /// The forbidden direction.
    pub direction: Direction,
    /// The namespaces that the restriction applies to.
    pub scope: RestrictionScope,
    /// Time when the restriction ends automatically; `None` if it has to be lifted.
    pub until: Option<Timestamp>,
    /// Reason code of decisions that it holds.
    pub code: ReasonCode,
    /// The reason, as a clause that follows `but`, for example `scale-downs are paused`.
    pub reason: String,
    /// Source of the restriction.
    pub origin: RestrictionOrigin,
}

impl Restriction {
    /// Returns a restriction for the whole account that does not end automatically.
    pub fn new(
        direction: Direction,
        code: ReasonCode,
        reason: impl Into<String>,
        origin: RestrictionOrigin,
    ) -> Self {
        Self {
            direction,
            scope: RestrictionScope::Account,
            until: None,
            code,
            reason: reason.into(),
            origin,
        }
    }

    /// Limits the restriction to one namespace.
    #[must_use]
    pub fn on(self, namespace: NamespaceId) -> Self {
        Self {
            scope: RestrictionScope::Namespace(namespace),
            ..self
        }
    }

    /// Ends the restriction at a time.
    #[must_use]
    pub fn until(self, end: Timestamp) -> Self {
        Self {
            until: Some(end),
            ..self
        }
    }

    /// Returns whether the restriction forbids a change of a namespace in a direction at a time.
    pub fn forbids(&self, namespace: &NamespaceId, change: Direction, now: Timestamp) -> bool {
        let in_scope = match &self.scope {
            RestrictionScope::Account => true,
            RestrictionScope::Namespace(only) => only == namespace,
        };
        in_scope && self.direction.covers(change) && self.until.is_none_or(|end| now < end)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn id(name: &str) -> NamespaceId {
        name.parse().expect("an id")
    }

    fn at(minute: i8) -> Timestamp {
        format!("2026-11-20T10:{minute:02}:00Z").parse().expect("a time")
    }

    #[rstest]
    #[case::same(Direction::ScaleDown, Direction::ScaleDown, true)]
    #[case::other(Direction::ScaleUp, Direction::ScaleDown, false)]
    #[case::both_covers_up(Direction::Both, Direction::ScaleUp, true)]
    #[case::both_covers_down(Direction::Both, Direction::ScaleDown, true)]
    fn a_restriction_forbids_its_direction(
        #[case] forbidden: Direction,
        #[case] change: Direction,
        #[case] expected: bool,
    ) {
        let restriction = Restriction::new(forbidden, ReasonCode::Paused, "paused", RestrictionOrigin::Pause);
        assert_eq!(restriction.forbids(&id("pay.a1b2c"), change, at(0)), expected);
    }

    #[test]
    fn a_restriction_ends_at_its_time_and_applies_to_its_namespace_only() {
        let restriction = Restriction::new(
            Direction::Both,
            ReasonCode::SpecChanged,
            "its spec changed",
            RestrictionOrigin::Change,
        )
        .on(id("pay.a1b2c"))
        .until(at(30));
        let forbids = |name: &str, minute| restriction.forbids(&id(name), Direction::ScaleUp, at(minute));
        assert!(forbids("pay.a1b2c", 29));
        assert!(!forbids("pay.a1b2c", 30), "over");
        assert!(!forbids("orders.a1b2c", 29), "another namespace");
    }
}
