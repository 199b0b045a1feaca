//! Capacity, the ladder of available sizes, and what the service reports about both.

use std::fmt;
use std::num::NonZeroU32;

use human_text::noun;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// A number of Temporal Resource Units (TRUs), at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Trus(NonZeroU32);

impl Trus {
    /// Returns this number of TRUs; `None` for 0, which means on-demand.
    pub const fn try_new(count: u32) -> Option<Self> {
        match NonZeroU32::new(count) {
            Some(count) => Some(Self(count)),
            None => None,
        }
    }

    /// Converts a wire value (a double); `None` unless it is a whole number from 1 to 100,000.
    pub fn from_wire(value: f64) -> Option<Self> {
        if value.fract().abs() > 0.0 || !(1.0..=100_000.0).contains(&value) {
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "whole and in range, as just checked"
        )]
        Self::try_new(value as u32)
    }

    /// Returns the number.
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for Trus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.get(), noun(self.get(), "TRU"))
    }
}

// Exhaustive: a namespace is either on-demand or has TRUs. Anything else that a service reports is a `ReportedMode`.
/// The capacity of a namespace. On-demand is the lowest option of one ladder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Capacity {
    // The order of the variants is the order of sizes: the derived `Ord` tells a scale-up from a
    // scale-down.
    /// Limits follow the usage of the last 7 days; only the actions used are billed.
    OnDemand,
    /// Limits are this multiple of one TRU's limits, and a minimum number of actions is billed each hour.
    Provisioned(Trus),
}

impl Capacity {
    /// Returns the TRUs; 0 means on-demand.
    pub const fn trus(self) -> u32 {
        match self {
            Self::OnDemand => 0,
            Self::Provisioned(trus) => trus.get(),
        }
    }

    /// Returns the capacity with this number of TRUs; 0 means on-demand.
    pub const fn from_trus(trus: u32) -> Self {
        match Trus::try_new(trus) {
            Some(trus) => Self::Provisioned(trus),
            None => Self::OnDemand,
        }
    }
}

impl fmt::Display for Capacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OnDemand => f.write_str("on-demand"),
            Self::Provisioned(trus) => trus.fmt(f),
        }
    }
}

/// The numbers of TRUs that a namespace can be set to: the API's `validTruValues`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "Vec<Trus>", into = "Vec<Trus>")]
pub struct Ladder {
    steps: Vec<Trus>,
}

impl From<Vec<Trus>> for Ladder {
    fn from(mut steps: Vec<Trus>) -> Self {
        steps.sort_unstable();
        // The API documents no order and does not promise distinct values; `contains` searches a sorted
        // list.
        steps.dedup();
        Self { steps }
    }
}

impl From<Ladder> for Vec<Trus> {
    fn from(ladder: Ladder) -> Self {
        ladder.steps
    }
}

impl Ladder {
    /// Builds the ladder from the values that the API lists, skipping values that are not a whole number of
    /// TRUs.
    pub fn from_wire(valid_tru_values: &[f64]) -> Self {
        let steps = valid_tru_values
            .iter()
            .filter_map(|value| Trus::from_wire(*value));
        Self::from(steps.collect::<Vec<Trus>>())
    }

    /// Returns the steps, lowest first.
    pub fn steps(&self) -> &[Trus] {
        &self.steps
    }

    /// Returns whether there are no steps.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Returns whether this size is available.
    pub fn contains(&self, trus: Trus) -> bool {
        self.steps.binary_search(&trus).is_ok()
    }

    /// Returns the lowest step that is at least `trus`.
    pub fn at_least(&self, trus: Trus) -> Option<Trus> {
        self.steps.iter().copied().find(|step| *step >= trus)
    }

    /// Returns the highest step.
    pub fn highest(&self) -> Option<Trus> {
        self.steps.last().copied()
    }
}

/// A capacity mode as the service reports it in a status, a spec or a request.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ReportedMode {
    /// The service reports no mode.
    #[default]
    Absent,
    /// On-demand.
    OnDemand,
    /// This number of TRUs.
    Provisioned(Trus),
    /// Provisioned, but the number is missing or invalid.
    ProvisionedWithoutValue,
    /// A mode that this version does not support.
    Unknown(String),
}

impl From<Capacity> for ReportedMode {
    fn from(capacity: Capacity) -> Self {
        match capacity {
            Capacity::OnDemand => Self::OnDemand,
            Capacity::Provisioned(trus) => Self::Provisioned(trus),
        }
    }
}

impl fmt::Display for ReportedMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("nothing"),
            Self::OnDemand => f.write_str("on-demand"),
            Self::Provisioned(trus) => trus.fmt(f),
            Self::ProvisionedWithoutValue => f.write_str("provisioned without a value"),
            Self::Unknown(mode) => write!(f, "a mode that this version does not support ({mode})"),
        }
    }
}

/// Status of a capacity request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RequestState {
    /// Carried out.
    Completed,
    /// In progress. An unspecified or unknown state counts as this.
    InProgress,
    /// Failed, rejected or canceled: the requested capacity was not applied.
    Failed,
}

/// The latest request to change a namespace's capacity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CapacityRequest {
    /// Current state of the request.
    pub state: RequestState,
    /// Start time.
    pub started_at: Option<Timestamp>,
    /// End time.
    pub ended_at: Option<Timestamp>,
    /// The operation that carries it out.
    pub operation_id: Option<String>,
    /// Whether this autopilot requested it, recognized by the layout of the operation id.
    pub ours: bool,
    /// The capacity before the request, if known. The service does not report it.
    pub from: Option<Capacity>,
    /// The requested capacity.
    pub to: Option<Capacity>,
}

/// Temporal's target for applying a capacity change: two minutes (documentation, capacity modes page).
const TIME_TO_APPLY: SignedDuration = SignedDuration::from_mins(2);

impl CapacityRequest {
    /// Returns a request by someone else in this state, with all other fields unknown.
    pub const fn new(state: RequestState) -> Self {
        Self {
            state,
            started_at: None,
            ended_at: None,
            operation_id: None,
            ours: false,
            from: None,
            to: None,
        }
    }

    /// Returns when the change took effect; `None` unless it completed and has a timestamp.
    pub fn took_effect_at(&self) -> Option<Timestamp> {
        match self.state {
            // Without any time of effect, metrics from before the change would count as metrics of the new
            // size.
            RequestState::Completed => self.ended_at.or_else(|| {
                self.started_at
                    .and_then(|started| started.checked_add(TIME_TO_APPLY).ok())
            }),
            RequestState::InProgress | RequestState::Failed => None,
        }
    }

    /// Formats the change, as far as it is known: ` from 4 TRUs to 8 TRUs`. Begins with a space.
    pub fn from_to(&self) -> String {
        let part = |word: &str, capacity: Option<Capacity>| {
            capacity.map_or_else(String::new, |capacity| format!(" {word} {capacity}"))
        };
        // A request for the current capacity changes nothing observable.
        let from = self.from.filter(|from| Some(*from) != self.to);
        format!("{}{}", part("from", from), part("to", self.to))
    }
}

/// Why the current capacity of a namespace is unknown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnknownCapacity {
    /// The status reports something that is not a capacity.
    #[error("the status reports {0}")]
    Status(ReportedMode),
    /// There is no status, and the spec asks for provisioned capacity.
    #[error("the status reports no capacity, the spec {0}")]
    NoStatus(ReportedMode),
    /// Status and spec differ, and no request failed.
    #[error("the status reports {status}, the spec {spec}")]
    Different {
        /// Capacity in the status.
        status: Capacity,
        /// Capacity in the spec.
        spec: ReportedMode,
    },
}

/// Determines the current capacity from status and spec.
///
/// The status is the current capacity, and the spec is the last requested one. They differ legitimately only
/// after a failed request. If there is no status at all, the namespace is on-demand unless the spec says
/// otherwise.
///
/// # Errors
///
/// If the capacity cannot be determined.
pub fn present_capacity(
    status: &ReportedMode,
    spec: &ReportedMode,
    latest: Option<&CapacityRequest>,
) -> Result<Capacity, UnknownCapacity> {
    // After a failed, rejected or canceled request, the spec still asks for the size that was not applied.
    let wish_failed = latest.is_some_and(|request| request.state == RequestState::Failed);
    let present = match status {
        ReportedMode::OnDemand => Capacity::OnDemand,
        ReportedMode::Provisioned(trus) => Capacity::Provisioned(*trus),
        // The service may leave zeros out of its JSON, so a missing number can mean 0 or a value that got
        // lost. Neither may pass for on-demand.
        ReportedMode::ProvisionedWithoutValue | ReportedMode::Unknown(_) => {
            return Err(UnknownCapacity::Status(status.clone()));
        }
        ReportedMode::Absent => match spec {
            ReportedMode::Absent | ReportedMode::OnDemand => Capacity::OnDemand,
            ReportedMode::Provisioned(_)
            | ReportedMode::ProvisionedWithoutValue
            | ReportedMode::Unknown(_) => {
                return Err(UnknownCapacity::NoStatus(spec.clone()));
            }
        },
    };
    let spec_agrees = *spec == ReportedMode::Absent || *spec == ReportedMode::from(present);
    if spec_agrees || wish_failed {
        Ok(present)
    } else {
        Err(UnknownCapacity::Different {
            status: present,
            spec: spec.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn trus(count: u32) -> Trus {
        Trus::try_new(count).expect("positive")
    }

    #[test]
    fn a_ladder_is_sorted_and_skips_values_that_are_not_whole_trus() {
        let ladder = Ladder::from_wire(&[8.0, 2.0, 2.0, 2.5, f64::NAN, -4.0, 0.0, 4.0]);
        assert_eq!(ladder.steps(), [trus(2), trus(4), trus(8)]);
        assert_eq!(ladder.at_least(trus(5)), Some(trus(8)));
        assert_eq!(ladder.at_least(trus(9)), None);
    }

    #[rstest]
    #[case::nothing_said(ReportedMode::Absent, ReportedMode::Absent, Some(0))]
    #[case::status_absent_spec_on_demand(ReportedMode::Absent, ReportedMode::OnDemand, Some(0))]
    #[case::status_absent_spec_provisioned(ReportedMode::Absent, ReportedMode::Provisioned(trus(4)), None)]
    #[case::both_agree(
        ReportedMode::Provisioned(trus(4)),
        ReportedMode::Provisioned(trus(4)),
        Some(4)
    )]
    #[case::they_disagree(ReportedMode::Provisioned(trus(4)), ReportedMode::Provisioned(trus(6)), None)]
    #[case::spec_absent(ReportedMode::Provisioned(trus(4)), ReportedMode::Absent, Some(4))]
    #[case::spec_without_value(ReportedMode::OnDemand, ReportedMode::ProvisionedWithoutValue, None)]
    #[case::no_value(ReportedMode::ProvisionedWithoutValue, ReportedMode::Absent, None)]
    #[case::unknown_mode(ReportedMode::Unknown("elastic".to_owned()), ReportedMode::Absent, None)]
    fn present_capacity_is_determined_from_status_and_spec(
        #[case] status: ReportedMode,
        #[case] spec: ReportedMode,
        #[case] expected: Option<u32>,
    ) {
        let completed = CapacityRequest::new(RequestState::Completed);
        assert_eq!(
            present_capacity(&status, &spec, Some(&completed))
                .ok()
                .map(Capacity::trus),
            expected
        );
    }

    #[test]
    fn after_a_failed_request_the_spec_is_ignored() {
        let failed = CapacityRequest::new(RequestState::Failed);
        let present = present_capacity(
            &ReportedMode::OnDemand,
            &ReportedMode::Provisioned(trus(6)),
            Some(&failed),
        );
        assert_eq!(present, Ok(Capacity::OnDemand));
    }
}
