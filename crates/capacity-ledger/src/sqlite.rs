//! Opens the file of a ledger, for writing or read-only.

use std::io::ErrorKind as IoErrorKind;
use std::path::Path;
use std::time::{Duration, Instant};

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

use crate::error::{ErrorKind, LedgerError, sorted};
use crate::pool::{Opening, PATIENCE};
use crate::write_ahead_log;

pub(crate) async fn connect(path: &Path, opening: Opening, shown: &str) -> Result<SqlitePool, LedgerError> {
    let failed = |kind, detail: &str| LedgerError::new(kind, shown, detail);
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => {
            return Err(failed(ErrorKind::Location, "it is a folder; add a file name"));
        }
        Err(_) if opening == Opening::Create => {
            if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                std::fs::create_dir_all(folder)
                    .map_err(|error| failed(ErrorKind::ReadOnly, &error.to_string()))?;
            }
        }
        Err(error) if matches!(error.kind(), IoErrorKind::NotFound | IoErrorKind::NotADirectory) => {
            return Err(failed(ErrorKind::Missing, "no such file"));
        }
        Err(error) => return Err(failed(ErrorKind::Unreachable, &error.to_string())),
        Ok(_) => {}
    }
    // Before SQLite opens the file: opening alone replays the log.
    write_ahead_log::check(path)
        .await
        .map_err(|mismatch| failed(ErrorKind::Mixed, &mismatch.to_string()))?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(PATIENCE)
        .pragma("cache_size", CACHE);
    if opening == Opening::ReadOnly {
        return read_only(path, options, shown).await;
    }
    let options = options
        .create_if_missing(opening == Opening::Create)
        // Readers (`explain`, `report`) do not block the worker that writes, and vice versa.
        .journal_mode(SqliteJournalMode::Wal)
        // With a write-ahead log, a power failure may lose the last transactions, but never damages the
        // file.
        .synchronous(SqliteSynchronous::Normal);
    let begun = Instant::now();
    loop {
        match pool(options.clone()).await {
            // Switching a new file to a write-ahead log does not wait for another process that opens the file
            // at the same time.
            Err(error) if has_code(&error, &[BUSY]) && begun.elapsed() < PATIENCE => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            pool => return pool.map_err(|error| sorted(&error, shown)),
        }
    }
}

async fn read_only(
    path: &Path,
    options: SqliteConnectOptions,
    shown: &str,
) -> Result<SqlitePool, LedgerError> {
    let options = options.read_only(true);
    let error = match tried(options.clone()).await {
        Err(error) if is_denied(&error) => error,
        pool => return pool.map_err(|error| sorted(&error, shown)),
    };
    // Readers share an index of the log, which they may have to create. Without a log, the file alone is
    // complete.
    if write_ahead_log::is_empty(path) {
        // `immutable` takes no locks and creates no files, which is what a read-only folder needs.
        return tried(options.immutable(true))
            .await
            .map_err(|error| sorted(&error, shown));
    }
    let detail = format!(
        "{error}; its -wal file contains changes, and reading them requires write access to the folder"
    );
    Err(LedgerError::new(ErrorKind::Unreachable, shown, detail))
}

async fn tried(options: SqliteConnectOptions) -> Result<SqlitePool, sqlx::Error> {
    let pool = pool(options).await?;
    // The file is only opened by the first statement.
    sqlx::query("SELECT COUNT(*) FROM sqlite_master")
        .execute(&pool)
        .await?;
    Ok(pool)
}

async fn pool(options: SqliteConnectOptions) -> Result<SqlitePool, sqlx::Error> {
    SqlitePoolOptions::new()
        .max_connections(4)
        .acquire_timeout(PATIENCE)
        .connect_with(options)
        .await
}

fn is_denied(error: &sqlx::Error) -> bool {
    has_code(error, &[READ_ONLY, CANNOT_OPEN])
}

/// Kibibytes of page cache per connection (negative: not pages). Rows are read once, in order, so a larger cache would not help.
const CACHE: &str = "-512";

const BUSY: u32 = 5;
const READ_ONLY: u32 = 8;
const CANNOT_OPEN: u32 = 14;

/// Returns whether SQLite answered with one of these primary result codes.
fn has_code(error: &sqlx::Error, codes: &[u32]) -> bool {
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code);
    let code = code.and_then(|code| code.parse::<u32>().ok());
    code.is_some_and(|code| codes.contains(&(code & 0xff)))
}
