//! The check that made a decision, as a row of the table of checks.

use crate::decision::ReasonCode;

/// The check that made the decision, as a row of the table of checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Number of the check, from 1 to 13.
    pub number: u8,
    /// Name of the check.
    pub name: &'static str,
}

/// Returns the row that produced a decision with this code. `wished` is whether the policy wanted a change
/// that was held.
pub fn row_of(code: ReasonCode, wished: bool) -> Row {
    let (number, name) = match code {
        ReasonCode::Denied | ReasonCode::NotAllowed => (1, "allowlist and denylist"),
        ReasonCode::NamespaceNotActive => (2, "namespace state"),
        ReasonCode::ReplicaMoving => (3, "replicas"),
        ReasonCode::ChangeInProgress => (4, "change in progress"),
        // Two checks use these codes, but only a guard runs after the policy has named a target.
        ReasonCode::CapacityUnknown | ReasonCode::LimitsUnknown if wished => (13, "guards"),
        ReasonCode::CapacityUnknown => (5, "current capacity"),
        // Row 6 ends a judgment before the policy is asked; with a target, it was a restriction with the same code.
        ReasonCode::MetricsIncomplete if wished => (12, "restrictions"),
        ReasonCode::MetricsIncomplete => (6, "account metrics"),
        ReasonCode::MetricsMissing => (7, "namespace metrics"),
        ReasonCode::MetricsStale => (8, "age of the metrics"),
        ReasonCode::WaitingForEffect => (9, "effect of the last change"),
        ReasonCode::LimitsUnknown => (10, "limits"),
        ReasonCode::LedgerUnavailable
        | ReasonCode::LedgersDiffer
        | ReasonCode::ScaleUpOnly
        | ReasonCode::Paused
        | ReasonCode::ScaleUpPaused
        | ReasonCode::ScaleDownPaused
        | ReasonCode::OutcomeNotRecorded
        | ReasonCode::SpecChanged
        | ReasonCode::UnknownThrottling => (12, "restrictions"),
        ReasonCode::NotPermitted
        | ReasonCode::CapacityInfoUnavailable
        | ReasonCode::NoStepHelps
        | ReasonCode::NoInventory
        | ReasonCode::OnDemandTooSmall
        | ReasonCode::SizeTooSmall
        | ReasonCode::SetBySupport
        | ReasonCode::NotRegainable
        | ReasonCode::ChangedByOthers
        | ReasonCode::OwnNamespace => (13, "guards"),
        _ => (11, "policy"),
    };
    Row { number, name }
}
