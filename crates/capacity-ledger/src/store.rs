//! Opens a ledger, in either database.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Postgres, QueryBuilder, Row, Sqlite};

use crate::backend::{Access, Backend, kept, query, within};
use crate::error::{ErrorKind, LedgerError, sorted};
use crate::location::Location;
use crate::pool::{Opening, PATIENCE, Pool};
use crate::rows::{self, Record};
use crate::{sqlite, write_ahead_log};

/// Maximum rows per statement, so that the number of values stays far below the limits of both databases.
pub(crate) const AT_A_TIME: usize = 250;

/// A ledger. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Ledger {
    pub(crate) pool: Pool,
    pub(crate) location: Arc<str>,
    identity: Arc<str>,
    /// Number of additions to its tables. It is lower if the ledger of an earlier release is opened
    /// read-only.
    pub(crate) additions: usize,
    /// Numbers that stand for namespaces, by account and name. Entries are never removed.
    numbers: Arc<Mutex<Numbers>>,
}

/// By account and name.
type Numbers = HashMap<String, HashMap<Arc<str>, i64>>;

impl Ledger {
    /// Opens a ledger. An SQLite file and its folder are created on first use, and the tables are upgraded to
    /// this version.
    ///
    /// # Errors
    ///
    /// If the database cannot be reached within a few seconds, is damaged, or was written by a newer version.
    pub async fn open(location: &Location) -> Result<Self, LedgerError> {
        Self::open_as(location, Opening::Create).await
    }

    /// Opens an existing ledger, and upgrades its tables to this version.
    ///
    /// # Errors
    ///
    /// As [`Ledger::open`], or if there is none.
    pub async fn open_existing(location: &Location) -> Result<Self, LedgerError> {
        Self::open_as(location, Opening::Existing).await
    }

    /// Opens an existing ledger without changing it. Read access is enough: SELECT in PostgreSQL, a replica,
    /// or a file and folder that this user cannot write.
    ///
    /// # Errors
    ///
    /// As [`Ledger::open`], or if there is none or its tables are older than this version.
    pub async fn open_read_only(location: &Location) -> Result<Self, LedgerError> {
        Self::open_as(location, Opening::ReadOnly).await
    }

    async fn open_as(location: &Location, opening: Opening) -> Result<Self, LedgerError> {
        let shown = location.to_string();
        let pool = match location {
            Location::Sqlite(path) => Pool::Sqlite(sqlite::connect(path, opening, &shown).await?),
            Location::Postgres(url) => {
                let refused = |problem| LedgerError::new(ErrorKind::Location, &shown, problem);
                let options = Location::address(url).map_err(refused)?.options();
                let options = options.map_err(|error| sorted(&error, &shown))?;
                let pool = PgPoolOptions::new().max_connections(8).acquire_timeout(PATIENCE);
                Pool::Postgres(
                    pool.connect_with(options)
                        .await
                        .map_err(|error| sorted(&error, &shown))?,
                )
            }
        };
        let mut ledger = Self {
            pool,
            location: shown.into(),
            identity: "".into(),
            additions: 0,
            numbers: Arc::default(),
        };
        ledger.additions = ledger.prepare(opening).await?;
        let identity = ledger.read_identity().await?;
        if opening != Opening::ReadOnly {
            ledger.mark_file(&identity).await?;
        }
        ledger.identity = identity.into();
        Ok(ledger)
    }

    /// Returns the location, without its password.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// Closes all connections. Dropping the ledger does the same, but later.
    pub async fn close(&self) {
        match &self.pool {
            Pool::Sqlite(pool) => pool.close().await,
            Pool::Postgres(pool) => pool.close().await,
        }
    }

    /// Returns the id of this ledger, which is independent of its location.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Returns the database's name for the collation that orders text the same way on every machine.
    pub(crate) fn bytewise(&self) -> &'static str {
        match self.pool {
            Pool::Sqlite(_) => Sqlite::BYTEWISE,
            Pool::Postgres(_) => Postgres::BYTEWISE,
        }
    }

    /// Writes records in one transaction, all or none. Returns how many were new or replaced.
    pub(crate) async fn write_records<'a, T: Record + 'a>(
        &self,
        records: impl Iterator<Item = &'a T>,
    ) -> Result<u64, LedgerError> {
        within!(self, Access::Write, transaction => {
            let sql = rows::insert::<_, T>(&transaction);
            let mut new = 0;
            for record in records {
                new += rows::bound(&sql, record).execute(&mut *transaction).await?.rows_affected();
            }
            new
        })
    }

    pub(crate) fn sorted(&self, error: &sqlx::Error) -> LedgerError {
        sorted(error, &self.location)
    }

    pub(crate) fn damaged(&self, detail: impl Into<String>) -> LedgerError {
        LedgerError::new(ErrorKind::Corrupted, &self.location, detail)
    }

    pub(crate) fn input(&self, detail: impl Into<String>) -> LedgerError {
        LedgerError::new(ErrorKind::Input, &self.location, detail)
    }

    /// Writes the id into the header of an SQLite file.
    async fn mark_file(&self, identity: &str) -> Result<(), LedgerError> {
        let Pool::Sqlite(pool) = &self.pool else {
            return Ok(());
        };
        let id = write_ahead_log::application_id(identity);
        let marked = async {
            let row = query("PRAGMA application_id").fetch_one(pool).await?;
            // Only once: every write to the header is a transaction.
            if row.try_get::<i64, _>(0)? != id {
                let mut transaction = Backend::begin(pool, Access::Write).await?;
                let mark = AssertSqlSafe(format!("PRAGMA application_id = {id}"));
                query(mark).execute(&mut *transaction).await?;
                transaction.commit().await?;
            }
            Ok::<_, sqlx::Error>(())
        };
        marked.await.map_err(|error| self.sorted(&error))
    }

    async fn read_identity(&self) -> Result<String, LedgerError> {
        within!(self, Access::Read, transaction => {
            query("SELECT id FROM capacity_identity").fetch_one(&mut *transaction).await?.try_get(0)?
        })
    }

    /// Returns the numbers that stand for namespaces, and assigns one to each namespace that has none.
    pub(crate) async fn numbers_of(
        &self,
        account: &str,
        names: &[Arc<str>],
    ) -> Result<Vec<i64>, LedgerError> {
        if let Some(known) = self.known_numbers(account, names) {
            return Ok(known);
        }
        self.learn_numbers(account).await?;
        let missing: Vec<Arc<str>> = {
            let numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
            let known = numbers.get(account);
            let is_missing = |name: &&Arc<str>| !known.is_some_and(|known| known.contains_key(*name));
            names.iter().filter(is_missing).cloned().collect()
        };
        if !missing.is_empty() {
            // `MAX(id) + 1` is only unique while no one else inserts.
            within!(self, Access::WriteAlone("capacity_namespaces"), transaction => {
                let row = query("SELECT COALESCE(MAX(id), 0) FROM capacity_namespaces").fetch_one(&mut *transaction).await?;
                let mut numbers = row.try_get::<i64, _>(0)? + 1..;
                // Many names per statement, because each statement takes a network round trip.
                for names in missing.chunks(AT_A_TIME) {
                    let mut insert = QueryBuilder::new("INSERT INTO capacity_namespaces (id, account, name) ");
                    insert.push_values(names.iter().zip(&mut numbers), |mut row, (name, number)| {
                        row.push_bind(number).push_bind(account).push_bind(&**name);
                    });
                    // Another worker may have added the name since it was looked up; the numbers are read
                    // again below.
                    insert.push(" ON CONFLICT (account, name) DO NOTHING");
                    kept(insert.build()).execute(&mut *transaction).await?;
                }
            })?;
            self.learn_numbers(account).await?;
        }
        self.known_numbers(account, names)
            .ok_or_else(|| self.damaged("a namespace was written but cannot be read"))
    }

    fn known_numbers(&self, account: &str, names: &[Arc<str>]) -> Option<Vec<i64>> {
        let numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        let known = numbers.get(account)?;
        names.iter().map(|name| known.get(name).copied()).collect()
    }

    async fn learn_numbers(&self, account: &str) -> Result<(), LedgerError> {
        let names = self.names_of(account).await?;
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        let known = numbers.entry(account.to_owned()).or_default();
        known.extend(names.into_iter().map(|(number, name)| (name, number)));
        Ok(())
    }

    /// Returns the names of namespaces by their numbers.
    pub(crate) async fn names_of(&self, account: &str) -> Result<HashMap<i64, Arc<str>>, LedgerError> {
        within!(self, Access::Read, transaction => {
            let rows = query("SELECT id, name FROM capacity_namespaces WHERE account = $1")
                .bind(account)
                .fetch_all(&mut *transaction)
                .await?;
            let mut names = HashMap::with_capacity(rows.len());
            for row in rows {
                names.insert(row.try_get::<i64, _>(0)?, Arc::from(row.try_get::<String, _>(1)?));
            }
            names
        })
    }
}
