//! What a ledger promises, on either database.

use std::sync::Arc;

use capacity_ledger::{
    ChangeRecord, Claim, DecisionRecord, ErrorKind, EvaluationRecord, Format, HistoryFilter, Ledger,
    Location, Minute, NamespaceMinute, Recorded, Table,
};
use jiff::{SignedDuration, Timestamp};
use rstest::rstest;

use crate::postgres::new_database;

const ACCOUNT: &str = "a1b2c";

#[derive(Debug, Clone, Copy)]
enum Kind {
    Sqlite,
    Postgres,
}
use Kind::{Postgres, Sqlite};

/// A ledger of the test's own. The folder goes with it.
struct Place {
    location: Location,
    _folder: tempfile::TempDir,
}

fn place(kind: Kind, test: &str) -> Option<Place> {
    let folder = tempfile::tempdir().expect("a folder");
    let location = match kind {
        Sqlite => Location::Sqlite(folder.path().join("new/ledger.db")),
        Postgres => Location::parse(&new_database(test)?).expect("a location"),
    };
    Some(Place {
        location,
        _folder: folder,
    })
}

macro_rules! opened {
    ($kind:expr, $test:literal, $place:ident, $ledger:ident) => {
        let Some($place) = place($kind, $test) else { return };
        let $ledger = Ledger::open(&$place.location).await.expect("opened");
    };
}

fn at(minute: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_040 + minute * 60).expect("in range")
}

fn sample(name: &str, actions: u64) -> NamespaceMinute {
    NamespaceMinute {
        namespace: Arc::from(format!("{name}.{ACCOUNT}")),
        unread: [false; 3],
        reported: true,
        served: [actions, actions * 2, 0],
        throttled: [0, 0, actions / 10],
        limits: [Some(500_000_000), None, Some(4_000_000_000)],
        envelopes: [Some(500_000_000), None, None],
    }
}

fn minute(number: i64, samples: Vec<NamespaceMinute>) -> Minute {
    Minute {
        minute: at(number),
        complete: true,
        source: "metrics".to_owned(),
        samples,
    }
}

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
    assert_eq!(
        ledger.newest_minute(ACCOUNT).await.expect("readable"),
        Some(at(3))
    );
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
    // Given twice, counted once, with the higher use.
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
    // An hour after the first they are free again.
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

fn evaluation(plan: &str, minute: i64, dry_run: bool) -> EvaluationRecord {
    EvaluationRecord {
        account: ACCOUNT.to_owned(),
        plan_id: plan.to_owned(),
        evaluated_at_ms: at(minute).as_millisecond(),
        dry_run,
        blind: false,
        by: "worker-1".to_owned(),
        usage_window: "ledger".to_owned(),
        price_micro_dollars: 50_000_000,
    }
}

fn decision(plan: &str, namespace: &str, action: &str) -> DecisionRecord {
    DecisionRecord {
        account: ACCOUNT.to_owned(),
        plan_id: plan.to_owned(),
        namespace: namespace.to_owned(),
        action: action.to_owned(),
        current_trus: Some(4),
        wanted_trus: Some(0),
        reason_code: "idle".to_owned(),
        reason: "45 actions, \"quoted\", below 100".to_owned(),
        price_before_micro_dollars: Some(54_000_000),
        price_after_micro_dollars: Some(0),
        known_minutes: Some(60),
    }
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
    let mut change = ChangeRecord {
        operation_id: "op-1".to_owned(),
        account: ACCOUNT.to_owned(),
        plan_id: "p1".to_owned(),
        namespace: "orders.a1b2c".to_owned(),
        from_trus: 4,
        to_trus: 0,
        outcome: "in_progress".to_owned(),
        error: None,
        ended_at_ms: at(2).as_millisecond(),
        by: "worker-1".to_owned(),
    };
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
        namespace: Some("pay.a1b2c".to_owned()),
        ..HistoryFilter::default()
    };
    assert_eq!(
        ledger.history(None, &newest).await.expect("readable")[0]
            .decision
            .plan_id,
        "p2"
    );
    ledger
        .put_policy_state(ACCOUNT, "pay.a1b2c", "{}")
        .await
        .expect("put");
    ledger
        .put_policy_state(ACCOUNT, "pay.a1b2c", "{\"debt\":1}")
        .await
        .expect("put again");
    let state = ledger.policy_state(ACCOUNT, "pay.a1b2c").await.expect("readable");
    assert_eq!(state.as_deref(), Some("{\"debt\":1}"));
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
    let pruned = ledger.prune(at(begin + 95), keep, year).await.expect("pruned");
    assert_eq!(pruned.minutes, 60);
    let again = ledger.prune(at(begin + 95), keep, year).await.expect("pruned");
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
        .prune(at(begin + 95), keep, SignedDuration::from_mins(1))
        .await
        .expect("pruned");
    assert_eq!(dropped.hours, 1);
    assert_eq!(ledger.verify().await.expect("readable"), Vec::<String>::new());
    assert_eq!(ledger.info().await.expect("readable").rows["minutes"], 60);
}

#[rstest]
#[case(Sqlite, Format::Csv)]
#[case(Postgres, Format::JsonLines)]
#[tokio::test]
async fn what_was_taken_out_can_be_taken_in(#[case] kind: Kind, #[case] format: Format) {
    opened!(kind, "transfer", _place, ledger);
    ledger
        .record_minute(ACCOUNT, &minute(1, vec![sample("pay", 7), sample("x", 0)]), at(5))
        .await
        .expect("recorded");
    let missing = Minute {
        complete: false,
        ..minute(2, Vec::new())
    };
    ledger
        .record_minute(ACCOUNT, &missing, at(5))
        .await
        .expect("recorded");
    let mut file = Vec::new();
    assert_eq!(
        ledger
            .export(Table::Minutes, format, &mut file)
            .await
            .expect("written"),
        3
    );
    let Some(copy) = place(Sqlite, "copy") else { return };
    let copy = Ledger::open(&copy.location).await.expect("opened");
    assert_eq!(copy.import_minutes(format, &file[..]).await.expect("read"), 2);
    assert_eq!(
        copy.import_minutes(format, &file[..]).await.expect("read again"),
        0
    );
    let whole = (at(0), at(9));
    let (one, other) = (
        ledger.window(ACCOUNT, whole.0, whole.1).await,
        copy.window(ACCOUNT, whole.0, whole.1).await,
    );
    assert_eq!(one.expect("readable"), other.expect("readable"));
    // A line that is cut short is told, and nothing of its file is written.
    let cut = &file[..file.len() - 9];
    let Some(empty) = place(Sqlite, "empty") else {
        return;
    };
    let empty = Ledger::open(&empty.location).await.expect("opened");
    let error = empty.import_minutes(format, cut).await.expect_err("cut short");
    assert!(
        error.kind() == ErrorKind::Input && error.to_string().starts_with("line "),
        "{error}"
    );
    assert_eq!(empty.info().await.expect("readable").rows["minutes"], 0);
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

#[tokio::test]
async fn files_that_are_no_ledger_are_told_apart_and_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ledger.db");
    std::fs::write(
        &file,
        "this is no database, and long enough to be looked at as one. ".repeat(20),
    )
    .expect("written");
    let error = Ledger::open(&Location::Sqlite(file.clone()))
        .await
        .expect_err("no database");
    assert_eq!(error.kind(), ErrorKind::Corrupted, "{error}");
    assert!(
        std::fs::read_to_string(&file)
            .expect("there")
            .starts_with("this is no database")
    );
    let missing = Location::parse("postgres://me:s3cret@127.0.0.1:1/none").expect("a location");
    let error = Ledger::open(&missing).await.expect_err("nobody listens");
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    assert!(!error.to_string().contains("s3cret"), "{error}");
}

#[rstest]
#[case(Sqlite)]
#[case(Postgres)]
#[tokio::test]
async fn a_ledger_of_a_newer_version_is_refused(#[case] kind: Kind) {
    opened!(kind, "newer", place, ledger);
    let sql = "UPDATE capacity_ledger SET version = 99";
    match &place.location {
        Location::Sqlite(path) => {
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
            let pool = sqlx::SqlitePool::connect_with(options).await.expect("connected");
            sqlx::query(sql).execute(&pool).await.expect("set");
        }
        Location::Postgres(url) => {
            let pool = sqlx::PgPool::connect(secrecy::ExposeSecret::expose_secret(url))
                .await
                .expect("connected");
            sqlx::query(sql).execute(&pool).await.expect("set");
        }
    }
    ledger.close().await;
    let error = Ledger::open(&place.location).await.expect_err("newer");
    assert_eq!(error.kind(), ErrorKind::Newer, "{error}");
}

#[tokio::test]
async fn a_damaged_minute_is_told_and_the_others_stay_readable() {
    let Some(place) = place(Sqlite, "damaged") else {
        return;
    };
    let Location::Sqlite(path) = &place.location else {
        return;
    };
    let ledger = Ledger::open(&place.location).await.expect("opened");
    for number in [1, 2] {
        let it = minute(number, vec![sample("pay", 7)]);
        ledger.record_minute(ACCOUNT, &it, at(9)).await.expect("recorded");
    }
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    let pool = sqlx::SqlitePool::connect_with(options).await.expect("connected");
    sqlx::query("UPDATE capacity_minutes SET block = substr(block, 1, length(block) - 1) WHERE minute = $1")
        .bind(at(2).as_second() / 60)
        .execute(&pool)
        .await
        .expect("cut short");
    let error = ledger.window(ACCOUNT, at(0), at(9)).await.expect_err("damaged");
    assert_eq!(error.kind(), ErrorKind::Corrupted, "{error}");
    assert_eq!(
        ledger
            .window(ACCOUNT, at(0), at(2))
            .await
            .expect("readable")
            .len(),
        1
    );
    let problems = ledger.verify().await.expect("readable");
    assert!(
        problems.len() == 1 && problems[0].contains("cut short"),
        "{problems:?}"
    );
}
