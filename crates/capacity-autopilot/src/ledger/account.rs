//! The ledger during one evaluation or sample. After its first failure, it is not called again.

use std::collections::BTreeMap;
use std::time::Duration;

use capacity_engine::{Capacity, NamespaceId, PolicyState};
use capacity_ledger::{Claim, ErrorKind, HistoryFilter, Ledger, LedgerError, Minute};
use jiff::{SignedDuration, Timestamp};

use super::handle::{LedgerHandle, PATIENCE};
use super::minutes::{add_to, keep_newest, minutes_of};
use crate::metrics::{AccountMetrics, LOOK_BACK, Recalled};

/// Maximum time to read the last hour: a large account takes several queries, and a slow database may need seconds for each.
const RECALL_PATIENCE: Duration = Duration::from_secs(30);

/// The part of the ledger that belongs to one account.
pub(crate) struct AccountLedger<'a> {
    handle: Option<&'a LedgerHandle>,
    account: Option<String>,
    failure: Option<LedgerError>,
}

impl<'a> AccountLedger<'a> {
    pub(crate) fn new(handle: Option<&'a LedgerHandle>, account: Option<String>) -> Self {
        Self {
            handle,
            account,
            failure: None,
        }
    }

    /// Returns the first failure.
    pub(crate) fn failure(&self) -> Option<&LedgerError> {
        self.failure.as_ref()
    }

    /// Calls the ledger. Returns `None` if there is none or if it failed; the first failure is kept, and the
    /// ledger is not called again.
    async fn remember<T>(
        &mut self,
        call: impl AsyncFnOnce(&Ledger, &str) -> Result<T, LedgerError>,
    ) -> Option<T> {
        self.remember_within(PATIENCE, call).await
    }

    async fn remember_within<T>(
        &mut self,
        patience: Duration,
        call: impl AsyncFnOnce(&Ledger, &str) -> Result<T, LedgerError>,
    ) -> Option<T> {
        if self.failure.is_some() {
            return None;
        }
        let (ledger, account) = (self.handle?, self.account.clone()?);
        // Boxed, because the type of its callers' futures is too deeply nested for the compiler otherwise.
        let called = Box::pin(ledger.call_within(patience, async |ledger| call(ledger, &account).await));
        match called.await {
            Ok(answer) => Some(answer),
            // Invalid input does not mean that the ledger is unavailable.
            Err(error) if error.kind() == ErrorKind::Input => {
                tracing::warn!(%error, "not recorded");
                None
            }
            Err(error) => {
                tracing::warn!(%error, "the ledger failed");
                self.failure.get_or_insert(error);
                None
            }
        }
    }

    /// Returns the ledger's minutes of the last hour. Only one minute at a time is in memory, because minutes
    /// are large.
    pub(crate) async fn recall(&mut self, now: Timestamp) -> Recalled {
        let mut recalled = Recalled::default();
        let from = now.saturating_sub(LOOK_BACK).unwrap_or(Timestamp::MIN);
        // Ignore minutes in the future: they were written by a clock that jumped.
        let end = now
            .saturating_add(SignedDuration::from_mins(1))
            .unwrap_or(Timestamp::MAX);
        let take = |minute: Minute| {
            keep_newest(&mut recalled.newest, &minute);
            add_to(&mut recalled.older, &minute);
            if minute.complete {
                // Minutes come in order of time, so the last complete one remains.
                recalled.complete = Some(minute.minute);
            }
        };
        self.remember_within(RECALL_PATIENCE, async |ledger, account| {
            ledger.each_minute(account, from, end, take).await
        })
        .await;
        recalled
    }

    /// Claims requests from the hourly budget. If the budget is used up, returns when requests are available again. If the ledger
    /// fails, nothing is claimed.
    pub(crate) async fn claim(&mut self, requests: u32, budget: u32, now: Timestamp) -> Option<Timestamp> {
        let claimed = self
            .remember(async |ledger, account| ledger.claim_requests(account, now, requests, budget).await)
            .await;
        match claimed {
            Some(Claim::Refused { until }) => Some(until),
            _ => None,
        }
    }

    /// Returns how many requests the hourly budget allows until `ahead` from now. `None` if the ledger fails.
    pub(crate) async fn requests_available(
        &mut self,
        ahead: SignedDuration,
        budget: u32,
        now: Timestamp,
    ) -> Option<u32> {
        self.remember(async |ledger, account| ledger.requests_available(account, now, ahead, budget).await)
            .await
    }

    /// Writes what was read. Returns whether the ledger has all of it.
    pub(crate) async fn record(
        &mut self,
        metrics: &AccountMetrics,
        whole: bool,
        source: &str,
        now: Timestamp,
    ) -> bool {
        let minutes = minutes_of(metrics, whole, source, now);
        let recorded = self
            .remember(async |ledger, account| {
                for minute in &minutes {
                    ledger.record_minute(account, minute, now).await?;
                }
                Ok(())
            })
            .await;
        recorded.is_some()
    }

    /// Returns the stored state of a policy, by namespace.
    pub(crate) async fn policy_states(&mut self, policy: &str) -> BTreeMap<String, PolicyState> {
        let records = self
            .remember(async |ledger, account| ledger.policy_states(account, policy).await)
            .await;
        let states = records.into_iter().flatten().map(|record| {
            let state = PolicyState::new(record.version, record.minute, record.state);
            (record.namespace, state)
        });
        states.collect()
    }

    /// Returns the capacity of a namespace before someone else changed it, from the last decision before
    /// that change: the capacity found then, or the one it was changed to.
    pub(crate) async fn capacity_before(
        &mut self,
        namespace: &NamespaceId,
        before: Timestamp,
    ) -> Option<Capacity> {
        let filter = HistoryFilter {
            namespaces: vec![namespace.to_string()],
            to: Some(before),
            limit: 1,
            ..HistoryFilter::default()
        };
        let rows = self
            .remember(async |ledger, account| ledger.history(Some(account), &filter).await)
            .await?;
        let row = rows.into_iter().next()?;
        let is_change = matches!(row.decision.action.as_str(), "Enable" | "Resize" | "Disable");
        let trus = match (row.outcome.as_deref(), is_change && !row.dry_run) {
            // Only an outcome that proves the size: `unknown`, `stuck` or no outcome at all says nothing.
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
}
