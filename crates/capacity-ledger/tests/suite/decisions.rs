//! Tests that decisions in blocks read the same as decisions in rows.

use capacity_ledger::{DecisionRecord, Format, HistoryFilter, Ledger, Table};
use jiff::SignedDuration;
use rstest::rstest;

use crate::places::Kind::{self, Postgres, Sqlite};
use crate::places::{ACCOUNT, at, change, decision, evaluation, execute, opened};

/// Returns a plan's decisions about this number of namespaces, of which every seventh is a change.
fn decisions(plan: &str, count: usize) -> Vec<DecisionRecord> {
    let decided = (0..count).map(|number| {
        let name = format!("team-{:04}.a1b2c", number * 37 % count);
        let action = if number % 7 == 0 { "Enable" } else { "Keep" };
        DecisionRecord {
            reason: format!("{number} actions/s of 1,000 at 12:05 ({plan})"),
            reason_code: if number % 3 == 0 { "quiet" } else { "in_use" }.to_owned(),
            known_minutes: (number % 5 > 0).then_some(60),
            ..decision(plan, &name, action)
        }
    });
    decided.collect()
}

fn of_namespaces(names: &[&str]) -> HistoryFilter {
    HistoryFilter {
        namespaces: names.iter().map(|name| (*name).to_owned()).collect(),
        ..HistoryFilter::default()
    }
}

async fn found(ledger: &Ledger, filter: &HistoryFilter) -> Vec<(String, String)> {
    let rows = ledger.history(Some(ACCOUNT), filter).await.expect("readable");
    rows.into_iter()
        .map(|row| (row.decision.plan_id, row.decision.namespace))
        .collect()
}

async fn exported(ledger: &Ledger, table: Table) -> Vec<u8> {
    let mut file = Vec::new();
    ledger
        .export(table, Format::JsonLines, &mut file)
        .await
        .expect("exported");
    file
}

#[rstest]
#[case(Sqlite)]
#[case(Postgres)]
#[tokio::test]
async fn every_decision_is_read_as_it_was_recorded(#[case] kind: Kind) {
    opened!(kind, "blocks", _place, ledger);
    let mut recorded = Vec::new();
    for (number, plan) in ["p1", "p2", "p3", "p4", "p5"].into_iter().enumerate() {
        let decisions = decisions(plan, 1_203);
        // Two evaluations at the same time differ in their plan ids.
        let minute = i64::try_from(number / 2).expect("few");
        for _ in 0..2 {
            ledger
                .record_evaluation(&evaluation(plan, minute, false), &decisions)
                .await
                .expect("recorded, once");
        }
        let mut sorted = decisions;
        sorted.sort_by(|one, other| one.namespace.cmp(&other.namespace));
        recorded.push(sorted);
    }
    let all = ledger
        .history(None, &HistoryFilter::default())
        .await
        .expect("readable");
    let of_plan = |plan: &str| {
        let rows = all.iter().map(|row| row.decision.clone());
        rows.filter(|it| it.plan_id == plan).collect::<Vec<_>>()
    };
    for (plan, recorded) in ["p1", "p2", "p3", "p4", "p5"].iter().zip(&recorded) {
        assert!(of_plan(plan) == *recorded, "{plan}");
    }
    let order: Vec<_> = all
        .iter()
        .map(|row| {
            (
                row.evaluated_at_ms,
                &row.decision.namespace,
                &row.decision.plan_id,
            )
        })
        .collect();
    assert!(order.is_sorted());
    let some = of_namespaces(&["team-0003.a1b2c", "team-0900.a1b2c", "unknown"]);
    let named = |plan: &str, name: &str| (plan.to_owned(), format!("{name}.a1b2c"));
    let expected: Vec<_> = [["p1", "p2"], ["p3", "p4"]]
        .iter()
        .flat_map(|plans| ["team-0003", "team-0900"].map(|name| plans.map(|plan| named(plan, name))))
        .flatten()
        .chain([named("p5", "team-0003"), named("p5", "team-0900")])
        .collect();
    assert_eq!(found(&ledger, &some).await, expected);
    let newest = HistoryFilter {
        limit: 3,
        ..some.clone()
    };
    assert_eq!(found(&ledger, &newest).await, expected[expected.len() - 3..]);
    let before = HistoryFilter {
        to: Some(at(1)),
        from: Some(at(0)),
        limit: 1,
        ..of_namespaces(&["team-0900.a1b2c"])
    };
    assert_eq!(found(&ledger, &before).await, [named("p2", "team-0900")]);
    assert_eq!(found(&ledger, &of_namespaces(&["unknown"])).await, []);
    let changes = HistoryFilter {
        changes_only: true,
        ..HistoryFilter::default()
    };
    assert_eq!(found(&ledger, &changes).await.len(), 5 * 172);
    assert_eq!(
        ledger.info().await.expect("readable").rows["decisions"],
        5 * 1_203
    );
    assert_eq!(ledger.decided_namespaces().await.expect("readable").len(), 1_203);
    assert_eq!(ledger.verify().await.expect("readable"), Vec::<String>::new());
}

#[rstest]
#[case(Sqlite)]
#[case(Postgres)]
#[tokio::test]
async fn rows_of_an_earlier_release_and_blocks_are_one_history(#[case] kind: Kind) {
    opened!(kind, "mixed", place, ledger);
    let both = decisions("old", 10);
    ledger
        .record_evaluation(&evaluation("old", 1, false), &both)
        .await
        .expect("recorded");
    let history = ledger
        .history(None, &HistoryFilter::default())
        .await
        .expect("readable");
    let file = exported(&ledger, Table::Decisions).await;
    // Rewrite them as the earlier release would have.
    execute(
        &place.location,
        "DELETE FROM capacity_decision_blocks; DELETE FROM capacity_decisions",
    )
    .await;
    for it in &both {
        let trus = |trus: Option<i64>| trus.map_or("NULL".to_owned(), |trus| trus.to_string());
        let row = format!(
            "INSERT INTO capacity_decisions VALUES ('{}', '{}', '{}', '{}', {}, {}, '{}', '{}', {}, {}, {})",
            it.account,
            it.plan_id,
            it.namespace,
            it.action,
            trus(it.current_trus),
            trus(it.wanted_trus),
            it.reason_code,
            it.reason,
            trus(it.price_before_micro_dollars),
            trus(it.price_after_micro_dollars),
            trus(it.known_minutes)
        );
        execute(&place.location, &row).await;
    }
    assert_eq!(
        ledger
            .history(None, &HistoryFilter::default())
            .await
            .expect("readable"),
        history
    );
    assert_eq!(exported(&ledger, Table::Decisions).await, file);
    // Importing existing decisions as rows adds nothing.
    assert_eq!(
        ledger
            .import(Table::Decisions, Format::JsonLines, &file[..])
            .await
            .expect("taken in"),
        0
    );
    ledger
        .record_evaluation(&evaluation("new", 2, false), &decisions("new", 10))
        .await
        .expect("recorded");
    let plans = found(&ledger, &of_namespaces(&["team-0001.a1b2c"])).await;
    let plans: Vec<&str> = plans.iter().map(|(plan, _)| plan.as_str()).collect();
    assert_eq!(plans, ["old", "new"]);
    assert_eq!(ledger.info().await.expect("readable").rows["decisions"], 20);
}

#[rstest]
#[case(Sqlite)]
#[case(Postgres)]
#[tokio::test]
async fn a_decision_that_a_person_carried_out_later_has_its_outcome(#[case] kind: Kind) {
    opened!(kind, "approved", _place, ledger);
    let held = decision("p1", "pay.a1b2c", "Hold");
    ledger
        .record_evaluation(&evaluation("p1", 1, false), &[held])
        .await
        .expect("recorded");
    ledger
        .record_changes(&[change("p1", "pay.a1b2c", "changed")])
        .await
        .expect("recorded");
    let history = ledger
        .history(None, &HistoryFilter::default())
        .await
        .expect("readable");
    assert_eq!(history[0].outcome.as_deref(), Some("changed"));
}

#[rstest]
#[case(Sqlite)]
#[case(Postgres)]
#[tokio::test]
async fn a_damaged_block_is_named_and_pruned_with_its_evaluation(#[case] kind: Kind) {
    opened!(kind, "damaged-block", place, ledger);
    for (plan, minute) in [("old", 1), ("new", 100)] {
        ledger
            .record_evaluation(&evaluation(plan, minute, false), &decisions(plan, 10))
            .await
            .expect("recorded");
    }
    let bytes = match kind {
        Sqlite => "x'0700'",
        Postgres => "'\\x0700'",
    };
    let damage = format!("UPDATE capacity_decision_blocks SET block = {bytes} WHERE plan_id = 'old'");
    execute(&place.location, &damage).await;
    let problems = ledger.verify().await.expect("readable").join("\n");
    assert!(
        problems.contains("the evaluation old of a1b2c contains a block with an unknown version"),
        "{problems}"
    );
    let error = ledger.history(None, &HistoryFilter::default()).await;
    assert!(error.is_err());
    let year = SignedDuration::from_hours(24 * 365);
    let pruned = ledger
        .prune(at(110), year, year, SignedDuration::from_mins(50))
        .await;
    assert_eq!(pruned.expect("pruned").decisions, 10);
    assert_eq!(ledger.verify().await.expect("readable"), Vec::<String>::new());
    assert_eq!(found(&ledger, &HistoryFilter::default()).await.len(), 10);
}

/// An account may have thousands of namespaces.
#[tokio::test]
async fn a_decision_that_changes_nothing_takes_a_few_bytes() {
    opened!(Sqlite, "size", _place, ledger);
    let quiet = |plan: &str| -> Vec<DecisionRecord> {
        let one = |number: usize| DecisionRecord {
            reason: format!("{}.{} actions/s, no throttling", number % 400, number % 10),
            ..decision(plan, &format!("team-{number:05}.a1b2c"), "Keep")
        };
        (0..2_000).map(one).collect()
    };
    let record = async |plan: &str, minute| {
        ledger
            .record_evaluation(&evaluation(plan, minute, false), &quiet(plan))
            .await
            .expect("recorded");
        ledger.info().await.expect("readable").bytes
    };
    let first = record("p0", 0).await;
    let mut last = first;
    for number in 1..=18 {
        last = record(&format!("p{number}"), number).await;
    }
    let each = (last - first) / 18 / 2_000;
    assert!(each < 30, "{each} bytes");
}
