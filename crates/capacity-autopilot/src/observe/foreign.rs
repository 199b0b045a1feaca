//! What a namespace had before someone else changed it. The service does not say: this process has seen it, or the ledger has.

use capacity_engine::{Capacity, CapacityRequest, NamespaceId, RequestState, Snapshot};
use capacity_ledger::HistoryFilter;
use jiff::{SignedDuration, Timestamp};

use crate::reading::Reading;

/// Changes of others that are looked up in one evaluation, at most.
const MOST: usize = 20;
/// Older ones are not reported.
const LATELY: SignedDuration = SignedDuration::from_hours(24);

/// Fills in what namespaces had before someone else changed them lately.
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
            request.from = in_ledger(reading, &snapshot.namespace, began).await;
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

/// Taken from the last decision before the change: what was found then, or what it was changed to.
async fn in_ledger(
    reading: &mut Reading<'_>,
    namespace: &NamespaceId,
    before: Timestamp,
) -> Option<Capacity> {
    let filter = HistoryFilter {
        namespaces: vec![namespace.to_string()],
        to: Some(before),
        limit: 1,
        ..HistoryFilter::default()
    };
    let rows = reading
        .remember(async |ledger, account| ledger.history(Some(account), &filter).await)
        .await?;
    let row = rows.into_iter().next()?;
    let is_change = matches!(row.decision.action.as_str(), "Enable" | "Resize" | "Disable");
    let trus = match (row.outcome.as_deref(), is_change && !row.dry_run) {
        (Some("changed" | "already"), true) => row.decision.wanted_trus,
        (Some("refused" | "not_permitted" | "not_started" | "failed"), true) | (_, false) => {
            row.decision.current_trus
        }
        // It is unknown whether it was carried out.
        (_, true) => None,
    };
    trus.and_then(|trus| u32::try_from(trus).ok())
        .map(Capacity::from_trus)
}
