//! The queue and the changes in progress, and which change starts next. Pure; times are milliseconds since
//! 1970 of the workflow's clock.

use serde::{Deserialize, Serialize};

use crate::change_messages::{
    BUILD_NOT_VERIFIED, ChangeReport, ChangeRequest, LEDGER_UNAVAILABLE, METRICS_STALE, TOO_MANY_OPERATIONS,
};
use crate::gate::{Gate, Passage, Unverified};

/// Maximum number of operations that the account allows at the same time.
pub(crate) const MOST_OPERATIONS: usize = 10;
/// Time after which a change that could not start or post is retried. After failed starts, later retries wait longer.
pub(crate) const TRY_AGAIN_MS: u64 = 5_000;
/// Time after which a change counts as hanging.
const SLOW_AFTER_MS: u64 = 15 * 60 * 1_000;
/// Slots that scale-downs may use. The rest is reserved for scale-ups.
pub(crate) const MOST_SCALE_DOWNS: usize = 8;

/// A change that waits for its turn.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct QueuedChange {
    /// The change to start.
    pub request: ChangeRequest,
    /// Time when the change was queued.
    pub queued_ms: u64,
    /// Earliest start, after an attempt that could not start.
    pub not_before_ms: u64,
    /// Time when the data of the decision becomes too old, so that it is re-evaluated.
    pub expires_ms: u64,
    /// Number of failed attempts to start it.
    pub attempts: u32,
    /// Whether it starts as a canary although the gate is open, because its worker's build was not verified.
    pub canary: bool,
}

/// A change that has started and not ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct RunningChange {
    /// The change that was started.
    pub request: ChangeRequest,
    /// Start time of the change.
    pub started_ms: u64,
    /// Whether its POST was accepted.
    pub posted: bool,
    /// Whether it had a verdict.
    pub verdict: bool,
    /// Number of earlier failed attempts to start it.
    pub attempts: u32,
    /// Whether its lack of progress was announced.
    pub stalled: bool,
}

/// The next change to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NextStart {
    /// The queued change at this index starts.
    Start(usize),
    /// No change starts before this time (milliseconds since 1970).
    At(u64),
    /// No change starts before the next event.
    Wait,
    /// Nothing starts until there is a verdict or a person resumes changes: too many changes were posted without a verdict.
    Blocked,
}

/// The queue and the running set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Changes {
    /// Queued changes, scale-ups first.
    pub queued: Vec<QueuedChange>,
    /// Changes in progress.
    pub running: Vec<RunningChange>,
}

impl QueuedChange {
    fn scales_up(&self) -> bool {
        self.request.scales_up()
    }
}

impl Changes {
    /// Returns whether a change of the namespace is in progress.
    pub(crate) fn is_running(&self, namespace: &str) -> bool {
        self.running.iter().any(|it| it.request.namespace == namespace)
    }

    /// Replaces the queue with the changes of a full evaluation. Scale-ups that were queued after it began to
    /// observe stay. A release that was put back since then to be re-evaluated stays too: the evaluation saw
    /// it in progress and did not report it. Returns the changes that were dropped.
    pub(crate) fn replace(
        &mut self,
        wanted: Vec<ChangeRequest>,
        observed_from_ms: u64,
        now_ms: u64,
        expires_ms: u64,
    ) -> Vec<ChangeRequest> {
        let mut dropped = Vec::new();
        for mut queued in std::mem::take(&mut self.queued) {
            let is_newer = queued.queued_ms > observed_from_ms;
            let is_decided = wanted.iter().any(|it| it.namespace == queued.request.namespace);
            if is_newer && queued.scales_up() {
                self.queued.push(queued);
            } else if is_newer && !is_decided {
                queued.expires_ms = queued.expires_ms.min(now_ms);
                self.queued.push(queued);
            } else {
                dropped.push(queued.request);
            }
        }
        for request in wanted {
            self.push(request, now_ms, expires_ms);
        }
        self.sort();
        dropped
    }

    /// Adds the scale-ups of a scale-up-only evaluation, and drops queued scale-downs of namespaces that need
    /// capacity. Returns the changes that were dropped.
    pub(crate) fn add_scale_ups(
        &mut self,
        wanted: Vec<ChangeRequest>,
        needed: &[String],
        now_ms: u64,
        expires_ms: u64,
    ) -> Vec<ChangeRequest> {
        let mut dropped = Vec::new();
        let ups: Vec<String> = wanted.iter().map(|it| it.namespace.clone()).collect();
        self.queued.retain(|it| {
            let namespace = &it.request.namespace;
            let goes = ups.contains(namespace) || (needed.contains(namespace) && !it.scales_up());
            if goes {
                dropped.push(it.request.clone());
            }
            !goes
        });
        for request in wanted.into_iter().filter(ChangeRequest::scales_up) {
            self.push(request, now_ms, expires_ms);
        }
        self.sort();
        dropped
    }

    /// Empties the queue. Returns the changes that were dropped.
    pub(crate) fn clear(&mut self) -> Vec<ChangeRequest> {
        std::mem::take(&mut self.queued)
            .into_iter()
            .map(|it| it.request)
            .collect()
    }

    /// Puts back a change that cannot start or post now.
    pub(crate) fn put_back(&mut self, queued: QueuedChange) {
        if !self.is_queued(&queued.request.namespace) {
            // At the head of its group, where it was when it started.
            self.queued.insert(0, queued);
            self.sort();
        }
    }

    fn is_queued(&self, namespace: &str) -> bool {
        self.queued.iter().any(|it| it.request.namespace == namespace)
    }

    fn push(&mut self, request: ChangeRequest, now_ms: u64, expires_ms: u64) {
        if !self.is_queued(&request.namespace) && !self.is_running(&request.namespace) {
            // A namespace whose metrics lag does not delay the others.
            let expires_ms = request
                .fresh_for_ms
                .map_or(expires_ms, |fresh_for_ms| now_ms.saturating_add(fresh_for_ms));
            self.queued.push(QueuedChange {
                request,
                queued_ms: now_ms,
                expires_ms,
                ..QueuedChange::default()
            });
        }
    }

    /// Sorts scale-ups first; each group keeps its order.
    fn sort(&mut self) {
        self.queued.sort_by_key(|it| !it.scales_up());
    }

    /// Removes a change that has ended. Returns it, if it was in progress.
    pub(crate) fn end(&mut self, namespace: &str) -> Option<RunningChange> {
        let place = self
            .running
            .iter()
            .position(|it| it.request.namespace == namespace)?;
        Some(self.running.remove(place))
    }

    /// Returns which change starts next.
    pub(crate) fn next(&self, gate: &Gate, max_concurrent: usize, now_ms: u64) -> NextStart {
        if self.running.len() >= MOST_OPERATIONS {
            return NextStart::Wait;
        }
        let downs = self.running.iter().filter(|it| !it.request.scales_up()).count();
        let has_place =
            |it: &QueuedChange| it.scales_up() || downs < max_concurrent.clamp(1, MOST_SCALE_DOWNS);
        let mut earliest: Option<u64> = None;
        let mut blocked = false;
        let mut later = |at: u64| earliest = Some(earliest.map_or(at, |known| known.min(at)));
        for (index, queued) in self.queued.iter().enumerate() {
            if self.is_running(&queued.request.namespace) || !has_place(queued) {
                continue;
            }
            // The final check would refuse it, so it waits until it is re-evaluated.
            if queued.expires_ms <= now_ms {
                continue;
            }
            if queued.not_before_ms > now_ms {
                later(queued.not_before_ms);
                continue;
            }
            if gate.is_open(now_ms) && !queued.canary {
                return NextStart::Start(index);
            }
            let unverified = self.unverified(gate.is_open(now_ms));
            match gate.canary(queued.scales_up(), &unverified, now_ms) {
                Passage::Now => return NextStart::Start(index),
                Passage::At(at) => later(at),
                Passage::Blocked => blocked = true,
            }
            // Scale-downs do not overtake a scale-up that waits behind a canary.
            if queued.scales_up() {
                break;
            }
        }
        match (earliest, blocked) {
            (Some(at), _) => NextStart::At(at),
            (None, true) => NextStart::Blocked,
            (None, false) => NextStart::Wait,
        }
    }

    /// Returns the changes in progress without a verdict. While the gate is open, only canaries count, because the others need no
    /// verdict.
    fn unverified(&self, gate_is_open: bool) -> Vec<Unverified> {
        self.running
            .iter()
            .filter(|it| !it.verdict && (!gate_is_open || it.request.canary))
            .map(RunningChange::unverified)
            .collect()
    }
}

impl RunningChange {
    /// Returns whether the change has taken longer than it should.
    pub(crate) fn is_slow(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.started_ms) > SLOW_AFTER_MS
    }

    pub(crate) fn unverified(&self) -> Unverified {
        Unverified {
            scales_up: self.request.scales_up(),
            started_ms: self.started_ms,
        }
    }
}

/// How a change that sent nothing returns to the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GoesBack {
    /// It is retried soon.
    Soon,
    /// It is retried immediately, as a canary.
    AsCanary,
    /// It is re-evaluated before it starts.
    ToBeDecidedAgain,
}

impl GoesBack {
    /// Returns how a change that ended returns to the queue; `None` if it does not.
    pub(crate) fn of(report: &ChangeReport) -> Option<Self> {
        match report.code.as_deref()? {
            TOO_MANY_OPERATIONS => Some(Self::Soon),
            BUILD_NOT_VERIFIED => Some(Self::AsCanary),
            METRICS_STALE | LEDGER_UNAVAILABLE => Some(Self::ToBeDecidedAgain),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(namespace: &str, from_trus: u32, to_trus: u32) -> ChangeRequest {
        ChangeRequest {
            namespace: namespace.to_owned(),
            from_trus,
            to_trus,
            operation_id: format!("op-{namespace}"),
            ..ChangeRequest::default()
        }
    }

    fn started(changes: &mut Changes, index: usize, now_ms: u64) {
        let queued = changes.queued.remove(index);
        changes.running.push(RunningChange {
            request: queued.request,
            started_ms: now_ms,
            ..RunningChange::default()
        });
    }

    fn open(now_ms: u64) -> Gate {
        let mut gate = Gate::default();
        gate.verdict(now_ms, "v1");
        gate
    }

    #[test]
    fn scale_ups_go_first_and_scale_downs_leave_slots_for_them() {
        let mut changes = Changes::default();
        let downs = (0..20).map(|number| change(&format!("idle-{number}"), 4, 0));
        changes.replace(downs.collect(), 0, 0, u64::MAX);
        let gate = open(0);
        for _ in 0..8 {
            let NextStart::Start(index) = changes.next(&gate, 10, 1) else {
                panic!("a place is left")
            };
            started(&mut changes, index, 1);
        }
        assert_eq!(changes.next(&gate, 10, 1), NextStart::Wait);
        changes.add_scale_ups(vec![change("hot", 0, 6)], &[], 2, u64::MAX);
        assert_eq!(changes.next(&gate, 10, 2), NextStart::Start(0));
        assert_eq!(changes.queued[0].request.namespace, "hot");
    }

    #[test]
    fn behind_a_closed_gate_changes_start_one_at_a_time() {
        let mut changes = Changes::default();
        let wanted = vec![change("a", 4, 0), change("b", 4, 0), change("hot", 0, 6)];
        changes.replace(wanted, 0, 0, u64::MAX);
        let gate = Gate::default();
        assert_eq!(changes.next(&gate, 5, 1_000), NextStart::Start(0));
        started(&mut changes, 0, 1_000);
        assert_eq!(changes.running[0].request.namespace, "hot");
        assert_eq!(changes.next(&gate, 5, 1_000), NextStart::At(121_000));
        // Its verdict opens the gate for the rest.
        assert_eq!(changes.next(&open(2_000), 5, 2_000), NextStart::Start(0));
    }

    #[test]
    fn a_full_evaluation_replaces_the_queue_except_for_newer_scale_ups() {
        let mut changes = Changes::default();
        changes.replace(vec![change("a", 4, 0), change("b", 4, 0)], 0, 10, u64::MAX);
        changes.add_scale_ups(vec![change("hot", 0, 6)], &[], 50, u64::MAX);
        let dropped = changes.replace(vec![change("b", 4, 0)], 40, 60, u64::MAX);
        let names = |list: &[ChangeRequest]| list.iter().map(|it| it.namespace.clone()).collect::<Vec<_>>();
        assert_eq!(names(&dropped), ["a", "b"]);
        let queued: Vec<_> = changes
            .queued
            .iter()
            .map(|it| it.request.namespace.as_str())
            .collect();
        assert_eq!(queued, ["hot", "b"]);
    }

    #[test]
    fn a_release_seen_in_progress_and_put_back_since_is_re_evaluated() {
        let mut changes = Changes::default();
        let back = |namespace: &str| QueuedChange {
            request: change(namespace, 4, 0),
            queued_ms: 50,
            expires_ms: u64::MAX,
            ..QueuedChange::default()
        };
        changes.put_back(back("seen-under-way"));
        changes.put_back(back("decided-meanwhile"));
        let dropped = changes.replace(vec![change("decided-meanwhile", 4, 2)], 40, 60, u64::MAX);
        assert_eq!(dropped, [change("decided-meanwhile", 4, 0)]);
        let queued: Vec<_> = changes
            .queued
            .iter()
            .map(|it| (it.request.namespace.as_str(), it.expires_ms))
            .collect();
        assert_eq!(queued, [("seen-under-way", 60), ("decided-meanwhile", u64::MAX)]);
        assert_eq!(changes.next(&open(0), 5, 60), NextStart::Start(1));
    }

    #[test]
    fn a_namespace_whose_metrics_lag_does_not_hold_up_the_others() {
        let mut changes = Changes::default();
        let fresh_for = |namespace: &str, fresh_for_ms| ChangeRequest {
            fresh_for_ms: Some(fresh_for_ms),
            ..change(namespace, 0, 4)
        };
        let wanted = vec![fresh_for("lags", 0), fresh_for("hot", 60_000)];
        changes.replace(wanted, 0, 10, 10);
        assert_eq!(changes.next(&open(0), 5, 10), NextStart::Start(1));
        assert_eq!(changes.next(&open(0), 5, 60_010), NextStart::Wait);
    }

    #[test]
    fn a_scale_up_only_evaluation_removes_a_scale_down_only_where_it_sees_need() {
        let mut changes = Changes::default();
        changes.replace(vec![change("a", 4, 0), change("b", 4, 0)], 0, 10, u64::MAX);
        let dropped = changes.add_scale_ups(Vec::new(), &["a".to_owned()], 20, u64::MAX);
        assert_eq!(dropped.len(), 1);
        assert_eq!(changes.queued[0].request.namespace, "b");
    }

    #[test]
    fn a_namespace_with_a_change_in_progress_is_not_started_again() {
        let mut changes = Changes::default();
        changes.replace(vec![change("a", 4, 0)], 0, 10, u64::MAX);
        started(&mut changes, 0, 10);
        changes.replace(vec![change("a", 4, 0)], 20, 20, u64::MAX);
        assert_eq!(changes.queued, []);
    }

    #[test]
    fn a_change_with_stale_data_waits_until_it_is_re_evaluated() {
        let mut changes = Changes::default();
        changes.replace(vec![change("a", 4, 0)], 0, 10, 500);
        assert_eq!(changes.next(&open(0), 5, 499), NextStart::Start(0));
        assert_eq!(changes.next(&open(0), 5, 500), NextStart::Wait);
        changes.replace(vec![change("a", 4, 0)], 500, 510, 900);
        assert_eq!(changes.next(&open(0), 5, 510), NextStart::Start(0));
    }

    #[test]
    fn three_posted_changes_without_a_verdict_block_everything() {
        let mut changes = Changes::default();
        let wanted = (0..5).map(|number| change(&format!("n{number}"), 0, 6)).collect();
        changes.replace(wanted, 0, 0, u64::MAX);
        let gate = Gate::default();
        let mut now = 0;
        for _ in 0..3 {
            assert_eq!(changes.next(&gate, 5, now), NextStart::Start(0));
            started(&mut changes, 0, now);
            now += 30_000;
        }
        assert_eq!(changes.next(&gate, 5, now), NextStart::Blocked);
    }
}
