//! Tests of row 12: restrictions are applied after the policy's target and before the guards.

use rstest::rstest;

use super::*;

fn under(restrictions: Vec<Restriction>) -> AccountView {
    AccountView {
        restrictions,
        ..account()
    }
}

fn restriction(direction: Direction, code: ReasonCode) -> Restriction {
    Restriction::new(direction, code, "something forbids it", RestrictionOrigin::Pause)
}

fn outcome_under(restriction: Restriction, snapshot: &Snapshot) -> String {
    outcome(&decide(
        snapshot,
        &under(vec![restriction]),
        &Rules::default(),
        now(),
    ))
}

#[rstest]
#[case::scale_up_only(Direction::ScaleDown, ReasonCode::ScaleUpOnly, false, true)]
#[case::ledger_unavailable(Direction::ScaleDown, ReasonCode::LedgerUnavailable, false, true)]
#[case::ledgers_differ(Direction::ScaleDown, ReasonCode::LedgersDiffer, false, true)]
#[case::paused(Direction::Both, ReasonCode::Paused, true, true)]
#[case::scale_up_paused(Direction::ScaleUp, ReasonCode::ScaleUpPaused, true, false)]
#[case::scale_down_paused(Direction::ScaleDown, ReasonCode::ScaleDownPaused, false, true)]
#[case::outcome_not_recorded(Direction::ScaleDown, ReasonCode::OutcomeNotRecorded, false, true)]
#[case::unknown_throttling(Direction::ScaleDown, ReasonCode::UnknownThrottling, false, true)]
#[case::spec_changed(Direction::Both, ReasonCode::SpecChanged, true, true)]
fn row_12_holds_the_forbidden_direction_with_its_code(
    #[case] direction: Direction,
    #[case] code: ReasonCode,
    #[case] holds_up: bool,
    #[case] holds_down: bool,
) {
    let held = format!("Hold {code}");
    let expected = |holds: bool, otherwise: &str| if holds { held.clone() } else { otherwise.to_owned() };
    assert_eq!(
        outcome_under(restriction(direction, code), &throttled("pay")),
        expected(holds_up, "Enable 6 TRUs throttled")
    );
    assert_eq!(
        outcome_under(restriction(direction, code), &idle("pay", 4)),
        expected(holds_down, "Disable idle")
    );
}

#[test]
fn row_12_states_both_the_policys_reason_and_its_own() {
    let paused = Restriction::new(
        Direction::Both,
        ReasonCode::Paused,
        "all changes are paused",
        RestrictionOrigin::Pause,
    );
    let decision = decide(
        &idle("pay", 4),
        &under(vec![paused.clone()]),
        &Rules::default(),
        now(),
    );
    assert_eq!(
        decision.reason,
        "45 actions in the last hour, below the threshold of 100, but all changes are paused"
    );
    assert_eq!(decision.blocked, Some(Capacity::OnDemand));
    let decision = decide(&throttled("pay"), &under(vec![paused]), &Rules::default(), now());
    assert!(
        decision.reason.ends_with(", but all changes are paused"),
        "{}",
        decision.reason
    );
    assert_eq!(decision.blocked, Some(Capacity::Provisioned(trus(5))));
    assert!(decision.announce, "throttled and held");
}

#[test]
fn row_12_the_first_restriction_that_applies_decides() {
    let list = vec![
        restriction(Direction::Both, ReasonCode::SpecChanged).on("orders.a1b2c".parse().expect("an id")),
        restriction(Direction::Both, ReasonCode::Paused).until(now()),
        restriction(Direction::ScaleUp, ReasonCode::ScaleUpPaused),
        restriction(Direction::ScaleDown, ReasonCode::ScaleUpOnly),
        restriction(Direction::ScaleDown, ReasonCode::LedgerUnavailable),
    ];
    let decided =
        |snapshot: &Snapshot| outcome(&decide(snapshot, &under(list.clone()), &Rules::default(), now()));
    assert_eq!(decided(&idle("pay", 4)), "Hold scale_up_only");
    assert_eq!(decided(&throttled("pay")), "Hold scale_up_paused");
    assert_eq!(decided(&idle("orders", 4)), "Hold spec_changed");
    assert_eq!(decided(&snapshot("pay", 0)), "Keep quiet", "nothing is forbidden");
}

#[test]
fn row_12_comes_before_the_guards_and_needs_no_capacity_info() {
    let snapshot = Snapshot {
        capacity_info: CapacityInfo::NotRead,
        change_refused: Some("403".to_owned()),
        ..idle("pay", 4)
    };
    assert_eq!(
        outcome_under(
            restriction(Direction::ScaleDown, ReasonCode::ScaleUpOnly),
            &snapshot
        ),
        "Hold scale_up_only"
    );
    let wants = |direction: Direction, snapshot: &Snapshot| {
        let account = under(vec![restriction(direction, ReasonCode::Paused)]);
        wants_capacity_info(snapshot, &account, &Rules::default(), now())
    };
    assert!(!wants(Direction::ScaleDown, &idle("pay", 4)));
    assert!(wants(Direction::ScaleUp, &idle("pay", 4)));
    assert!(!wants(Direction::Both, &throttled("pay")));
    assert!(wants(Direction::ScaleDown, &throttled("pay")));
}

#[test]
fn row_12_does_not_affect_the_rows_before_it() {
    let paused = restriction(Direction::Both, ReasonCode::Paused);
    let snapshot = Snapshot {
        running_operation: Some("op-9".to_owned()),
        ..throttled("pay")
    };
    assert_eq!(outcome_under(paused, &snapshot), "Hold change_in_progress");
}
