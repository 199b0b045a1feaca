//! Rows of a time range.

use jiff::SignedDuration;
use rstest::rstest;

use crate::places::Kind::{self, Postgres, Sqlite};
use crate::places::{ACCOUNT, at, change, evaluation, minute, opened, sample};

#[rstest]
#[case(Sqlite)]
#[case(Postgres)]
#[tokio::test]
async fn changes_and_hours_of_a_range_are_read_and_accounts_are_known_by_any_row(#[case] kind: Kind) {
    opened!(kind, "ranges", _place, ledger);
    assert_eq!(ledger.recorded_accounts().await.expect("readable"), [""; 0]);
    // An account with decisions only.
    let mut other = evaluation("plan-9", 1, false);
    other.account = "z9y8x".to_owned();
    ledger.record_evaluation(&other, &[]).await.expect("written");
    for number in [0, 1] {
        let it = minute(number, vec![sample("pay", 6)]);
        ledger.record_minute(ACCOUNT, &it, at(5)).await.expect("written");
    }
    assert_eq!(
        ledger.recorded_accounts().await.expect("readable"),
        [ACCOUNT, "z9y8x"]
    );

    let mut late = change("plan-2", "pay", "failed");
    late.ended_at_ms = at(9).as_millisecond();
    ledger
        .record_changes(&[change("plan-1", "pay", "changed"), late])
        .await
        .expect("written");
    let operations = async |from: i64, to: i64| {
        let changes = ledger.changes(ACCOUNT, at(from), at(to)).await.expect("readable");
        changes.into_iter().map(|it| it.operation_id).collect::<Vec<_>>()
    };
    assert_eq!(operations(0, 9).await, ["plan-1-pay"], "the end is excluded");
    assert_eq!(
        operations(2, 10).await,
        ["plan-1-pay", "plan-2-pay"],
        "oldest first"
    );
    assert_eq!(
        ledger.changes("z9y8x", at(0), at(10)).await.expect("readable"),
        []
    );

    let hour = at(0).as_second().div_euclid(3_600);
    let day = SignedDuration::from_hours(24);
    let later = at(0) + day * 3;
    ledger
        .prune(later, day, day * 30, day * 30)
        .await
        .expect("pruned");
    let hours = ledger
        .hours_between(ACCOUNT, hour, hour + 1)
        .await
        .expect("readable");
    assert_eq!(
        hours
            .iter()
            .map(|it| (it.hour, it.known_minutes))
            .collect::<Vec<_>>(),
        [(hour, 2)]
    );
    assert_eq!(
        ledger
            .hours_between(ACCOUNT, hour + 1, hour + 9)
            .await
            .expect("readable"),
        []
    );
}
