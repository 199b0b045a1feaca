//! One reading of metrics: from the ledger, the endpoint or Prometheus; what was read of the endpoint is remembered.

use std::time::Duration;

use capacity_engine::{MetricsProblem, NamespaceId};
use capacity_ledger::{Claim, LedgerError, Minute};
use jiff::{SignedDuration, Timestamp};

use crate::autopilot::Autopilot;
use crate::ledger_handle::PATIENCE;
use crate::metrics::{
    AccountMetrics, Detail, Histories, MetricsSource, Read, Unread, endpoint, keep_newest, minutes_of, stored,
};
use crate::seen::SizesSeen;

/// Minutes that a window may reach back, and what the newest of them may be behind.
pub(crate) const LOOK_BACK: SignedDuration = SignedDuration::from_mins(75);
/// The look-back that contains the newest minute, even a late one.
const NEWEST_ONLY: SignedDuration = SignedDuration::from_mins(10);
/// The minutes of a large account take several queries, and a slow database may need seconds for each.
const RECALL_PATIENCE: Duration = Duration::from_secs(30);
/// The budget is per hour; a claim above any budget only counts.
const NO_BUDGET: u32 = u32::MAX;

/// What is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// An hour is evaluated.
    Evaluation,
    /// The hour is evaluated again: this number of requests is left to the sampler.
    EvaluationAgain {
        /// What a sample takes.
        spared: u32,
    },
    /// The newest minute is recorded.
    Sampling,
}

/// What the ledger holds of the last hour.
#[derive(Debug, Default)]
pub(crate) struct Recalled {
    /// The newest minute of each namespace, as if it had just been read.
    pub(crate) newest: AccountMetrics,
    /// The newest minute in which all namespaces were read.
    pub(crate) complete: Option<Timestamp>,
    /// All minutes.
    pub(crate) older: Histories,
}

impl Recalled {
    /// Adds a minute that is newer than all before.
    fn take(&mut self, minute: &Minute) {
        keep_newest(&mut self.newest, minute);
        self.older.take(minute);
        if minute.complete {
            self.complete = Some(minute.minute);
        }
    }
}

/// Reads metrics of one account, and remembers what failed.
pub(crate) struct Reading<'a> {
    autopilot: &'a Autopilot,
    account: Option<String>,
    /// The first failure of the ledger.
    pub(crate) ledger_failure: Option<LedgerError>,
}

impl<'a> Reading<'a> {
    pub(crate) fn new(autopilot: &'a Autopilot, account: Option<String>) -> Self {
        Self {
            autopilot,
            account,
            ledger_failure: None,
        }
    }

    pub(crate) fn sizes_seen(&self) -> &'a SizesSeen {
        self.autopilot.sizes_seen()
    }

    /// Calls the ledger; `None` if there is none, or if it failed, which is noted. After a failure, the ledger is not called again.
    pub(crate) async fn remember<T>(
        &mut self,
        call: impl AsyncFnOnce(&capacity_ledger::Ledger, &str) -> Result<T, LedgerError>,
    ) -> Option<T> {
        self.remember_within(PATIENCE, call).await
    }

    async fn remember_within<T>(
        &mut self,
        patience: Duration,
        call: impl AsyncFnOnce(&capacity_ledger::Ledger, &str) -> Result<T, LedgerError>,
    ) -> Option<T> {
        if self.ledger_failure.is_some() {
            return None;
        }
        let (ledger, account) = (self.autopilot.ledger()?, self.account.clone()?);
        let called = ledger.call_within(patience, async |ledger| call(ledger, &account).await);
        match called.await {
            Ok(answer) => Some(answer),
            // Invalid input does not mean that the ledger is unavailable.
            Err(error) if error.kind() == capacity_ledger::ErrorKind::Input => {
                tracing::warn!(%error, "not recorded");
                None
            }
            Err(error) => {
                tracing::warn!(%error, "the ledger failed");
                self.ledger_failure.get_or_insert(error);
                None
            }
        }
    }

    /// Returns what the ledger holds of the last hour. One minute at a time is held: they are large.
    pub(crate) async fn recall(&mut self, now: Timestamp) -> Recalled {
        let mut recalled = Recalled::default();
        let from = now.saturating_sub(LOOK_BACK).unwrap_or(Timestamp::MIN);
        // Ignore minutes in the future: they were written by a clock that jumped.
        let end = now
            .saturating_add(SignedDuration::from_mins(1))
            .unwrap_or(Timestamp::MAX);
        let take = |minute| recalled.take(&minute);
        self.remember_within(RECALL_PATIENCE, async |ledger, account| {
            ledger.each_minute(account, from, end, take).await
        })
        .await;
        recalled
    }

    /// Reads metrics of namespaces from where they come from.
    pub(crate) async fn read(
        &mut self,
        namespaces: &[NamespaceId],
        detail: Detail,
        only_these: bool,
        purpose: Purpose,
    ) -> Result<Read, Unread> {
        match self.autopilot.metrics() {
            MetricsSource::Prometheus(client) => {
                let now = self.autopilot.now();
                let back = match purpose {
                    Purpose::Evaluation | Purpose::EvaluationAgain { .. } => LOOK_BACK,
                    Purpose::Sampling => NEWEST_ONLY,
                };
                let from = now.saturating_sub(back).unwrap_or(Timestamp::MIN);
                stored::read(client, namespaces, detail, only_these, from, now).await
            }
            MetricsSource::Endpoint(scraper) => {
                let claimed = endpoint::requests_for(scraper, namespaces, detail, only_these);
                let spared = match purpose {
                    Purpose::EvaluationAgain { spared } => spared,
                    Purpose::Evaluation | Purpose::Sampling => 0,
                };
                self.claim(claimed, scraper.config().requests_per_hour, spared)
                    .await?;
                let read = endpoint::read(scraper, namespaces, detail, only_these).await;
                let made = match &read {
                    Ok((_, made)) => *made,
                    Err(unread) => unread.requests,
                };
                // Retries and split parts were not claimed in advance.
                if made > claimed {
                    self.count(made - claimed, NO_BUDGET).await;
                }
                let (metrics, _) = read?;
                self.autopilot.standby_seen().take(&metrics, self.autopilot.now());
                if let Some(date) = scraper.server_time() {
                    self.autopilot.clock().correct(date);
                }
                Ok(Read {
                    metrics,
                    older: Histories::default(),
                })
            }
        }
    }

    /// A failing ledger claims nothing: then the scraper's own budget applies.
    async fn claim(&mut self, requests: u32, budget: u32, spared: u32) -> Result<(), Unread> {
        let within = budget.saturating_sub(spared);
        let Some(Claim::Refused { until }) = self.count(requests, within).await else {
            if spared > 0 && self.ledger_failure.is_some() {
                // What cannot be counted might take the requests of the next sample. What is queued stays, and is re-evaluated later.
                return Err(Unread::because(
                    "the ledger that stores the request budget does not answer",
                ));
            }
            return Ok(());
        };
        let now = self.autopilot.now();
        let free_in = Duration::try_from(until.duration_since(now)).unwrap_or_default();
        Err(Unread {
            problem: MetricsProblem::OverBudget,
            why: format!(
                "all processes together have spent the budget of {budget} requests an hour (METRICS_REQUESTS_PER_HOUR){}; available again at {}",
                if spared > 0 {
                    format!(", except {spared} for the next sample")
                } else {
                    String::new()
                },
                until.strftime("%H:%M UTC")
            ),
            wait: Some(free_in),
            rejected: None,
            requests: 0,
        })
    }

    async fn count(&mut self, requests: u32, budget: u32) -> Option<Claim> {
        let now = self.autopilot.now();
        self.remember(async |ledger, account| ledger.claim_requests(account, now, requests, budget).await)
            .await
    }

    /// Writes what was read into the ledger. Returns whether all of it is there.
    pub(crate) async fn record(&mut self, metrics: &AccountMetrics, whole: bool) -> bool {
        let (now, source) = (self.autopilot.now(), self.autopilot.metrics().name());
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
}
