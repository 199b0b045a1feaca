//! Tests of the ledger's guarantees for decisions, their inputs, changes and policy state, on either database.

use capacity_ledger::{
    ChangeRecord, ErrorKind, Format, HistoryFilter, Ledger, PolicyDecisionRow, PolicyStateRecord, Pruned,
    Table,
};
use jiff::SignedDuration;
use rstest::rstest;

use crate::places::Kind::{self, Postgres, Sqlite};
use crate::places::{
    ACCOUNT, at, change, decision, evaluation, inputs, opened, policy_decision, policy_state,
};

#[rstest]
#[case(Sqlite)]
#[case(Postgres)]
#[tokio::test]
async fn history_shows_decisions_and_their_outcomes(#[case] kind: Kind) {
    opened!(kind, "history", _place, ledger);
    for (plan, minute) in [("p1", 1), ("p2", 2), ("p1", 1)] {
        let decisions = [
            decision(plan, "orders.a1b2c", "Disable"),
            decision(plan, "pay.a1b2c", "Keep"),
        ];
        ledger
            .record_evaluation(&evaluation(plan, minute, false), &decisions)
            .await
            .expect("recorded");
    }
    let mut change = change("p1", "orders.a1b2c", "in_progress");
    ledger
        .record_changes(std::slice::from_ref(&change))
        .await
        .expect("recorded");
    change.outcome = "changed".to_owned();
    ledger.record_changes(&[change]).await.expect("recorded again");
    let all = ledger
        .history(Some(ACCOUNT), &HistoryFilter::default())
        .await
        .expect("readable");
    assert_eq!(all.len(), 4, "the same plan again changes nothing");
    let filter = HistoryFilter {
        changes_only: true,
        to: Some(at(2)),
        ..HistoryFilter::default()
    };
    let changes = ledger.history(None, &filter).await.expect("readable");
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].outcome.as_deref(), Some("changed"));
    let newest = HistoryFilter {
        limit: 1,
        namespaces: vec!["pay.a1b2c".to_owned()],
        ..HistoryFilter::default()
    };
    assert_eq!(
        ledger.history(None, &newest).await.expect("readable")[0]
            .decision
            .plan_id,
        "p2"
    );
}

#[rstest]
#[case(Sqlite)]
#[case(Postgres)]
#[tokio::test]
async fn policy_state_only_moves_forward_in_time(#[case] kind: Kind) {
    opened!(kind, "states", _place, ledger);
    let states = async || {
        let states = ledger
            .policy_states(ACCOUNT, "break-even")
            .await
            .expect("readable");
        let short = states.into_iter().map(|it| (it.namespace, it.state));
        short.collect::<Vec<_>>()
    };
    let stored = |states: Vec<PolicyStateRecord>| {
        let ledger = ledger.clone();
        async move { ledger.store_policy_states(&states).await.expect("stored") }
    };
    let other_policy = PolicyStateRecord {
        policy: "other".to_owned(),
        ..policy_state("pay", 99, "other")
    };
    // Twice in one batch: the later minute counts.
    let first = vec![
        policy_state("pay", 5, "five"),
        policy_state("orders", 5, "five"),
        policy_state("pay", 4, "four"),
        other_policy,
    ];
    assert_eq!(stored(first.clone()).await, 3);
    assert_eq!(stored(first).await, 0, "the same again");
    let mixed = vec![
        policy_state("pay", 4, "older"),
        policy_state("orders", 6, "newer"),
    ];
    assert_eq!(stored(mixed).await, 1);
    let expected = |pay: &str| {
        [
            ("orders".to_owned(), "newer".to_owned()),
            ("pay".to_owned(), pay.to_owned()),
        ]
    };
    assert_eq!(states().await, expected("five"));
    assert_eq!(stored(vec![policy_state("pay", 5, "once more")]).await, 1);
    assert_eq!(states().await, expected("once more"));
    let too_long = [
        policy_state("new", 7, "x"),
        policy_state("pay", 7, &"x".repeat(1025)),
    ];
    let error = ledger.store_policy_states(&too_long).await.expect_err("too long");
    assert_eq!(error.kind(), ErrorKind::Input);
    assert!(error.to_string().contains("1025 bytes"), "{error}");
    assert_eq!(states().await, expected("once more"), "all or nothing");
    let many: Vec<_> = (0..700)
        .map(|number| policy_state(&format!("n{number}"), 9, &"x".repeat(1024)))
        .collect();
    assert_eq!(stored(many).await, 700);
    assert_eq!(states().await.len(), 702);
}

#[rstest]
#[case(Sqlite)]
#[case(Postgres)]
#[tokio::test]
async fn decisions_of_policies_are_recorded_once_and_deleted_with_their_evaluation(#[case] kind: Kind) {
    opened!(kind, "policies", _place, ledger);
    for (plan, minute) in [("one", 1), ("two", 3)] {
        ledger
            .record_evaluation(&evaluation(plan, minute, false), &[])
            .await
            .expect("recorded");
        let decisions = [
            policy_decision(plan, "pay", false),
            policy_decision(plan, "pay", true),
            policy_decision(plan, "orders", true),
        ];
        for _ in 0..2 {
            ledger
                .record_policy_decisions(&decisions)
                .await
                .expect("recorded");
        }
    }
    let found = async |filter: HistoryFilter| {
        let rows = ledger
            .policy_decisions(Some(ACCOUNT), &filter)
            .await
            .expect("readable");
        let short =
            |row: PolicyDecisionRow| (row.decision.plan_id, row.decision.namespace, row.decision.shadow);
        rows.into_iter().map(short).collect::<Vec<_>>()
    };
    let row = |plan: &str, namespace: &str, shadow| (plan.to_owned(), namespace.to_owned(), shadow);
    let two = [
        row("two", "orders", true),
        row("two", "pay", false),
        row("two", "pay", true),
    ];
    let since = HistoryFilter {
        from: Some(at(2)),
        ..HistoryFilter::default()
    };
    assert_eq!(found(since).await, two);
    assert_eq!(found(HistoryFilter::default()).await.len(), 6);
    let newest = HistoryFilter {
        namespaces: vec!["pay".to_owned()],
        limit: 1,
        ..HistoryFilter::default()
    };
    assert_eq!(found(newest).await, [row("two", "pay", true)]);
    let years = SignedDuration::from_hours(24 * 900);
    let kept = SignedDuration::from_mins(2);
    ledger.prune(at(4), years, years, kept).await.expect("pruned");
    assert_eq!(found(HistoryFilter::default()).await, two);
}

#[rstest]
#[case(Sqlite)]
#[case(Postgres)]
#[tokio::test]
async fn inputs_of_decisions_are_deleted_with_the_minutes_that_complete_them(#[case] kind: Kind) {
    opened!(kind, "inputs", _place, ledger);
    for (plan, number) in [("old", 1), ("new", 300)] {
        let decisions = [decision(plan, "pay.a1b2c", "Disable")];
        ledger
            .record_evaluation(&evaluation(plan, number, false), &decisions)
            .await
            .expect("recorded");
    }
    let recorded = ["old", "new", "without"].map(|plan| inputs(plan, "pay.a1b2c"));
    for _ in 0..2 {
        ledger.record_decision_inputs(&recorded).await.expect("recorded");
    }
    let (hour, year) = (
        SignedDuration::from_hours(1),
        SignedDuration::from_hours(24 * 365),
    );
    let pruned = ledger.prune(at(310), hour, year, year).await.expect("pruned");
    assert_eq!(pruned.decisions, 0);
    let mut left = Vec::new();
    for plan in ["old", "new", "without"] {
        let kept = ledger
            .decision_inputs(ACCOUNT, plan, "pay.a1b2c")
            .await
            .expect("readable");
        left.push(kept.len());
    }
    assert_eq!(left, [0, 1, 0]);
}

/// The rows of an operation, as an export shows them.
async fn recorded(ledger: &Ledger, operation_id: &str) -> Vec<ChangeRecord> {
    let mut file = Vec::new();
    ledger
        .export(Table::Changes, Format::JsonLines, &mut file)
        .await
        .expect("exported");
    let text = String::from_utf8(file).expect("text");
    let rows = text
        .lines()
        .map(|line| serde_json::from_str::<ChangeRecord>(line).expect("a change"));
    rows.filter(|it| it.operation_id == operation_id).collect()
}

/// Returns all orders in which outcomes can arrive.
fn orders(changes: &[ChangeRecord]) -> Vec<Vec<ChangeRecord>> {
    let mut orders = vec![Vec::new()];
    for _ in 0..changes.len() {
        let longer = orders.iter().flat_map(|order: &Vec<ChangeRecord>| {
            let left = changes.iter().filter(|it| !order.contains(it));
            left.map(|it| [order.as_slice(), std::slice::from_ref(it)].concat())
        });
        orders = longer.collect();
    }
    orders
}

#[rstest]
#[case(Sqlite)]
#[case(Postgres)]
#[tokio::test]
async fn a_change_is_recorded_once_in_whatever_order_its_outcomes_arrive(#[case] kind: Kind) {
    opened!(kind, "once", _place, ledger);
    let row = |outcome: &str, minute: i64, by: &str| ChangeRecord {
        ended_at_ms: at(minute).as_millisecond(),
        by: by.to_owned(),
        ..change("p1", "orders.a1b2c", outcome)
    };
    let cases = [
        // The same change recorded again, by another worker and later.
        (
            vec![row("changed", 2, "worker-1"), row("changed", 9, "worker-2")],
            0,
        ),
        (
            vec![row("changed", 9, "worker-1"), row("in_progress", 2, "cli")],
            0,
        ),
        (
            vec![
                row("failed", 5, "worker-1"),
                row("unknown", 2, "worker-1"),
                row("in_progress", 9, "cli"),
            ],
            0,
        ),
        (
            vec![row("unknown", 9, "worker-1"), row("in_progress", 2, "cli")],
            0,
        ),
        (
            vec![
                row("terminated", 9, "worker-2"),
                row("unknown", 2, "worker-1"),
                row("changed", 9, "w"),
            ],
            2,
        ),
        // Nothing was sent, and it was started again under the same operation id.
        (
            vec![row("not_started", 2, "worker-1"), row("changed", 5, "worker-2")],
            1,
        ),
        // The same millisecond.
        (
            vec![row("changed", 2, "worker-2"), row("changed", 2, "worker-1")],
            0,
        ),
    ];
    for (number, (changes, stays)) in cases.into_iter().enumerate() {
        for (order, mut arriving) in orders(&changes).into_iter().enumerate() {
            let operation_id = format!("operation-{number}-{order}");
            let mut expected = changes[stays].clone();
            expected.operation_id.clone_from(&operation_id);
            for it in &mut arriving {
                it.operation_id.clone_from(&operation_id);
                ledger
                    .record_changes(std::slice::from_ref(it))
                    .await
                    .expect("recorded");
            }
            ledger.record_changes(&arriving).await.expect("all of them again");
            assert_eq!(
                recorded(&ledger, &operation_id).await,
                [expected],
                "case {number}, order {order}"
            );
        }
    }
}

#[rstest]
#[case(Sqlite)]
#[case(Postgres)]
#[tokio::test]
async fn old_evaluations_are_deleted_with_their_decisions_and_changes(#[case] kind: Kind) {
    opened!(kind, "retention", _place, ledger);
    for (plan, minute) in [("old", 0), ("border", 10), ("new", 50)] {
        let decisions = [
            decision(plan, "orders.a1b2c", "Disable"),
            decision(plan, "pay.a1b2c", "Keep"),
        ];
        let evaluation = evaluation(plan, minute, false);
        ledger
            .record_evaluation(&evaluation, &decisions)
            .await
            .expect("recorded");
        let mut change = change(plan, "orders.a1b2c", "changed");
        // It ended much later.
        change.ended_at_ms = at(minute + 20).as_millisecond();
        ledger.record_changes(&[change]).await.expect("recorded");
    }
    // Its evaluation is not known.
    let alone = change("unknown", "orders.a1b2c", "changed");
    ledger.record_changes(&[alone]).await.expect("recorded");
    let year = SignedDuration::from_hours(24 * 365);
    let keep = SignedDuration::from_mins(50);
    let pruned = ledger.prune(at(60), year, year, keep).await.expect("pruned");
    assert_eq!(
        (pruned.evaluations, pruned.decisions, pruned.changes),
        (1, 2, 2),
        "{pruned:?}"
    );
    let again = ledger.prune(at(60), year, year, keep).await.expect("pruned");
    assert_eq!(again, Pruned::default());
    let kept = ledger.history(None, &HistoryFilter::default()).await;
    let kept = kept.expect("readable");
    let plans: Vec<_> = kept.iter().map(|row| row.decision.plan_id.as_str()).collect();
    assert_eq!(plans, ["border", "border", "new", "new"]);
    assert!(kept.iter().filter(|row| row.outcome.is_some()).count() == 2);
}
