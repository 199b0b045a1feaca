//! Evaluations, their decisions and changes.

use futures::TryStreamExt;
use jiff::Timestamp;
use sqlx::{Encode, FromRow, QueryBuilder, Row, Type};

use crate::backend::{Access, Backend, kept, query, within};
use crate::decisions::{Evaluated, order_of};
use crate::error::LedgerError;
use crate::records::{ChangeRecord, DecisionRecord, EvaluationRecord, HistoryFilter, HistoryRow};
use crate::rows;
use crate::store::Ledger;

/// Number of packed decisions up to which the next part of the history covers twice as many evaluations, within a maximum.
const FEW: usize = 2_000;
const MOST_AT_A_TIME: i64 = 256;

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
        let decisions: Vec<&DecisionRecord> = decisions.iter().collect();
        self.write_decisions(Some(evaluation), &decisions).await.map(drop)
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
        if filter.changes_only {
            return self.each_row(account, filter, take).await;
        }
        let names = self.names(&filter.namespaces).await?;
        let mut evaluated = Evaluated {
            first_ms: filter.from.map_or(i64::MIN, Timestamp::as_millisecond),
            last_ms: filter
                .to
                .map_or(i64::MAX, |to| to.as_millisecond().saturating_sub(1)),
        };
        let is_newest_first = filter.limit > 0;
        let most = usize::try_from(filter.limit).unwrap_or(usize::MAX);
        let mut newest: Vec<HistoryRow> = Vec::new();
        // Starts with one: a single evaluation of a large account may hold thousands of decisions.
        let mut at_a_time = 1;
        loop {
            let times = self.times_of_evaluations(account, evaluated, is_newest_first, at_a_time);
            let times = times.await?;
            let (Some(first_ms), Some(last_ms)) = (times.iter().min(), times.iter().max()) else {
                break;
            };
            let part = Evaluated {
                first_ms: *first_ms,
                last_ms: *last_ms,
            };
            let unpacked = self.unpacked_history(account, &names, part).await?;
            // A small account, or a few namespaces, has few of them.
            match unpacked.len() {
                0..=FEW => at_a_time = (at_a_time * 2).min(MOST_AT_A_TIME),
                _ => at_a_time = 1,
            }
            let of_part = HistoryFilter {
                from: Timestamp::from_millisecond(part.first_ms).ok(),
                to: Timestamp::from_millisecond(part.last_ms.saturating_add(1)).ok(),
                ..filter.clone()
            };
            let mut unpacked = unpacked.into_iter().peekable();
            let mut merged = |row: HistoryRow, take: &mut dyn FnMut(HistoryRow) -> std::io::Result<()>| {
                while let Some(before) = unpacked.next_if(|it| order_of(it) < order_of(&row)) {
                    take(before)?;
                }
                take(row)
            };
            if is_newest_first {
                let mut rows = Vec::new();
                let mut keep = |row| {
                    rows.push(row);
                    Ok(())
                };
                self.each_row(account, &of_part, |row| merged(row, &mut keep))
                    .await?;
                rows.extend(unpacked);
                rows.append(&mut newest);
                newest = rows;
                if newest.len() >= most {
                    break;
                }
                // Goes on before the times that were read, so that an evaluation recorded since then
                // changes nothing.
                evaluated.last_ms = part.first_ms.saturating_sub(1);
            } else {
                self.each_row(account, &of_part, |row| merged(row, &mut take))
                    .await?;
                for row in unpacked {
                    take(row).map_err(|problem| self.unwritten(&problem))?;
                }
                evaluated.first_ms = part.last_ms.saturating_add(1);
            }
        }
        for row in newest.drain(newest.len().saturating_sub(most)..) {
            take(row).map_err(|problem| self.unwritten(&problem))?;
        }
        Ok(())
    }

    /// Like [`Ledger::each_in_history`], for decisions stored as rows.
    async fn each_row(
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
                taken = take(HistoryRow {
                    outcome: row.try_get("outcome")?,
                    error: row.try_get("error")?,
                    ..HistoryRow::of(&EvaluationRecord::from_row(&row)?, DecisionRecord::from_row(&row)?)
                });
            }
            // The stream borrows the transaction, which is committed next.
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
        let mut names = within!(self, Access::Read, transaction => {
            let rows = query("SELECT DISTINCT namespace FROM capacity_decisions").fetch_all(&mut *transaction).await?;
            rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<String>, _>>()?
        })?;
        names.extend(self.packed_namespaces().await?);
        names.sort_unstable();
        names.dedup();
        Ok(names)
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
    // The decision's account and plan are those of the evaluation, and a subquery needs unique names.
    let mut columns = rows::columns::<EvaluationRecord>("e");
    columns.extend(rows::columns::<DecisionRecord>("d"));
    columns.retain(|column| column != "d.account" && column != "d.plan_id");
    select.push(format!(
        "SELECT {}, c.outcome, c.error FROM capacity_decisions d \
         JOIN capacity_evaluations e ON e.account = d.account AND e.plan_id = d.plan_id \
         LEFT JOIN capacity_changes c ON c.account = d.account AND c.plan_id = d.plan_id AND c.namespace = d.namespace \
         WHERE e.evaluated_at_ms >= ",
        columns.join(", ")
    ));
    select.push_bind(filter.from.map_or(i64::MIN, Timestamp::as_millisecond));
    select.push(" AND e.evaluated_at_ms < ");
    select.push_bind(filter.to.map_or(i64::MAX, Timestamp::as_millisecond));
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
