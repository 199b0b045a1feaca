//! Creates and upgrades the tables of a database to this version.

use sqlx::{AssertSqlSafe, Row};

use crate::backend::{Access, query, within};
use crate::error::{ErrorKind, LedgerError};
use crate::pool::{Opening, Pool};
use crate::store::Ledger;
use crate::tables::{ADDITIONS, STEPS, VERSION};

/// The version of a database's tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Tables {
    version: i64,
    additions: usize,
}

impl Tables {
    const CURRENT: Self = Self {
        version: VERSION,
        additions: ADDITIONS.len(),
    };

    fn of(version: Option<i64>, additions: Option<i64>) -> Self {
        Self {
            version: version.unwrap_or_default(),
            additions: additions
                .and_then(|number| usize::try_from(number).ok())
                .unwrap_or_default(),
        }
    }

    /// Returns the statements that are missing.
    fn missing(self) -> impl Iterator<Item = &'static str> {
        let steps = STEPS
            .iter()
            .skip(usize::try_from(self.version).unwrap_or_default());
        let additions = ADDITIONS.iter().skip(self.additions);
        steps.chain(additions).copied().flatten().copied()
    }
}

impl Ledger {
    /// Creates missing tables and upgrades older ones to this version, as far as the mode of opening allows. An up-to-date
    /// database is only read, so that a role without permission to create tables can use it. If two workers start together, the
    /// second waits for the first. Returns how many additions the database has.
    pub(crate) async fn prepare(&self, opening: Opening) -> Result<usize, LedgerError> {
        let failed = |kind, detail: String| Err(LedgerError::new(kind, &self.location, detail));
        let mut tables = self.tables().await?;
        if tables.version == 0 && opening != Opening::Create {
            return failed(ErrorKind::Missing, "the database has no ledger".to_owned());
        }
        if tables.version < VERSION && opening == Opening::ReadOnly {
            let detail = format!(
                "has tables of version {}, but version {VERSION} is required",
                tables.version
            );
            return failed(ErrorKind::Older, detail);
        }
        let is_behind = tables.version < VERSION || tables.additions < ADDITIONS.len();
        if tables.version <= VERSION && is_behind && opening != Opening::ReadOnly {
            tables = match self.add_missing().await {
                // A role without permission to create tables uses the existing ones.
                Err(error) if tables.version == VERSION && error.kind() == ErrorKind::NotPermitted => tables,
                added => added?,
            };
        }
        if tables.version > VERSION {
            let detail = format!(
                "was written by a newer version of this program (its tables have version {}, the newest that this version supports is {VERSION})",
                tables.version
            );
            return failed(ErrorKind::Newer, detail);
        }
        Ok(tables.additions)
    }

    /// Reads the version of the tables, one table at a time, because an error ends a transaction in PostgreSQL.
    async fn tables(&self) -> Result<Tables, LedgerError> {
        let read = async |sql: &'static str| {
            within!(self, Access::Read, transaction => {
                match query(sql).fetch_optional(&mut *transaction).await {
                    Ok(row) => row.map(|row| row.try_get::<i64, _>(0)).transpose()?,
                    Err(error) if is_missing_table(&error) => None,
                    Err(error) => return Err(error),
                }
            })
        };
        let version = read("SELECT version FROM capacity_ledger").await?;
        let additions = read("SELECT number FROM capacity_additions").await?;
        Ok(Tables::of(version, additions))
    }

    /// Creates the table that stores the schema version. If two workers create it at the same time, the second one finds it.
    async fn add_version(&self) -> Result<(), LedgerError> {
        within!(self, Access::Write, transaction => {
            let created = query("CREATE TABLE IF NOT EXISTS capacity_ledger (version BIGINT NOT NULL)")
                .execute(&mut *transaction)
                .await;
            match created {
                // In PostgreSQL, `IF NOT EXISTS` can still fail if two transactions create the table at the
                // same time.
                Err(error) if !is_duplicate(&error) => return Err(error),
                _ => {}
            }
        })
    }

    /// Returns the tables after the upgrade.
    async fn add_missing(&self) -> Result<Tables, LedgerError> {
        // A transaction of its own, because the next one locks this table.
        self.add_version().await?;
        within!(self, Access::WriteAlone("capacity_ledger"), transaction => {
            // Read again under the lock: another worker may have upgraded since.
            let row = query("SELECT version FROM capacity_ledger").fetch_optional(&mut *transaction).await?;
            let version = row.map(|row| row.try_get(0)).transpose()?;
            if version.is_some_and(|version| version > VERSION) {
                Tables::of(version, None)
            } else {
                query("CREATE TABLE IF NOT EXISTS capacity_additions (number BIGINT NOT NULL)")
                    .execute(&mut *transaction)
                    .await?;
                let row = query("SELECT number FROM capacity_additions").fetch_optional(&mut *transaction).await?;
                let tables = Tables::of(version, row.map(|row| row.try_get(0)).transpose()?);
                for statement in tables.missing() {
                    query(AssertSqlSafe(self.in_dialect(statement))).execute(&mut *transaction).await?;
                }
                for (table, column, number) in [
                    ("capacity_ledger", "version", VERSION),
                    ("capacity_additions", "number", i64::try_from(ADDITIONS.len()).unwrap_or_default()),
                ] {
                    // Not an update: a new table has no row yet.
                    let delete = AssertSqlSafe(format!("DELETE FROM {table}"));
                    query(delete).execute(&mut *transaction).await?;
                    let insert = AssertSqlSafe(format!("INSERT INTO {table} ({column}) VALUES ($1)"));
                    query(insert).bind(number).execute(&mut *transaction).await?;
                }
                Tables::CURRENT
            }
        })
    }

    /// Writes a schema statement in the dialect of the database.
    fn in_dialect(&self, statement: &str) -> String {
        let (bytes, random) = match self.pool {
            Pool::Sqlite(_) => ("BLOB", "lower(hex(randomblob(8)))"),
            Pool::Postgres(_) => (
                "BYTEA",
                "left(md5(random()::text || clock_timestamp()::text), 16)",
            ),
        };
        statement.replace("{bytes}", bytes).replace("{random}", random)
    }
}

fn is_duplicate(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .is_some_and(|code| matches!(&*code, "23505" | "42710" | "42P07"))
}

fn is_missing_table(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| {
        // SQLite has one code for all mistakes in a statement.
        error.code().is_some_and(|code| code == "42P01") || error.message().starts_with("no such table")
    })
}
