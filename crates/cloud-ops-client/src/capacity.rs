//! Capacity as the service represents it in a status, a spec and a request.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};

use crate::wire::{Double, empty_is_none, wire_enum};

// Exhaustive: a mode of a later API is `Unknown`.
/// A capacity mode. On-demand, provisioned and absent are three different things.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum CapacityMode {
    /// No mode is given.
    #[default]
    Absent,
    /// On-demand.
    OnDemand,
    /// Provisioned, with the number of TRUs as received (a double); `None` if it is absent or 0.
    Provisioned(Option<f64>),
    /// A mode that this version of the client does not know, by its name.
    Unknown(String),
}

/// The capacity of a namespace.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Capacity {
    /// The mode in effect, including the current number of TRUs.
    pub mode: CapacityMode,
    /// The latest request to change the capacity.
    pub latest_request: Option<CapacityRequest>,
}

/// A request to change the capacity.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CapacityRequest {
    /// Current state of the request.
    #[serde(alias = "state")]
    pub state: CapacityRequestState,
    /// Start time.
    #[serde(alias = "start_time")]
    pub start_time: Option<Timestamp>,
    /// End time.
    #[serde(alias = "end_time")]
    pub end_time: Option<Timestamp>,
    /// The operation that carries it out.
    #[serde(alias = "async_operation_id", deserialize_with = "empty_is_none")]
    pub async_operation_id: Option<String>,
    /// The requested capacity.
    pub spec: Option<CapacitySpec>,
}

/// The capacity field of a spec.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CapacitySpec(pub CapacityMode);

wire_enum!(
    /// State of a capacity request.
    CapacityRequestState, "STATE_CAPACITY_REQUEST_", {
        /// Carried out.
        Completed = 1 "COMPLETED",
        /// In progress.
        InProgress = 2 "IN_PROGRESS",
        /// Failed.
        Failed = 3 "FAILED",
        /// Rejected. Not in the published description, but known from operations.
        Rejected = 4 "REJECTED",
        /// Canceled. Not in the published description, but known from operations.
        Cancelled = 5 "CANCELLED",
    }
);

/// The fields of both messages: `value` in a spec, `currentValue` in a status.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct ProvisionedMember {
    #[serde(default, alias = "currentValue", alias = "current_value")]
    value: Option<Double>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Members {
    #[serde(default, alias = "on_demand")]
    on_demand: Option<serde_json::Map<String, serde_json::Value>>,
    #[serde(default)]
    provisioned: Option<ProvisionedMember>,
    #[serde(default, alias = "latest_request")]
    latest_request: Option<CapacityRequest>,
    #[serde(flatten)]
    others: serde_json::Map<String, serde_json::Value>,
}

impl Members {
    fn mode(&self) -> CapacityMode {
        match (&self.on_demand, &self.provisioned) {
            (Some(_), Some(_)) => CapacityMode::Unknown("both onDemand and provisioned".to_owned()),
            (Some(_), None) => CapacityMode::OnDemand,
            (None, Some(member)) => {
                let value = member.value.map(|double| double.0);
                // Proto3 omits zeros, so 0 means that no value was sent, and not on-demand, which has its own
                // field.
                CapacityMode::Provisioned(value.filter(|value| value.abs() > 0.0 || value.is_nan()))
            }
            // An unknown field that contains an object may be an unknown mode.
            (None, None) => match self.others.iter().find(|(_, value)| value.is_object()) {
                Some((name, _)) => CapacityMode::Unknown(name.chars().take(60).collect()),
                None => CapacityMode::Absent,
            },
        }
    }
}

impl<'de> Deserialize<'de> for Capacity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let members = Members::deserialize(deserializer)?;
        Ok(Self {
            mode: members.mode(),
            latest_request: members.latest_request,
        })
    }
}

impl<'de> Deserialize<'de> for CapacitySpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Members::deserialize(deserializer)?.mode()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::on_demand(r#"{"onDemand":{}}"#, CapacityMode::OnDemand)]
    #[case::snake_case(r#"{"on_demand":{}}"#, CapacityMode::OnDemand)]
    #[case::null_members(
        r#"{"onDemand":null,"provisioned":{"currentValue":4}}"#,
        CapacityMode::Provisioned(Some(4.0))
    )]
    #[case::as_a_spec(r#"{"provisioned":{"value":6.0}}"#, CapacityMode::Provisioned(Some(6.0)))]
    #[case::as_text(r#"{"provisioned":{"value":"6"}}"#, CapacityMode::Provisioned(Some(6.0)))]
    #[case::without_value(r#"{"provisioned":{}}"#, CapacityMode::Provisioned(None))]
    #[case::zero(r#"{"provisioned":{"currentValue":0}}"#, CapacityMode::Provisioned(None))]
    #[case::nothing("{}", CapacityMode::Absent)]
    #[case::future(r#"{"elastic":{"min":2}}"#, CapacityMode::Unknown("elastic".to_owned()))]
    #[case::future_flag(r#"{"onDemand":{},"note":"x"}"#, CapacityMode::OnDemand)]
    fn on_demand_provisioned_and_nothing_are_three_things(
        #[case] json: &str,
        #[case] expected: CapacityMode,
    ) {
        let capacity: Capacity = serde_json::from_str(json).expect("parses");
        assert_eq!(capacity.mode, expected);
    }

    #[test]
    fn both_at_once_is_no_known_mode() {
        let capacity: Capacity =
            serde_json::from_str(r#"{"onDemand":{},"provisioned":{"value":2}}"#).expect("parses");
        assert!(matches!(capacity.mode, CapacityMode::Unknown(_)));
    }

    #[rstest]
    #[case::name(r#""STATE_CAPACITY_REQUEST_IN_PROGRESS""#, CapacityRequestState::InProgress)]
    #[case::number("3", CapacityRequestState::Failed)]
    #[case::null("null", CapacityRequestState::Unspecified)]
    #[case::new(r#""STATE_CAPACITY_REQUEST_QUEUED""#, CapacityRequestState::Other("STATE_CAPACITY_REQUEST_QUEUED".to_owned()))]
    #[case::new_number("17", CapacityRequestState::Other("17".to_owned()))]
    fn states_are_names_or_numbers_and_new_ones_appear(
        #[case] json: &str,
        #[case] expected: CapacityRequestState,
    ) {
        assert_eq!(
            serde_json::from_str::<CapacityRequestState>(json).expect("parses"),
            expected
        );
    }
}
