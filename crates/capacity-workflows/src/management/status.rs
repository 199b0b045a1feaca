//! The results of the controller's queries.

use capacity_autopilot::ActionName;

use crate::messages::{ControllerPhase, ControllerState, EvaluationReport, HeldNamespace, Status};
use crate::time::as_time;

/// Maximum number of namespaces in the status.
const MOST_HELD: usize = 100;

impl ControllerState {
    /// Returns an evaluation by its number.
    pub(crate) fn report(&self, number: u64) -> Option<&EvaluationReport> {
        self.last
            .iter()
            .chain(&self.unsettled)
            .find(|it| it.number == number)
    }

    /// Returns the last full evaluation.
    pub(crate) fn last_full(&self) -> Option<&EvaluationReport> {
        self.report(self.full_number).or(self.last.as_ref())
    }

    pub(crate) fn status(&self, now_ms: u64) -> Status {
        let last = self.last.as_ref();
        let held = last
            .iter()
            .flat_map(|it| &it.decisions)
            .filter(|it| it.action == ActionName::Hold);
        Status {
            evaluations: self.evaluations,
            account: self.account.clone(),
            paused: self.paused.clone(),
            last_evaluation: last.map(|report| report.evaluated_at.clone()),
            next_tick: self.next_tick.clone(),
            counts: last.map(|report| report.counts.clone()).unwrap_or_default(),
            figures: last.and_then(|report| report.figures.clone()),
            coverage: last
                .map(|report| report.coverage.clone())
                .filter(|it| !it.is_empty()),
            changes_in_progress: self
                .changes
                .running
                .iter()
                .map(|it| it.request.namespace.clone())
                .collect(),
            changes_queued: self.changes.queued.len(),
            last_good_evaluation: self.last_good_ms.and_then(as_time),
            metrics_unavailable_since: self.metrics_unavailable_since_ms.and_then(as_time),
            gate_open: self.gate.is_open(now_ms),
            held: held
                .map(|decision| HeldNamespace {
                    namespace: decision.namespace.clone(),
                    reason_code: decision.reason_code.clone(),
                    reason: decision.reason.clone(),
                })
                .take(MOST_HELD)
                .collect(),
            ..Status::default()
        }
    }
}

impl Status {
    /// Sets `summary` from the other fields and the last evaluation.
    pub(crate) fn summed_up(mut self, last: Option<&EvaluationReport>) -> Self {
        let what = match (&self.paused, self.phase) {
            (Some(why), _) => format!("paused ({why}): evaluations run but change nothing"),
            (None, ControllerPhase::Evaluating) => format!("evaluating, number {}", self.evaluations + 1),
            (None, ControllerPhase::Draining) => "passing its state to the next run".to_owned(),
            (None, _) => "waiting for the next trigger".to_owned(),
        };
        self.summary = match last {
            Some(report) => format!("{what}; last: {}", report.summary),
            None => format!("{what}; no evaluation yet"),
        };
        self
    }
}
