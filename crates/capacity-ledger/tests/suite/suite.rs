//! Tests of the ledger's guarantees, on either database.

use capacity_ledger::{
    ChangeRecord, Claim, ErrorKind, Format, HistoryFilter, Ledger, Minute, NamespaceMinute,
    PolicyDecisionRow, PolicyStateRecord, Pruned, Recorded, Table,
};
use jiff::SignedDuration;
use rstest::rstest;

use crate::places::Kind::{self, Postgres, Sqlite};
use crate::places::{
    ACCOUNT, at, change, decision, downgrade, evaluation, inputs, minute, opened, policy_decision,
    policy_state, sample,
};

#[rstest]
#[case(Sqlite)]
#[case(Postgres)]
#[tokio::test]
async fn minutes_come_back_as_they_were_in_any_order_each_once(#[case] kind: Kind) {
    opened!(kind, "minutes", _place, ledger);
    let now = at(10);
    for number in [3, 1, 2] {
        let it = minute(number, vec![sample("pay", 7), sample("orders", 0)]);
        assert_eq!(
            ledger.record_minute(ACCOUNT, &it, now).await,
            Recorded::Written.into_ok()
        );
    }
    let again = minute(2, vec![sample("pay", 999)]);
    assert_eq!(
        ledger.record_minute(ACCOUNT, &again, now).await,
        Recorded::AlreadyThere.into_ok()
    );
    let window = ledger.window(ACCOUNT, at(1), at(3)).await.expect("readable");
    let mut expected = minute(1, vec![sample("pay", 7), sample("orders", 0)]);
    assert_eq!(
        window.iter().map(|it| it.minute).collect::<Vec<_>>(),
        [at(1), at(2)]
    );
    let mut found = window[0].clone();
    for it in [&mut expected, &mut found] {
        it.samples
            .sort_by(|one, other| one.namespace.cmp(&other.namespace));
    }
    assert_eq!(found, expected);
    assert_eq!(ledger.window("other", at(0), at(9)).await.expect("readable"), []);
}

/// A namespace that lags is added to the minute later. Fully read data replaces partly read data, never the
/// reverse.
#[rstest]
#[case(Sqlite)]
#[case(Postgres)]
#[tokio::test]
async fn a_minute_gains_what_it_lacks_and_loses_nothing(#[case] kind: Kind) {
    opened!(kind, "gains", _place, ledger);
    let now = at(9);
    let part = |mut sample: NamespaceMinute, unread: [bool; 3]| {
        sample.unread = unread;
        sample
    };
    let first = minute(1, vec![part(sample("pay", 7), [false, true, true])]);
    let whole = part(sample("pay", 8), [false; 3]);
    let late = Minute {
        complete: false,
        ..minute(1, vec![whole.clone(), sample("orders", 3)])
    };
    for (given, expected) in [
        (&first, Recorded::Written),
        (&late, Recorded::Completed),
        (&first, Recorded::AlreadyThere),
        (&late, Recorded::AlreadyThere),
    ] {
        assert_eq!(
            ledger.record_minute(ACCOUNT, given, now).await.expect("written"),
            expected
        );
    }
    let window = ledger.window(ACCOUNT, at(1), at(2)).await.expect("readable");
    assert!(window[0].complete && window[0].samples.len() == 2);
    assert!(window[0].samples.contains(&whole), "{window:?}");
}

trait IntoOk: Sized {
    fn into_ok(self) -> TestResult<Self> {
        TestResult(Ok(self))
    }
}
impl IntoOk for Recorded {}

/// Compares a result whose error has no equality.
#[derive(Debug)]
struct TestResult<T>(Result<T, String>);

impl<T: PartialEq> PartialEq<TestResult<T>> for Result<T, capacity_ledger::LedgerError> {
    fn eq(&self, other: &TestResult<T>) -> bool {
        matches!((self, &other.0), (Ok(one), Ok(other)) if one == other)
    }
}

#[rstest]
#[case(Sqlite)]
#[case(Postgres)]
#[tokio::test]
async fn a_complete_minute_replaces_an_incomplete_one_and_never_the_other_way_round(#[case] kind: Kind) {
    opened!(kind, "complete", _place, ledger);
    let missing = Minute {
        complete: false,
        ..minute(1, Vec::new())
    };
    let whole = minute(1, vec![sample("pay", 7), sample("pay", 9)]);
    assert_eq!(
        ledger.record_minute(ACCOUNT, &missing, at(2)).await,
        Recorded::Written.into_ok()
    );
    assert_eq!(
        ledger.record_minute(ACCOUNT, &whole, at(2)).await,
        Recorded::Completed.into_ok()
    );
    assert_eq!(
        ledger.record_minute(ACCOUNT, &missing, at(2)).await,
        Recorded::AlreadyThere.into_ok()
    );
    let window = ledger.window(ACCOUNT, at(0), at(5)).await.expect("readable");
    // Present twice, counted once, with the higher usage.
    assert_eq!(window[0].samples, [sample("pay", 9)]);
}

#[rstest]
#[case(Sqlite)]
#[case(Postgres)]
#[tokio::test]
async fn two_writers_write_each_minute_once_and_share_one_budget(#[case] kind: Kind) {
    opened!(kind, "writers", place, one);
    let other = Ledger::open(&place.location).await.expect("opened");
    let mut written = 0;
    for number in 0..10 {
        let it = minute(
            number,
            vec![sample("pay", 7), sample(&format!("new-{number}"), 1)],
        );
        let (first, second) = tokio::join!(
            one.record_minute(ACCOUNT, &it, at(20)),
            other.record_minute(ACCOUNT, &it, at(20))
        );
        for it in [first, second] {
            written += usize::from(it.expect("recorded") == Recorded::Written);
        }
    }
    assert_eq!(written, 10);
    let claims = (0..40).map(|number| {
        let ledger = if number % 2 == 0 { &one } else { &other };
        ledger.claim_requests(ACCOUNT, at(number), 2, 55)
    });
    let claims = futures::future::join_all(claims).await;
    let granted = claims
        .iter()
        .filter(|it| matches!(it, Ok(Claim::Granted)))
        .count();
    assert_eq!(granted, 27, "{claims:?}");
    // An hour after the first one, they are available again.
    let free = one
        .claim_requests(ACCOUNT, at(200), 2, 55)
        .await
        .expect("claimed");
    assert_eq!(free, Claim::Granted);
    let Claim::Refused { until } = one
        .claim_requests(ACCOUNT, at(200), 54, 55)
        .await
        .expect("answered")
    else {
        panic!("over the budget");
    };
    assert_eq!(until, at(260));
}

#[rstest]
#[case(Sqlite)]
#[case(Postgres)]
#[tokio::test]
async fn history_tells_what_was_decided_and_what_became_of_it(#[case] kind: Kind) {
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
async fn decisions_of_policies_are_recorded_once_and_go_with_their_evaluation(#[case] kind: Kind) {
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
async fn inputs_of_decisions_go_with_the_minutes_that_complete_them(#[case] kind: Kind) {
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

/// The earlier release can be started again, because it only rejects higher versions.
#[rstest]
#[case(Sqlite)]
#[case(Postgres)]
#[tokio::test]
async fn a_ledger_of_the_earlier_release_is_extended_and_keeps_its_version(#[case] kind: Kind) {
    opened!(kind, "extended", place, ledger);
    let it = minute(1, vec![sample("pay", 7)]);
    ledger.record_minute(ACCOUNT, &it, at(9)).await.expect("recorded");
    ledger.close().await;
    downgrade(&place.location).await;
    for _ in 0..2 {
        let (one, other) = tokio::join!(Ledger::open(&place.location), Ledger::open(&place.location));
        let (one, other) = (one.expect("opened"), other.expect("opened at the same time"));
        let state = [policy_state("pay", 1, "state")];
        one.store_policy_states(&state).await.expect("stored");
        assert_eq!(
            other
                .policy_states(ACCOUNT, "break-even")
                .await
                .expect("readable"),
            state
        );
        assert_eq!(
            one.window(ACCOUNT, at(0), at(9)).await.expect("readable"),
            std::slice::from_ref(&it)
        );
        assert_eq!(one.info().await.expect("readable").schema_version, 2);
        one.close().await;
        other.close().await;
    }
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
async fn a_change_is_recorded_once_whichever_order_its_outcomes_arrive_in(#[case] kind: Kind) {
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
async fn minutes_fold_into_hours_that_stay_and_nothing_counts_twice(#[case] kind: Kind) {
    opened!(kind, "folds", _place, ledger);
    let hour = at(0).as_second().div_euclid(3_600);
    let begin = hour * 60 - at(0).as_second().div_euclid(60);
    for number in begin..begin + 120 {
        let it = minute(number, vec![sample("pay", 10)]);
        ledger
            .record_minute(ACCOUNT, &it, at(200))
            .await
            .expect("recorded");
    }
    let keep = SignedDuration::from_mins(30);
    let year = SignedDuration::from_hours(24 * 365);
    let pruned = ledger
        .prune(at(begin + 95), keep, year, year)
        .await
        .expect("pruned");
    assert_eq!(pruned.minutes, 60);
    let again = ledger
        .prune(at(begin + 95), keep, year, year)
        .await
        .expect("pruned");
    assert_eq!((again.minutes, again.hours), (0, 0));
    let hours = ledger.hours(ACCOUNT, Some("pay.a1b2c")).await.expect("readable");
    assert_eq!(
        (hours.len(), hours[0].known_minutes, hours[0].actions_sum),
        (1, 60, 600)
    );
    assert_eq!((hours[0].throttled_minutes, hours[0].operations_highest), (60, 1));
    let late = minute(begin + 5, vec![sample("pay", 10)]);
    assert_eq!(
        ledger.record_minute(ACCOUNT, &late, at(200)).await,
        Recorded::TooOld.into_ok()
    );
    let dropped = ledger
        .prune(at(begin + 95), keep, SignedDuration::from_mins(1), year)
        .await
        .expect("pruned");
    assert_eq!(dropped.hours, 1);
    assert_eq!(ledger.verify().await.expect("readable"), Vec::<String>::new());
    assert_eq!(ledger.info().await.expect("readable").rows["minutes"], 60);
}

#[rstest]
#[case(Sqlite)]
#[case(Postgres)]
#[tokio::test]
async fn old_evaluations_go_with_their_decisions_and_changes(#[case] kind: Kind) {
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

#[rstest]
#[case(Sqlite)]
#[case(Postgres)]
#[tokio::test]
async fn a_minute_in_the_future_is_refused(#[case] kind: Kind) {
    opened!(kind, "future", _place, ledger);
    let error = ledger
        .record_minute(ACCOUNT, &minute(9, Vec::new()), at(1))
        .await
        .expect_err("in the future");
    assert_eq!(error.kind(), ErrorKind::Input);
}
