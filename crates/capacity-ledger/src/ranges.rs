//! Rows of a time range, for reports.

use jiff::Timestamp;
use sqlx::Row;

use crate::backend::{Access, query, query_as, within};
use crate::error::LedgerError;
use crate::records::{ChangeRecord, HourRecord};
use crate::rows;
use crate::store::Ledger;

impl Ledger {
    /// Returns the accounts with recorded data, by id.
    ///
    /// # Errors
    ///
    /// If the database cannot be read.
    pub async fn recorded_accounts(&self) -> Result<Vec<String>, LedgerError> {
        within!(self, Access::Read, transaction => {
            let rows = query(
                "SELECT account FROM capacity_namespaces UNION SELECT account FROM capacity_hours \
                 UNION SELECT account FROM capacity_evaluations ORDER BY 1",
            )
            .fetch_all(&mut *transaction)
            .await?;
            rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?
        })
    }

    /// Returns the changes of an account that were recorded from `from` (inclusive) to `to` (exclusive),
    /// oldest first.
    ///
    /// # Errors
    ///
    /// If the database cannot be read.
    pub async fn changes(
        &self,
        account: &str,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<ChangeRecord>, LedgerError> {
        let order = format!(
            "WHERE account = $1 AND ended_at_ms >= $2 AND ended_at_ms < $3 ORDER BY ended_at_ms, operation_id {}",
            self.bytewise()
        );
        let sql = rows::select::<ChangeRecord>(&order);
        within!(self, Access::Read, transaction => {
            query_as(sql)
                .bind(account)
                .bind(from.as_millisecond())
                .bind(to.as_millisecond())
                .fetch_all(&mut *transaction)
                .await?
        })
    }

    /// Returns the newest 200 changes of all accounts whose recorded outcome is `in_progress`, newest first.
    ///
    /// # Errors
    ///
    /// If the database cannot be read.
    pub async fn changes_in_progress(&self) -> Result<Vec<ChangeRecord>, LedgerError> {
        let order = format!(
            "WHERE outcome = 'in_progress' ORDER BY ended_at_ms DESC, operation_id {} LIMIT 200",
            self.bytewise()
        );
        let sql = rows::select::<ChangeRecord>(&order);
        within!(self, Access::Read, transaction => {
            query_as(sql).fetch_all(&mut *transaction).await?
        })
    }

    /// Returns the aggregated hours of an account from one hour since 1970 (inclusive) to another
    /// (exclusive).
    ///
    /// # Errors
    ///
    /// If the database cannot be read.
    pub async fn hours_between(
        &self,
        account: &str,
        from: i64,
        to: i64,
    ) -> Result<Vec<HourRecord>, LedgerError> {
        let order = format!(
            "WHERE account = $1 AND hour >= $2 AND hour < $3 ORDER BY hour, namespace {}",
            self.bytewise()
        );
        let sql = rows::select::<HourRecord>(&order);
        within!(self, Access::Read, transaction => {
            query_as(sql).bind(account).bind(from).bind(to).fetch_all(&mut *transaction).await?
        })
    }
}
