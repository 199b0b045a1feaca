//! Decisions of policies, in addition to the decisions that were acted on.

use sqlx::{Encode, FromRow, QueryBuilder, Row, Type};

use crate::backend::{Access, Backend, kept, within};
use crate::error::LedgerError;
use crate::records::{HistoryFilter, PolicyDecisionRecord, PolicyDecisionRow};
use crate::rows::{self, Record};
use crate::store::{AT_A_TIME, Ledger};
use crate::tables::WITH_POLICY_DECISIONS;

impl Ledger {
    /// Records decisions of policies once; recording them again changes nothing.
    ///
    /// # Errors
    ///
    /// If the database cannot be written.
    pub async fn record_policy_decisions(
        &self,
        decisions: &[PolicyDecisionRecord],
    ) -> Result<(), LedgerError> {
        within!(self, Access::Write, transaction => {
            for decisions in decisions.chunks(AT_A_TIME) {
                kept(rows::insert_all(decisions).build()).execute(&mut *transaction).await?;
            }
        })
    }

    /// Returns decisions of policies, oldest first, of one account or, without `account`, of all.
    ///
    /// # Errors
    ///
    /// If the database cannot be read.
    pub async fn policy_decisions(
        &self,
        account: Option<&str>,
        filter: &HistoryFilter,
    ) -> Result<Vec<PolicyDecisionRow>, LedgerError> {
        if self.additions < WITH_POLICY_DECISIONS {
            return Ok(Vec::new());
        }
        let mut found = within!(self, Access::Read, transaction => {
            let mut statement = newest_first(account, filter, self.bytewise());
            let rows = kept(statement.build()).fetch_all(&mut *transaction).await?;
            let rows = rows.iter().map(|row| {
                Ok(PolicyDecisionRow {
                    evaluated_at_ms: row.try_get("evaluated_at_ms")?,
                    decision: PolicyDecisionRecord::from_row(row)?,
                })
            });
            rows.collect::<Result<Vec<_>, sqlx::Error>>()?
        })?;
        found.reverse();
        Ok(found)
    }
}

fn newest_first<'q, DB>(
    account: Option<&'q str>,
    filter: &'q HistoryFilter,
    bytewise: &str,
) -> QueryBuilder<DB>
where
    DB: Backend,
    &'q str: Encode<'q, DB> + Type<DB>,
    i64: Encode<'q, DB> + Type<DB>,
{
    let columns = PolicyDecisionRecord::COLUMNS.join(", p.");
    let mut select = QueryBuilder::new(format!(
        "SELECT e.evaluated_at_ms, p.{columns} FROM capacity_policy_decisions p \
         JOIN capacity_evaluations e ON e.account = p.account AND e.plan_id = p.plan_id WHERE e.evaluated_at_ms >= "
    ));
    select.push_bind(filter.from.map_or(i64::MIN, jiff::Timestamp::as_millisecond));
    select.push(" AND e.evaluated_at_ms < ");
    select.push_bind(filter.to.map_or(i64::MAX, jiff::Timestamp::as_millisecond));
    if let Some(account) = account {
        select.push(" AND p.account = ").push_bind(account);
    }
    if filter.changes_only {
        select.push(" AND p.action IN ('Enable', 'Resize', 'Disable')");
    }
    if !filter.namespaces.is_empty() {
        select.push(" AND p.namespace IN (");
        let mut names = select.separated(", ");
        for name in &filter.namespaces {
            names.push_bind(name.as_str());
        }
        select.push(")");
    }
    select.push(format!(
        " ORDER BY e.evaluated_at_ms DESC, p.namespace {bytewise} DESC, p.plan_id {bytewise} DESC, p.shadow DESC"
    ));
    if filter.limit > 0 {
        select.push(" LIMIT ").push_bind(i64::from(filter.limit));
    }
    select
}
