//! Finds out how changes ended that the ledger still lists as in progress, because the run that made them was stopped.

use std::collections::BTreeSet;
use std::time::Duration;

use capacity_engine::{Capacity, NamespaceId};
use capacity_ledger::{ChangeRecord, LedgerError};
use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};

use crate::autopilot::Autopilot;
use crate::change::{ChangeOrder, ChangeSteps, Outcome, Progressed};

/// How many changes are checked at the same time.
const AT_ONCE: usize = 8;
/// How long reading one change may take.
const BOUND: Duration = Duration::from_secs(20);
/// If the new capacity does not show this long after the change was recorded, someone must have changed it again.
const ARRIVED: SignedDuration = SignedDuration::from_mins(10);

/// Looks up the changes that the ledger lists as in progress, records the outcomes of those that have ended, and returns them. A
/// change that is still running, or cannot be read now, stays in progress.
///
/// # Errors
///
/// If the ledger cannot be read or written.
pub async fn finish_changes(autopilot: &Autopilot) -> Result<Vec<ChangeRecord>, LedgerError> {
    let Some(ledger) = autopilot.ledger() else {
        return Ok(Vec::new());
    };
    let open = ledger
        .call(async |ledger| ledger.changes_in_progress().await)
        .await?;
    if open.is_empty() {
        return Ok(open);
    }
    let steps = ChangeSteps::new(autopilot.ops().clone(), Vec::new());
    let (steps, now) = (&steps, autopilot.now());
    let ended = futures::stream::iter(open)
        .map(|record| async move {
            let read = tokio::time::timeout(BOUND, ended(steps, record, now));
            read.await.ok().flatten()
        })
        .buffered(AT_ONCE);
    let mut ended: Vec<Ended> = ended.filter_map(std::future::ready).collect().await;
    if ended.iter().any(|ended| ended.is_gone) {
        let accounts = accounts(autopilot).await;
        ended.retain(|ended| !ended.is_gone || accounts.contains(&ended.record.account));
    }
    let ended: Vec<ChangeRecord> = ended.into_iter().map(|ended| ended.record).collect();
    ledger
        .call(async |ledger| ledger.record_changes(&ended).await)
        .await?;
    Ok(ended)
}

/// The record of a change that has ended.
struct Ended {
    record: ChangeRecord,
    is_gone: bool,
}

/// Returns the accounts that the key belongs to: one, or none if that cannot be read. Accounts may share a ledger, and a namespace
/// of another account looks as if it had been deleted.
async fn accounts(autopilot: &Autopilot) -> BTreeSet<String> {
    let mut accounts = BTreeSet::new();
    let listed = autopilot.ops().for_each_namespace(|namespace| {
        let id: Option<NamespaceId> = namespace.namespace.parse().ok();
        accounts.extend(id.and_then(|id| id.account().map(str::to_owned)));
    });
    // What was listed before a failure is right.
    if let Ok(Err(error)) = tokio::time::timeout(BOUND, listed).await {
        tracing::warn!(%error, "cannot list the namespaces");
    }
    accounts
}

async fn ended(steps: &ChangeSteps, mut record: ChangeRecord, now: Timestamp) -> Option<Ended> {
    let capacity = |trus: i64| u32::try_from(trus).ok().map(Capacity::from_trus);
    let order = ChangeOrder {
        namespace: record.namespace.parse().ok()?,
        from: capacity(record.from_trus)?,
        to: capacity(record.to_trus)?,
        operation_id: record.operation_id.clone(),
        // Not used: `check` only reads, and posts nothing.
        resource_version: String::new(),
        sample_minute: None,
    };
    let age = SignedDuration::from_millis(now.as_millisecond().saturating_sub(record.ended_at_ms));
    let checked = steps.check(&order, None).await;
    let (outcome, error) = match checked.progress {
        Progressed::Ended(ending) => (ending.outcome, ending.error),
        Progressed::NeverPosted => (
            Outcome::Unknown,
            Some("the service does not know the operation".to_owned()),
        ),
        Progressed::Arriving if age > ARRIVED => (
            Outcome::Unknown,
            Some(format!(
                "the operation has ended, but the namespace does not have {}",
                order.to
            )),
        ),
        // Looked up again by the next run.
        Progressed::Arriving | Progressed::Running { .. } | Progressed::Unreadable(_) => return None,
    };
    outcome.as_str().clone_into(&mut record.outcome);
    record.error = error;
    record.ended_at_ms = now.as_millisecond();
    Some(Ended {
        record,
        is_gone: checked.is_gone,
    })
}
