//! Checks whether a database file and the write-ahead log next to it belong together.
//!
//! SQLite replays any intact log into any file. If a file is restored from a backup next to the log of a
//! later time, or the reverse, the result is silently a mixture of both. To detect this, every transaction
//! that writes increments `user_version`, which puts the first page of the file, with that number and the
//! ledger's own `application_id`, into the log. A log belongs to a file if the file's number is the one
//! before the log's first, or one of the log's own if part of the log was already copied into the file.

use std::fmt;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection, Row, Sqlite, Transaction};

// Sizes and offsets in this file are those of SQLite's documented file format.
const LOG_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

/// How often to retry, because another process may be writing at the same time.
const LOOKS: u8 = 4;
const BETWEEN_LOOKS: Duration = Duration::from_millis(30);

/// The stamp on the first page of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    /// Id of the ledger; 0 before it was set.
    ledger: i64,
    number: i64,
}

/// The first and the last stamp of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Log {
    first: Stamp,
    last: Stamp,
}

impl Log {
    fn continues(self, file: Stamp) -> bool {
        let is_same_ledger = [file.ledger, self.last.ledger].contains(&0) || file.ledger == self.last.ledger;
        is_same_ledger && (self.first.number - 1..=self.last.number).contains(&file.number)
    }
}

/// Increments the number of the file.
pub(crate) async fn stamp(transaction: &mut Transaction<'_, Sqlite>) -> Result<(), sqlx::Error> {
    let row = sqlx::query("PRAGMA user_version")
        .fetch_one(&mut **transaction)
        .await?;
    let next = i32::try_from(row.try_get::<i64, _>(0)? + 1).unwrap_or_default();
    // Not cached, because the statement is different each time.
    sqlx::raw_sql(AssertSqlSafe(format!("PRAGMA user_version = {next}")))
        .execute(&mut **transaction)
        .await
        .map(drop)
}

/// Returns the `application_id` of a ledger, derived from its id.
pub(crate) fn application_id(identity: &str) -> i64 {
    let digits = identity.get(..8).unwrap_or_default();
    i64::from_str_radix(digits, 16).unwrap_or_default() & 0x7fff_ffff
}

pub(crate) fn path_of(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push("-wal");
    path.into()
}

/// Returns whether there is no log, or the log is empty.
pub(crate) fn is_empty(database: &Path) -> bool {
    let length = path_of(database).metadata().map_or(0, |found| found.len());
    length <= (LOG_HEADER + FRAME_HEADER) as u64
}

/// The difference between a file and the log next to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mismatch {
    NoFile,
    AnotherLedger,
    /// Number of changes in the file, and the number at which the log begins.
    OlderFile {
        file: i64,
        log: i64,
    },
    /// Number of changes in the file, and the number at which the log ends.
    OlderLog {
        file: i64,
        log: i64,
    },
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoFile => f.write_str("the file is missing"),
            Self::AnotherLedger => f.write_str("the log belongs to another ledger"),
            Self::OlderFile { file, log } => write!(
                f,
                "the file is at change {file} and the log begins at change {log}: the file is older"
            ),
            Self::OlderLog { file, log } => write!(
                f,
                "the file is at change {file} and the log ends at change {log}: the log is older"
            ),
        }
    }
}

/// Compares a file with the log next to it before SQLite opens them. If they cannot be compared, SQLite
/// decides.
///
/// # Errors
///
/// If the log does not belong to the file; the text describes how they differ.
pub(crate) async fn check(database: &Path) -> Result<(), Mismatch> {
    let mut problem = Ok(());
    for _ in 0..LOOKS {
        if is_empty(database) {
            return Ok(());
        }
        let before = file_stamp(database).await;
        let log = File::open(path_of(database)).ok().and_then(read);
        if log.is_some() && !database.exists() {
            return Err(Mismatch::NoFile);
        }
        let after = file_stamp(database).await;
        problem = match (before, log) {
            // A file that changed in between is in use: another process has opened both already.
            (Some(file), Some(log)) if before == after && !log.continues(file) => Err(difference(file, log)),
            _ => return Ok(()),
        };
        std::thread::sleep(BETWEEN_LOOKS);
    }
    problem
}

fn difference(file: Stamp, log: Log) -> Mismatch {
    if log.last.ledger != file.ledger && ![file.ledger, log.last.ledger].contains(&0) {
        Mismatch::AnotherLedger
    } else if file.number < log.first.number {
        Mismatch::OlderFile {
            file: file.number,
            log: log.first.number,
        }
    } else {
        Mismatch::OlderLog {
            file: file.number,
            log: log.last.number,
        }
    }
}

/// Reads the stamp of the file alone, through SQLite. Closing the file ourselves would release the locks that
/// SQLite holds in this process.
async fn file_stamp(database: &Path) -> Option<Stamp> {
    let options = SqliteConnectOptions::new()
        .filename(database)
        .read_only(true)
        .immutable(true);
    let mut connection = SqliteConnection::connect_with(&options).await.ok()?;
    let mut values = [0; 2];
    for (value, sql) in values
        .iter_mut()
        .zip(["PRAGMA application_id", "PRAGMA user_version"])
    {
        *value = sqlx::query(sql)
            .fetch_one(&mut connection)
            .await
            .ok()?
            .try_get(0)
            .ok()?;
    }
    connection.close().await.ok()?;
    let [ledger, number] = values;
    Some(Stamp { ledger, number })
}

/// Reads the stamps of the log's complete transactions; `None` if there are none.
fn read(file: impl Read) -> Option<Log> {
    let mut file = BufReader::new(file);
    let mut header = [0; LOG_HEADER];
    file.read_exact(&mut header).ok()?;
    let big_endian = match word(&header, 0)? {
        // The last bit of the magic number is the byte order of the checksums. Everything else is
        // big-endian.
        0x377f_0682 => false,
        0x377f_0683 => true,
        _ => return None,
    };
    let page_size = usize::try_from(word(&header, 8)?)
        .ok()
        .filter(|size| (512..=65_536).contains(size))?;
    let mut sum = add((0, 0), header.get(..24)?, big_endian);
    if sum != (word(&header, 24)?, word(&header, 28)?) {
        return None;
    }
    let mut complete: Option<Log> = None;
    let mut open = complete;
    let mut frame = vec![0; FRAME_HEADER + page_size];
    while file.read_exact(&mut frame).is_ok() {
        sum = add(sum, frame.get(..8)?, big_endian);
        sum = add(sum, frame.get(FRAME_HEADER..)?, big_endian);
        // Two salts. A log is overwritten from its start, and frames past its end are from an earlier
        // round.
        let is_of_this_log = frame.get(8..16) == header.get(16..24);
        if !is_of_this_log || sum != (word(&frame, 16)?, word(&frame, 20)?) {
            break;
        }
        // Page 1 begins with the header of the file: the user version at byte 60, the application id at 68.
        if word(&frame, 0)? == 1 {
            let stamp = Stamp {
                ledger: i64::from(word(&frame, FRAME_HEADER + 68)?),
                number: i64::from(word(&frame, FRAME_HEADER + 60)?),
            };
            let first = open.map_or(stamp, |log| log.first);
            open = Some(Log { first, last: stamp });
        }
        // The size of the database, which only the last frame of a transaction has. SQLite ignores frames
        // after the last of these.
        let ends_a_transaction = word(&frame, 4)? > 0;
        if ends_a_transaction {
            complete = open;
        }
    }
    complete
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(u32::from_be_bytes(word))
}

/// Updates SQLite's running checksum, which is over pairs of words.
fn add((mut one, mut other): (u32, u32), bytes: &[u8], big_endian: bool) -> (u32, u32) {
    let number = |word: &[u8]| {
        let word = word.try_into().unwrap_or_default();
        if big_endian {
            u32::from_be_bytes(word)
        } else {
            u32::from_le_bytes(word)
        }
    };
    for pair in bytes.chunks_exact(8) {
        let (first, second) = pair.split_at(4);
        one = one.wrapping_add(number(first)).wrapping_add(other);
        other = other.wrapping_add(number(second)).wrapping_add(one);
    }
    (one, other)
}
