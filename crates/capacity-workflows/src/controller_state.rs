//! How the controller handles events: pure, and the same in every replay.

use std::collections::BTreeMap;

use capacity_autopilot::ActionName;
use jiff::Timestamp;

use crate::change_steps::{Incident, PauseOrder};
use crate::controller::CapacityManagementWorkflow;
use crate::evaluation::EvaluateResult;
use crate::messages::{
    ChangeEvent, ChangeReport, ChangeRequest, ControllerState, EvaluationReport, HeldNamespace, IN_PROGRESS,
    NotPermitted, PauseSeen, QUEUED, REPLACED, SpecChanged, StalledChange, Status,
};
use crate::observation::MOST_CHANGES;
use crate::pauses::PauseKind;
use crate::queue::{GoesBack, MOST_OPERATIONS, NextStart, QueuedChange, RunningChange};

/// A refusal is remembered so long at most.
const REFUSED_FOR_MS: u64 = 6 * 60 * 60 * 1_000;
/// Refusals that are carried; each worker remembers those it saw as well.
const MOST_REFUSALS: usize = 400;
/// The same field on two namespaces within this time pauses everything.
const SAME_FIELD_WITHIN_MS: u64 = 24 * 60 * 60 * 1_000;
/// A change that could not start or post is tried again after this long, then after longer.
const TRY_AGAIN_MS: u64 = 5_000;
/// Evaluations whose changes have not all ended that are carried.
const MOST_UNSETTLED: usize = 6;
/// Namespaces that the status lists.
const MOST_HELD: usize = 100;

impl CapacityManagementWorkflow {
    /// Takes what a change signals.
    pub(crate) fn take_event(&mut self, event: ChangeEvent) {
        let ChangeEvent { report, ended } = event;
        if report.namespace.is_empty() {
            return;
        }
        let now_ms = self.now_ms;
        if report.verdict {
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

    /// The change in progress that a report is about; one that was not known is taken in.
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

    /// A spec that differs closes the gate. The change itself has opened the pause where the first reading differed.
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
                crate::gate::Unverified {
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

    /// Writes the outcome of a change into the report of its evaluation.
    fn settle(&mut self, report: &ChangeReport, outcome: &str) {
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

    /// Drops everything that has not started.
    pub(crate) fn empty_queue(&mut self) {
        let dropped = self.state.changes.clear();
        self.replaced(&dropped);
        self.events += 1;
    }

    /// Takes the pauses that an evaluation read: a new one, or one that ended, empties the queue and closes the gate.
    pub(crate) fn take_pauses(&mut self, pauses: BTreeMap<String, PauseSeen>) {
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

    /// Takes the result of a full or a scale-up-only evaluation, or of a full one that decided again.
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
        // Changes already in progress, or queued by a newer evaluation, were not queued again.
        let queued = &self.state.changes.queued;
        report.changes.retain(|change| {
            queued
                .iter()
                .any(|it| it.request.operation_id == change.operation_id)
        });
        self.take_report(report, again);
    }

    /// A change that no worker carries on is announced, once.
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

    /// Changes that ended without a signal are recorded and announced by the controller.
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
            // The same evaluation, decided again: changes already made under its number stay in it.
            let known = last.as_ref().filter(|it| it.number == report.number);
            let known = known.or_else(|| self.state.unsettled.iter().find(|it| it.number == report.number));
            let done = known
                .iter()
                .flat_map(|it| &it.changes)
                .filter(|it| it.outcome != REPLACED);
            let mut changes: Vec<ChangeReport> = done.cloned().collect();
            changes.append(&mut report.changes);
            report.changes_done = known.map_or(0, |it| it.changes_done);
            // Even if it is decided again: completed changes are counted, and record and announce themselves.
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
        // The two kinds may end in another order than they began.
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

    /// Returns what starts next, and notes what needs a new decision or an announcement first.
    pub(crate) fn consider(&mut self) -> NextStart {
        let now_ms = self.now_ms;
        let max_concurrent = usize::try_from(self.state.max_concurrent.max(1)).unwrap_or(1);
        let expires = self.state.changes.queued.iter().map(|it| it.expires_ms).min();
        let expires = expires.or(self.again_failed.then_some(now_ms));
        let expires = expires.map(|at| at.max(self.state.again_after_ms));
        // The evaluation in progress decides again on everything that is queued by then.
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

    /// Takes a change out of the queue and into the running set. Returns it.
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

    /// A change of the namespace is still closing, or is not ours: it is tried again later.
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
            not_before_ms: now_ms + (TRY_AGAIN_MS << attempts.min(6)),
            expires_ms: u64::MAX,
            canary: request.canary,
            attempts,
        });
        self.settle(&ChangeReport::of(request, QUEUED, None), QUEUED);
    }

    /// A change could not be started at all.
    pub(crate) fn failed_to_start(&mut self, request: &ChangeRequest, why: String) {
        let report = ChangeReport::of(request, "failed", Some(why));
        self.take_end(&report);
        self.unheard.push(report);
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
    /// Writes the sentence that sums it up.
    pub(crate) fn summed_up(mut self, last: Option<&EvaluationReport>) -> Self {
        let what = match (&self.paused, self.phase.as_str()) {
            (Some(why), _) => format!("paused ({why}): evaluations run and change nothing"),
            (None, "evaluating") => format!("evaluating, number {}", self.evaluations + 1),
            (None, _) => "waiting for the next trigger".to_owned(),
        };
        self.summary = match last {
            Some(report) => format!("{what}; last: {}", report.summary),
            None => format!("{what}; no evaluation yet"),
        };
        self
    }
}

/// Writes milliseconds since 1970 as RFC 3339.
pub(crate) fn as_time(milliseconds: u64) -> Option<String> {
    let milliseconds = i64::try_from(milliseconds).ok()?;
    Timestamp::from_millisecond(milliseconds)
        .ok()
        .map(|time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::{LEDGER_UNAVAILABLE, METRICS_STALE};

    fn change(namespace: &str, expires_ms: u64) -> QueuedChange {
        QueuedChange {
            request: ChangeRequest {
                namespace: namespace.to_owned(),
                from_trus: 4,
                operation_id: format!("op-{namespace}"),
                evaluation: 1,
                ..ChangeRequest::default()
            },
            expires_ms,
            ..QueuedChange::default()
        }
    }

    fn ended(outcome: &str, posted: bool, verdict: bool) -> ChangeReport {
        ChangeReport {
            posted,
            verdict,
            ..ChangeReport::of(&change("a.x", 0).request, outcome, None)
        }
    }

    #[test]
    fn a_change_that_posted_and_ended_without_a_verdict_closes_the_gate() {
        let mut it = CapacityManagementWorkflow::at(1_000);
        it.state.gate.verdict(500, "v1");
        it.take_event(ChangeEvent {
            report: ended("failed", true, false),
            ended: true,
        });
        assert!(!it.state.gate.is_open(1_000));
        assert_eq!(it.state.gate.scale_downs_without_verdict, 1);
    }

    #[test]
    fn old_data_is_decided_again_but_not_more_often_than_every_two_minutes() {
        let mut it = CapacityManagementWorkflow::at(1_000);
        it.state.changes.queued.push(change("a.x", 900));
        it.state.again_after_ms = 5_000;
        it.consider();
        assert!(!it.wants_again, "metrics were asked for just now");
        it.now_ms = 5_000;
        it.consider();
        assert!(it.wants_again);
    }

    /// The last look refuses changes whose data has grown too old on the way: none of them waits for the next hour.
    #[test]
    fn changes_that_found_their_data_too_old_are_decided_again_also_shortly_after_the_last_time() {
        let mut it = CapacityManagementWorkflow::at(1_000);
        it.state.gate.verdict(500, "v1");
        it.state.again_after_ms = 5_000;
        it.state.max_concurrent = 5;
        for (namespace, code) in [("a.x", METRICS_STALE), ("b.x", LEDGER_UNAVAILABLE)] {
            it.state.changes.queued.push(change(namespace, 2_000));
            let request = it.start(it.state.changes.queued.len() - 1);
            it.take_event(ChangeEvent {
                report: ChangeReport {
                    code: Some(code.to_owned()),
                    ..ChangeReport::of(&request, "not_started", None)
                },
                ended: true,
            });
        }
        assert_eq!(it.state.changes.queued.len(), 2);
        assert_eq!(it.consider(), NextStart::At(5_000), "neither starts as it is");
        assert!(!it.wants_again);
        it.now_ms = 5_000;
        it.evaluating_full = true;
        it.consider();
        assert!(!it.wants_again, "one is being made");
        it.evaluating_full = false;
        it.consider();
        assert!(it.wants_again);
    }

    #[test]
    fn deciding_again_without_usable_metrics_is_repeated_although_nothing_is_queued_any_more() {
        let mut it = CapacityManagementWorkflow::at(1_000);
        it.state.again_after_ms = 5_000;
        let blind = EvaluateResult {
            report: EvaluationReport {
                metrics_unavailable: true,
                ..EvaluationReport::default()
            },
            ..EvaluateResult::default()
        };
        it.take_result(blind.clone(), 900, false);
        assert_eq!(it.consider(), NextStart::Wait, "the schedule repeats a full one");
        it.take_result(blind, 900, true);
        assert_eq!(it.consider(), NextStart::At(5_000));
        assert!(!it.wants_again);
        it.now_ms = 5_000;
        it.consider();
        assert!(it.wants_again);
    }

    #[test]
    fn the_same_field_on_a_second_namespace_pauses_everything() {
        let mut it = CapacityManagementWorkflow::at(1_000);
        let differs = |namespace: &str| ChangeEvent {
            report: ChangeReport {
                namespace: namespace.to_owned(),
                spec_differences: vec!["retentionDays".to_owned()],
                ..ended("changed", true, true)
            },
            ended: false,
        };
        it.take_event(differs("a.x"));
        assert!(it.pause_orders.is_empty());
        assert!(it.state.spec_changed.contains_key("a.x") && !it.state.gate.is_open(1_000));
        it.take_event(differs("b.x"));
        assert_eq!(it.pause_orders[0].kind, "spec");
    }

    #[test]
    fn a_pause_that_is_seen_first_empties_the_queue_and_one_that_ended_resets_the_gate() {
        let mut it = CapacityManagementWorkflow::at(1_000);
        it.state.gate.verdict(500, "v1");
        it.state.changes.queued.push(change("a.x", u64::MAX));
        let seen = |open: bool| {
            let pause = PauseSeen {
                run_id: "r".to_owned(),
                open,
                reason: "keys".to_owned(),
                by: "ana".to_owned(),
                ..PauseSeen::default()
            };
            BTreeMap::from([("all".to_owned(), pause)])
        };
        it.take_pauses(seen(true));
        assert!(it.state.changes.queued.is_empty() && !it.state.gate.is_open(1_000));
        assert_eq!(it.state.paused.as_deref(), Some("keys, by ana"));
        it.state.changes.queued.push(change("b.x", u64::MAX));
        it.take_pauses(seen(true));
        assert_eq!(it.state.changes.queued.len(), 1, "it is known");
        it.take_pauses(seen(false));
        assert!(it.state.changes.queued.is_empty() && it.state.paused.is_none());
    }

    #[test]
    fn a_refusal_is_remembered_for_its_version_and_a_superseded_scale_up_is_evaluated_again() {
        let mut it = CapacityManagementWorkflow::at(1_000);
        it.take_event(ChangeEvent {
            report: ChangeReport {
                resource_version: "7".to_owned(),
                ..ended("not_permitted", false, false)
            },
            ended: true,
        });
        assert_eq!(it.state.not_permitted["a.x"].resource_version, "7");
        it.take_event(ChangeEvent {
            report: ChangeReport {
                from_trus: 0,
                to_trus: 6,
                ..ended("superseded", false, false)
            },
            ended: true,
        });
        assert!(it.wants_scale_up && !it.wants_full);
    }
}
