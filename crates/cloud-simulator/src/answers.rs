//! The service's JSON: proto3 JSON without default values.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::account::Access;
use crate::faults::OperationFault;
use crate::namespace::{Namespace, RequestState};
use crate::operation::Operation;

/// Returns a namespace, as in the responses to list and get.
pub(crate) fn namespace(namespace: &Namespace, now: Timestamp) -> Value {
    let state = if namespace.running.is_some() {
        "RESOURCE_STATE_UPDATING"
    } else {
        namespace.setup.state
    };
    let mut replicas = vec![json!({
        "id": "1", "isPrimary": true, "state": "REPLICA_STATE_ACTIVE", "region": "aws-us-east-1",
    })];
    if let Some(state) = namespace.setup.second_replica {
        replicas.push(json!({ "id": "2", "state": state, "region": "aws-us-west-2" }));
    }
    let limit = namespace.limits()[0];
    #[expect(clippy::cast_possible_truncation, reason = "limits are far below 2^31")]
    let mut answer = json!({
        "namespace": namespace.id,
        "resourceVersion": namespace.version_text(),
        "spec": namespace.spec,
        "state": state,
        "endpoints": {
            "webAddress": format!("https://cloud.temporal.io/namespaces/{}", namespace.id),
            "grpcAddress": format!("{}.tmprl.cloud:7233", namespace.id),
        },
        "activeRegion": "aws-us-east-1",
        "limits": { "actionsPerSecondLimit": limit as i64 },
        "createdTime": "2025-03-01T08:00:00Z",
        "replicas": replicas,
    });
    if let Some(operation) = &namespace.running {
        answer["asyncOperationId"] = json!(operation);
    }
    if let Some(modified) = namespace.modified {
        answer["lastModifiedTime"] = json!(modified.min(now));
    }
    if namespace.ever_set || namespace.request.is_some() {
        answer["capacity"] = capacity(namespace);
    }
    answer
}

fn capacity(namespace: &Namespace) -> Value {
    let mut capacity = match namespace.trus {
        0 => json!({ "onDemand": {} }),
        trus => json!({ "provisioned": { "currentValue": trus } }),
    };
    if let Some(request) = &namespace.request {
        let state = match request.state {
            RequestState::InProgress => "STATE_CAPACITY_REQUEST_IN_PROGRESS",
            RequestState::Completed => "STATE_CAPACITY_REQUEST_COMPLETED",
            RequestState::Failed => "STATE_CAPACITY_REQUEST_FAILED",
        };
        let mut latest = json!({
            "state": state,
            "startTime": request.started,
            "asyncOperationId": request.operation,
            "spec": capacity_spec(request.wanted),
        });
        if let Some(ended) = request.ended {
            latest["endTime"] = json!(ended);
        }
        capacity["latestRequest"] = latest;
    }
    capacity
}

pub(crate) fn capacity_info(namespace: &Namespace) -> Value {
    let mut provisioned = json!({ "validTruValues": namespace.setup.ladder });
    if let Some(inventory) = namespace.setup.inventory {
        provisioned["maxAvailableTruValue"] = json!(inventory);
    }
    let mut info = json!({
        "namespace": namespace.id,
        "currentCapacity": if namespace.ever_set { capacity(namespace) } else { json!({ "onDemand": {} }) },
        "modeOptions": {
            "provisioned": provisioned,
            "onDemand": { "apsLimit": namespace.envelopes()[0] },
        },
        "stats": { "aps": { "mean": namespace.setup.usual_actions().unwrap_or(0.0) } },
    });
    if namespace.setup.support_actions_limit.is_some() {
        info["hasLegacyLimits"] = json!(true);
    }
    info
}

pub(crate) fn operation(operation: &Operation, now: Timestamp, check_duration: &str) -> Value {
    let half = operation
        .started
        .saturating_add(operation.ends.duration_since(operation.started) / 2);
    let state = match (operation.ended, operation.fault) {
        // Half of the time each, so that clients meet both states.
        (false, _) if half.is_ok_and(|half| now < half) => "STATE_PENDING",
        (false, _) => "STATE_IN_PROGRESS",
        (true, OperationFault::None | OperationFault::Stuck) => "STATE_FULFILLED",
        (true, OperationFault::Failed) => "STATE_FAILED",
        (true, OperationFault::Rejected) => "STATE_REJECTED",
        (true, OperationFault::Cancelled) => "STATE_CANCELLED",
    };
    let mut answer = json!({
        "id": operation.id,
        "state": state,
        "checkDuration": check_duration,
        "operationType": "UpdateNamespace",
        "startedTime": operation.started,
    });
    if operation.ended {
        answer["finishedTime"] = json!(operation.ends);
        if operation.fault != OperationFault::None {
            answer["failureReason"] = json!("simulated");
        }
    }
    answer
}

/// Returns the owner of the operations key.
pub(crate) fn identity(namespaces: &[Namespace], key_expires: Timestamp) -> Value {
    // A service account can have a role on a limited number of namespaces; in large accounts it has a role on
    // the whole account.
    let by_namespace = namespaces.len() <= 200;
    let accesses: serde_json::Map<String, Value> = namespaces
        .iter()
        .filter(|it| by_namespace && it.setup.access != Access::None)
        .map(|it| {
            let permission = if it.setup.access == Access::Admin {
                "PERMISSION_ADMIN"
            } else {
                "PERMISSION_READ"
            };
            (it.id.clone(), json!({ "permission": permission }))
        })
        .collect();
    let role = if by_namespace { "ROLE_READ" } else { "ROLE_ADMIN" };
    json!({
        "serviceAccount": {
            "id": "sa-capacity",
            "spec": {
                "name": "capacity-ops",
                "access": { "accountAccess": { "role": role }, "namespaceAccesses": accesses },
            },
            "state": "RESOURCE_STATE_ACTIVE",
        },
        "principalApiKey": {
            "id": "key-1",
            "spec": {
                "ownerId": "sa-capacity",
                "displayName": "capacity autopilot",
                "expiryTime": key_expires,
            },
            "state": "RESOURCE_STATE_ACTIVE",
        },
    })
}

/// Returns the available regions.
pub(crate) fn regions() -> Value {
    json!({ "regions": [
        {
            "id": "aws-us-east-1", "cloudProvider": "CLOUD_PROVIDER_AWS",
            "cloudProviderRegion": "us-east-1", "location": "US East (N. Virginia)",
        },
        {
            "id": "aws-us-west-2", "cloudProvider": "CLOUD_PROVIDER_AWS",
            "cloudProviderRegion": "us-west-2", "location": "US West (Oregon)",
        },
    ] })
}

pub(crate) fn capacity_spec(trus: u32) -> Value {
    if trus == 0 {
        json!({ "onDemand": {} })
    } else {
        json!({ "provisioned": { "value": trus } })
    }
}
