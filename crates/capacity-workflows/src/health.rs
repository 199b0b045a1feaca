//! The health of evaluations as each worker knows it, from its own attempts and, once a minute, from the
//! controller.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::messages::{ChangeReport, Status};

/// The outcomes of changes, as labels of a counter. Any other outcome is counted as `other`.
pub const CHANGE_OUTCOMES: [&str; 10] = [
    "changed",
    "already",
    "refused",
    "superseded",
    "not_permitted",
    "stuck",
    "failed",
    "not_started",
    "unknown",
    "other",
];

/// What a worker knows about the health of evaluations. Clones share it.
#[derive(Debug, Clone)]
pub struct EvaluationHealth(Arc<Known>);

#[derive(Debug)]
struct Known {
    started: Instant,
    /// Evaluations with usable metrics that this worker made.
    good: AtomicU64,
    samples_failed: AtomicU64,
    /// Changes completed by this worker, successful or not, by direction (down, up) and outcome.
    changes: [[AtomicU64; CHANGE_OUTCOMES.len()]; 2],
    latest: Mutex<Latest>,
}

#[derive(Debug, Clone, Default)]
struct Latest {
    /// The last good evaluation: when this worker learned of it, and how old it was then.
    last_good: Option<(Instant, Duration)>,
    controller: Option<Status>,
    /// Since when this worker's own attempts have been failing.
    failing_since: Option<Instant>,
}

impl Default for EvaluationHealth {
    fn default() -> Self {
        Self(Arc::new(Known {
            started: Instant::now(),
            good: AtomicU64::new(0),
            samples_failed: AtomicU64::new(0),
            changes: Default::default(),
            latest: Mutex::default(),
        }))
    }
}

impl EvaluationHealth {
    /// Records a good evaluation that this worker has just made.
    pub(crate) fn evaluated(&self) {
        self.0.good.fetch_add(1, Ordering::Relaxed);
        self.with(|latest| {
            latest.last_good = Some((Instant::now(), Duration::ZERO));
            latest.failing_since = None;
        });
    }

    /// Records an evaluation of this worker that failed or had no usable metrics.
    pub(crate) fn failed(&self) {
        self.with(|latest| {
            latest.failing_since.get_or_insert_with(Instant::now);
        });
    }

    /// Records a failed sample.
    pub(crate) fn sample_failed(&self) {
        self.0.samples_failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Records a change that ended on this worker.
    pub(crate) fn concluded(&self, change: &ChangeReport) {
        let position = |outcome: &str| CHANGE_OUTCOMES.iter().position(|it| *it == outcome);
        let outcome = position(&change.outcome).unwrap_or(CHANGE_OUTCOMES.len() - 1);
        let counts = &self.0.changes[usize::from(change.to_trus > change.from_trus)];
        counts[outcome].fetch_add(1, Ordering::Relaxed);
    }

    /// Records the status that the controller reported.
    pub(crate) fn learn(&self, status: &Status) {
        let age = status.last_good_evaluation.as_deref().and_then(|last| {
            let last: Timestamp = last.parse().ok()?;
            Duration::try_from(Timestamp::now().duration_since(last)).ok()
        });
        self.with(|latest| {
            if let Some(age) = age {
                let now = Instant::now();
                let known = latest.last_good.map(|(heard, age)| age + heard.elapsed());
                // Only a newer evaluation lowers the age, even if clocks jump.
                if known.is_none_or(|known| age < known) {
                    latest.last_good = Some((now, age));
                }
            }
            latest.controller = Some(status.clone());
        });
    }

    /// Returns how many evaluations with usable metrics this worker made.
    pub fn evaluations(&self) -> u64 {
        self.0.good.load(Ordering::Relaxed)
    }

    /// Returns how many samples failed.
    pub fn samples_failed(&self) -> u64 {
        self.0.samples_failed.load(Ordering::Relaxed)
    }

    /// Returns how many changes ended on this worker, in the order of [`CHANGE_OUTCOMES`].
    pub fn changes(&self, scale_up: bool) -> [u64; CHANGE_OUTCOMES.len()] {
        let counts = &self.0.changes[usize::from(scale_up)];
        counts.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    /// Returns the age of the last good evaluation, whichever worker made it; until the first one, the age of this process.
    pub fn age(&self) -> Duration {
        self.with(|latest| {
            latest
                .last_good
                .map_or_else(|| self.0.started.elapsed(), |(heard, age)| age + heard.elapsed())
        })
    }

    /// Returns how long this worker's own attempts have failed; `None` if the last one did not.
    pub fn failing_for(&self) -> Option<Duration> {
        self.with(|latest| latest.failing_since.map(|since| since.elapsed()))
    }

    /// Returns the controller's last response.
    pub fn controller(&self) -> Option<Status> {
        self.with(|latest| latest.controller.clone())
    }

    fn with<T>(&self, change: impl FnOnce(&mut Latest) -> T) -> T {
        change(&mut self.0.latest.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_counts_from_the_start_until_the_first_good_evaluation() {
        let health = EvaluationHealth::default();
        let before = health.age();
        health.failed();
        assert!(health.age() >= before && health.failing_for().is_some());
        health.evaluated();
        assert!(health.age() < Duration::from_secs(1) && health.failing_for().is_none());
        assert_eq!(health.evaluations(), 1);
    }

    #[test]
    fn the_controllers_report_counts_unless_this_worker_knows_a_newer_evaluation() {
        let status = |minutes: i64| Status {
            last_good_evaluation: Some(
                (Timestamp::now() - jiff::SignedDuration::from_mins(minutes)).to_string(),
            ),
            ..Status::default()
        };
        let health = EvaluationHealth::default();
        health.learn(&status(10));
        // This process is younger than that, so it counts from the evaluation.
        assert!(health.age() >= Duration::from_mins(9));
        health.evaluated();
        health.learn(&status(10));
        assert!(health.age() < Duration::from_mins(1));
    }
}
