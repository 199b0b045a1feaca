//! The connections of a ledger.

use std::time::Duration;

use sqlx::postgres::PgPool;
use sqlx::sqlite::SqlitePool;

/// Maximum time to wait for a connection or for another writer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// Connections to either database.
#[derive(Debug, Clone)]
pub(crate) enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// The mode in which a ledger is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opening {
    Create,
    Existing,
    ReadOnly,
}
