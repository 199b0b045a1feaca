//! A database file restored next to a log from another time is rejected with a reason, and never mixed.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use capacity_ledger::{ErrorKind, Ledger, Location};
use rstest::rstest;

use crate::places::{ACCOUNT, at, minute, sample};

/// A ledger that is opened three times, with copies of its file and log.
struct Lives {
    folder: tempfile::TempDir,
}

impl Lives {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn open(&self, name: &str) -> Ledger {
        Ledger::open(&Location::Sqlite(self.path(name)))
            .await
            .expect("opened")
    }

    /// Copies a file and the log next to it.
    fn copy(&self, from: &str, to: &str) {
        for end in ["", "-wal"] {
            let from = self.path(&format!("{from}{end}"));
            if from.exists() {
                std::fs::copy(from, self.path(&format!("{to}{end}"))).expect("copied");
            }
        }
    }

    /// `first`: a file and its log. `closed`: a file with everything recorded until then. `last`: a file and
    /// its log, three minutes later.
    async fn new() -> Self {
        let lives = Self {
            folder: tempfile::tempdir().expect("a folder"),
        };
        let ledger = lives.open("ledger").await;
        record(&ledger, 1).await;
        lives.copy("ledger", "first");
        ledger.close().await;
        lives.copy("ledger", "closed");
        for number in [2, 3] {
            let ledger = lives.open("ledger").await;
            record(&ledger, number).await;
            ledger.close().await;
        }
        let ledger = lives.open("ledger").await;
        record(&ledger, 4).await;
        lives.copy("ledger", "last");
        let other = lives.open("other").await;
        record(&other, 1).await;
        lives.copy("other", "stranger");
        lives
    }

    /// Puts a file next to the log of another.
    fn put(&self, file: &str, log: &str) -> PathBuf {
        let path = self.path("restored");
        std::fs::copy(self.path(file), &path).expect("copied");
        std::fs::copy(self.path(&format!("{log}-wal")), wal(&path)).expect("copied");
        path
    }
}

fn wal(path: &Path) -> PathBuf {
    PathBuf::from(format!("{}-wal", path.display()))
}

async fn record(ledger: &Ledger, number: i64) {
    let it = minute(number, vec![sample("pay", 7)]);
    ledger.record_minute(ACCOUNT, &it, at(9)).await.expect("recorded");
}

async fn minutes(path: &Path) -> usize {
    let ledger = Ledger::open(&Location::Sqlite(path.to_path_buf()))
        .await
        .expect("opened");
    let window = ledger.window(ACCOUNT, at(0), at(9)).await.expect("readable");
    assert_eq!(ledger.verify().await.expect("readable"), Vec::<String>::new());
    ledger.close().await;
    window.len()
}

#[rstest]
#[case::an_older_file("closed", "last", "the file is older", 1)]
#[case::an_older_log("last", "first", "the log is older", 3)]
#[case::a_log_of_another_ledger("last", "stranger", "", 3)]
#[tokio::test]
async fn a_file_next_to_a_log_from_another_time_is_refused_and_both_are_named(
    #[case] file: &str,
    #[case] log: &str,
    #[case] why: &str,
    #[case] minutes_of_the_file: usize,
) {
    let lives = Lives::new().await;
    let path = lives.put(file, log);
    let before = (
        std::fs::read(&path).expect("read"),
        std::fs::read(wal(&path)).expect("read"),
    );
    let location = Location::Sqlite(path.clone());
    for opened in [
        Ledger::open(&location).await,
        Ledger::open_existing(&location).await,
        Ledger::open_read_only(&location).await,
    ] {
        let error = opened.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Mixed, "{error}");
        let text = error.to_string();
        for part in ["restored-wal", "restored-shm", why] {
            assert!(text.contains(part), "{text}");
        }
    }
    let after = (
        std::fs::read(&path).expect("read"),
        std::fs::read(wal(&path)).expect("read"),
    );
    assert!(before == after, "nothing was changed");
    // As the message recommends.
    std::fs::remove_file(wal(&path)).expect("moved away");
    assert_eq!(minutes(&path).await, minutes_of_the_file);
}

#[rstest]
#[case::of_the_same_time("last", "last", 4)]
#[case::of_the_same_earlier_time("first", "first", 1)]
#[tokio::test]
async fn a_file_next_to_its_own_log_is_opened_with_its_full_contents(
    #[case] file: &str,
    #[case] log: &str,
    #[case] expected: usize,
) {
    let lives = Lives::new().await;
    assert_eq!(minutes(&lives.put(file, log)).await, expected);
}

#[tokio::test]
async fn a_log_without_its_file_is_refused() {
    let lives = Lives::new().await;
    let path = lives.put("last", "last");
    std::fs::remove_file(&path).expect("removed");
    let error = Ledger::open(&Location::Sqlite(path.clone()))
        .await
        .expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Mixed, "{error}");
    assert!(!path.exists());
}

/// The log is written, copied into the file and restarted repeatedly.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_ledger_in_use_is_never_mistaken_for_a_restored_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let location = Location::Sqlite(folder.path().join("ledger.db"));
    let ledger = Ledger::open(&location).await.expect("opened");
    let is_done = AtomicBool::new(false);
    let write = async {
        let samples: Vec<_> = (0..3_000)
            .map(|number| sample(&format!("n{number}"), 7))
            .collect();
        let mut number = 0;
        while !is_done.load(Ordering::Relaxed) {
            let it = minute(number, samples.clone());
            ledger
                .record_minute(ACCOUNT, &it, at(number))
                .await
                .expect("recorded");
            number += 1;
        }
    };
    let look = async {
        for _ in 0..15 {
            let looking = Ledger::open_read_only(&location).await.expect("opened");
            looking.close().await;
            let writing = Ledger::open(&location).await.expect("opened");
            writing.close().await;
        }
        is_done.store(true, Ordering::Relaxed);
    };
    tokio::join!(write, look);
}
