//! The history as flat lines.

use std::io::{self, Write};

use serde::Serialize;

use super::Format;
use super::lines::Lines;
use crate::error::LedgerError;
use crate::records::{HistoryFilter, HistoryRow};
use crate::store::Ledger;

/// A decision as a flat line, which CSV can hold as well.
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

/// Writes a history to `out` in the columns of its export. Returns how many lines it wrote.
///
/// # Errors
///
/// If `out` cannot be written.
pub fn write_history(rows: &[HistoryRow], format: Format, out: impl Write) -> io::Result<u64> {
    let mut lines = Lines::new(format, out);
    for row in rows {
        lines.line(&HistoryLine::of(row))?;
    }
    lines.end()
}

impl Ledger {
    pub(super) async fn export_history(&self, lines: &mut Lines<impl Write>) -> Result<(), LedgerError> {
        for row in &self.history(None, &HistoryFilter::default()).await? {
            lines
                .line(&HistoryLine::of(row))
                .map_err(|problem| self.unwritten(&problem))?;
        }
        Ok(())
    }
}
