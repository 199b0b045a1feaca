//! Errors of a ledger, classified by their remedy.

use std::fmt;

/// A ledger that could not be opened, read or written. Never shows a password.
#[derive(Debug, Clone)]
pub struct LedgerError {
    kind: ErrorKind,
    location: String,
    detail: String,
}

/// The kind of error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The setting is not a valid location of a ledger.
    Location,
    /// There is no ledger at the location, and the command does not create one.
    Missing,
    /// The database does not respond, or refuses the connection.
    Unreachable,
    /// The database reports that it is damaged, or a row cannot be decoded.
    Corrupted,
    /// The database file and its write-ahead log are from different points in time.
    Mixed,
    /// The ledger can be read but not written.
    ReadOnly,
    /// The role lacks a permission.
    NotPermitted,
    /// There is no space left.
    Full,
    /// The tables are too old to be read without an upgrade.
    Older,
    /// The ledger was written by a newer version of this program.
    Newer,
    /// The input cannot be recorded: a minute in the future, or a line that cannot be parsed.
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

    /// Returns the error for a ledger that did not respond in time.
    pub fn unanswered(location: &str, waited: std::time::Duration) -> Self {
        let detail = format!("no response in {} s", waited.as_secs());
        Self::new(ErrorKind::Unreachable, location, detail)
    }

    /// Returns the kind of failure, for callers that react to it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for LedgerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { location, detail, .. } = self;
        let is_server = location.starts_with("postgres://");
        match self.kind {
            ErrorKind::Location => write!(
                f,
                "LEDGER_URL: {detail}; use a path, sqlite:PATH or postgres://USER:PASSWORD@HOST/DATABASE"
            ),
            ErrorKind::Missing => write!(
                f,
                "there is no ledger at {location} ({detail}): correct LEDGER_URL; the worker and `temporal-capacity apply` create one"
            ),
            ErrorKind::Unreachable if is_server => write!(
                f,
                "the ledger {location} cannot be reached ({detail}): start it, or correct LEDGER_URL"
            ),
            ErrorKind::Unreachable => write!(
                f,
                "the ledger {location} cannot be opened ({detail}): check the path, the permissions of its folder and which other \
                 programs use it, or correct LEDGER_URL"
            ),
            ErrorKind::Corrupted if is_server => write!(
                f,
                "the ledger {location} is damaged ({detail}): restore the database from a backup, or set LEDGER_URL to another one"
            ),
            ErrorKind::Corrupted => write!(
                f,
                "the ledger {location} is damaged ({detail}): move it away together with {location}-wal and {location}-shm, so that a new one is created; run `temporal-capacity ledger verify` for details"
            ),
            ErrorKind::Mixed => write!(
                f,
                "the ledger {location} and its log {location}-wal do not belong together ({detail}): restore both from the same \
                 backup, or move {location}-wal and {location}-shm away to use {location} alone; nothing was changed"
            ),
            ErrorKind::ReadOnly => write!(
                f,
                "the ledger {location} cannot be written ({detail}): grant this user write access to {}",
                if is_server {
                    "the database"
                } else {
                    "the file and its folder"
                }
            ),
            ErrorKind::NotPermitted => write!(
                f,
                "the ledger {location} denies access to this user ({detail}): grant SELECT on its tables for read-only commands, and also INSERT, UPDATE and DELETE for the worker"
            ),
            ErrorKind::Full => write!(
                f,
                "the ledger {location} has no space left ({detail}): free some space, or delete old data: `temporal-capacity ledger prune`"
            ),
            ErrorKind::Older => write!(
                f,
                "the ledger {location} {detail}: start a worker of this version once to upgrade them"
            ),
            ErrorKind::Newer => write!(
                f,
                "the ledger {location} {detail}: use that version; nothing was changed"
            ),
            ErrorKind::Input => f.write_str(detail),
            ErrorKind::Other => write!(f, "the ledger {location}: {detail}"),
        }
    }
}

impl std::error::Error for LedgerError {}

/// Classifies a database error by its code. Only what the database itself reports as damaged counts as
/// damaged, and only what it reports as full counts as full.
pub(crate) fn sorted(error: &sqlx::Error, location: &str) -> LedgerError {
    let kind = match error {
        sqlx::Error::Database(database) => {
            let code = database.code().unwrap_or_default();
            // SQLite's primary codes are the low byte of a number; PostgreSQL's codes are five letters or
            // digits.
            match code.parse::<u32>().ok().filter(|_| code.len() < 5) {
                Some(code) => of_sqlite(code & 0xff),
                None => of_postgres(&code),
            }
        }
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed => ErrorKind::Unreachable,
        sqlx::Error::Configuration(_) => ErrorKind::Location,
        // Text that is not UTF-8, for example. A server would have rejected it.
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) if !location.starts_with("postgres://") => {
            ErrorKind::Corrupted
        }
        _ => ErrorKind::Other,
    };
    let detail = match error {
        sqlx::Error::Database(database) => database.message().to_owned(),
        sqlx::Error::PoolTimedOut => "timed out waiting for a connection".to_owned(),
        other => other.to_string(),
    };
    LedgerError::new(kind, location, detail)
}

fn of_sqlite(code: u32) -> ErrorKind {
    match code {
        // In the order of the lines: PERM and AUTH; READONLY; CORRUPT and NOTADB; FULL; BUSY, LOCKED, IOERR
        // and CANTOPEN.
        3 | 23 => ErrorKind::NotPermitted,
        8 => ErrorKind::ReadOnly,
        11 | 26 => ErrorKind::Corrupted,
        13 => ErrorKind::Full,
        5 | 6 | 10 | 14 => ErrorKind::Unreachable,
        _ => ErrorKind::Other,
    }
}

/// Classifies a PostgreSQL error code. Errors of a pooler itself have the codes 08P01, 53300, 57xxx or 58000.
fn of_postgres(code: &str) -> ErrorKind {
    match (code, code.get(..2).unwrap_or_default()) {
        // data_corrupted and index_corrupted; disk_full; read_only_sql_transaction; insufficient_privilege.
        ("XX001" | "XX002", _) => ErrorKind::Corrupted,
        ("53100", _) => ErrorKind::Full,
        ("25006", _) => ErrorKind::ReadOnly,
        ("42501", _) => ErrorKind::NotPermitted,
        // Classes: connection, authorization, no such database, resources, shutdown or cancel, system,
        // internal.
        (_, "08" | "28" | "3D" | "53" | "57" | "58" | "XX") => ErrorKind::Unreachable,
        _ => ErrorKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    use crate::location::Location;
    use crate::pool::Pool;
    use crate::records::ChangeRecord;
    use crate::store::Ledger;

    /// Sets the page limit of one connection. A limit below the current size becomes the current size.
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

    #[test]
    fn each_kind_says_what_to_do() {
        let kinds = [
            (ErrorKind::Location, "it is a folder; add a file name"),
            (ErrorKind::Missing, "no such file"),
            (ErrorKind::Unreachable, "connection refused"),
            (ErrorKind::Corrupted, "database disk image is malformed"),
            (ErrorKind::Mixed, "the log belongs to another ledger"),
            (ErrorKind::ReadOnly, "attempt to write a readonly database"),
            (
                ErrorKind::NotPermitted,
                "permission denied for table capacity_minutes",
            ),
            (ErrorKind::Full, "database or disk is full"),
            (
                ErrorKind::Older,
                "has tables of version 1, but version 2 is required",
            ),
            (
                ErrorKind::Newer,
                "was written by a newer version of this program (its tables have version 3, the newest that this version supports is 2)",
            ),
            (ErrorKind::Input, "line 2: it has 3 fields, but the header has 4"),
            (ErrorKind::Other, "syntax error"),
        ];
        let texts = ["ledger.db", "postgres://me@db/capacity"].map(|location| {
            let texts =
                kinds.map(|(kind, detail)| format!("{kind:?}: {}", LedgerError::new(kind, location, detail)));
            texts.join("\n")
        });
        insta::assert_snapshot!(texts.join("\n\n"));
    }

    #[rstest]
    #[case::damaged_data("XX001", ErrorKind::Corrupted)]
    #[case::damaged_index("XX002", ErrorKind::Corrupted)]
    #[case::internal_error("XX000", ErrorKind::Unreachable)]
    #[case::disk_full("53100", ErrorKind::Full)]
    #[case::out_of_memory("53200", ErrorKind::Unreachable)]
    #[case::too_many_connections("53300", ErrorKind::Unreachable)]
    #[case::starting_up("57P03", ErrorKind::Unreachable)]
    #[case::pooler("08P01", ErrorKind::Unreachable)]
    #[case::password("28P01", ErrorKind::Unreachable)]
    #[case::no_database("3D000", ErrorKind::Unreachable)]
    #[case::file_system("58030", ErrorKind::Unreachable)]
    #[case::read_only("25006", ErrorKind::ReadOnly)]
    #[case::failed_transaction("25P02", ErrorKind::Other)]
    #[case::right_missing("42501", ErrorKind::NotPermitted)]
    #[case::deadlock("40P01", ErrorKind::Other)]
    fn only_damage_and_a_full_disk_are_classified_as_such(#[case] code: &str, #[case] kind: ErrorKind) {
        assert_eq!(of_postgres(code), kind);
    }

    #[tokio::test]
    async fn a_file_at_its_size_limit_is_full_and_keeps_its_contents() {
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
