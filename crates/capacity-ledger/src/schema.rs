//! The tables, in steps that are only ever added to, and bringing a database to them.

use sqlx::{AssertSqlSafe, Row};

use crate::backend::{Access, query, within};
use crate::error::{ErrorKind, LedgerError};
use crate::store::{Ledger, Opening, Pool};

/// The newest version this program knows. A program that knows only a lower one refuses the ledger.
pub(crate) const VERSION: i64 = 2;

/// `{bytes}` stands for the database's type of bytes, `{random}` for sixteen random digits.
const STEPS: &[&[&str]] = &[
    &[
        "CREATE TABLE capacity_namespaces (id BIGINT PRIMARY KEY, account TEXT NOT NULL, name TEXT NOT NULL, UNIQUE (account, name))",
        "CREATE TABLE capacity_minutes (account TEXT NOT NULL, minute BIGINT NOT NULL, complete BIGINT NOT NULL, source TEXT NOT NULL, \
     namespaces BIGINT NOT NULL, block {bytes} NOT NULL, PRIMARY KEY (account, minute))",
        "CREATE TABLE capacity_hours (account TEXT NOT NULL, namespace TEXT NOT NULL, hour BIGINT NOT NULL, known_minutes BIGINT NOT NULL, \
     throttled_minutes BIGINT NOT NULL, actions_sum BIGINT NOT NULL, requests_sum BIGINT NOT NULL, operations_sum BIGINT NOT NULL, \
     actions_highest BIGINT NOT NULL, requests_highest BIGINT NOT NULL, operations_highest BIGINT NOT NULL, \
     PRIMARY KEY (account, namespace, hour))",
        "CREATE TABLE capacity_folded (account TEXT PRIMARY KEY, before_hour BIGINT NOT NULL)",
        "CREATE TABLE capacity_requests (account TEXT NOT NULL, at_ms BIGINT NOT NULL, count BIGINT NOT NULL)",
        "CREATE TABLE capacity_evaluations (account TEXT NOT NULL, plan_id TEXT NOT NULL, evaluated_at_ms BIGINT NOT NULL, \
     dry_run BIGINT NOT NULL, blind BIGINT NOT NULL, made_by TEXT NOT NULL, usage_window TEXT NOT NULL, \
     price_micro_dollars BIGINT NOT NULL, PRIMARY KEY (account, plan_id))",
        "CREATE TABLE capacity_decisions (account TEXT NOT NULL, plan_id TEXT NOT NULL, namespace TEXT NOT NULL, action TEXT NOT NULL, \
     current_trus BIGINT, wanted_trus BIGINT, reason_code TEXT NOT NULL, reason TEXT NOT NULL, price_before BIGINT, \
     price_after BIGINT, known_minutes BIGINT, PRIMARY KEY (account, plan_id, namespace))",
        "CREATE INDEX capacity_decisions_of_a_namespace ON capacity_decisions (account, namespace)",
        "CREATE TABLE capacity_changes (operation_id TEXT PRIMARY KEY, account TEXT NOT NULL, plan_id TEXT NOT NULL, \
     namespace TEXT NOT NULL, from_trus BIGINT NOT NULL, to_trus BIGINT NOT NULL, outcome TEXT NOT NULL, error TEXT, \
     ended_at_ms BIGINT NOT NULL, made_by TEXT NOT NULL)",
        "CREATE INDEX capacity_changes_of_a_plan ON capacity_changes (account, plan_id, namespace)",
        "CREATE TABLE capacity_policy_state (account TEXT NOT NULL, namespace TEXT NOT NULL, state TEXT NOT NULL, \
     PRIMARY KEY (account, namespace))",
    ],
    &[
        "ALTER TABLE capacity_hours ADD COLUMN actions_known_minutes BIGINT NOT NULL DEFAULT 0",
        "ALTER TABLE capacity_hours ADD COLUMN requests_known_minutes BIGINT NOT NULL DEFAULT 0",
        "ALTER TABLE capacity_hours ADD COLUMN operations_known_minutes BIGINT NOT NULL DEFAULT 0",
        // Until then everything was read in every minute.
        "UPDATE capacity_hours SET actions_known_minutes = known_minutes, requests_known_minutes = known_minutes, \
         operations_known_minutes = known_minutes",
        "CREATE TABLE capacity_identity (id TEXT NOT NULL)",
        "INSERT INTO capacity_identity (id) VALUES ({random})",
    ],
];

/// Steps that programs of the same [`VERSION`] do not notice, so that a release can be rolled back without losing its ledger.
const ADDITIONS: &[&[&str]] = &[
    &[
        // Nothing but an import ever wrote it, and its rows name neither the policy nor the time.
        "DROP TABLE capacity_policy_state",
        "CREATE TABLE capacity_policy_state (account TEXT NOT NULL, namespace TEXT NOT NULL, policy TEXT NOT NULL, \
     version BIGINT NOT NULL, minute BIGINT NOT NULL, state TEXT NOT NULL, PRIMARY KEY (account, namespace, policy))",
    ],
    &[
        "CREATE TABLE capacity_policy_decisions (account TEXT NOT NULL, plan_id TEXT NOT NULL, namespace TEXT NOT NULL, \
     policy TEXT NOT NULL, version BIGINT NOT NULL, shadow BIGINT NOT NULL, action TEXT NOT NULL, current_trus BIGINT, \
     wanted_trus BIGINT, blocked_trus BIGINT, reason_code TEXT NOT NULL, reason TEXT NOT NULL, options TEXT NOT NULL, \
     PRIMARY KEY (account, plan_id, namespace, policy, shadow))",
        "CREATE INDEX capacity_policy_decisions_of_a_namespace ON capacity_policy_decisions (account, namespace)",
    ],
];

/// How many additions a database has at least, if it has the table.
pub(crate) const WITH_POLICY_STATE: usize = 1;
/// The same of the decisions of policies.
pub(crate) const WITH_POLICY_DECISIONS: usize = 2;

/// The tables that a database has.
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
    /// Creates missing tables and brings older ones to this version, as far as the opening allows. A database that needs nothing is
    /// only read, so that a role without the right to create tables can use them. Of two workers that start together the second
    /// waits for the first. Returns how many additions it has.
    pub(crate) async fn prepare(&self, opening: Opening) -> Result<usize, LedgerError> {
        let failed = |kind, detail: String| Err(LedgerError::new(kind, &self.location, detail));
        let mut tables = self.tables().await?;
        if tables.version == 0 && opening != Opening::Create {
            return failed(ErrorKind::Missing, "the database holds no ledger".to_owned());
        }
        if tables.version < VERSION && opening == Opening::ReadOnly {
            let detail = format!(
                "has tables of version {}, and {VERSION} is needed",
                tables.version
            );
            return failed(ErrorKind::Older, detail);
        }
        let is_behind = tables.version < VERSION || tables.additions < ADDITIONS.len();
        if tables.version <= VERSION && is_behind && opening != Opening::ReadOnly {
            tables = self.add_missing().await?;
        }
        if tables.version > VERSION {
            let detail = format!(
                "was written by a newer version of this program (tables {}, known {VERSION})",
                tables.version
            );
            return failed(ErrorKind::Newer, detail);
        }
        Ok(tables.additions)
    }

    /// Each is read on its own: an error ends a transaction of PostgreSQL.
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

    /// Creates the table of the version. Of two that create it at once, one finds it created.
    async fn add_version(&self) -> Result<(), LedgerError> {
        within!(self, Access::Write, transaction => {
            let created = query("CREATE TABLE IF NOT EXISTS capacity_ledger (version BIGINT NOT NULL)")
                .execute(&mut *transaction)
                .await;
            match created {
                Err(error) if !is_duplicate(&error) => return Err(error),
                _ => {}
            }
        })
    }

    /// Returns the tables as they are then.
    async fn add_missing(&self) -> Result<Tables, LedgerError> {
        self.add_version().await?;
        within!(self, Access::WriteAlone("capacity_ledger"), transaction => {
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
                    let delete = AssertSqlSafe(format!("DELETE FROM {table}"));
                    query(delete).execute(&mut *transaction).await?;
                    let insert = AssertSqlSafe(format!("INSERT INTO {table} ({column}) VALUES ($1)"));
                    query(insert).bind(number).execute(&mut *transaction).await?;
                }
                Tables::CURRENT
            }
        })
    }

    /// Writes a statement of the schema in the words of the database.
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
        .is_some_and(|code| matches!(&*code, "23505" | "42P07"))
}

fn is_missing_table(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| {
        // SQLite has one code for all mistakes in a statement.
        error.code().is_some_and(|code| code == "42P01") || error.message().starts_with("no such table")
    })
}
