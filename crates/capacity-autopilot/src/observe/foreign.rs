//! Looks up the capacity of a namespace before someone else changed it. The service does not report it, but
//! this process or the ledger may have seen it.

use capacity_engine::{CapacityRequest, RequestState, Snapshot};
use jiff::{SignedDuration, Timestamp};

use crate::reading::Reading;

/// Maximum number of other people's changes that are looked up in one evaluation.
const MOST: usize = 20;
/// Maximum age of a change that is reported.
const LATELY: SignedDuration = SignedDuration::from_hours(24);

/// Fills in the capacity of namespaces before someone else recently changed it.
pub(super) async fn look_up(reading: &mut Reading<'_>, snapshots: &mut [Snapshot], now: Timestamp) {
    let mut asked = 0;
    for snapshot in snapshots {
        let Some(request) = snapshot.latest_request.as_mut().filter(|it| is_foreign(it, now)) else {
            continue;
        };
        request.from = reading.sizes_seen().before(&snapshot.namespace, request);
        let began = request.started_at.or(request.ended_at);
        if let (None, Some(began)) = (request.from, began)
            && asked < MOST
        {
            asked += 1;
            request.from = reading.ledger.capacity_before(&snapshot.namespace, began).await;
        }
    }
}

fn is_foreign(request: &CapacityRequest, now: Timestamp) -> bool {
    let is_recent = || {
        let ended = request.took_effect_at();
        ended.is_none_or(|ended| now.duration_since(ended) < LATELY)
    };
    !request.ours && request.state != RequestState::Failed && is_recent()
}
