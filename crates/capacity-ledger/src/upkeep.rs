//! Maintenance of a ledger: its contents, its integrity, and pruning.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use sqlx::{AssertSqlSafe, Row};

use crate::backend::{Access, kept, query, query_as, within};
use crate::codec::{self, Entry};
use crate::error::{ErrorKind, LedgerError};
use crate::minutes::{minute_number, start_of};
use crate::pool::Pool;
use crate::records::HourRecord;
use crate::rows;
use crate::store::{AT_A_TIME, Ledger};
use crate::tables::{VERSION, WITH_DECISION_BLOCKS, WITH_DECISION_INPUTS, WITH_POLICY_DECISIONS};

/// The contents of a ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Info {
    /// Location of the ledger, without its password.
    pub location: String,
    /// Version of its tables.
    pub schema_version: i64,
    /// Number of rows in each table, by the table's short name.
    pub rows: BTreeMap<&'static str, i64>,
    /// The oldest minute in the ledger.
    pub oldest_minute: Option<Timestamp>,
    /// The newest minute in the ledger.
    pub newest_minute: Option<Timestamp>,
    /// Size of the database in bytes.
    pub bytes: i64,
}

/// The result of pruning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Pruned {
    /// Minutes aggregated into hours.
    pub minutes: u64,
    /// Hours deleted.
    pub hours: u64,
    /// Evaluations deleted.
    pub evaluations: u64,
    /// Decisions deleted, with their evaluations.
    pub decisions: u64,
    /// Changes deleted, with their evaluations or because of their own age.
    pub changes: u64,
}

const COUNTS: [(&str, &str, usize); 9] = [
    ("namespaces", "SELECT COUNT(*) FROM capacity_namespaces", 0),
    ("minutes", "SELECT COUNT(*) FROM capacity_minutes", 0),
    ("hours", "SELECT COUNT(*) FROM capacity_hours", 0),
    ("evaluations", "SELECT COUNT(*) FROM capacity_evaluations", 0),
    ("decisions", "SELECT COUNT(*) FROM capacity_decisions", 0),
    ("changes", "SELECT COUNT(*) FROM capacity_changes", 0),
    ("policy_state", "SELECT COUNT(*) FROM capacity_policy_state", 0),
    (
        "policy_decisions",
        "SELECT COUNT(*) FROM capacity_policy_decisions",
        WITH_POLICY_DECISIONS,
    ),
    (
        "decision_inputs",
        "SELECT COUNT(*) FROM capacity_decision_inputs",
        WITH_DECISION_INPUTS,
    ),
];

/// A condition for rows whose evaluation is old.
macro_rules! of_an_old_evaluation {
    () => {
        "(account, plan_id) IN (SELECT account, plan_id FROM capacity_evaluations WHERE evaluated_at_ms < $1)"
    };
}

/// A change may have no evaluation. In that case, its own age counts.
const OLD_CHANGES: &str = concat!(
    "DELETE FROM capacity_changes WHERE ended_at_ms < $1 OR ",
    of_an_old_evaluation!()
);
const OLD_DECISIONS: &str = concat!("DELETE FROM capacity_decisions WHERE ", of_an_old_evaluation!());
const OLD_POLICY_DECISIONS: &str = concat!(
    "DELETE FROM capacity_policy_decisions WHERE ",
    of_an_old_evaluation!()
);
/// A release that does not know this table may have deleted the evaluation.
const OLD_DECISION_INPUTS: &str = concat!(
    "DELETE FROM capacity_decision_inputs WHERE ",
    of_an_old_evaluation!(),
    " OR NOT EXISTS (SELECT 1 FROM capacity_evaluations evaluation WHERE evaluation.account = capacity_decision_inputs.account \
     AND evaluation.plan_id = capacity_decision_inputs.plan_id)"
);
/// Like `OLD_DECISION_INPUTS`, for decisions in blocks.
const OLD_DECISION_BLOCKS: &str = concat!(
    "FROM capacity_decision_blocks WHERE ",
    of_an_old_evaluation!(),
    " OR NOT EXISTS (SELECT 1 FROM capacity_evaluations evaluation WHERE evaluation.account = capacity_decision_blocks.account \
     AND evaluation.plan_id = capacity_decision_blocks.plan_id)"
);
const OLD_EVALUATIONS: &str = "DELETE FROM capacity_evaluations WHERE evaluated_at_ms < $1";

impl Ledger {
    /// Returns what the ledger contains.
    ///
    /// # Errors
    ///
    /// If the database cannot be read.
    pub async fn info(&self) -> Result<Info, LedgerError> {
        let size = match self.pool {
            Pool::Sqlite(_) => "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
            Pool::Postgres(_) => "SELECT pg_database_size(current_database())",
        };
        let mut additions = BTreeMap::new();
        for (name, sql, number) in COUNTS {
            if number == 0 || number > self.additions {
                continue;
            }
            let counted = within!(self, Access::Read, transaction => {
                query(sql).fetch_one(&mut *transaction).await?.try_get::<i64, _>(0)?
            });
            match counted {
                Ok(counted) => additions.extend([(name, counted)]),
                // A reader's permissions may predate the table.
                Err(error) if error.kind() == ErrorKind::NotPermitted => {}
                Err(error) => return Err(error),
            }
        }
        let packed = self.packed_decisions().await?;
        within!(self, Access::Read, transaction => {
            let mut rows = additions;
            for (name, sql, _) in COUNTS.into_iter().filter(|(_, _, number)| *number == 0) {
                rows.insert(name, query(sql).fetch_one(&mut *transaction).await?.try_get::<i64, _>(0)?);
            }
            *rows.entry("decisions").or_default() += packed;
            let ends = query("SELECT MIN(minute), MAX(minute) FROM capacity_minutes").fetch_one(&mut *transaction).await?;
            let (oldest, newest): (Option<i64>, Option<i64>) = (ends.try_get(0)?, ends.try_get(1)?);
            let bytes = query(size).fetch_one(&mut *transaction).await?.try_get::<i64, _>(0)?;
            Info {
                location: self.location.to_string(),
                schema_version: VERSION,
                rows,
                oldest_minute: oldest.map(start_of),
                newest_minute: newest.map(start_of),
                bytes,
            }
        })
    }

    /// Checks everything, and returns the problems; empty if there are none.
    ///
    /// # Errors
    ///
    /// If the database cannot be read at all.
    pub async fn verify(&self) -> Result<Vec<String>, LedgerError> {
        let mut problems = Vec::new();
        if let Pool::Sqlite(pool) = &self.pool {
            let rows = query("PRAGMA integrity_check").fetch_all(pool).await;
            for row in rows.map_err(|error| self.sorted(&error))? {
                let text: String = row.try_get(0).map_err(|error| self.sorted(&error))?;
                if text != "ok" {
                    problems.push(text);
                }
            }
        }
        for account in self.accounts().await? {
            let names = self.names_of(&account).await?;
            for minute in self.minute_numbers(&account, i64::MAX).await? {
                match self.stored_minutes(&account, minute, minute + 1).await {
                    Err(error) => problems.push(error.to_string()),
                    Ok(stored) => {
                        for minute in stored {
                            problems.extend(self.named(minute, &names).err().map(|error| error.to_string()));
                        }
                    }
                }
            }
        }
        problems.extend(self.damaged_blocks().await?);
        Ok(problems)
    }

    /// Aggregates minutes older than `keep_minutes` into hours, and deletes hours older than `keep_hours`.
    /// Deletes evaluations, with their decisions and changes, older than `keep_decisions`. Inputs of
    /// decisions are deleted with the minutes that complete them; policy state is kept. Each hour is
    /// aggregated in one transaction, so an interruption loses nothing and counts nothing twice. Evaluations
    /// are deleted in one transaction with their decisions.
    ///
    /// # Errors
    ///
    /// If the database cannot be read or written. If a minute is damaged, the error is returned after
    /// everything else was pruned.
    pub async fn prune(
        &self,
        now: Timestamp,
        keep_minutes: SignedDuration,
        keep_hours: SignedDuration,
        keep_decisions: SignedDuration,
    ) -> Result<Pruned, LedgerError> {
        let before = |keep: SignedDuration| {
            now.saturating_sub(keep)
                .map_or(i64::MIN, |time| minute_number(time).div_euclid(60))
        };
        let (fold_before, drop_before) = (before(keep_minutes), before(keep_hours));
        let mut pruned = Pruned::default();
        let mut damaged = None;
        for account in self.accounts().await? {
            let minutes = self
                .minute_numbers(&account, fold_before.saturating_mul(60))
                .await?;
            let mut hours: Vec<i64> = minutes.iter().map(|minute| minute.div_euclid(60)).collect();
            // Enough, because minutes are in order.
            hours.dedup();
            for hour in hours {
                match self.fold(&account, hour).await {
                    Ok(minutes) => pruned.minutes += minutes,
                    // A damaged minute stays, and the others are pruned.
                    Err(error) if error.kind() == ErrorKind::Corrupted => {
                        damaged.get_or_insert(error);
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        pruned.hours = within!(self, Access::Write, transaction => {
            query("DELETE FROM capacity_hours WHERE hour < $1")
                .bind(drop_before)
                .execute(&mut *transaction)
                .await?
                .rows_affected()
        })?;
        let oldest = |keep: SignedDuration| {
            now.saturating_sub(keep)
                .map_or(i64::MIN, Timestamp::as_millisecond)
        };
        self.drop_decisions(oldest(keep_decisions), oldest(keep_minutes), &mut pruned)
            .await?;
        damaged.map_or(Ok(pruned), Err)
    }

    async fn drop_decisions(
        &self,
        oldest_ms: i64,
        oldest_inputs_ms: i64,
        pruned: &mut Pruned,
    ) -> Result<(), LedgerError> {
        within!(self, Access::Write, transaction => {
            if self.additions >= WITH_POLICY_DECISIONS {
                query(OLD_POLICY_DECISIONS).bind(oldest_ms).execute(&mut *transaction).await?;
            }
            if self.additions >= WITH_DECISION_INPUTS {
                // Without its minutes, a decision cannot be reproduced, and its inputs are useless.
                query(OLD_DECISION_INPUTS).bind(oldest_inputs_ms.max(oldest_ms)).execute(&mut *transaction).await?;
            }
            let mut unpacked = 0;
            if self.additions >= WITH_DECISION_BLOCKS {
                // Counted first: deleting reports blocks, not the decisions in them.
                let count = format!("SELECT CAST(COALESCE(SUM(decisions), 0) AS BIGINT) {OLD_DECISION_BLOCKS}");
                let row = query(AssertSqlSafe(count)).bind(oldest_ms).fetch_one(&mut *transaction).await?;
                unpacked = u64::try_from(row.try_get::<i64, _>(0)?).unwrap_or_default();
                let delete = format!("DELETE {OLD_DECISION_BLOCKS}");
                query(AssertSqlSafe(delete)).bind(oldest_ms).execute(&mut *transaction).await?;
            }
            // Evaluations last: the other conditions find the age in their table.
            for (dropped, sql) in [
                (&mut pruned.changes, OLD_CHANGES),
                (&mut pruned.decisions, OLD_DECISIONS),
                (&mut pruned.evaluations, OLD_EVALUATIONS),
            ] {
                *dropped = query(sql).bind(oldest_ms).execute(&mut *transaction).await?.rows_affected();
            }
            pruned.decisions += unpacked;
        })
    }

    async fn fold(&self, account: &str, hour: i64) -> Result<u64, LedgerError> {
        let names = self.names_of(account).await?;
        within!(self, Access::Write, transaction => {
            let rows = query("SELECT minute, block FROM capacity_minutes WHERE account = $1 AND minute >= $2 AND minute < $3")
                .bind(account)
                .bind(hour * 60)
                .bind(hour * 60 + 60)
                .fetch_all(&mut *transaction)
                .await?;
            let minutes = rows.iter().map(|row| Ok::<_, sqlx::Error>((row.try_get(0)?, row.try_get(1)?)));
            let minutes: Vec<(i64, Vec<u8>)> = minutes.collect::<Result<_, _>>()?;
            match self.hours_of(account, hour, &minutes, &names) {
                // Nothing was written.
                Err(damage) => Err(damage),
                Ok(hours) => {
                    for hours in hours.chunks(AT_A_TIME) {
                        kept(rows::insert_all(hours).build()).execute(&mut *transaction).await?;
                    }
                    query("DELETE FROM capacity_minutes WHERE account = $1 AND minute >= $2 AND minute < $3")
                        .bind(account)
                        .bind(hour * 60)
                        .bind(hour * 60 + 60)
                        .execute(&mut *transaction)
                        .await?;
                    // Minutes of an aggregated hour must never be imported again, because they would not be
                    // counted.
                    query(
                        "INSERT INTO capacity_folded (account, before_hour) VALUES ($1, $2) ON CONFLICT (account) DO UPDATE SET \
                         before_hour = excluded.before_hour WHERE capacity_folded.before_hour < excluded.before_hour",
                    )
                    .bind(account)
                    .bind(hour + 1)
                    .execute(&mut *transaction)
                    .await?;
                    Ok(u64::try_from(minutes.len()).unwrap_or_default())
                }
            }
        })?
    }

    /// Adds up the minutes of an hour.
    fn hours_of(
        &self,
        account: &str,
        hour: i64,
        minutes: &[(i64, Vec<u8>)],
        names: &HashMap<i64, Arc<str>>,
    ) -> Result<Vec<HourRecord>, LedgerError> {
        let mut hours: BTreeMap<u64, HourRecord> = BTreeMap::new();
        for (minute, block) in minutes {
            let entries = codec::decode(block).map_err(|damage| {
                self.damaged(format!(
                    "the minute {} contains {}",
                    start_of(*minute),
                    damage.as_str()
                ))
            })?;
            for entry in entries {
                let number = i64::try_from(entry.namespace).unwrap_or(-1);
                let name = names
                    .get(&number)
                    .ok_or_else(|| self.damaged("a minute refers to an unknown namespace"))?;
                let record = hours
                    .entry(entry.namespace)
                    .or_insert_with(|| empty_hour(account, name, hour));
                add(record, &entry);
            }
        }
        Ok(hours.into_values().collect())
    }

    /// Returns the aggregated hours of a namespace, oldest first; of all namespaces of the account if
    /// `namespace` is empty.
    ///
    /// # Errors
    ///
    /// If the database cannot be read.
    pub async fn hours(
        &self,
        account: &str,
        namespace: Option<&str>,
    ) -> Result<Vec<HourRecord>, LedgerError> {
        let sql = rows::select::<HourRecord>(
            "WHERE account = $1 AND ($2 = '' OR namespace = $2) ORDER BY hour, namespace",
        );
        within!(self, Access::Read, transaction => {
            query_as(sql)
                .bind(account)
                .bind(namespace.unwrap_or_default())
                .fetch_all(&mut *transaction)
                .await?
        })
    }

    /// Returns the accounts with minutes.
    ///
    /// # Errors
    ///
    /// If the database cannot be read.
    pub async fn accounts(&self) -> Result<Vec<String>, LedgerError> {
        within!(self, Access::Read, transaction => {
            let rows = query("SELECT DISTINCT account FROM capacity_minutes ORDER BY account")
                .fetch_all(&mut *transaction)
                .await?;
            rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?
        })
    }

    /// Returns the numbers of an account's minutes before `before`, in order.
    pub(crate) async fn minute_numbers(&self, account: &str, before: i64) -> Result<Vec<i64>, LedgerError> {
        within!(self, Access::Read, transaction => {
            let rows = query("SELECT minute FROM capacity_minutes WHERE account = $1 AND minute < $2 ORDER BY minute")
                .bind(account)
                .bind(before)
                .fetch_all(&mut *transaction)
                .await?;
            rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?
        })
    }
}

fn empty_hour(account: &str, namespace: &str, hour: i64) -> HourRecord {
    HourRecord {
        account: account.to_owned(),
        namespace: namespace.to_owned(),
        hour,
        known_minutes: 0,
        throttled_minutes: 0,
        actions_sum: 0,
        requests_sum: 0,
        operations_sum: 0,
        actions_highest: 0,
        requests_highest: 0,
        operations_highest: 0,
        actions_known_minutes: 0,
        requests_known_minutes: 0,
        operations_known_minutes: 0,
    }
}

fn add(record: &mut HourRecord, entry: &Entry) {
    let whole = |rate: u64| i64::try_from(rate).unwrap_or(i64::MAX);
    let asked = |kind: usize| whole(entry.rates[kind].saturating_add(entry.rates[kind + 3]));
    record.known_minutes += 1;
    record.throttled_minutes += i64::from(entry.rates[3..].iter().any(|rate| *rate > 0));
    let HourRecord {
        actions_sum,
        requests_sum,
        operations_sum,
        actions_highest,
        requests_highest,
        operations_highest,
        actions_known_minutes,
        requests_known_minutes,
        operations_known_minutes,
        ..
    } = record;
    for (kind, (sum, highest, known)) in [
        (actions_sum, actions_highest, actions_known_minutes),
        (requests_sum, requests_highest, requests_known_minutes),
        (operations_sum, operations_highest, operations_known_minutes),
    ]
    .into_iter()
    .enumerate()
    {
        *sum = sum.saturating_add(whole(entry.rates[kind]));
        *highest = (*highest).max(asked(kind));
        *known += i64::from(!entry.unread[kind]);
    }
}
