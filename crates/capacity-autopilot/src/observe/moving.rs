//! Determines since when a replica has been moving, from its operation, if the service shows it.

use capacity_engine::{Since, Snapshot};
use futures::StreamExt;

use crate::autopilot::Autopilot;

/// Maximum number of operations to look up; beyond it, the value from the list is kept. Few namespaces add or remove a region at
/// a time.
const MOST: usize = 20;
/// Maximum number of concurrent requests for operations.
const CONCURRENT: usize = 4;

/// Fills in when the operations that move replicas began. If an operation cannot be read, the value from the
/// list is kept.
pub(super) async fn look_up(autopilot: &Autopilot, snapshots: &mut [Snapshot]) {
    let filter = &autopilot.settings().rules.filter;
    // Row 1 skips the others, so their operations are not worth a request.
    let is_ours = |snapshot: &Snapshot| {
        !filter.deny.matches(&snapshot.namespace)
            && (filter.allow.is_empty() || filter.allow.matches(&snapshot.namespace))
    };
    let asked: Vec<(usize, String)> = snapshots
        .iter()
        .enumerate()
        .filter(|(_, snapshot)| snapshot.moving_replica.is_some() && is_ours(snapshot))
        .filter_map(|(number, snapshot)| Some((number, snapshot.running_operation.clone()?)))
        .take(MOST)
        .collect();
    let read = |(number, operation): (usize, String)| async move {
        let read = autopilot.ops().async_operation(&operation).await;
        (number, read.ok().and_then(|operation| operation.started_time))
    };
    let began: Vec<_> = futures::stream::iter(asked.into_iter().map(read))
        .buffer_unordered(CONCURRENT)
        .collect()
        .await;
    for (number, began) in began {
        if let (Some(moving), Some(began)) = (&mut snapshots[number].moving_replica, began) {
            moving.since = Some(Since::Exactly(began));
        }
    }
}
