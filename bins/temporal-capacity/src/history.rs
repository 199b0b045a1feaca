//! `history` and `ledger`: what was recorded, and looking after it.

use anyhow::Context;
use capacity_ledger::{Format, HistoryFilter, HistoryRow, Ledger, Table};
use capacity_settings::Needs;
use comfy_table::Cell;
use jiff::{SignedDuration, Timestamp};

use crate::arguments::{Global, History, LedgerCommand, Output, TransferFormat};
use crate::exit::{Exit, print, tell};
use crate::render;
use crate::setup;
use crate::terminal::Terminal;

async fn open(global: &Global) -> anyhow::Result<Ledger> {
    let settings = setup::settings(global, Needs::default())?;
    let location = settings
        .ledger
        .context("LEDGER_URL is not set: nothing is recorded; set it to a path, such as ledger.db, for worker and commands alike")?;
    Ok(Ledger::open(&location).await?)
}

pub(crate) async fn history(flags: &History, global: &Global, terminal: Terminal) -> anyhow::Result<Exit> {
    let filter = HistoryFilter {
        namespace: flags.namespace.clone(),
        from: flags.from,
        to: flags.to,
        changes_only: flags.changes,
        limit: flags.limit,
    };
    let rows = open(global).await?.history(None, &filter).await?;
    match global.output {
        Some(Output::Json) => print(&serde_json::to_string_pretty(&rows)?)?,
        Some(Output::Jsonl) => {
            for row in &rows {
                print(&serde_json::to_string(row)?)?;
            }
        }
        Some(Output::None) => {}
        None | Some(Output::Text) => {
            let mut table = render::table_with(
                [
                    "when (UTC)",
                    "namespace",
                    "decision",
                    "$/h",
                    "outcome",
                    "by",
                    "reason",
                ],
                terminal,
            );
            for row in &rows {
                let cells = [
                    Timestamp::from_millisecond(row.evaluated_at_ms)?
                        .strftime("%Y-%m-%d %H:%M")
                        .to_string(),
                    row.decision.namespace.clone(),
                    decision(row),
                    prices(row),
                    outcome(row),
                    row.by.clone(),
                    row.decision.reason.clone(),
                ];
                table.add_row(cells.map(|cell| Cell::new(render::printable(&cell))));
            }
            let noun = if rows.len() == 1 { "decision" } else { "decisions" };
            print(&format!("{}{} {noun}", render::lines(&table), rows.len()))?;
        }
    }
    Ok(Exit::Done)
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

pub(crate) async fn ledger(command: &LedgerCommand, global: &Global) -> anyhow::Result<Exit> {
    let ledger = open(global).await?;
    match command {
        LedgerCommand::Info => {
            let info = ledger.info().await?;
            print(&format!("location  {}", info.location))?;
            print(&format!("tables    version {}", info.schema_version))?;
            print(&format!("size      {} bytes", info.bytes))?;
            for (name, rows) in &info.rows {
                print(&format!("{name:<12} {rows}"))?;
            }
            if let (Some(oldest), Some(newest)) = (info.oldest_minute, info.newest_minute) {
                print(&format!("minutes from {oldest} to {newest}"))?;
            }
        }
        LedgerCommand::Verify => {
            let problems = ledger.verify().await?;
            for problem in &problems {
                print(problem)?;
            }
            if !problems.is_empty() {
                tell(&format!(
                    "{} problems; move the ledger away, and a new one is begun",
                    problems.len()
                ));
                return Ok(Exit::Failed);
            }
            tell("the ledger is whole");
        }
        LedgerCommand::Prune {
            keep_minutes,
            keep_hours,
            keep_decisions,
        } => {
            let days = |days: u32| SignedDuration::from_hours(24 * i64::from(days));
            let (minutes, hours, decisions) = (days(*keep_minutes), days(*keep_hours), days(*keep_decisions));
            let pruned = ledger.prune(Timestamp::now(), minutes, hours, decisions).await?;
            tell(&format!(
                "{} minutes folded into hours, {} hours dropped; {} evaluations dropped with {} decisions and {} changes",
                pruned.minutes, pruned.hours, pruned.evaluations, pruned.decisions, pruned.changes
            ));
        }
        LedgerCommand::Export { table, format } => {
            let table = match table {
                crate::arguments::ExportTable::History => Table::History,
                crate::arguments::ExportTable::Minutes => Table::Minutes,
            };
            let format = match format {
                TransferFormat::Csv => Format::Csv,
                TransferFormat::Jsonl => Format::JsonLines,
            };
            let lines = ledger
                .export(table, format, std::io::BufWriter::new(std::io::stdout()))
                .await?;
            tell(&format!("{lines} lines"));
        }
    }
    Ok(Exit::Done)
}
