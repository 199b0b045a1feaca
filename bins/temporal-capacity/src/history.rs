//! `history`: shows past decisions and changes.

use std::io::Write;

use capacity_engine::NamespacePatterns;
use capacity_engine::pricing::in_dollars;
use capacity_ledger::{Format, HistoryFilter, HistoryRow, Ledger, LedgerError};
use comfy_table::Cell;
use human_text::{at_minute, counted};
use jiff::Timestamp;

use crate::arguments::{Global, History};
use crate::exit::{Exit, print, tell};
use crate::ledger::{LargeOutput, open_read_only};
use crate::output::Output;
use crate::render;
use crate::tables;
use crate::terminal::Terminal;
use crate::times;

const HEADER: [&str; 7] = ["when", "namespace", "decision", "$/h", "outcome", "by", "reason"];

/// Number of decisions that a table shows without `--limit`.
const ON_A_SCREEN: u32 = 200;

pub(crate) async fn history(flags: &History, global: &Global, terminal: Terminal) -> anyhow::Result<Exit> {
    times::range(flags.from, flags.to)?;
    let ledger = open_read_only(global).await?;
    let filter = HistoryFilter {
        namespaces: matching(&ledger, &flags.namespaces).await?,
        from: flags.from,
        to: flags.to,
        changes_only: flags.changes,
        limit: flags.limit.unwrap_or_default(),
    };
    let mut out = LargeOutput::default();
    let written = match global.output() {
        form @ (Output::Table | Output::Markdown | Output::Html) => {
            let limit = flags.limit.unwrap_or(ON_A_SCREEN);
            return as_table(&ledger, HistoryFilter { limit, ..filter }, form, terminal).await;
        }
        Output::Csv => ledger
            .export_history(&filter, Format::Csv, &mut out)
            .await
            .map(drop),
        Output::Json => as_json(&ledger, &filter, &mut out).await,
        Output::Jsonl => {
            let write = |row: HistoryRow| {
                serde_json::to_writer(&mut out, &row)?;
                out.write_all(b"\n")
            };
            ledger.each_in_history(None, &filter, write).await
        }
        Output::None => Ok(()),
    };
    out.ended(written)?;
    Ok(Exit::Done)
}

/// Resolves bare names and globs to namespaces in the ledger, as `plan` does.
async fn matching(ledger: &Ledger, globs: &[String]) -> anyhow::Result<Vec<String>> {
    if globs.is_empty() {
        return Ok(Vec::new());
    }
    let patterns = NamespacePatterns::try_new(globs)?;
    let decided = ledger.decided_namespaces().await?;
    let known = decided.len();
    let matches = |name: &String| match name.parse() {
        Ok(id) => patterns.matches(&id),
        // No pattern matches a name that is not a namespace id, so it has to be given exactly.
        Err(_) => globs.contains(name),
    };
    let matching: Vec<String> = decided.into_iter().filter(matches).collect();
    anyhow::ensure!(
        !matching.is_empty(),
        "no namespace in the ledger matches {}; it has decisions about {}",
        globs.join(", "),
        counted(known, "namespace")
    );
    Ok(matching)
}

async fn as_table(
    ledger: &Ledger,
    filter: HistoryFilter,
    form: Output,
    terminal: Terminal,
) -> anyhow::Result<Exit> {
    let limit = filter.limit;
    // Read one more row to find out whether some are left out.
    let more = HistoryFilter {
        limit: if limit == 0 { 0 } else { limit.saturating_add(1) },
        ..filter
    };
    let mut rows = ledger.history(None, &more).await?;
    let is_cut = limit > 0 && rows.len() > usize::try_from(limit)?;
    if is_cut {
        // Rows are sorted from old to new.
        rows.remove(0);
    }
    if form == Output::Markdown {
        let rows: Vec<_> = rows.iter().map(cells).collect::<anyhow::Result<_>>()?;
        print(&tables::markdown_table(HEADER, &rows))?;
    } else {
        print(&table(&rows, terminal)?)?;
    }
    if is_cut {
        tell(&format!(
            "only the newest {limit} decisions are shown; `--limit 0` shows all of them"
        ));
    }
    Ok(Exit::Done)
}

/// Writes one JSON document row by row.
async fn as_json(ledger: &Ledger, filter: &HistoryFilter, out: &mut LargeOutput) -> Result<(), LedgerError> {
    let mut before = "[\n  ";
    let write = |row: HistoryRow| {
        out.write_all(before.as_bytes())?;
        before = ",\n  ";
        serde_json::to_writer(&mut *out, &row).map_err(std::io::Error::from)
    };
    ledger.each_in_history(None, filter, write).await?;
    // Without rows, the opening bracket has not been written.
    let end = if before.starts_with('[') { "[]\n" } else { "\n]\n" };
    out.end = end;
    Ok(())
}

fn table(rows: &[HistoryRow], terminal: Terminal) -> anyhow::Result<String> {
    let mut table = tables::table_with(HEADER, terminal);
    for row in rows {
        table.add_row(cells(row)?.map(|cell| Cell::new(tables::printable(&cell))));
    }
    Ok(format!(
        "{}{}",
        tables::lines_with_texts(&table, 4, terminal),
        counted(rows.len(), "decision")
    ))
}

fn cells(row: &HistoryRow) -> anyhow::Result<[String; HEADER.len()]> {
    Ok([
        at_minute(Timestamp::from_millisecond(row.evaluated_at_ms)?),
        row.decision.namespace.clone(),
        decision(row),
        prices(row),
        outcome(row),
        row.by.clone(),
        row.decision.reason.clone(),
    ])
}

fn decision(row: &HistoryRow) -> String {
    let trus = |trus: Option<i64>| render::trus(trus.and_then(|trus| u32::try_from(trus).ok()));
    let it = &row.decision;
    let action = if row.dry_run {
        format!("{} (dry run)", it.action)
    } else {
        it.action.clone()
    };
    match it.action.as_str() {
        "Enable" | "Resize" | "Disable" => {
            format!("{action}: {} -> {}", trus(it.current_trus), trus(it.wanted_trus))
        }
        _ => action,
    }
}

fn prices(row: &HistoryRow) -> String {
    let dollars = |micros: i64| in_dollars(rust_decimal::Decimal::new(micros, 6));
    match (
        row.decision.price_before_micro_dollars,
        row.decision.price_after_micro_dollars,
    ) {
        (Some(before), Some(after)) if before != after => {
            format!("{} -> {}", dollars(before), dollars(after))
        }
        (Some(before), _) => dollars(before),
        (None, _) => String::new(),
    }
}

fn outcome(row: &HistoryRow) -> String {
    match (&row.outcome, &row.error) {
        (Some(outcome), Some(error)) => format!("{outcome}: {error}"),
        (Some(outcome), None) => outcome.clone(),
        (None, _) => String::new(),
    }
}
