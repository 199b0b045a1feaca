//! Tests of failures with real causes: they are distinguished, reported without a password, and lose no data.

use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use capacity_ledger::{ErrorKind, Ledger, Location, Recorded};
use rstest::rstest;
use secrecy::ExposeSecret;

use crate::places::Kind::{self, Postgres, Sqlite};
use crate::places::{ACCOUNT, at, execute, minute, opened, place, sample};

#[tokio::test]
async fn files_that_are_not_ledgers_are_distinguished_and_left_alone() {
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

#[tokio::test]
async fn a_folder_that_cannot_be_created_is_reported_as_not_writable() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    std::fs::write(&file, "in the way").expect("written");
    let error = Ledger::open(&Location::Sqlite(file.join("ledger.db"))).await;
    let error = error.expect_err("no folder");
    assert_eq!(error.kind(), ErrorKind::ReadOnly, "{error}");
}

/// Writes bytes into a file.
fn overwrite(path: &Path, place: u64, bytes: &[u8]) {
    let mut file = std::fs::File::options().write(true).open(path).expect("opened");
    file.seek(SeekFrom::Start(place)).expect("there");
    file.write_all(bytes).expect("written");
}

#[rstest]
#[case(Sqlite)]
#[case(Postgres)]
#[tokio::test]
async fn a_ledger_that_can_be_read_but_not_written_is_reported(#[case] kind: Kind) {
    opened!(kind, "readonly", place, ledger);
    let it = minute(1, vec![sample("pay", 7)]);
    ledger.record_minute(ACCOUNT, &it, at(9)).await.expect("recorded");
    ledger.close().await;
    match &place.location {
        // Sets the write version in the file header to that of a later SQLite. File permissions would not
        // stop every user.
        Location::Sqlite(path) => overwrite(path, 18, &[3]),
        Location::Postgres(url) => {
            let pool = sqlx::PgPool::connect(url.expose_secret())
                .await
                .expect("connected");
            sqlx::query(
                "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', \
                 current_database()); END $$",
            )
            .execute(&pool)
            .await
            .expect("set");
        }
        _ => unreachable!("a location that this test does not know"),
    }
    let error = match Ledger::open(&place.location).await {
        Err(error) => error,
        // A file can still be read.
        Ok(ledger) => {
            let window = ledger.window(ACCOUNT, at(0), at(9)).await.expect("readable");
            assert_eq!(window, [it]);
            let more = minute(2, vec![sample("pay", 7)]);
            ledger
                .record_minute(ACCOUNT, &more, at(9))
                .await
                .expect_err("read-only")
        }
    };
    assert_eq!(error.kind(), ErrorKind::ReadOnly, "{error}");
}

/// Copies a database file and its log as they are on disk.
fn copied(path: &Path, to: &Path) -> PathBuf {
    let copy = to.join("copy.db");
    std::fs::copy(path, &copy).expect("copied");
    std::fs::copy(path.with_extension("db-wal"), to.join("copy.db-wal")).expect("copied");
    copy
}

#[rstest]
#[case::between_two_writes(0, 3)]
#[case::while_it_wrote(100, 2)]
#[tokio::test]
async fn records_of_a_killed_writer_survive(#[case] cut: u64, #[case] minutes: usize) {
    opened!(Sqlite, "killed", place, ledger);
    let Location::Sqlite(path) = &place.location else {
        return;
    };
    for number in 1..=3 {
        let it = minute(number, vec![sample("pay", 7)]);
        ledger.record_minute(ACCOUNT, &it, at(9)).await.expect("recorded");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let copy = copied(path, folder.path());
    let log = copy.with_extension("db-wal");
    let length = log.metadata().expect("there").len();
    assert!(length > 0, "the log holds the writes");
    let file = std::fs::File::options().write(true).open(&log).expect("opened");
    file.set_len(length - cut).expect("cut");
    let copy = Ledger::open(&Location::Sqlite(copy)).await.expect("opened");
    let window = copy.window(ACCOUNT, at(0), at(9)).await.expect("readable");
    assert_eq!(window.len(), minutes);
    assert_eq!(copy.verify().await.expect("readable"), Vec::<String>::new());
    let it = minute(4, vec![sample("pay", 7)]);
    let recorded = copy.record_minute(ACCOUNT, &it, at(9)).await;
    assert_eq!(recorded.expect("recorded"), Recorded::Written);
}

#[tokio::test]
async fn a_damaged_page_of_the_file_is_reported() {
    opened!(Sqlite, "page", place, ledger);
    let Location::Sqlite(path) = &place.location else {
        return;
    };
    for number in 1..=300 {
        let it = minute(number, vec![sample("pay", 7), sample("orders", 8)]);
        ledger
            .record_minute(ACCOUNT, &it, at(400))
            .await
            .expect("recorded");
    }
    ledger.close().await;
    let length = path.metadata().expect("there").len();
    overwrite(path, length - 4096, &[0xaa; 4096]);
    let ledger = Ledger::open(&place.location).await.expect("opened");
    let error = ledger.window(ACCOUNT, at(0), at(400)).await.expect_err("damaged");
    assert_eq!(error.kind(), ErrorKind::Corrupted, "{error}");
    let problems = ledger.verify().await;
    assert!(
        problems.as_ref().map_or_else(
            |error| error.kind() == ErrorKind::Corrupted,
            |problems| !problems.is_empty()
        ),
        "{problems:?}"
    );
}

#[tokio::test]
async fn a_silent_server_is_unreachable_after_a_few_seconds() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("an address").port();
    let url = format!("postgres://me:s3cret@127.0.0.1:{port}/ledger");
    let begun = Instant::now();
    let error = Ledger::open(&Location::parse(&url).expect("a location")).await;
    let error = error.expect_err("nobody answers");
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert!(!error.to_string().contains("s3cret"), "{error}");
}

#[tokio::test]
async fn a_wrong_password_is_reported_but_not_shown() {
    opened!(Postgres, "password", place, _ledger);
    let Location::Postgres(url) = &place.location else {
        return;
    };
    let url = url.expose_secret();
    let pool = sqlx::PgPool::connect(url).await.expect("connected");
    sqlx::query("CREATE ROLE guarded LOGIN SUPERUSER PASSWORD 'right'")
        .execute(&pool)
        .await
        .expect("made");
    let login = |password: &str| {
        let url = url.replace("ledger:unused@", &format!("guarded:{password}@"));
        Location::parse(&url).expect("a location")
    };
    let error = Ledger::open(&login("s3cret")).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    assert!(!error.to_string().contains("s3cret"), "{error}");
    Ledger::open(&login("right")).await.expect("let in");
}

#[rstest]
#[case(Sqlite)]
#[case(Postgres)]
#[tokio::test]
async fn a_ledger_of_a_newer_version_is_refused(#[case] kind: Kind) {
    opened!(kind, "newer", place, ledger);
    execute(&place.location, "UPDATE capacity_ledger SET version = 99").await;
    ledger.close().await;
    let error = Ledger::open(&place.location).await.expect_err("newer");
    assert_eq!(error.kind(), ErrorKind::Newer, "{error}");
}

#[tokio::test]
async fn a_damaged_minute_is_reported_and_the_others_stay_readable() {
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
        problems.len() == 1 && problems[0].contains("truncated"),
        "{problems:?}"
    );
}
