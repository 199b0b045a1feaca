//! Measures the size of a ledger by kind of row, after its minutes were aggregated into hours.

use std::path::Path;

use anyhow::Context;
use capacity_ledger::{Format, Ledger, Location, Table};
use jiff::{SignedDuration, Timestamp};

/// Sizes of a ledger in bytes.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// Total size as the worker left it, with minutes.
    pub(crate) before: i64,
    /// Total size without minutes and free pages: hours, evaluations, decisions and changes.
    pub(crate) compact: i64,
    /// Size of each kind of row.
    pub(crate) by_table: Vec<(&'static str, i64)>,
}

/// Aggregates all minutes into hours, and copies the rest into a new ledger without free pages.
pub(crate) async fn compacted(path: &Path, now: Timestamp) -> anyhow::Result<Taken> {
    let ledger = Ledger::open(&Location::Sqlite(path.to_owned())).await?;
    let mut taken = Taken {
        before: ledger.info().await?.bytes,
        ..Taken::default()
    };
    let forever = SignedDuration::from_hours(24 * 3_650);
    let later = now + SignedDuration::from_hours(2);
    ledger
        .prune(later, SignedDuration::from_hours(1), forever, forever)
        .await?;
    let fresh = path.with_file_name("compact.db");
    let copy = Ledger::open(&Location::Sqlite(fresh)).await?;
    taken.compact = copy.info().await?.bytes;
    for (name, table) in [
        ("hours", Table::Hours),
        ("evaluations", Table::Evaluations),
        ("decisions", Table::Decisions),
        ("policy decisions", Table::PolicyDecisions),
        ("changes", Table::Changes),
        ("policy state", Table::PolicyState),
    ] {
        let mut lines = Vec::new();
        ledger.export(table, Format::JsonLines, &mut lines).await?;
        copy.import(table, Format::JsonLines, lines.as_slice())
            .await
            .with_context(|| format!("{name} cannot be copied"))?;
        let bytes = copy.info().await?.bytes;
        taken.by_table.push((name, bytes - taken.compact));
        taken.compact = bytes;
    }
    Ok(taken)
}
