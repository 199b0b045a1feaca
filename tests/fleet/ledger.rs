//! What a ledger takes: bytes by kind of row, after minutes were folded into hours.

use std::path::Path;

use anyhow::Context;
use capacity_ledger::{Format, Ledger, Location, Table};
use jiff::{SignedDuration, Timestamp};

/// Bytes of a ledger.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// All of it as the worker left it, with the minutes that it keeps.
    pub(crate) before: i64,
    /// Hours, evaluations, decisions and changes, without minutes and without free pages.
    pub(crate) compact: i64,
    /// Each kind of row in it.
    pub(crate) by_table: Vec<(&'static str, i64)>,
}

/// Folds every minute into its hour, and writes what is left into a fresh ledger, which has no free pages.
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
