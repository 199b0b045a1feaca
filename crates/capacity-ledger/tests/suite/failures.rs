//! What goes wrong, each with a real cause: told apart, told without a password, and nothing lost.

use capacity_ledger::{ErrorKind, Ledger, Location};
use rstest::rstest;

use crate::places::Kind::{self, Postgres, Sqlite};
use crate::places::{ACCOUNT, at, minute, opened, place, sample};

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
