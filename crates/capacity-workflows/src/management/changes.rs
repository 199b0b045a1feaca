//! How the controller handles the progress and the end of changes. Pure, and the same in every replay.

use super::state::CapacityManagementWorkflow;
use crate::gate::Unverified;
use crate::messages::{
    ChangeEvent, ChangeReport, ChangeRequest, IN_PROGRESS, NotPermitted, QUEUED, REPLACED, SpecChanged,
};
use crate::pauses::PauseKind;
use crate::queue::{GoesBack, QueuedChange, RunningChange, TRY_AGAIN_MS};
use crate::step_messages::PauseOrder;

/// Maximum time for which a refusal is remembered.
const REFUSED_FOR_MS: u64 = 6 * 60 * 60 * 1_000;
/// Maximum number of refusals that are carried over. Each worker also remembers the refusals it saw.
const MOST_REFUSALS: usize = 400;
/// Time within which a change of the same field on two namespaces pauses everything.
const SAME_FIELD_WITHIN_MS: u64 = 24 * 60 * 60 * 1_000;

impl CapacityManagementWorkflow {
    /// Handles a signal from a change.
    pub(crate) fn take_event(&mut self, event: ChangeEvent) {
        let ChangeEvent { report, ended } = event;
        // An undecodable signal arrives as the default.
        if report.namespace.is_empty() {
            return;
        }
        let now_ms = self.now_ms;
        if report.verdict {
            // Signals may arrive twice, and the end repeats the verdict: only the first one may open the
            // gate, or a late one would reopen a gate that was closed since.
            let is_new = !self.running(&report).verdict;
            if is_new {
                self.running(&report).verdict = true;
                self.state.gate.verdict(now_ms, &report.build);
                self.state.announced.retain(|kind| kind != "no_verdict");
            }
        }
        if report.posted {
            self.running(&report).posted = true;
        }
        if !report.spec_differences.is_empty() {
            self.take_difference(&report);
        }
        if ended {
            self.take_end(&report);
        } else {
            self.settle(&report, IN_PROGRESS);
        }
    }

    /// Returns the change in progress that a report is about, and adds it if it was unknown.
    fn running(&mut self, report: &ChangeReport) -> &mut RunningChange {
        let running = &mut self.state.changes.running;
        let place = running
            .iter()
            .position(|it| it.request.namespace == report.namespace)
            .unwrap_or_else(|| {
                running.push(RunningChange {
                    request: ChangeRequest {
                        namespace: report.namespace.clone(),
                        from_trus: report.from_trus,
                        to_trus: report.to_trus,
                        operation_id: report.operation_id.clone(),
                        evaluation: report.evaluation,
                        ..ChangeRequest::default()
                    },
                    started_ms: self.now_ms,
                    ..RunningChange::default()
                });
                running.len() - 1
            });
        &mut running[place]
    }

    /// Handles a changed spec, which closes the gate. If the first reading differed, the change itself has
    /// opened the pause.
    fn take_difference(&mut self, report: &ChangeReport) {
        self.state.gate.close();
        self.empty_queue();
        if !report.verdict {
            return;
        }
        let now_ms = self.now_ms;
        self.state
            .spec_changed
            .retain(|_, seen| now_ms.saturating_sub(seen.at_ms) < SAME_FIELD_WITHIN_MS);
        let same_field = self.state.spec_changed.iter().find(|(namespace, seen)| {
            **namespace != report.namespace
                && seen.fields.iter().any(|it| report.spec_differences.contains(it))
        });
        if let Some((other, _)) = same_field {
            self.pause_orders.push(PauseOrder {
                kind: PauseKind::Spec.as_str().to_owned(),
                reason: format!(
                    "the specs of {other} and {} changed while updates were running (fields: {})",
                    report.namespace,
                    report.spec_differences.join(", ")
                ),
                by: "the autopilot".to_owned(),
                ..PauseOrder::default()
            });
        }
        self.state.spec_changed.insert(
            report.namespace.clone(),
            SpecChanged {
                fields: report.spec_differences.clone(),
                at_ms: now_ms,
            },
        );
    }

    pub(crate) fn take_end(&mut self, report: &ChangeReport) {
        let now_ms = self.now_ms;
        let running = self.state.changes.end(&report.namespace);
        if report.posted && !report.verdict {
            let change = running.as_ref().map_or(
                Unverified {
                    scales_up: report.to_trus > report.from_trus,
                    started_ms: now_ms,
                },
                RunningChange::unverified,
            );
            self.state.gate.ended_without_verdict(change);
        }
        if matches!(report.outcome.as_str(), "unknown" | "terminated") {
            self.state.gate.close();
        }
        self.progressed |= report.is_success();
        if report.outcome == "not_permitted" {
            self.remember_refusal(report);
        }
        // Only a change that was running: an end that arrives twice must not queue it twice.
        if let (Some(back), Some(running)) = (GoesBack::of(report), running) {
            let canary = back == GoesBack::AsCanary;
            self.state.changes.put_back(QueuedChange {
                request: ChangeRequest {
                    canary,
                    ..running.request
                },
                queued_ms: now_ms,
                not_before_ms: match back {
                    GoesBack::Soon => now_ms + TRY_AGAIN_MS,
                    GoesBack::AsCanary | GoesBack::ToBeDecidedAgain => now_ms,
                },
                // Expired at once, so that nothing starts it before it is re-evaluated. The others keep
                // their data; the last look checks its age.
                expires_ms: match back {
                    GoesBack::ToBeDecidedAgain => now_ms,
                    GoesBack::Soon | GoesBack::AsCanary => u64::MAX,
                },
                canary,
                attempts: 0,
            });
            return self.settle(report, QUEUED);
        }
        let scales_up = report.to_trus > report.from_trus;
        if scales_up && report.outcome == "superseded" {
            // Someone edited the namespace between decision and POST, but it is still short of capacity.
            self.wants_scale_up = true;
        }
        let outcome = report.outcome.clone();
        self.settle(report, &outcome);
    }

    fn remember_refusal(&mut self, report: &ChangeReport) {
        let now_ms = self.now_ms;
        let refusals = &mut self.state.not_permitted;
        refusals.retain(|_, refused| now_ms.saturating_sub(refused.at_ms) < REFUSED_FOR_MS);
        if refusals.len() < MOST_REFUSALS {
            let refused = NotPermitted {
                resource_version: report.resource_version.clone(),
                at_ms: now_ms,
            };
            refusals.insert(report.namespace.clone(), refused);
        }
    }

    /// Writes the outcome of a change to the report of its evaluation.
    pub(crate) fn settle(&mut self, report: &ChangeReport, outcome: &str) {
        let number = report.evaluation;
        let reports = self.state.last.iter_mut().chain(&mut self.state.unsettled);
        for evaluation in reports.filter(|it| it.number == number) {
            let change = evaluation
                .changes
                .iter_mut()
                .find(|it| it.namespace == report.namespace && it.operation_id == report.operation_id);
            if let Some(change) = change {
                *change = ChangeReport {
                    outcome: outcome.to_owned(),
                    ..report.clone()
                }
                .shortened();
                *evaluation = std::mem::take(evaluation).summed_up();
            }
        }
        let full = self.state.full_number;
        self.state
            .unsettled
            .retain(|it| it.number == full || !it.is_settled());
    }

    pub(crate) fn replaced(&mut self, dropped: &[ChangeRequest]) {
        for request in dropped {
            let why = "a newer evaluation replaced it before it started";
            let report = ChangeReport::of(request, REPLACED, Some(why.to_owned()));
            self.settle(&report, REPLACED);
        }
    }

    /// Drops every change that has not started.
    pub(crate) fn empty_queue(&mut self) {
        let dropped = self.state.changes.clear();
        self.replaced(&dropped);
        self.events += 1;
    }
}
