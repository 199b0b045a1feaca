//! Tests that every decision has a trace: each size with its verdict.

use super::*;

/// Returns the trace of a decision with one line per size; the chosen one is marked with a star.
fn trace(snapshot: &Snapshot) -> Vec<String> {
    lines(&decided(snapshot))
}

fn lines(decision: &Decision) -> Vec<String> {
    assert_eq!(decision.options.iter().filter(|it| it.chosen).count(), 1);
    let lines = decision.options.iter().map(|it| {
        let mark = if it.chosen { "*" } else { "" };
        format!("{}{mark} ({}/s): {}", it.trus, it.limit, it.verdict)
    });
    lines.collect()
}

#[test]
fn a_scale_up_has_a_verdict_for_each_size() {
    let snapshot = Snapshot {
        capacity_info: CapacityInfo::Known(known_info(0, 8)),
        ..throttled("pay")
    };
    assert_eq!(
        trace(&snapshot),
        [
            "0 (500/s): current: throttled at its limit",
            "2 (1000/s): below DEFAULT_TRU_COUNT (5 TRUs)",
            "3 (1500/s): below DEFAULT_TRU_COUNT (5 TRUs)",
            "4 (2000/s): below DEFAULT_TRU_COUNT (5 TRUs)",
            "6* (3000/s): chosen: throttled while on-demand",
            "8 (4000/s): larger than needed: 6 TRUs is the first size that helps",
            "10 (5000/s): the region can currently provide only 8 TRUs",
            "12 (6000/s): the region can currently provide only 8 TRUs",
        ]
    );
    // If a guard holds the decision afterwards, this information is kept.
    let held = Snapshot {
        latest_request: Some(request(RequestState::Completed, 30, false)),
        ..snapshot.clone()
    };
    assert_eq!(
        trace(&held)[4..6],
        [
            "5* (2500/s): wanted, but held: someone else changed the capacity recently",
            "6 (3000/s): not chosen",
        ]
    );
}

#[test]
fn a_release_has_a_verdict_for_each_size() {
    let snapshot = idle("pay", 4);
    let others = "this policy releases all of the capacity or none";
    let used = "current: 45 actions in the last hour, below the threshold of 100";
    let expected = |wish: &str| {
        [
            format!("0* (500/s): {wish}"),
            format!("2 (1000/s): {others}"),
            format!("3 (1500/s): {others}"),
            format!("4 (2000/s): {used}"),
            format!("6 (3000/s): {others}"),
        ]
    };
    assert_eq!(
        trace(&snapshot)[..5],
        expected("chosen: provisioned, and below the threshold")
    );
    let held = Snapshot {
        latest_request: Some(request(RequestState::Completed, 30, false)),
        ..snapshot
    };
    assert_eq!(
        trace(&held)[..5],
        expected("wanted, but held: someone else changed the capacity recently")
    );
}

#[test]
fn a_keep_states_why_no_other_size_is_needed() {
    assert_eq!(
        trace(&snapshot("pay", 0))[..2],
        [
            "0* (500/s): current, kept: on-demand, in use, and not throttled",
            "2 (1000/s): not needed: nothing is throttled",
        ]
    );
    let in_use = Snapshot {
        usage: hour(used(LimitKind::Actions, 100.0, 0.0)),
        ..snapshot("pay", 4)
    };
    assert_eq!(
        trace(&in_use)[..4],
        [
            "0 (500/s): not released: 360,000 actions in the last hour, not below the threshold of 100",
            "2 (1000/s): this policy does not change between sizes",
            "3 (1500/s): this policy does not change between sizes",
            "4* (2000/s): current, kept: provisioned, and in use",
        ]
    );
}

#[test]
fn a_hold_before_any_size_was_considered_names_the_row_that_decided() {
    let unknown_sizes = |snapshot| Snapshot {
        capacity_info: CapacityInfo::NotRead,
        ..snapshot
    };
    assert_eq!(
        trace(&unknown_sizes(throttled("pay"))),
        [
            "0 (500/s): current: throttled at its limit",
            "5* (2500/s): wanted, but held: the capacity info of the namespace could not be read",
        ]
    );
    let moving = Snapshot {
        moving_replica: Some(moving(None)),
        ..unknown_sizes(idle("pay", 4))
    };
    assert_eq!(
        trace(&moving),
        [
            "0 (500/s): not considered: row 3 (replicas) decided first",
            "4* (2000/s): current, kept: a replica is not active",
        ]
    );
}

#[test]
fn a_target_of_an_embedder_has_a_trace_too() {
    let to = Capacity::from_trus(8);
    let wish = |_: &PolicyView<'_>| PolicyTarget::change(to, ReasonCode::PolicyTarget, "a launch is near");
    let decision = crate::judge(&snapshot("pay", 4), &account(), &Rules::default(), now(), wish);
    assert_eq!(
        lines(&decision)[3..6],
        [
            "4 (2000/s): current: smaller than wanted",
            "6 (3000/s): smaller than the 8 TRUs wanted",
            "8* (4000/s): chosen: the policy wants another size (used by policies that are not built in)",
        ]
    );
}
