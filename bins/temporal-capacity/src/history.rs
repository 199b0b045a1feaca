//! `history`: what was decided and changed.

use capacity_ledger::{Format, HistoryFilter, HistoryRow, write_history};
use comfy_table::Cell;
use jiff::Timestamp;

use crate::arguments::{Global, History, PlanFormat};
use crate::exit::{Exit, print};
use crate::ledger::open;
use crate::plan::Shown;
use crate::render;
use crate::terminal::Terminal;

const HEADER: [&str; 7] = [
    "when (UTC)",
    "namespace",
    "decision",
    "$/h",
    "outcome",
    "by",
    "reason",
];

pub(crate) async fn history(flags: &History, global: &Global, terminal: Terminal) -> anyhow::Result<Exit> {
    let filter = HistoryFilter {
        namespace: flags.namespace.clone(),
        from: flags.from,
        to: flags.to,
        changes_only: flags.changes,
        limit: flags.limit,
    };
    let rows = open(global).await?.history(None, &filter).await?;
    match Shown::choose(flags.format, global.output) {
        Shown::As(PlanFormat::Table) => print(&table(&rows, terminal)?)?,
        Shown::As(PlanFormat::Markdown) => {
            let rows: Vec<_> = rows.iter().map(cells).collect::<anyhow::Result<_>>()?;
            print(&render::markdown_table(HEADER, &rows))?;
        }
        Shown::As(PlanFormat::Csv) => {
            let mut file = Vec::new();
            write_history(&rows, Format::Csv, &mut file)?;
            print(&String::from_utf8(file)?)?;
        }
        Shown::As(PlanFormat::Json) => print(&serde_json::to_string_pretty(&rows)?)?,
        Shown::JsonLines => {
            for row in &rows {
                print(&serde_json::to_string(row)?)?;
            }
        }
        Shown::Nothing => {}
    }
    Ok(Exit::Done)
}

fn table(rows: &[HistoryRow], terminal: Terminal) -> anyhow::Result<String> {
    let mut table = render::table_with(HEADER, terminal);
    for row in rows {
        table.add_row(cells(row)?.map(|cell| Cell::new(render::printable(&cell))));
    }
    let noun = if rows.len() == 1 { "decision" } else { "decisions" };
    Ok(format!("{}{} {noun}", render::lines(&table), rows.len()))
}

fn cells(row: &HistoryRow) -> anyhow::Result<[String; HEADER.len()]> {
    Ok([
        Timestamp::from_millisecond(row.evaluated_at_ms)?
            .strftime("%Y-%m-%d %H:%M")
            .to_string(),
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
    let dollars = |micros: i64| rust_decimal::Decimal::new(micros, 6).round_dp(2);
    match (
        row.decision.price_before_micro_dollars,
        row.decision.price_after_micro_dollars,
    ) {
        (Some(before), Some(after)) if before != after => {
            format!("{:.2} -> {:.2}", dollars(before), dollars(after))
        }
        (Some(before), _) => format!("{:.2}", dollars(before)),
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
