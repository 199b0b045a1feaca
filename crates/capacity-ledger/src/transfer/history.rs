//! Exports the history as flat lines.

use std::io::Write;

use serde::Serialize;

use super::lines::Lines;
use crate::error::LedgerError;
use crate::line::{Format, line};
use crate::records::{HistoryFilter, HistoryRow};
use crate::store::Ledger;

line! {
/// A decision as a flat line, which also fits into CSV.
#[derive(Debug, Serialize)]
struct HistoryLine<'a> {
    evaluated_at: jiff::Timestamp,
    account: &'a str,
    namespace: &'a str,
    action: &'a str,
    current_trus: Option<i64>,
    wanted_trus: Option<i64>,
    reason_code: &'a str,
    reason: &'a str,
    price_before_micro_dollars: Option<i64>,
    price_after_micro_dollars: Option<i64>,
    price_micro_dollars: i64,
    known_minutes: Option<i64>,
    usage_window: &'a str,
    dry_run: bool,
    by: &'a str,
    plan_id: &'a str,
    outcome: Option<&'a str>,
    error: Option<&'a str>,
}
}

impl<'a> HistoryLine<'a> {
    fn of(row: &'a HistoryRow) -> Self {
        let it = &row.decision;
        Self {
            evaluated_at: jiff::Timestamp::from_millisecond(row.evaluated_at_ms).unwrap_or_default(),
            account: &it.account,
            namespace: &it.namespace,
            action: &it.action,
            current_trus: it.current_trus,
            wanted_trus: it.wanted_trus,
            reason_code: &it.reason_code,
            reason: &it.reason,
            price_before_micro_dollars: it.price_before_micro_dollars,
            price_after_micro_dollars: it.price_after_micro_dollars,
            price_micro_dollars: row.price_micro_dollars,
            known_minutes: it.known_minutes,
            usage_window: &row.usage_window,
            dry_run: row.dry_run,
            by: &row.by,
            plan_id: &it.plan_id,
            outcome: row.outcome.as_deref(),
            error: row.error.as_deref(),
        }
    }
}

impl Ledger {
    /// Writes decisions and changes to `out`, oldest first, one row at a time. Returns the number of lines.
    ///
    /// # Errors
    ///
    /// If the database cannot be read, or `out` cannot be written.
    pub async fn export_history(
        &self,
        filter: &HistoryFilter,
        format: Format,
        out: impl Write,
    ) -> Result<u64, LedgerError> {
        let mut lines =
            Lines::begin::<HistoryLine<'_>>(format, out).map_err(|problem| self.unwritten(&problem))?;
        self.each_in_history(None, filter, |row| lines.line(&HistoryLine::of(&row)))
            .await?;
        lines.end().map_err(|problem| self.unwritten(&problem))
    }
}
