//! The sampler: one activity that lives as long as its worker, and a workflow that has another worker go on with it.
#![allow(missing_docs, reason = "the macros make public items of their own")]

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use capacity_autopilot::{Autopilot, Sampled, Sampler};
use capacity_engine::NamespaceId;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use temporal_worker_kit::Lenient;
use temporalio_client::{Client, WorkflowIdConflictPolicy, WorkflowIdReusePolicy, WorkflowStartOptions};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use temporalio_sdk::{ApplicationFailure, WorkflowContext, WorkflowContextView, WorkflowResult};
use tokio::sync::watch;

use crate::activities::CapacityActivities;
use crate::controller_client::{Trigger, last_evaluation, signal};
use crate::messages::SampleRequest;
use crate::names::Installation;
use crate::options;

/// Triggers are at least so far apart.
const TRIGGERS_APART: SignedDuration = SignedDuration::from_mins(3);
/// The same after an evaluation that failed.
const FAILED_APART: SignedDuration = SignedDuration::from_mins(1);
/// How long the controller may take to report its last evaluation.
const LAST_EVALUATION: Duration = Duration::from_secs(5);
/// A cancel request only arrives on the answer to a heartbeat, and a worker that ends is not waited for.
const HEARTBEAT: Duration = Duration::from_secs(4);
/// How often the worker checks that the sampler is running.
const LOOK_AGAIN: Duration = Duration::from_mins(1);
/// A worker that ends is followed at once; where no worker has a ledger, the library keeps something of each attempt.
const AT_ONCE: Duration = Duration::from_secs(1);
const NO_LEDGER: Duration = Duration::from_secs(20);
/// How long pruning may take; the rest is done the next time.
const PRUNING: Duration = Duration::from_mins(2);
/// How often the ledger is pruned, in the service's time.
const PRUNE_AGAIN: SignedDuration = SignedDuration::from_hours(1);

/// How a worker samples.
#[derive(Debug, Clone)]
pub struct SamplingSettings {
    /// Whether throttling and high use trigger an evaluation.
    pub triggers: bool,
    /// How much faster than real time the service's time runs; 1 but for a simulated one.
    pub speed: f64,
    /// How long minutes are kept before they are folded into hours.
    pub keep_minutes: SignedDuration,
    /// How long decisions and changes are kept.
    pub keep_decisions: SignedDuration,
}

impl Default for SamplingSettings {
    fn default() -> Self {
        Self {
            triggers: true,
            speed: 1.0,
            keep_minutes: SignedDuration::from_hours(14 * 24),
            keep_decisions: SignedDuration::from_hours(400 * 24),
        }
    }
}

impl SamplingSettings {
    /// In faster simulated time, evaluations run at shorter intervals as well.
    pub(crate) fn evaluations_apart_ms(&self) -> Option<u64> {
        let apart = Duration::from_secs(20).div_f64(self.speed.max(1.0));
        (self.speed > 1.0).then(|| u64::try_from(apart.as_millis()).unwrap_or(u64::MAX))
    }
}

/// Whether a worker is shutting down. Clones share it.
#[derive(Debug, Clone)]
pub struct Shutdown(Arc<watch::Sender<bool>>);

impl Default for Shutdown {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }
}

impl Shutdown {
    /// Stops what would otherwise run forever, so that another worker takes it immediately.
    pub fn begin(&self) {
        self.0.send_replace(true);
    }

    async fn begun(&self) {
        // The sender lives in `self`, so the channel cannot close.
        let _ = self.0.subscribe().wait_for(|begun| *begun).await;
    }
}

/// Keeps usage sampled.
#[workflow]
pub struct UsageSampler {
    request: SampleRequest,
}

#[workflow_methods]
impl UsageSampler {
    #[init]
    pub fn new(_context: &WorkflowContextView, input: Lenient<SampleRequest>) -> Self {
        Self { request: input.value }
    }

    #[run(name = "UsageSampler")]
    pub async fn run(context: &mut WorkflowContext<Self>) -> WorkflowResult<()> {
        let request = context.state(|it| it.request.clone());
        // Retries of an activity write nothing into the history, however many there are.
        context
            .execute_activity(CapacityActivities::sample_usage, request, options::sampling())
            .await?;
        Ok(())
    }
}

/// Starts the sampler if it does not run, again and again; without a ledger to sample into it does nothing. Never ends.
pub async fn keep_sampling(
    client: &Client,
    installation: &Installation,
    autopilot: &Autopilot,
) -> Infallible {
    if autopilot.ledger().is_none() {
        return std::future::pending().await;
    }
    loop {
        let options = WorkflowStartOptions::new(installation.task_queue(), installation.sampler_id())
            .id_conflict_policy(WorkflowIdConflictPolicy::UseExisting)
            .id_reuse_policy(WorkflowIdReusePolicy::AllowDuplicate)
            .static_summary("Usage sampler")
            .build();
        let started = client.start_workflow(UsageSampler::run, Lenient::default(), options);
        match tokio::time::timeout(Duration::from_secs(15), started).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the usage sampler could not be started"),
            Err(_) => tracing::warn!("the usage sampler could not be started in time"),
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// What the next attempt continues with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Progress {
    /// When the next round is due (milliseconds since 1970, in the service's time).
    due_ms: Option<i64>,
    /// When an evaluation was last triggered.
    triggered_ms: Option<i64>,
}

/// Samples until the worker ends.
pub(crate) async fn sample(
    activities: &CapacityActivities,
    context: &ActivityContext,
) -> Result<(), ActivityError> {
    if activities.autopilot.ledger().is_none() {
        // Another worker may have a ledger.
        let why = "this worker has no ledger (LEDGER_URL): nothing is sampled here";
        return Err(retried(why, NO_LEDGER));
    }
    let mut sampling = Sampling {
        activities,
        sampler: Sampler::new(&activities.autopilot),
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
                biased;
                () = context.cancelled() => return Err(ActivityError::cancelled_with_details(progress)),
                () = activities.shutdown.begun() => return Err(retried("this worker is shutting down", AT_ONCE)),
                () = &mut turn => break,
                _ = heartbeat.tick() => {}
            }
            // The next attempt continues from the newest heartbeat details.
            context.record_heartbeat(progress).await?;
        }
    }
}

fn retried(why: &str, after: Duration) -> ActivityError {
    ApplicationFailure::builder(std::io::Error::other(why.to_owned()))
        .next_retry_delay(after)
        .build()
        .into()
}

struct Sampling<'a> {
    activities: &'a CapacityActivities,
    sampler: Sampler<'a>,
    progress: Progress,
    /// Namespaces that are short of capacity and not yet signaled to the controller.
    waiting: Vec<NamespaceId>,
    pruned_at: Option<Timestamp>,
}

impl Sampling<'_> {
    /// Waits until a round is due, makes it, and does what follows of it.
    async fn turn(&mut self) {
        let now = self.activities.autopilot.now();
        if let Some(due) = self.progress.due_ms {
            self.sleep(due.saturating_sub(now.as_millisecond())).await;
        }
        // The interval includes the time of the round itself.
        let began = self.activities.autopilot.now();
        let sampled = self.sampler.round().await;
        let Sampled {
            minute,
            recorded,
            problem,
            short,
            next_in,
        } = sampled;
        if let Some(problem) = problem {
            self.activities.health.sample_failed();
            tracing::warn!(%problem, recorded, "a usage sample was incomplete or failed");
        } else {
            tracing::debug!(?minute, recorded, "sampled");
        }
        let now = self.activities.autopilot.now();
        let next_ms = i64::try_from(next_in.as_millis()).unwrap_or(i64::MAX);
        self.progress.due_ms = Some(began.as_millisecond().saturating_add(next_ms));
        self.waiting.extend(short);
        let mut apart = TRIGGERS_APART;
        if self.waiting.is_empty() && self.was_in_vain().await {
            self.waiting.extend(self.sampler.throttled().cloned());
            apart = FAILED_APART;
        }
        self.trigger(now, apart).await;
        // Judge age by the service's clock only.
        if minute.is_some() {
            self.prune(now).await;
        }
    }

    async fn sleep(&self, milliseconds: i64) {
        let service = Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0));
        // After a clock jump, never wait longer than the longest interval.
        let service = service.min(Duration::from_hours(1));
        tokio::time::sleep(service.div_f64(self.activities.settings.sampling.speed.max(1.0))).await;
    }

    /// Whether something is still throttled, and the controller's last evaluation failed or had no metrics: it was asked
    /// before, and the service that it needed may be back.
    async fn was_in_vain(&self) -> bool {
        if !self.activities.settings.sampling.triggers
            || self.progress.triggered_ms.is_none()
            || self.sampler.throttled().next().is_none()
        {
            return false;
        }
        let installation = &self.activities.settings.installation;
        let client = self.activities.client.get();
        last_evaluation(&client, installation, LAST_EVALUATION)
            .await
            .is_ok_and(|report| report.error.is_some() || report.metrics_unavailable)
    }

    /// Asks the controller for an evaluation that may only raise, unless it was asked just now: then the next turn does.
    async fn trigger(&mut self, now: Timestamp, apart: SignedDuration) {
        if self.waiting.is_empty() || !self.activities.settings.sampling.triggers {
            self.waiting.clear();
            return;
        }
        let apart = i64::try_from(apart.as_millis()).unwrap_or(i64::MAX);
        let since = |at: i64| now.as_millisecond().saturating_sub(at);
        if self
            .progress
            .triggered_ms
            .is_some_and(|at| (0..apart).contains(&since(at)))
        {
            return;
        }
        let installation = &self.activities.settings.installation;
        match signal(
            &self.activities.client.get(),
            installation,
            Trigger::CapacityIsShort,
        )
        .await
        {
            Ok(()) => {
                let names: Vec<&str> = self.waiting.iter().take(10).map(NamespaceId::as_str).collect();
                tracing::info!(
                    count = self.waiting.len(),
                    namespaces = names.join(", "),
                    "capacity is short: an evaluation was triggered"
                );
                self.progress.triggered_ms = Some(now.as_millisecond());
                self.waiting.clear();
            }
            Err(error) => tracing::warn!(%error, "cannot signal the controller that capacity is short"),
        }
    }

    /// Folds old minutes into hours, and drops old decisions.
    async fn prune(&mut self, now: Timestamp) {
        let is_recent = |at: Timestamp| now.duration_since(at) < PRUNE_AGAIN;
        let Some(ledger) = self.activities.autopilot.ledger() else {
            return;
        };
        if self.pruned_at.is_some_and(is_recent) {
            return;
        }
        let SamplingSettings {
            keep_minutes,
            keep_decisions,
            ..
        } = self.activities.settings.sampling;
        let pruned = ledger
            .call_within(PRUNING, async |ledger| {
                ledger
                    .prune(now, keep_minutes, SignedDuration::MAX, keep_decisions)
                    .await
            })
            .await;
        // Even after a failure: the next hour tries again.
        self.pruned_at = Some(now);
        match pruned {
            Ok(pruned) => tracing::debug!(?pruned, "the ledger was pruned"),
            Err(error) => tracing::warn!(%error, "the ledger could not be pruned"),
        }
    }
}
