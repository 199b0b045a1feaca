//! Converts the service's data about a namespace to our types.

use capacity_engine::{
    Capacity, CapacityInfo, CapacityRequest, InvalidNamespaceId, KnownCapacityInfo, Ladder, MovingReplica,
    NamespaceId, Rate, ReportedMode, RequestState, Since, Snapshot, Trus, UnknownCapacity,
};
use cloud_ops_client::{
    CapacityMode, CapacityRequestState, Error, Namespace, ReplicaState, ResourceState, WantedCapacity,
};
use human_text::{at_minute, chain};

use crate::operation_id::is_ours;

/// A namespace of the list, as kept until its metrics are read.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    pub(crate) id: NamespaceId,
    pub(crate) resource_version: String,
    pub(crate) snapshot: Snapshot,
}

impl TryFrom<Namespace> for Listed {
    type Error = InvalidNamespaceId;

    fn try_from(namespace: Namespace) -> Result<Self, InvalidNamespaceId> {
        let id: NamespaceId = namespace.namespace.parse()?;
        Ok(Self {
            snapshot: snapshot(&id, &namespace),
            resource_version: namespace.resource_version,
            id,
        })
    }
}

fn snapshot(id: &NamespaceId, namespace: &Namespace) -> Snapshot {
    let inactive = namespace.state != ResourceState::Active;
    let moving = namespace
        .replicas
        .iter()
        .find(|replica| replica.state != ReplicaState::Active);
    let mut snapshot = Snapshot::unknown(id.clone());
    snapshot.inactive_state = inactive.then(|| namespace.state.to_string());
    snapshot.moving_replica = moving.map(|replica| {
        let what = replica_state(&replica.region, &replica.state);
        MovingReplica::new(what, moving_since(&replica.state, namespace))
    });
    snapshot
        .running_operation
        .clone_from(&namespace.async_operation_id);
    snapshot.status = status(namespace);
    snapshot.spec = mode(&namespace.spec.capacity());
    snapshot.latest_request = latest_request(namespace);
    snapshot
}

/// Formats the state of a replica: `replica aws-us-west-2 is being added`.
fn replica_state(region: &str, state: &ReplicaState) -> String {
    let state = match state {
        ReplicaState::Adding => "is being added".to_owned(),
        ReplicaState::Removing => "is being removed".to_owned(),
        ReplicaState::Failed => "has failed".to_owned(),
        ReplicaState::Unspecified => "is in an unspecified state".to_owned(),
        ReplicaState::Active | ReplicaState::Other(_) => format!("is {state}"),
    };
    format!("replica {region} {state}")
}

/// Returns since when a replica has been moving. That begins with a modification of the namespace, so it was at the last
/// modification or earlier.
fn moving_since(state: &ReplicaState, namespace: &Namespace) -> Option<Since> {
    match state {
        ReplicaState::Adding | ReplicaState::Removing => namespace.last_modified_time.map(Since::AtLeast),
        // A replica fails without a modification of the namespace, so nothing shows since when.
        ReplicaState::Active | ReplicaState::Failed | ReplicaState::Unspecified | ReplicaState::Other(_) => {
            None
        }
    }
}

/// The names of an account's namespaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Names {
    /// Account id, if the namespace ids contain it.
    pub(crate) account: Option<String>,
    /// Names, sorted.
    pub(crate) names: Vec<NamespaceId>,
}

impl Names {
    pub(crate) fn of(listed: &[Listed]) -> Self {
        let names: Vec<NamespaceId> = listed.iter().map(|listed| listed.id.clone()).collect();
        Self {
            account: account_of(names.iter()),
            names,
        }
    }

    pub(crate) fn contains(&self, name: &NamespaceId) -> bool {
        self.names.binary_search(name).is_ok()
    }
}

/// Returns the account id, if the namespace ids contain it.
pub(crate) fn account_of<'a>(mut namespaces: impl Iterator<Item = &'a NamespaceId>) -> Option<String> {
    // A list holds one account, so the first id with an account is enough.
    namespaces.find_map(|namespace| namespace.account().map(str::to_owned))
}

/// Returns the current capacity of a namespace that was just read, by the same rule as decisions.
pub(crate) fn present_capacity(namespace: &Namespace) -> Result<Capacity, UnknownCapacity> {
    capacity_engine::present_capacity(
        &status(namespace),
        &mode(&namespace.spec.capacity()),
        latest_request(namespace).as_ref(),
    )
}

/// Returns whether a namespace is or may be provisioned. The sampler then reads all of its usage.
pub fn may_be_provisioned(namespace: &Namespace) -> bool {
    present_capacity(namespace) != Ok(Capacity::OnDemand)
}

/// Returns whether a listed namespace is on-demand for certain.
pub(crate) fn is_on_demand(snapshot: &Snapshot) -> bool {
    let Snapshot {
        status,
        spec,
        latest_request,
        ..
    } = snapshot;
    capacity_engine::present_capacity(status, spec, latest_request.as_ref()) == Ok(Capacity::OnDemand)
}

fn status(namespace: &Namespace) -> ReportedMode {
    namespace
        .capacity
        .as_ref()
        .map(|capacity| mode(&capacity.mode))
        .unwrap_or_default()
}

fn mode(mode: &CapacityMode) -> ReportedMode {
    match mode {
        CapacityMode::Absent => ReportedMode::Absent,
        CapacityMode::OnDemand => ReportedMode::OnDemand,
        CapacityMode::Provisioned(value) => value
            .and_then(Trus::from_wire)
            .map_or(ReportedMode::ProvisionedWithoutValue, ReportedMode::Provisioned),
        CapacityMode::Unknown(name) => ReportedMode::Unknown(name.clone()),
    }
}

fn latest_request(namespace: &Namespace) -> Option<CapacityRequest> {
    let request = namespace.capacity.as_ref()?.latest_request.as_ref()?;
    let mut latest = CapacityRequest::new(request_state(&request.state));
    latest.started_at = request.start_time;
    latest.ended_at = request.end_time;
    latest.operation_id.clone_from(&request.async_operation_id);
    latest.ours = request.async_operation_id.as_deref().is_some_and(is_ours);
    latest.to = request.spec.as_ref().and_then(|spec| asked_for(&spec.0));
    Some(latest)
}

fn asked_for(mode: &CapacityMode) -> Option<Capacity> {
    match mode {
        CapacityMode::OnDemand => Some(Capacity::OnDemand),
        CapacityMode::Provisioned(value) => value.and_then(Trus::from_wire).map(Capacity::Provisioned),
        CapacityMode::Absent | CapacityMode::Unknown(_) => None,
    }
}

/// Describes who requested the latest capacity, when, and from what to what, if it was someone else. Begins
/// with a comma.
pub(crate) fn someone_elses_change(namespace: &Namespace, from: Capacity) -> String {
    let Some(mut request) = latest_request(namespace).filter(|request| !request.ours) else {
        return String::new();
    };
    request.from = Some(from);
    let when = request.ended_at.or(request.started_at);
    let when = when.map_or_else(String::new, |when| format!(" at {}", at_minute(when)));
    let operation = request.operation_id.as_ref();
    let operation = operation.map_or_else(String::new, |id| format!(" (operation {id})"));
    format!(", someone else changed it{}{when}{operation}", request.from_to())
}

/// Converts the state of a request. A missing or unknown state may mean that the request is in progress.
pub(crate) fn request_state(state: &CapacityRequestState) -> RequestState {
    match state {
        CapacityRequestState::Completed => RequestState::Completed,
        CapacityRequestState::Failed | CapacityRequestState::Rejected | CapacityRequestState::Cancelled => {
            RequestState::Failed
        }
        CapacityRequestState::Unspecified
        | CapacityRequestState::InProgress
        | CapacityRequestState::Other(_) => RequestState::InProgress,
    }
}

/// Returns the sizes that the service offers, or why they are unknown.
pub(crate) fn capacity_info(read: Result<cloud_ops_client::CapacityInfo, Error>) -> CapacityInfo {
    let info = match read {
        Ok(info) => info,
        Err(error) => return CapacityInfo::Unavailable { why: chain(&error) },
    };
    let provisioned = &info.mode_options.provisioned;
    let current = info
        .current_capacity
        .map(|capacity| mode(&capacity.mode))
        .unwrap_or_default();
    let mut known = KnownCapacityInfo::new(Ladder::from_wire(&provisioned.valid_tru_values), current);
    // If the ceiling is between two whole numbers, use the lower one.
    known.ceiling = provisioned
        .max_available_tru_value
        .map(f64::floor)
        .and_then(Trus::from_wire);
    known.on_demand_actions = info
        .mode_options
        .on_demand
        .aps_limit
        .and_then(Rate::from_per_second);
    known.has_legacy_limits = info.has_legacy_limits;
    CapacityInfo::Known(known)
}

pub(crate) fn wanted_capacity(capacity: Capacity) -> WantedCapacity {
    match capacity {
        Capacity::OnDemand => WantedCapacity::OnDemand,
        Capacity::Provisioned(trus) => WantedCapacity::Provisioned(trus.get()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn namespace(json: &str) -> Namespace {
        serde_json::from_str(json).expect("a namespace")
    }

    #[test]
    fn inactive_states_are_described_in_words() {
        let listed = Listed::try_from(namespace(
            r#"{"namespace":"pay.a1b2c","state":"RESOURCE_STATE_UPDATE_FAILED","replicas":[
                {"id":"1","state":"REPLICA_STATE_ACTIVE","region":"aws-us-east-1"},
                {"id":"2","state":"REPLICA_STATE_ADDING","region":"aws-us-west-2"}]}"#,
        ))
        .expect("an id");
        assert_eq!(listed.snapshot.inactive_state.as_deref(), Some("update failed"));
        let moving = listed.snapshot.moving_replica.expect("one moves");
        assert_eq!(
            (moving.what.as_str(), moving.since),
            ("replica aws-us-west-2 is being added", None)
        );
    }

    #[test]
    fn a_replica_has_been_moving_at_least_since_the_last_modification() {
        let since = |state: &str| {
            let json = format!(
                r#"{{"namespace":"pay.a1b2c","lastModifiedTime":"2026-11-20T08:00:00Z",
                    "replicas":[{{"id":"2","state":"{state}","region":"aws-us-west-2"}}]}}"#
            );
            let listed = Listed::try_from(namespace(&json)).expect("an id");
            listed.snapshot.moving_replica.expect("one moves").since
        };
        let modified = "2026-11-20T08:00:00Z".parse().expect("a time");
        assert_eq!(since("REPLICA_STATE_ADDING"), Some(Since::AtLeast(modified)));
        assert_eq!(
            since("REPLICA_STATE_FAILED"),
            None,
            "it may have failed at any time since"
        );
    }

    #[rstest]
    #[case::never_set(r#"{"namespace":"a.b"}"#, Ok(0))]
    #[case::wished_only(r#"{"namespace":"a.b","spec":{"capacitySpec":{"provisioned":{"value":4}}}}"#, Err(()))]
    #[case::has_it(
        r#"{"namespace":"a.b","spec":{"capacitySpec":{"provisioned":{"value":4}}},"capacity":{"provisioned":{"currentValue":4}}}"#,
        Ok(4)
    )]
    #[case::half_a_tru(r#"{"namespace":"a.b","capacity":{"provisioned":{"currentValue":2.5}}}"#, Err(()))]
    #[case::canceled_wish(
        r#"{"namespace":"a.b","spec":{"capacitySpec":{"provisioned":{"value":6}}},
            "capacity":{"onDemand":{},"latestRequest":{"state":"STATE_CAPACITY_REQUEST_CANCELLED"}}}"#,
        Ok(0)
    )]
    fn present_capacity_is_determined_as_in_decisions(#[case] json: &str, #[case] expected: Result<u32, ()>) {
        assert_eq!(
            present_capacity(&namespace(json))
                .map(Capacity::trus)
                .map_err(|_| ()),
            expected
        );
    }

    #[test]
    fn our_requests_are_recognized_by_the_layout_of_their_id() {
        let listed = |id: &str| {
            let json = format!(
                r#"{{"namespace":"a.b","capacity":{{"onDemand":{{}},"latestRequest":{{"state":1,"asyncOperationId":"{id}"}}}}}}"#
            );
            Listed::try_from(namespace(&json))
                .expect("an id")
                .snapshot
                .latest_request
                .expect("a request")
        };
        let ours = crate::operation_id("a.b".parse().as_ref().expect("an id"), Capacity::OnDemand, "plan");
        assert!(listed(&ours).ours);
        let other = listed("2f0c0c5e-0f0e-4b58-9d8e-6a1f2b3c4d5e");
        assert!(!other.ours);
        assert_eq!(other.state, RequestState::Completed);
    }
}
