//! Tests of the controller's state, event by event.

use std::collections::BTreeMap;

use super::state::CapacityManagementWorkflow;
use crate::evaluation_messages::EvaluateResult;
use crate::messages::{
    ChangeEvent, ChangeReport, ChangeRequest, EvaluationReport, LEDGER_UNAVAILABLE, METRICS_STALE, PauseSeen,
};
use crate::queue::{NextStart, QueuedChange};

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
fn stale_changes_are_re_evaluated_at_most_every_two_minutes() {
    let mut it = CapacityManagementWorkflow::at(1_000);
    it.state.changes.queued.push(change("a.x", 900));
    it.state.again_after_ms = 5_000;
    it.consider();
    assert!(!it.wants_again, "metrics were asked for just now");
    it.now_ms = 5_000;
    it.consider();
    assert!(it.wants_again);
}

/// The final check rejects changes whose data has become too old in the meantime. All of them are re-evaluated now instead of in
/// the next hour.
#[test]
fn changes_with_stale_data_are_re_evaluated_even_shortly_after_the_last_time() {
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
fn a_re_evaluation_without_usable_metrics_is_repeated_even_if_the_queue_is_empty() {
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
fn a_new_pause_empties_the_queue_and_an_ended_one_resets_the_gate() {
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
