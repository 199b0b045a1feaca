//! What can go wrong with a ledger, told apart by what to do about it.

use std::fmt;

/// A ledger that could not be opened, read or written. Never shows a password.
#[derive(Debug)]
pub struct LedgerError {
    kind: ErrorKind,
    location: String,
    detail: String,
}

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The address of the ledger is none.
    Location,
    /// The database does not answer, or refuses us.
    Unreachable,
    /// The file is no database, or is damaged; or a row cannot be read.
    Corrupted,
    /// It may be read and not written.
    ReadOnly,
    /// No room is left.
    Full,
    /// It was written by a newer version of this program.
    Newer,
    /// What was given cannot be recorded: a minute in the future, a line that cannot be read.
    Input,
    /// Anything else.
    Other,
}

impl LedgerError {
    pub(crate) fn new(kind: ErrorKind, location: &str, detail: impl Into<String>) -> Self {
        Self {
            kind,
            location: location.to_owned(),
            detail: detail.into(),
        }
    }

    /// Returns the error of a ledger that did not answer in time, of whoever waited for it.
    pub fn unanswered(location: &str, waited: std::time::Duration) -> Self {
        let detail = format!("no answer in {} s", waited.as_secs());
        Self::new(ErrorKind::Unreachable, location, detail)
    }

    /// Returns what is wrong, to act upon.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for LedgerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { location, detail, .. } = self;
        match self.kind {
            ErrorKind::Location => write!(
                f,
                "LEDGER_URL: {detail}; write a path, sqlite:PATH or postgres://USER:PASSWORD@HOST/DATABASE"
            ),
            ErrorKind::Unreachable => {
                write!(
                    f,
                    "the ledger {location} cannot be reached ({detail}): start it, or correct LEDGER_URL"
                )
            }
            ErrorKind::Corrupted => write!(
                f,
                "the ledger {location} is damaged ({detail}): move it away, a new one is begun; `temporal-capacity ledger verify` tells more"
            ),
            ErrorKind::ReadOnly => {
                write!(
                    f,
                    "the ledger {location} cannot be written ({detail}): let this user write it and its folder"
                )
            }
            ErrorKind::Full => write!(
                f,
                "the ledger {location} has no room left ({detail}): make room, or keep less: `temporal-capacity ledger prune`"
            ),
            ErrorKind::Newer => write!(
                f,
                "the ledger {location} {detail}: use that version; nothing was touched"
            ),
            ErrorKind::Input => f.write_str(detail),
            ErrorKind::Other => write!(f, "the ledger {location}: {detail}"),
        }
    }
}

impl std::error::Error for LedgerError {}

/// Sorts a database's error by its code.
pub(crate) fn sorted(error: &sqlx::Error, location: &str) -> LedgerError {
    let kind = match error {
        sqlx::Error::Database(database) => {
            let code = database.code().unwrap_or_default();
            // SQLite's primary codes are the low byte of a number; PostgreSQL's are five letters or digits.
            match code
                .parse::<u32>()
                .ok()
                .filter(|_| code.len() < 5)
                .map(|code| code & 0xff)
            {
                Some(8) => ErrorKind::ReadOnly,
                Some(11 | 26) => ErrorKind::Corrupted,
                Some(13) => ErrorKind::Full,
                Some(5 | 6 | 10 | 14) => ErrorKind::Unreachable,
                Some(_) => ErrorKind::Other,
                None => match code.get(..2).unwrap_or_default() {
                    "25" => ErrorKind::ReadOnly,
                    "53" => ErrorKind::Full,
                    "08" | "28" | "3D" | "57" => ErrorKind::Unreachable,
                    "XX" => ErrorKind::Corrupted,
                    _ => ErrorKind::Other,
                },
            }
        }
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => {
            ErrorKind::Unreachable
        }
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => ErrorKind::Corrupted,
        _ => ErrorKind::Other,
    };
    let detail = match error {
        sqlx::Error::Database(database) => database.message().to_owned(),
        sqlx::Error::PoolTimedOut => "no connection in time".to_owned(),
        other => other.to_string(),
    };
    LedgerError::new(kind, location, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::location::Location;
    use crate::records::ChangeRecord;
    use crate::store::{Ledger, Pool};

    /// The limit is each connection's own; lower than what is there, it is what is there.
    async fn limit_pages(ledger: &Ledger, pages: u32) {
        let Pool::Sqlite(pool) = &ledger.pool else { return };
        let mut connections = Vec::new();
        for _ in 0..pool.options().get_max_connections() {
            connections.push(pool.acquire().await.expect("a connection"));
        }
        for connection in &mut connections {
            let sql = sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"));
            sqlx::query(sql)
                .execute(&mut **connection)
                .await
                .expect("limited");
        }
    }

    #[tokio::test]
    async fn a_file_without_room_is_full_and_keeps_what_it_holds() {
        let folder = tempfile::tempdir().expect("a folder");
        let location = Location::Sqlite(folder.path().join("ledger.db"));
        let ledger = Ledger::open(&location).await.expect("opened");
        let change = |operation_id: &str, error: String| ChangeRecord {
            operation_id: operation_id.to_owned(),
            account: "a".to_owned(),
            plan_id: "p".to_owned(),
            namespace: "pay.a".to_owned(),
            from_trus: 0,
            to_trus: 2,
            outcome: "failed".to_owned(),
            error: Some(error),
            ended_at_ms: 0,
            by: "worker".to_owned(),
        };
        let small = change("small", String::new());
        ledger.record_changes(&[small]).await.expect("recorded");
        limit_pages(&ledger, 1).await;
        let large = [change("large", "x".repeat(50_000))];
        let error = ledger.record_changes(&large).await.expect_err("full");
        assert_eq!(error.kind(), ErrorKind::Full, "{error}");
        assert_eq!(ledger.info().await.expect("readable").rows["changes"], 1);
        assert_eq!(ledger.verify().await.expect("readable"), Vec::<String>::new());
        limit_pages(&ledger, u32::MAX - 2).await;
        ledger.record_changes(&large).await.expect("there is room again");
    }
}
