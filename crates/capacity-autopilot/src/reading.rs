//! Reads metrics once, from the ledger, the endpoint or Prometheus, and records what was read from the
//! endpoint.

use std::time::Duration;

use capacity_engine::{MetricsProblem, NamespaceId};
use human_text::at_minute;
use jiff::{SignedDuration, Timestamp};

use crate::autopilot::Autopilot;
use crate::ledger::AccountLedger;
use crate::metrics::{
    AccountMetrics, Detail, Histories, LOOK_BACK, MetricsSource, Read, Unread, endpoint, prometheus,
};
use crate::seen::SizesSeen;

/// A look-back that contains the newest minute, even if it is late.
const NEWEST_ONLY: SignedDuration = SignedDuration::from_mins(10);
/// The budget if none applies, so that requests are only counted.
const NO_BUDGET: u32 = u32::MAX;

/// The purpose of a reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// An evaluation.
    Evaluation,
    /// A re-evaluation, which leaves this number of requests to the sampler.
    EvaluationAgain {
        /// Number of requests that a sample takes.
        spared: u32,
    },
    /// A sample of the newest minute.
    Sampling,
}

/// Reads the metrics of one account, and keeps failures.
pub(crate) struct Reading<'a> {
    autopilot: &'a Autopilot,
    /// The part of the ledger that belongs to the account.
    pub(crate) ledger: AccountLedger<'a>,
}

impl<'a> Reading<'a> {
    pub(crate) fn new(autopilot: &'a Autopilot, account: Option<String>) -> Self {
        Self {
            autopilot,
            ledger: AccountLedger::new(autopilot.ledger(), account),
        }
    }

    pub(crate) fn sizes_seen(&self) -> &'a SizesSeen {
        self.autopilot.sizes_seen()
    }

    /// Reads the metrics of namespaces from the configured source.
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
                let before = |span| now.saturating_sub(span).unwrap_or(Timestamp::MIN);
                // Limits of a minute that is too old to decide on are not used.
                let usable = NEWEST_ONLY.max(self.autopilot.settings().metrics_max_age());
                let (from, limits_from) = (before(back), before(usable));
                prometheus::read(client, namespaces, detail, only_these, from, limits_from, now).await
            }
            MetricsSource::Endpoint(scraper) => {
                let claimed = endpoint::requests_for(scraper, namespaces, detail, only_these);
                let spared = match purpose {
                    Purpose::EvaluationAgain { spared } => spared,
                    Purpose::Evaluation | Purpose::Sampling => 0,
                };
                // Claimed before the request: two processes that ask at once must not both take the last
                // one.
                self.claim(claimed, scraper.config().requests_per_hour, spared)
                    .await?;
                let read = endpoint::read(scraper, namespaces, detail, only_these).await;
                let made = match &read {
                    Ok((_, made)) => *made,
                    Err(unread) => unread.requests,
                };
                // Retries and split parts were not claimed in advance.
                if made > claimed {
                    let now = self.autopilot.now();
                    // The requests have been made, so no budget may refuse to count them.
                    self.ledger.claim(made - claimed, NO_BUDGET, now).await;
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

    /// Claims requests from the budget. If the ledger fails, nothing is claimed, and the scraper's own budget
    /// applies.
    async fn claim(&mut self, requests: u32, budget: u32, spared: u32) -> Result<(), Unread> {
        let within = budget.saturating_sub(spared);
        let now = self.autopilot.now();
        let Some(until) = self.ledger.claim(requests, within, now).await else {
            if spared > 0 && self.ledger.failure().is_some() {
                // Requests that cannot be counted might be those of the next sample. Queued changes stay
                // queued and are re-evaluated later.
                return Err(Unread::because(
                    "the ledger that stores the request budget does not respond",
                ));
            }
            return Ok(());
        };
        let free_in = Duration::try_from(until.duration_since(now)).unwrap_or_default();
        Err(Unread {
            problem: MetricsProblem::OverBudget,
            why: format!(
                "all processes together have used up the budget of {budget} requests an hour \
                 (METRICS_REQUESTS_PER_HOUR){}; available again at {}",
                if spared > 0 {
                    format!(", except {spared} for the next sample")
                } else {
                    String::new()
                },
                at_minute(until)
            ),
            wait: Some(free_in),
            rejected: None,
            requests: 0,
        })
    }

    /// Returns how many requests the budget allows until `ahead` from now; `None` if none applies, or if the
    /// ledger fails.
    pub(crate) async fn requests_available(&mut self, ahead: SignedDuration) -> Option<u32> {
        let MetricsSource::Endpoint(scraper) = self.autopilot.metrics() else {
            return None;
        };
        let (budget, now) = (scraper.config().requests_per_hour, self.autopilot.now());
        self.ledger.requests_available(ahead, budget, now).await
    }

    /// Writes what was read to the ledger. Returns whether the ledger has all of it.
    pub(crate) async fn record(&mut self, metrics: &AccountMetrics, whole: bool) -> bool {
        let (now, source) = (self.autopilot.now(), self.autopilot.metrics().name());
        self.ledger.record(metrics, whole, source, now).await
    }
}
