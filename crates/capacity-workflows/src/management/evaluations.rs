//! The start and the end of evaluations. Pure, and the same in every replay.

use std::collections::BTreeMap;
use std::time::Duration;

use super::state::{APART, CapacityManagementWorkflow};
use crate::evaluation_messages::{EvaluateRequest, EvaluateResult};
use crate::messages::{
    ChangeReport, ChangeRequest, EvaluationReport, PauseSeen, QUEUED, REPLACED, StalledChange,
};
use crate::observe_result::MOST_CHANGES;
use crate::pauses::PauseKind;
use crate::queue::RunningChange;
use crate::step_messages::Incident;
use crate::time::as_time;

/// Minimum interval between re-evaluations, in multiples of the usual minimum interval: two minutes.
const AGAIN_APART: u32 = 6;
/// Maximum number of evaluations with unfinished changes that are carried over.
const MOST_UNSETTLED: usize = 6;

impl CapacityManagementWorkflow {
    pub(crate) fn wants(&self, scale_up_only: bool) -> bool {
        if scale_up_only {
            self.wants_scale_up
        } else {
            self.wants_full || self.wants_again
        }
    }

    /// Returns the shortest interval between re-evaluations while metrics are unavailable or changes keep finding their data too
    /// old. Re-evaluating costs requests to the metrics endpoint.
    fn again_apart_ms(&self) -> u64 {
        let apart = self.state.apart_ms.map_or(APART, Duration::from_millis);
        u64::try_from((apart * AGAIN_APART).as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn has_notices(&self) -> bool {
        !(self.pause_orders.is_empty() && self.incidents.is_empty() && self.unheard.is_empty())
    }

    /// Starts an evaluation. Returns the request, the start time, and whether it re-evaluates under the last
    /// number.
    pub(crate) fn begin(&mut self, scale_up_only: bool) -> (EvaluateRequest, u64, bool) {
        let now_ms = self.now_ms;
        let mut again = false;
        if scale_up_only {
            self.wants_scale_up = false;
            self.evaluating_scale_up = true;
        } else {
            // A re-evaluation needs a report to add to; without one, it is a full evaluation.
            again = !self.wants_full && self.state.full_number > 0;
            if again {
                self.state.again_after_ms = now_ms.saturating_add(self.again_apart_ms());
            }
            self.wants_again = false;
            self.again_failed = false;
            self.wants_full = false;
            self.legacy.requested = false;
            self.evaluating_full = true;
            self.evaluating_again = again;
            self.state.last_start_ms = Some(now_ms);
            self.full_started += u64::from(!again);
            self.progressed = false;
        }
        if !again {
            self.state.evaluations += 1;
        }
        let state = &self.state;
        let request = EvaluateRequest {
            number: if again {
                state.full_number
            } else {
                state.evaluations
            },
            scale_up_only,
            again,
            account: state.account.clone(),
            ledgers: state.ledgers.clone(),
            running: state
                .changes
                .running
                .iter()
                .map(|it| it.request.clone())
                .collect(),
            knows_running: state.knows_running,
            not_permitted: state.not_permitted.clone(),
            spec_changed: state.spec_changed.clone(),
        };
        (request, now_ms, again)
    }

    fn end(&mut self, scale_up_only: bool) {
        self.in_run += 1;
        self.events += 1;
        if scale_up_only {
            self.evaluating_scale_up = false;
        } else {
            self.evaluating_full = false;
            self.full_done = self.full_started;
        }
    }

    /// Handles a successful evaluation. Returns whether the schedule is running although changes are paused.
    pub(crate) fn end_well(&mut self, result: EvaluateResult, began_ms: u64, again: bool) -> bool {
        let scale_up_only = result.report.scale_up_only;
        let unpaused = result.schedule_runs_under_pause;
        self.take_result(result, began_ms, again);
        self.end(scale_up_only);
        unpaused
    }

    /// Handles a failed evaluation, which removes nothing from the queue.
    pub(crate) fn end_failed(&mut self, number: u64, scale_up_only: bool, again: bool, error: String) {
        let report = EvaluationReport {
            number,
            scale_up_only,
            evaluated_at: as_time(self.now_ms).unwrap_or_default(),
            account: self.state.account.clone(),
            error: Some(error),
            ..EvaluationReport::default()
        };
        self.again_failed |= again;
        self.take_report(report, again);
        self.end(scale_up_only);
    }

    /// Handles the pauses that an evaluation read. A pause that is new or has ended empties the queue and
    /// closes the gate.
    pub(crate) fn take_pauses(&mut self, pauses: BTreeMap<String, PauseSeen>) {
        // The run id, not only the state: a pause that was ended and opened again between two evaluations
        // is another one.
        let is_news = |(kind, seen): (&String, &PauseSeen)| {
            let known = self.state.pauses.get(kind);
            known.is_none_or(|known| known.run_id != seen.run_id || known.open != seen.open)
        };
        if pauses.iter().any(is_news) {
            let spec_ended = pauses
                .get(PauseKind::Spec.as_str())
                .is_some_and(|seen| !seen.open && self.state.pauses.contains_key(PauseKind::Spec.as_str()));
            self.empty_queue();
            if pauses.values().any(|seen| seen.open) {
                self.state.gate.close();
            } else {
                self.state.gate.reset();
            }
            if spec_ended {
                self.state.spec_changed.clear();
            }
        }
        self.state.paused = pauses
            .values()
            .find(|seen| seen.open)
            .map(|seen| format!("{}, by {}", seen.reason, seen.by));
        self.state.pauses = pauses;
    }

    /// Handles the result of a full evaluation, a scale-up-only one, or a re-evaluation.
    pub(crate) fn take_result(&mut self, result: EvaluateResult, observed_from_ms: u64, again: bool) {
        let EvaluateResult {
            mut report,
            changes,
            needed,
            ended,
            found,
            stalled,
            pauses,
            ..
        } = result;
        let now_ms = self.now_ms;
        self.state.next_tick = result.next_tick;
        self.state.apart_ms = result.apart_ms;
        self.state.ledgers = result.ledgers;
        self.state.max_concurrent = result.max_concurrent;
        self.state.knows_running |= result.knows_running;
        for change in found {
            if !self.state.changes.is_running(&change.namespace) {
                self.state.changes.running.push(RunningChange {
                    request: change,
                    started_ms: now_ms,
                    // Found, not started here: it may have posted, and the gate has to assume so.
                    posted: true,
                    ..RunningChange::default()
                });
            }
        }
        self.take_unheard(ended);
        self.take_stalled(stalled);
        if let Some(pauses) = pauses {
            self.take_pauses(pauses);
        }
        if report.metrics_unavailable {
            self.again_failed |= again;
            self.state.metrics_unavailable_since_ms.get_or_insert(now_ms);
            // No decision without metrics, so the queue stays: what was decided before may still be right,
            // and the last look checks its age.
            return self.take_report(report, again);
        }
        self.state.metrics_unavailable_since_ms = None;
        self.state.last_good_ms = Some(observed_from_ms);
        let expires_ms = now_ms.saturating_add(result.data_expires_in_ms);
        report.changes = changes
            .iter()
            .map(|it| ChangeReport::of(it, QUEUED, None))
            .collect();
        let dropped = if report.scale_up_only {
            self.state
                .changes
                .add_scale_ups(changes, &needed, now_ms, expires_ms)
        } else {
            self.state
                .changes
                .replace(changes, observed_from_ms, now_ms, expires_ms)
        };
        self.replaced(&dropped);
        // Changes that are already in progress, or queued by a newer evaluation, were not queued again.
        let queued = &self.state.changes.queued;
        report.changes.retain(|change| {
            queued
                .iter()
                .any(|it| it.request.operation_id == change.operation_id)
        });
        self.take_report(report, again);
    }

    /// Announces a change that no worker continues, once.
    fn take_stalled(&mut self, stalled: Vec<StalledChange>) {
        for StalledChange {
            change,
            since_ms,
            started_ms,
        } in stalled
        {
            let running = &mut self.state.changes.running;
            let running = running.iter_mut().find(|it| {
                it.request.operation_id == change.operation_id && it.request.namespace == change.namespace
            });
            if let Some(running) = running.filter(|it| !it.stalled) {
                running.stalled = true;
                self.incidents.push(Incident {
                    kind: "no_progress".to_owned(),
                    changes: vec![change],
                    started_ms,
                    since_ms: Some(since_ms),
                    ..Incident::default()
                });
            }
        }
    }

    /// Records and announces changes that ended without a signal.
    fn take_unheard(&mut self, ended: Vec<ChangeReport>) {
        let lost: Vec<ChangeRequest> = ended
            .iter()
            .filter(|it| it.outcome == "terminated")
            .map(request_of)
            .collect();
        if !lost.is_empty() {
            self.incidents.push(Incident {
                kind: "terminated".to_owned(),
                changes: lost,
                ..Incident::default()
            });
        }
        for report in ended {
            self.take_end(&report);
            self.unheard.push(report);
        }
    }

    pub(crate) fn take_report(&mut self, mut report: EvaluationReport, again: bool) {
        self.state.account = self.state.account.take().or_else(|| report.account.clone());
        let last = self.state.last.take();
        if again {
            // A re-evaluation of the same number: changes that were already made under it stay in the report.
            let known = last.as_ref().filter(|it| it.number == report.number);
            let known = known.or_else(|| self.state.unsettled.iter().find(|it| it.number == report.number));
            let done = known
                .iter()
                .flat_map(|it| &it.changes)
                .filter(|it| it.outcome != REPLACED);
            let mut changes: Vec<ChangeReport> = done.cloned().collect();
            changes.append(&mut report.changes);
            report.changes_done = known.map_or(0, |it| it.changes_done);
            // This applies to re-evaluations too. Completed changes are counted, and they record and announce
            // themselves.
            while changes.len() > MOST_CHANGES
                && let Some(place) = changes.iter().position(ChangeReport::is_success)
            {
                changes.remove(place);
                report.changes_done += 1;
            }
            report.changes = changes;
            self.state.unsettled.retain(|it| it.number != report.number);
        }
        if !report.scale_up_only {
            self.state.full_number = self.state.full_number.max(report.number);
        }
        let full = self.state.full_number;
        let mut report = report.summed_up();
        // Evaluations of the two kinds may end in a different order than they started.
        let mut last = last;
        if let Some(newer) = last.take_if(|last| last.number > report.number) {
            last = Some(std::mem::replace(&mut report, newer));
        }
        if let Some(last) = last
            && last.number != report.number
            && (!last.is_settled() || last.number == full)
        {
            self.state.unsettled.push(last);
        }
        self.state.unsettled.retain_mut(|it| {
            if it.number != full {
                it.decisions_left_out += it.decisions.len();
                it.decisions.clear();
            }
            it.number == full || !it.is_settled()
        });
        while self.state.unsettled.len() > MOST_UNSETTLED {
            self.state.unsettled.remove(0);
        }
        self.state.last = Some(report);
    }
}

fn request_of(report: &ChangeReport) -> ChangeRequest {
    ChangeRequest {
        namespace: report.namespace.clone(),
        from_trus: report.from_trus,
        to_trus: report.to_trus,
        operation_id: report.operation_id.clone(),
        ..ChangeRequest::default()
    }
}
