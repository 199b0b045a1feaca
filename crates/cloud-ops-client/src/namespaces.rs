//! Namespaces, their available sizes, and updates.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::capacity::Capacity;
use crate::spec::Spec;
use crate::wire::{doubles, empty_is_none, null_is_default, wire_enum, zero_is_none};

wire_enum!(
    /// State of a namespace. Only an active one can be changed.
    ResourceState, "RESOURCE_STATE_", {
        /// Being created.
        Activating = 1 "ACTIVATING",
        /// Creation failed.
        ActivationFailed = 2 "ACTIVATION_FAILED",
        /// In service.
        Active = 3 "ACTIVE",
        /// Being updated.
        Updating = 4 "UPDATING",
        /// An update failed; support is needed.
        UpdateFailed = 5 "UPDATE_FAILED",
        /// Being deleted.
        Deleting = 6 "DELETING",
        /// Deletion failed.
        DeleteFailed = 7 "DELETE_FAILED",
        /// Deleted.
        Deleted = 8 "DELETED",
        /// Suspended.
        Suspended = 9 "SUSPENDED",
        /// Expired.
        Expired = 10 "EXPIRED",
    }
);

wire_enum!(
    /// State of a replica.
    ReplicaState, "REPLICA_STATE_", {
        /// Being added.
        Adding = 1 "ADDING",
        /// In service.
        Active = 2 "ACTIVE",
        /// Being removed.
        Removing = 3 "REMOVING",
        /// Failed.
        Failed = 5 "FAILED",
    }
);

/// A namespace as the service reports it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Namespace {
    /// Full id, `name.account`.
    #[serde(deserialize_with = "null_is_default")]
    pub namespace: String,
    /// Version of the namespace for optimistic locking. It changes with every edit, including those of other
    /// people.
    #[serde(alias = "resource_version", deserialize_with = "null_is_default")]
    pub resource_version: String,
    /// The spec, which is the requested state, as received.
    #[serde(deserialize_with = "null_is_default")]
    pub spec: Spec,
    /// State of the namespace.
    #[serde(deserialize_with = "null_is_default")]
    pub state: ResourceState,
    /// Id of the operation that is running on the namespace.
    #[serde(alias = "async_operation_id", deserialize_with = "empty_is_none")]
    pub async_operation_id: Option<String>,
    /// Current capacity; absent if it was never changed.
    pub capacity: Option<Capacity>,
    /// Replicas of the namespace.
    #[serde(deserialize_with = "null_is_default")]
    pub replicas: Vec<Replica>,
    /// Time of the last modification; absent if there was none.
    #[serde(alias = "last_modified_time")]
    pub last_modified_time: Option<Timestamp>,
}

/// One replica of a namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct Replica {
    /// Id of the replica.
    #[serde(deserialize_with = "null_is_default")]
    pub id: String,
    /// State of the replica.
    #[serde(deserialize_with = "null_is_default")]
    pub state: ReplicaState,
    /// Region of the replica, for example `aws-us-east-1`.
    #[serde(deserialize_with = "null_is_default")]
    pub region: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NamespacesPage {
    #[serde(default, deserialize_with = "null_is_default")]
    pub(crate) namespaces: Vec<Namespace>,
    #[serde(default, alias = "next_page_token", deserialize_with = "empty_is_none")]
    pub(crate) next_page_token: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct OneNamespace {
    pub(crate) namespace: Namespace,
}

/// Sizes available to a namespace.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct CapacityInfo {
    /// Whether Temporal Support has set its limits.
    #[serde(alias = "has_legacy_limits", deserialize_with = "null_is_default")]
    pub has_legacy_limits: bool,
    /// Current capacity.
    #[serde(alias = "current_capacity")]
    pub current_capacity: Option<Capacity>,
    /// Options of each mode.
    #[serde(alias = "mode_options", deserialize_with = "null_is_default")]
    pub mode_options: ModeOptions,
}

/// Options of each capacity mode.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct ModeOptions {
    /// Options of provisioned capacity.
    #[serde(deserialize_with = "null_is_default")]
    pub provisioned: ProvisionedOptions,
    /// Options of on-demand capacity.
    #[serde(alias = "on_demand", deserialize_with = "null_is_default")]
    pub on_demand: OnDemandOptions,
}

/// Options of provisioned capacity.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct ProvisionedOptions {
    /// Available numbers of TRUs.
    #[serde(alias = "valid_tru_values", deserialize_with = "doubles")]
    pub valid_tru_values: Vec<f64>,
    /// The highest number of TRUs that is available at the moment; absent or 0 means not reported.
    #[serde(alias = "max_available_tru_value", deserialize_with = "zero_is_none")]
    pub max_available_tru_value: Option<f64>,
}

/// Limits of on-demand capacity.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct OnDemandOptions {
    /// Actions per second; absent or 0 means not reported.
    #[serde(alias = "aps_limit", deserialize_with = "zero_is_none")]
    pub aps_limit: Option<f64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OneCapacityInfo {
    #[serde(alias = "capacity_info")]
    pub(crate) capacity_info: CapacityInfo,
}

// Exhaustive: a value without one of these fields has no meaning.
/// The body of an update: these three fields and no others, because status fields do not belong in a request.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceUpdate {
    /// The whole spec as received, with only the capacity replaced.
    pub spec: Spec,
    /// The version that was read together with the spec.
    pub resource_version: String,
    /// Id of the operation, chosen by the caller. A retry uses the same id.
    pub async_operation_id: String,
}

/// A region that namespaces can run in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct Region {
    /// Id of the region, for example `aws-us-east-1`.
    #[serde(deserialize_with = "null_is_default")]
    pub id: String,
    /// Location of the region, as text.
    #[serde(deserialize_with = "null_is_default")]
    pub location: String,
}

#[derive(Deserialize)]
pub(crate) struct Regions {
    #[serde(default, deserialize_with = "null_is_default")]
    pub(crate) regions: Vec<Region>,
}

wire_enum!(
    /// State of an asynchronous operation. The last four are final.
    OperationState, "STATE_", {
        /// Waiting for its turn.
        Pending = 1 "PENDING",
        /// In progress.
        InProgress = 2 "IN_PROGRESS",
        /// Failed; see the failure reason.
        Failed = 3 "FAILED",
        /// Canceled.
        Cancelled = 4 "CANCELLED",
        /// Fulfilled. A capacity change is not applied yet at this point.
        Fulfilled = 5 "FULFILLED",
        /// Rejected.
        Rejected = 6 "REJECTED",
    }
);

/// An asynchronous operation.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct AsyncOperation {
    /// Id of the operation.
    #[serde(deserialize_with = "null_is_default")]
    pub id: String,
    /// State of the operation.
    #[serde(deserialize_with = "null_is_default")]
    pub state: OperationState,
    /// Time to wait before the next check.
    #[serde(alias = "check_duration", deserialize_with = "crate::wire::duration")]
    pub check_duration: Option<std::time::Duration>,
    /// Reason for the failure.
    #[serde(alias = "failure_reason", deserialize_with = "empty_is_none")]
    pub failure_reason: Option<String>,
    /// Start time.
    #[serde(alias = "started_time")]
    pub started_time: Option<Timestamp>,
    /// End time.
    #[serde(alias = "finished_time")]
    pub finished_time: Option<Timestamp>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OneOperation {
    #[serde(alias = "async_operation")]
    pub(crate) async_operation: AsyncOperation,
}
