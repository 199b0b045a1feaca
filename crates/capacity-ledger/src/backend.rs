//! The differences between the two databases.
//!
//! Every statement runs in a transaction, and PostgreSQL keeps no prepared statement, because a pooler in
//! transaction mode assigns a server connection to a single transaction only.

use sqlx::database::HasStatementCache;
use sqlx::query::{Query, QueryAs};
use sqlx::{Database, Postgres, SqlSafeStr, Sqlite, Transaction};

use crate::write_ahead_log;

/// The purpose of a transaction.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Access {
    Read,
    Write,
    /// Writes, and locks the table against other writers.
    WriteAlone(&'static str),
}

/// A database behind a ledger.
pub(crate) trait Backend: Database + HasStatementCache {
    /// The collation that orders text the same way on every machine.
    const BYTEWISE: &'static str;
    const KEEPS_STATEMENTS: bool;

    async fn begin(
        pool: &sqlx::Pool<Self>,
        access: Access,
    ) -> Result<Transaction<'static, Self>, sqlx::Error>;
}

impl Backend for Sqlite {
    const BYTEWISE: &'static str = "COLLATE BINARY";
    const KEEPS_STATEMENTS: bool = true;

    async fn begin(
        pool: &sqlx::Pool<Self>,
        access: Access,
    ) -> Result<Transaction<'static, Self>, sqlx::Error> {
        match access {
            Access::Read => pool.begin_with("BEGIN").await,
            // Only one transaction can write at a time.
            Access::Write | Access::WriteAlone(_) => {
                // A plain `BEGIN` takes the write lock at the first write. If another process has written
                // since the first read, SQLite then fails at once instead of waiting for `busy_timeout`.
                let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
                write_ahead_log::stamp(&mut transaction).await?;
                Ok(transaction)
            }
        }
    }
}

impl Backend for Postgres {
    const BYTEWISE: &'static str = "COLLATE \"C\"";
    const KEEPS_STATEMENTS: bool = false;

    async fn begin(
        pool: &sqlx::Pool<Self>,
        access: Access,
    ) -> Result<Transaction<'static, Self>, sqlx::Error> {
        let mut transaction = match access {
            // Also works on a replica, and refuses a write that was put here by mistake.
            Access::Read => pool.begin_with("BEGIN READ ONLY").await?,
            Access::Write | Access::WriteAlone(_) => pool.begin_with("BEGIN").await?,
        };
        if let Access::WriteAlone(table) = access {
            // `EXCLUSIVE` still lets readers in.
            let lock = sqlx::AssertSqlSafe(format!("LOCK TABLE {table} IN EXCLUSIVE MODE"));
            query(lock).execute(&mut *transaction).await?;
        }
        Ok(transaction)
    }
}

/// Creates a statement.
pub(crate) fn query<'q, DB: Backend>(sql: impl SqlSafeStr) -> Query<'q, DB, DB::Arguments> {
    kept(sqlx::query(sql))
}

/// Creates a statement whose rows are parsed as records.
pub(crate) fn query_as<'q, DB: Backend, T: for<'r> sqlx::FromRow<'r, DB::Row>>(
    sql: impl SqlSafeStr,
) -> QueryAs<'q, DB, T, DB::Arguments> {
    sqlx::query_as(sql).persistent(DB::KEEPS_STATEMENTS)
}

/// Applies this backend's settings to a statement that was built elsewhere.
pub(crate) fn kept<DB: Backend>(query: Query<'_, DB, DB::Arguments>) -> Query<'_, DB, DB::Arguments> {
    query.persistent(DB::KEEPS_STATEMENTS)
}

/// Runs the same statements on either database, in one transaction, and commits it.
macro_rules! within {
    ($ledger:expr, $access:expr, $transaction:ident => $body:expr) => {
        match &$ledger.pool {
            $crate::pool::Pool::Sqlite(pool) => {
                $crate::backend::within!(@run $ledger, pool, $access, $transaction => $body)
            }
            $crate::pool::Pool::Postgres(pool) => {
                $crate::backend::within!(@run $ledger, pool, $access, $transaction => $body)
            }
        }
    };
    (@run $ledger:expr, $pool:ident, $access:expr, $transaction:ident => $body:expr) => {{
        let run = async {
            let mut $transaction = $crate::backend::Backend::begin($pool, $access).await?;
            let answer = $body;
            $transaction.commit().await?;
            Ok::<_, sqlx::Error>(answer)
        };
        // Boxed, because the type of its callers' futures is too deeply nested for the compiler otherwise.
        Box::pin(run).await.map_err(|error| $ledger.sorted(&error))
    }};
}
pub(crate) use within;
