//! Evaluations, their decisions and changes.

use futures::TryStreamExt;
use sqlx::{Encode, QueryBuilder, Row, Type};

use crate::backend::{Access, Backend, kept, query, within};
use crate::error::LedgerError;
use crate::records::{ChangeRecord, DecisionRecord, EvaluationRecord, HistoryFilter, HistoryRow};
use crate::rows;
use crate::store::{AT_A_TIME, Ledger};

impl Ledger {
    /// Records an evaluation with its decisions once; recording the same plan again changes nothing.
    ///
    /// # Errors
    ///
    /// If the database cannot be written.
    pub async fn record_evaluation(
        &self,
        evaluation: &EvaluationRecord,
        decisions: &[DecisionRecord],
    ) -> Result<(), LedgerError> {
        within!(self, Access::Write, transaction => {
            kept(rows::insert_all([evaluation]).build()).execute(&mut *transaction).await?;
            for decisions in decisions.chunks(AT_A_TIME) {
                kept(rows::insert_all(decisions).build()).execute(&mut *transaction).await?;
            }
        })
    }

    /// Records the outcomes of changes, once per operation. Recording is idempotent and independent of order:
    /// the same change again does not modify its row, and a final outcome replaces `in_progress`, `unknown`
    /// and outcomes without a POST, never the reverse.
    ///
    /// # Errors
    ///
    /// If the database cannot be written.
    pub async fn record_changes(&self, changes: &[ChangeRecord]) -> Result<(), LedgerError> {
        // Two writers that lock rows in the same order cannot deadlock.
        let mut changes: Vec<&ChangeRecord> = changes.iter().collect();
        changes.sort_by(|one, other| one.operation_id.cmp(&other.operation_id));
        self.write_records(changes.into_iter()).await.map(drop)
    }

    /// Returns decisions and changes, oldest first, of one account or, without `account`, of all.
    ///
    /// # Errors
    ///
    /// If the database cannot be read.
    pub async fn history(
        &self,
        account: Option<&str>,
        filter: &HistoryFilter,
    ) -> Result<Vec<HistoryRow>, LedgerError> {
        let mut history = Vec::new();
        let take = |row| {
            history.push(row);
            Ok(())
        };
        self.each_in_history(account, filter, take).await?;
        Ok(history)
    }

    /// Like [`Ledger::history`], one row at a time.
    ///
    /// # Errors
    ///
    /// If the database cannot be read or `take` fails. No more rows are passed then.
    pub async fn each_in_history(
        &self,
        account: Option<&str>,
        filter: &HistoryFilter,
        mut take: impl FnMut(HistoryRow) -> std::io::Result<()>,
    ) -> Result<(), LedgerError> {
        let taken = within!(self, Access::Read, transaction => {
            let mut taken = Ok(());
            let mut statement = history_of(account, filter, self.bytewise());
            let mut rows = kept(statement.build()).fetch(&mut *transaction);
            while let (Ok(()), Some(row)) = (&taken, rows.try_next().await?) {
                let row = HistoryRow {
                    evaluated_at_ms: row.try_get(0)?,
                    dry_run: row.try_get::<i64, _>(1)? != 0,
                    by: row.try_get(2)?,
                    usage_window: row.try_get(3)?,
                    price_micro_dollars: row.try_get(4)?,
                    decision: DecisionRecord {
                        account: row.try_get(5)?,
                        plan_id: row.try_get(6)?,
                        namespace: row.try_get(7)?,
                        action: row.try_get(8)?,
                        current_trus: row.try_get(9)?,
                        wanted_trus: row.try_get(10)?,
                        reason_code: row.try_get(11)?,
                        reason: row.try_get(12)?,
                        price_before_micro_dollars: row.try_get(13)?,
                        price_after_micro_dollars: row.try_get(14)?,
                        known_minutes: row.try_get(15)?,
                    },
                    outcome: row.try_get(16)?,
                    error: row.try_get(17)?,
                };
                taken = take(row);
            }
            drop(rows);
            taken
        })?;
        taken.map_err(|problem| self.unwritten(&problem))
    }

    /// Returns the namespaces that have decisions, by name.
    ///
    /// # Errors
    ///
    /// If the database cannot be read.
    pub async fn decided_namespaces(&self) -> Result<Vec<String>, LedgerError> {
        let names = within!(self, Access::Read, transaction => {
            let rows = query("SELECT DISTINCT namespace FROM capacity_decisions").fetch_all(&mut *transaction).await?;
            rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<String>, _>>()?
        });
        names.map(|mut names| {
            names.sort_unstable();
            names
        })
    }
}

/// Builds the query for the history, oldest first. With a limit, it returns the newest rows.
fn history_of<'q, DB>(account: Option<&'q str>, filter: &'q HistoryFilter, bytewise: &str) -> QueryBuilder<DB>
where
    DB: Backend,
    &'q str: Encode<'q, DB> + Type<DB>,
    i64: Encode<'q, DB> + Type<DB>,
{
    let mut select = QueryBuilder::new(if filter.limit == 0 { "" } else { "SELECT * FROM (" });
    select.push(
        "SELECT e.evaluated_at_ms, e.dry_run, e.made_by, e.usage_window, e.price_micro_dollars, \
         d.account, d.plan_id, d.namespace, d.action, d.current_trus, d.wanted_trus, d.reason_code, d.reason, \
         d.price_before, d.price_after, d.known_minutes, c.outcome, c.error \
         FROM capacity_decisions d \
         JOIN capacity_evaluations e ON e.account = d.account AND e.plan_id = d.plan_id \
         LEFT JOIN capacity_changes c ON c.account = d.account AND c.plan_id = d.plan_id AND c.namespace = d.namespace \
         WHERE e.evaluated_at_ms >= ",
    );
    select.push_bind(filter.from.map_or(i64::MIN, jiff::Timestamp::as_millisecond));
    select.push(" AND e.evaluated_at_ms < ");
    select.push_bind(filter.to.map_or(i64::MAX, jiff::Timestamp::as_millisecond));
    if let Some(account) = account {
        select.push(" AND d.account = ").push_bind(account);
    }
    if filter.changes_only {
        select.push(" AND d.action IN ('Enable', 'Resize', 'Disable')");
    }
    if !filter.namespaces.is_empty() {
        select.push(" AND d.namespace IN (");
        let mut names = select.separated(", ");
        for name in &filter.namespaces {
            names.push_bind(name.as_str());
        }
        select.push(")");
    }
    if filter.limit == 0 {
        select.push(format!(
            " ORDER BY e.evaluated_at_ms, d.namespace {bytewise}, d.plan_id {bytewise}"
        ));
    } else {
        select.push(format!(
            " ORDER BY e.evaluated_at_ms DESC, d.namespace {bytewise} DESC, d.plan_id {bytewise} DESC LIMIT "
        ));
        select.push_bind(i64::from(filter.limit)).push(format!(
            ") AS newest ORDER BY evaluated_at_ms, namespace {bytewise}, plan_id {bytewise}"
        ));
    }
    select
}
