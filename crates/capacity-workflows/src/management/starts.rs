//! Selects the change that starts next. Pure, and the same in every replay.

use super::state::CapacityManagementWorkflow;
use crate::messages::{ChangeReport, ChangeRequest, IN_PROGRESS, QUEUED};
use crate::queue::{MOST_OPERATIONS, NextStart, QueuedChange, RunningChange, TRY_AGAIN_MS};
use crate::step_messages::Incident;

impl CapacityManagementWorkflow {
    /// Returns what starts next, and records what needs a re-evaluation or an announcement first.
    pub(crate) fn consider(&mut self) -> NextStart {
        let now_ms = self.now_ms;
        let max_concurrent = usize::try_from(self.state.max_concurrent.max(1)).unwrap_or(1);
        let expires = self.state.changes.queued.iter().map(|it| it.expires_ms).min();
        let expires = expires.or(self.again_failed.then_some(now_ms));
        let expires = expires.map(|at| at.max(self.state.again_after_ms));
        // The evaluation in progress re-evaluates everything that is queued when it ends.
        if !self.evaluating_full && expires.is_some_and(|at| at <= now_ms) {
            self.wants_again = true;
        }
        let left_out = self.state.last_full().is_some_and(|it| it.changes_left_out > 0);
        let is_due = now_ms >= self.state.again_after_ms;
        if left_out && is_due && self.progressed && self.state.changes.queued.len() < max_concurrent {
            self.wants_again = true;
        }
        let next = self.state.changes.next(&self.state.gate, max_concurrent, now_ms);
        let running = &self.state.changes.running;
        let hang = running.len() >= MOST_OPERATIONS && running.iter().all(|it| it.is_slow(now_ms));
        if next == NextStart::Blocked {
            self.announce_once("no_verdict");
        }
        if hang {
            self.announce_once("places_used_up");
        } else {
            self.state.announced.retain(|kind| kind != "places_used_up");
        }
        match (next, expires) {
            (NextStart::Wait | NextStart::Blocked, Some(at)) if at > now_ms => NextStart::At(at),
            (NextStart::At(start), Some(at)) if at > now_ms => NextStart::At(start.min(at)),
            (next, _) => next,
        }
    }

    fn announce_once(&mut self, kind: &str) {
        if self.state.announced.iter().any(|known| known == kind) {
            return;
        }
        self.state.announced.push(kind.to_owned());
        let running = &self.state.changes.running;
        self.incidents.push(Incident {
            kind: kind.to_owned(),
            changes: running.iter().map(|it| it.request.clone()).collect(),
            started_ms: running.iter().map(|it| it.started_ms).min(),
            ..Incident::default()
        });
    }

    /// Moves a change from the queue to the running set, and returns it.
    pub(crate) fn start(&mut self, index: usize) -> ChangeRequest {
        let now_ms = self.now_ms;
        let queued = self.state.changes.queued.remove(index);
        let request = ChangeRequest {
            canary: queued.canary || !self.state.gate.is_open(now_ms),
            verified_builds: self.state.gate.verified_builds.clone(),
            ..queued.request
        };
        self.state.changes.running.push(RunningChange {
            request: request.clone(),
            started_ms: now_ms,
            attempts: queued.attempts,
            ..RunningChange::default()
        });
        self.settle(&ChangeReport::of(&request, IN_PROGRESS, None), IN_PROGRESS);
        request
    }

    /// Puts a change back because another change of the namespace is still closing, or is not ours.
    pub(crate) fn could_not_start(&mut self, request: &ChangeRequest) {
        let attempts = self
            .state
            .changes
            .end(&request.namespace)
            .map_or(0, |it| it.attempts + 1);
        let now_ms = self.now_ms;
        self.state.changes.put_back(QueuedChange {
            request: request.clone(),
            queued_ms: now_ms,
            // At most 320 s. A change that is closing needs up to 60 s; one that someone else started may
            // take any time.
            not_before_ms: now_ms + (TRY_AGAIN_MS << attempts.min(6)),
            expires_ms: u64::MAX,
            canary: request.canary,
            attempts,
        });
        self.settle(&ChangeReport::of(request, QUEUED, None), QUEUED);
    }

    /// Records a change that could not be started at all.
    pub(crate) fn failed_to_start(&mut self, request: &ChangeRequest, why: String) {
        let report = ChangeReport::of(request, "failed", Some(why));
        self.take_end(&report);
        self.unheard.push(report);
    }
}
