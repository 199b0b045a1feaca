//! Sampling: the body of one activity that runs as long as its worker.

use std::time::Duration;

use capacity_autopilot::{Autopilot, Sampled, Sampler};
use capacity_engine::NamespaceId;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use temporal_worker_kit::SharedClient;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use crate::activity::again;
use crate::controller::{Controller, Trigger};
use crate::health::EvaluationHealth;
use crate::settings::{ActivitySettings, SamplingSettings};
use crate::shutdown::Shutdown;

/// Minimum interval between triggers.
const TRIGGERS_APART: SignedDuration = SignedDuration::from_mins(3);
/// Minimum interval after an evaluation that failed.
const FAILED_APART: SignedDuration = SignedDuration::from_mins(1);
/// Maximum time for the controller to report its last evaluation.
const LAST_EVALUATION: Duration = Duration::from_secs(5);
/// Interval between heartbeats. A cancel request only arrives in the response to a heartbeat, and a stopping worker does not wait
/// for this activity.
const HEARTBEAT: Duration = Duration::from_secs(4);
/// Delay before another worker takes over. If no worker has a ledger, attempts are less frequent, because the library keeps data
/// for each.
const AT_ONCE: Duration = Duration::from_secs(1);
const NO_LEDGER: Duration = Duration::from_secs(20);
/// Maximum time for pruning. The rest is done next time.
const PRUNING: Duration = Duration::from_mins(2);
/// Interval between prunings of the ledger, by the service's clock.
const PRUNE_AGAIN: SignedDuration = SignedDuration::from_hours(1);

/// The progress from which the next attempt continues.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Progress {
    /// When the next round is due (milliseconds since 1970, in the service's time).
    due_ms: Option<i64>,
    /// Time of the last trigger of an evaluation.
    triggered_ms: Option<i64>,
}

/// The dependencies of sampling.
#[derive(Clone, Copy)]
pub(crate) struct SamplingWorker<'a> {
    pub(crate) autopilot: &'a Autopilot,
    pub(crate) client: &'a SharedClient,
    pub(crate) settings: &'a ActivitySettings,
    pub(crate) health: &'a EvaluationHealth,
    pub(crate) shutdown: &'a Shutdown,
}

/// Samples until the worker stops.
pub(crate) async fn sample(
    worker: SamplingWorker<'_>,
    context: &ActivityContext,
) -> Result<(), ActivityError> {
    if worker.autopilot.ledger().is_none() {
        // Another worker may have a ledger.
        let why = "this worker has no ledger (LEDGER_URL), so it samples nothing";
        return Err(again(why, Some(NO_LEDGER)));
    }
    let mut sampling = Sampling {
        worker,
        sampler: Sampler::new(worker.autopilot),
        progress: context
            .heartbeat_details()
            .deserialize::<Progress>()
            .ok()
            .flatten()
            .unwrap_or_default(),
        waiting: Vec::new(),
        pruned_at: None,
    };
    let mut heartbeat = tokio::time::interval(HEARTBEAT);
    loop {
        let progress = sampling.progress;
        let mut turn = std::pin::pin!(sampling.turn());
        loop {
            tokio::select! {
                // In this order: a worker that stops must not begin another turn.
                biased;
                () = context.cancelled() => return Err(ActivityError::cancelled_with_details(progress)),
                () = worker.shutdown.begun() => return Err(again("this worker is shutting down", Some(AT_ONCE))),
                () = &mut turn => break,
                _ = heartbeat.tick() => {}
            }
            // The next attempt continues from the latest heartbeat details.
            context.record_heartbeat(progress).await?;
        }
    }
}

struct Sampling<'a> {
    worker: SamplingWorker<'a>,
    sampler: Sampler<'a>,
    progress: Progress,
    /// Namespaces that are short of capacity and have not been signaled to the controller yet.
    waiting: Vec<NamespaceId>,
    pruned_at: Option<Timestamp>,
}

impl Sampling<'_> {
    /// Waits until a round is due, runs it, and handles its result.
    async fn turn(&mut self) {
        let now = self.worker.autopilot.now();
        if let Some(due) = self.progress.due_ms {
            self.sleep(due.saturating_sub(now.as_millisecond())).await;
        }
        // The interval includes the time of the round itself.
        let began = self.worker.autopilot.now();
        let sampled = self.sampler.round().await;
        let Sampled {
            minute,
            recorded,
            problem,
            short,
            next_in,
            ..
        } = sampled;
        if let Some(problem) = problem {
            self.worker.health.sample_failed();
            tracing::warn!(%problem, recorded, "a usage sample was incomplete or failed");
        } else {
            tracing::debug!(?minute, recorded, "sampled");
        }
        let now = self.worker.autopilot.now();
        let next_ms = i64::try_from(next_in.as_millis()).unwrap_or(i64::MAX);
        self.progress.due_ms = Some(began.as_millisecond().saturating_add(next_ms));
        self.waiting.extend(short);
        let mut apart = TRIGGERS_APART;
        if self.waiting.is_empty() && self.was_in_vain().await {
            self.waiting.extend(self.sampler.throttled().cloned());
            apart = FAILED_APART;
        }
        self.trigger(now, apart).await;
        // Determine the age by the service's clock only.
        if minute.is_some() {
            self.prune(now).await;
        }
    }

    fn controller(&self) -> Controller {
        Controller::new(&self.worker.client.get(), &self.worker.settings.installation)
    }

    async fn sleep(&self, milliseconds: i64) {
        let service = Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0));
        // After a clock jump, never wait longer than the longest interval.
        let service = service.min(Duration::from_hours(1));
        tokio::time::sleep(service.div_f64(self.worker.settings.sampling.speed.max(1.0))).await;
    }

    /// Returns whether something is still throttled and the controller's last evaluation failed or had no metrics. If
    /// so, it is worth triggering another one, because the service that it needed may be back.
    async fn was_in_vain(&self) -> bool {
        if !self.worker.settings.sampling.triggers
            || self.progress.triggered_ms.is_none()
            || self.sampler.throttled().next().is_none()
        {
            return false;
        }
        self.controller()
            .last_evaluation(LAST_EVALUATION)
            .await
            .is_ok_and(|report| report.error.is_some() || report.metrics_unavailable)
    }

    /// Requests an evaluation that may only scale up, unless one was requested recently. In that case, the next turn requests it.
    async fn trigger(&mut self, now: Timestamp, apart: SignedDuration) {
        if self.waiting.is_empty() || !self.worker.settings.sampling.triggers {
            self.waiting.clear();
            return;
        }
        let apart = i64::try_from(apart.as_millis()).unwrap_or(i64::MAX);
        let since = |at: i64| now.as_millisecond().saturating_sub(at);
        if self
            .progress
            .triggered_ms
            // A trigger that lies in the future, after a clock jump, does not count.
            .is_some_and(|at| (0..apart).contains(&since(at)))
        {
            return;
        }
        match self.controller().trigger(Trigger::CapacityIsShort).await {
            Ok(()) => {
                let names: Vec<&str> = self.waiting.iter().take(10).map(NamespaceId::as_str).collect();
                tracing::info!(
                    count = self.waiting.len(),
                    namespaces = names.join(", "),
                    "a namespace is short of capacity: an evaluation was triggered"
                );
                self.progress.triggered_ms = Some(now.as_millisecond());
                self.waiting.clear();
            }
            Err(error) => {
                tracing::warn!(%error, "cannot signal the controller that a namespace is short of capacity");
            }
        }
    }

    /// Aggregates old minutes into hours, and deletes old decisions.
    async fn prune(&mut self, now: Timestamp) {
        let is_recent = |at: Timestamp| now.duration_since(at) < PRUNE_AGAIN;
        let Some(ledger) = self.worker.autopilot.ledger() else {
            return;
        };
        if self.pruned_at.is_some_and(is_recent) {
            return;
        }
        let SamplingSettings {
            keep_minutes,
            keep_decisions,
            ..
        } = self.worker.settings.sampling;
        let pruned = ledger
            .call_within(PRUNING, async |ledger| {
                ledger
                    // Hours are kept forever: the report reads months of them, and they are small.
                    .prune(now, keep_minutes, SignedDuration::MAX, keep_decisions)
                    .await
            })
            .await;
        // This also applies after a failure: the next hour tries again.
        self.pruned_at = Some(now);
        match pruned {
            Ok(pruned) => tracing::debug!(?pruned, "the ledger was pruned"),
            Err(error) => tracing::warn!(%error, "the ledger could not be pruned"),
        }
    }
}
