//! Exports and imports the tables of a ledger.
//!
//! The order of lines in an exported file depends only on the rows of the table: exporting, importing and
//! exporting again gives the same bytes, regardless of the two databases.

mod history;
mod lines;
mod minutes;

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, Write};

use futures::TryStreamExt;
use sqlx::Row;

use crate::backend::{Access, query, query_as, within};
use crate::error::LedgerError;
use crate::line::Format;
use crate::records::{
    ChangeRecord, DecisionRecord, EvaluationRecord, HistoryFilter, HourRecord, PolicyDecisionRecord,
    PolicyStateRecord,
};
use crate::rows::{self, Record};
use crate::store::Ledger;
use lines::Lines;

/// A table that can be exported and, unless noted otherwise, imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Table {
    /// One line per namespace and minute.
    Minutes,
    /// One line per namespace and hour.
    Hours,
    /// One line per evaluation.
    Evaluations,
    /// One line per decision. Imported only after its evaluation.
    Decisions,
    /// One line per change.
    Changes,
    /// One line per namespace and policy with stored state.
    PolicyState,
    /// One line per decision of a policy that is not `threshold` or is in shadow.
    PolicyDecisions,
    /// One line per decision, with its evaluation and its outcome. Export only.
    History,
}

impl Ledger {
    /// Writes a table to `out`, one row or minute at a time. Returns the number of lines.
    ///
    /// # Errors
    ///
    /// If the database cannot be read, or `out` cannot be written.
    pub async fn export(&self, table: Table, format: Format, out: impl Write) -> Result<u64, LedgerError> {
        match table {
            Table::Minutes => self.export_minutes(format, out).await,
            Table::Hours => self.export_rows::<HourRecord>(format, out).await,
            Table::Evaluations => self.export_rows::<EvaluationRecord>(format, out).await,
            Table::Decisions => self.export_decisions(format, out).await,
            Table::Changes => self.export_rows::<ChangeRecord>(format, out).await,
            Table::PolicyState => self.export_rows::<PolicyStateRecord>(format, out).await,
            Table::PolicyDecisions => self.export_rows::<PolicyDecisionRecord>(format, out).await,
            Table::History => self.export_history(&HistoryFilter::default(), format, out).await,
        }
    }

    /// Imports an exported table. Existing rows stay unchanged, except that a complete minute replaces an
    /// incomplete one, a change's final outcome replaces an open one, and policy state replaces that of an
    /// earlier minute. If a line cannot be parsed, the error contains its number, and nothing is written. The
    /// file is kept in memory until it has been read completely. A file that was truncated between two lines
    /// cannot be distinguished from a complete one.
    ///
    /// An hour is skipped if its minutes exist, and a minute is skipped if its hour exists, because they
    /// would be counted twice.
    ///
    /// Returns how many minutes or rows were new or replaced.
    ///
    /// # Errors
    ///
    /// If a line cannot be parsed, a decision's evaluation does not exist, the table is export-only, or the
    /// database cannot be written.
    pub async fn import(
        &self,
        table: Table,
        format: Format,
        input: impl BufRead,
    ) -> Result<u64, LedgerError> {
        match table {
            Table::Minutes => self.import_minutes(format, input).await,
            Table::Hours => self.import_rows::<HourRecord>(format, input).await,
            Table::Evaluations => self.import_rows::<EvaluationRecord>(format, input).await,
            Table::Decisions => self.import_decisions(format, input).await,
            Table::Changes => self.import_rows::<ChangeRecord>(format, input).await,
            Table::PolicyState => self.import_rows::<PolicyStateRecord>(format, input).await,
            Table::PolicyDecisions => self.import_rows::<PolicyDecisionRecord>(format, input).await,
            Table::History => Err(self
                .input("the history consists of evaluations, decisions and changes: import these instead")),
        }
    }

    async fn export_rows<T: Record>(&self, format: Format, out: impl Write) -> Result<u64, LedgerError> {
        let mut lines = Lines::begin::<T>(format, out).map_err(|problem| self.unwritten(&problem))?;
        if self.additions < T::ADDITIONS {
            return lines.end().map_err(|problem| self.unwritten(&problem));
        }
        let order = T::ORDER.replace("{bytewise}", self.bytewise());
        let sql = rows::select::<T>(&format!("ORDER BY {order}"));
        let written = within!(self, Access::Read, transaction => {
            let mut written = Ok(());
            let mut records = query_as::<_, T>(sql).fetch(&mut *transaction);
            while let (Ok(()), Some(record)) = (&written, records.try_next().await?) {
                written = lines.line(&record);
            }
            drop(records);
            written
        })?;
        written
            .and_then(|()| lines.end())
            .map_err(|problem| self.unwritten(&problem))
    }

    async fn export_decisions(&self, format: Format, out: impl Write) -> Result<u64, LedgerError> {
        let unwritten = |problem| self.unwritten(&problem);
        let mut lines = Lines::begin::<DecisionRecord>(format, out).map_err(unwritten)?;
        let plans = self.decided_plans().await?;
        let names = self.names(&[]).await?;
        for (account, plan_id) in plans {
            for decision in self.decisions_of_plan(&account, &plan_id, Some(&names)).await? {
                lines.line(&decision).map_err(unwritten)?;
            }
        }
        lines.end().map_err(unwritten)
    }

    async fn import_rows<T: Record>(&self, format: Format, input: impl BufRead) -> Result<u64, LedgerError> {
        let records = self.read_records::<T>(format, input)?;
        self.write_records(records.iter().map(|(_, record)| record)).await
    }

    async fn import_decisions(&self, format: Format, input: impl BufRead) -> Result<u64, LedgerError> {
        let decisions = self.read_records::<DecisionRecord>(format, input)?;
        let mut plans = HashMap::new();
        for (line, decision) in &decisions {
            let account = &decision.account;
            if !plans.contains_key(account) {
                plans.insert(account, self.plans_of(account).await?);
            }
            if !plans
                .get(account)
                .is_some_and(|plans| plans.contains(&decision.plan_id))
            {
                return Err(self.input(format!(
                    "line {line}: the evaluation {} of {account} does not exist: import evaluations first",
                    decision.plan_id
                )));
            }
        }
        let decisions: Vec<&DecisionRecord> = decisions.iter().map(|(_, decision)| decision).collect();
        self.write_decisions(None, &decisions).await
    }

    async fn plans_of(&self, account: &str) -> Result<HashSet<String>, LedgerError> {
        within!(self, Access::Read, transaction => {
            let rows = query("SELECT plan_id FROM capacity_evaluations WHERE account = $1")
                .bind(account)
                .fetch_all(&mut *transaction)
                .await?;
            rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?
        })
    }

    /// Reads a whole file, each record with its line number.
    fn read_records<T: Record>(
        &self,
        format: Format,
        input: impl BufRead,
    ) -> Result<Vec<(u64, T)>, LedgerError> {
        let mut records = Vec::new();
        lines::read(format, input, |line, record: T| {
            if let Some(problem) = record.problem() {
                return Err(problem.into());
            }
            records.push((line, record));
            Ok(())
        })
        .map_err(|problem| self.input(problem))?;
        Ok(records)
    }

    pub(crate) fn unwritten(&self, problem: &std::io::Error) -> LedgerError {
        self.input(format!("cannot write the export: {problem}"))
    }
}
