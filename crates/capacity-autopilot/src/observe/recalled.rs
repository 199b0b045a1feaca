//! A past decision from the ledger: its record, and the inputs as far as the ledger has them.

use capacity_engine::explain::Inputs;
use capacity_engine::{
    AccountView, Capacity, CapacityInfo, KnownCapacityInfo, Ladder, LimitKind, MetricsHealth, NamespaceId,
    PerLimit, Policy, Rate, ReportedMode, ReportedUsage, Snapshot, UsageGap,
};
use capacity_ledger::{HistoryFilter, HistoryRow, Ledger, LedgerError, NamespaceMinute};
use jiff::{SignedDuration, Timestamp};

use super::history::Histories;
use super::reading::LOOK_BACK;

/// The endpoint shows a minute three minutes later.
const SHOWN_AFTER: SignedDuration = SignedDuration::from_mins(3);

/// What Temporal documents as the sizes.
const DOCUMENTED: [f64; 7] = [2.0, 3.0, 4.0, 6.0, 8.0, 10.0, 12.0];

/// A decision that the ledger holds.
#[derive(Debug, Clone)]
pub struct RecalledDecision {
    /// What was recorded.
    pub row: HistoryRow,
    /// What it rested on: usage and limits are recorded. Capacity info, requests, replicas, restrictions and what a policy
    /// remembered then are not, so the documented sizes, nothing in the way and no memory are assumed.
    pub inputs: Inputs,
}

/// Returns the newest decision about a namespace, at or before a time if one is given; `None` if the ledger has none.
///
/// # Errors
///
/// If the ledger cannot be read.
pub async fn decision_in_ledger(
    ledger: &Ledger,
    namespace: &NamespaceId,
    at: Option<Timestamp>,
    policy: &Policy,
) -> Result<Option<RecalledDecision>, LedgerError> {
    let filter = HistoryFilter {
        namespaces: vec![namespace.to_string()],
        to: at.and_then(|at| at.checked_add(SignedDuration::from_millis(1)).ok()),
        limit: 1,
        ..HistoryFilter::default()
    };
    let Some(row) = ledger.history(None, &filter).await?.pop() else {
        return Ok(None);
    };
    let now = Timestamp::from_millisecond(row.evaluated_at_ms).unwrap_or_default();
    let from = now.saturating_sub(LOOK_BACK).unwrap_or(Timestamp::MIN);
    let shown = now.saturating_sub(SHOWN_AFTER).unwrap_or(now);
    let mut histories = Histories::default();
    let mut newest = None;
    // The end does not belong to the window.
    let to = shown
        .saturating_add(SignedDuration::from_secs(1))
        .unwrap_or(shown);
    for minute in ledger.window(&row.decision.account, from, to).await? {
        histories.take(&minute);
        let samples = minute.samples.into_iter();
        let of_namespace = samples.filter(|sample| &*sample.namespace == namespace.as_str());
        newest = of_namespace
            .last()
            .map(|sample| (minute.minute, sample))
            .or(newest);
    }
    let inputs = Inputs {
        snapshot: snapshot(namespace, &row, newest, &histories),
        account: AccountView::new(MetricsHealth::Complete),
        policy: policy.clone(),
        // The policy's state at that time is not kept.
        state: None,
        now,
    };
    Ok(Some(RecalledDecision { row, inputs }))
}

fn snapshot(
    namespace: &NamespaceId,
    row: &HistoryRow,
    newest: Option<(Timestamp, NamespaceMinute)>,
    histories: &Histories,
) -> Snapshot {
    let trus = row
        .decision
        .current_trus
        .and_then(|trus| u32::try_from(trus).ok());
    let present = ReportedMode::from(Capacity::from_trus(trus.unwrap_or(0)));
    let mut snapshot = Snapshot::unknown(namespace.clone());
    snapshot.status = present.clone();
    snapshot.spec = present;
    if let Some((minute, sample)) = newest {
        let rate = |micros: Option<u64>| micros.map(Rate::from_micros_per_second);
        let newest = super::history::sample_of(minute, &sample);
        snapshot.limits = PerLimit::from_fn(|kind| rate(sample.limits[kind as usize]));
        snapshot.envelopes = PerLimit::from_fn(|kind| rate(sample.envelopes[kind as usize]));
        snapshot.usage_gaps =
            PerLimit::from_fn(|kind| (!newest.served_read[kind]).then_some(UsageGap::NotRead));
        snapshot.usage = ReportedUsage::Known(histories.window(namespace, newest));
    }
    let ladder = Ladder::from_wire(&DOCUMENTED);
    let mut info = KnownCapacityInfo::new(ladder, ReportedMode::Absent);
    info.on_demand_actions = snapshot.envelopes[LimitKind::Actions];
    snapshot.capacity_info = CapacityInfo::Known(info);
    snapshot
}
