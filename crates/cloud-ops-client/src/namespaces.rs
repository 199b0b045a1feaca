//! Namespaces: what they are, which sizes they can have, and the update.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::capacity::Capacity;
use crate::spec::Spec;
use crate::wire::{doubles, empty_is_none, null_is_default, wire_enum, zero_is_none};

wire_enum!(
    /// State of a namespace. Only an active one may be changed.
    ResourceState, "RESOURCE_STATE_", {
        /// Being made.
        Activating = 1 "ACTIVATING",
        /// Could not be made.
        ActivationFailed = 2 "ACTIVATION_FAILED",
        /// In service.
        Active = 3 "ACTIVE",
        /// Being changed.
        Updating = 4 "UPDATING",
        /// A change failed; support is needed.
        UpdateFailed = 5 "UPDATE_FAILED",
        /// Being deleted.
        Deleting = 6 "DELETING",
        /// Could not be deleted.
        DeleteFailed = 7 "DELETE_FAILED",
        /// Gone.
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
    /// Changes with every edit, also by other people: the optimistic lock.
    #[serde(alias = "resource_version", deserialize_with = "null_is_default")]
    pub resource_version: String,
    /// The requested state, as received.
    #[serde(deserialize_with = "null_is_default")]
    pub spec: Spec,
    /// Its state.
    #[serde(deserialize_with = "null_is_default")]
    pub state: ResourceState,
    /// The operation that runs on it.
    #[serde(alias = "async_operation_id", deserialize_with = "empty_is_none")]
    pub async_operation_id: Option<String>,
    /// What it has; absent if it was never changed.
    pub capacity: Option<Capacity>,
    /// Its replicas.
    #[serde(deserialize_with = "null_is_default")]
    pub replicas: Vec<Replica>,
    /// When it was last modified; absent if it never was.
    #[serde(alias = "last_modified_time")]
    pub last_modified_time: Option<Timestamp>,
}

/// One replica of a namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Replica {
    /// Its id.
    #[serde(deserialize_with = "null_is_default")]
    pub id: String,
    /// Its state.
    #[serde(deserialize_with = "null_is_default")]
    pub state: ReplicaState,
    /// Its region, for example `aws-us-east-1`.
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
pub struct CapacityInfo {
    /// Whether Temporal's support has set its limits.
    #[serde(alias = "has_legacy_limits", deserialize_with = "null_is_default")]
    pub has_legacy_limits: bool,
    /// What it has.
    #[serde(alias = "current_capacity")]
    pub current_capacity: Option<Capacity>,
    /// What each mode offers.
    #[serde(alias = "mode_options", deserialize_with = "null_is_default")]
    pub mode_options: ModeOptions,
}

/// What each mode offers.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ModeOptions {
    /// Provisioned.
    #[serde(deserialize_with = "null_is_default")]
    pub provisioned: ProvisionedOptions,
    /// On-demand.
    #[serde(alias = "on_demand", deserialize_with = "null_is_default")]
    pub on_demand: OnDemandOptions,
}

/// What may be provisioned.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProvisionedOptions {
    /// Available numbers of TRUs.
    #[serde(alias = "valid_tru_values", deserialize_with = "doubles")]
    pub valid_tru_values: Vec<f64>,
    /// The highest of them available at the moment; absent or 0 means not reported.
    #[serde(alias = "max_available_tru_value", deserialize_with = "zero_is_none")]
    pub max_available_tru_value: Option<f64>,
}

/// What on-demand gives.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OnDemandOptions {
    /// Actions per second; none or 0 means that it was not reported.
    #[serde(alias = "aps_limit", deserialize_with = "zero_is_none")]
    pub aps_limit: Option<f64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OneCapacityInfo {
    #[serde(alias = "capacity_info")]
    pub(crate) capacity_info: CapacityInfo,
}

/// The body of an update: these three fields and no other, since status fields are not part of a request.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceUpdate {
    /// The whole spec as received, but for the capacity.
    pub spec: Spec,
    /// The version that was read with it.
    pub resource_version: String,
    /// The id of the operation, chosen by the caller: a repeated request repeats it.
    pub async_operation_id: String,
}

/// A region that namespaces can live in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Region {
    /// Its id, for example `aws-us-east-1`.
    #[serde(deserialize_with = "null_is_default")]
    pub id: String,
    /// Where it is, as text.
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
        /// Waits for its turn.
        Pending = 1 "PENDING",
        /// In progress.
        InProgress = 2 "IN_PROGRESS",
        /// Failed; see the failure reason.
        Failed = 3 "FAILED",
        /// Cancelled.
        Cancelled = 4 "CANCELLED",
        /// Done. For a capacity change that is not yet "applied".
        Fulfilled = 5 "FULFILLED",
        /// Rejected.
        Rejected = 6 "REJECTED",
    }
);

/// An asynchronous operation.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AsyncOperation {
    /// Its id.
    #[serde(deserialize_with = "null_is_default")]
    pub id: String,
    /// Its state.
    #[serde(deserialize_with = "null_is_default")]
    pub state: OperationState,
    /// How long to wait before asking again.
    #[serde(alias = "check_duration", deserialize_with = "crate::wire::duration")]
    pub check_duration: Option<std::time::Duration>,
    /// Why it failed.
    #[serde(alias = "failure_reason", deserialize_with = "empty_is_none")]
    pub failure_reason: Option<String>,
    /// When it began.
    #[serde(alias = "started_time")]
    pub started_time: Option<Timestamp>,
    /// When it ended.
    #[serde(alias = "finished_time")]
    pub finished_time: Option<Timestamp>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OneOperation {
    #[serde(alias = "async_operation")]
    pub(crate) async_operation: AsyncOperation,
}
