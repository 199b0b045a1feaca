//! `ledger`: looking after what was recorded.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::Context;
use capacity_ledger::{Format, Ledger, Table};
use capacity_settings::{Keep, Needs};
use jiff::{SignedDuration, Timestamp};

use crate::arguments::{Global, LedgerCommand, LedgerTable, Output, TransferFormat};
use crate::exit::{Exit, print, tell};
use crate::setup;

pub(crate) async fn open(global: &Global) -> anyhow::Result<Ledger> {
    Ok(open_with_keep(global).await?.0)
}

/// Opens the ledger, and tells how long it keeps what.
async fn open_with_keep(global: &Global) -> anyhow::Result<(Ledger, Keep)> {
    let settings = setup::settings(global, Needs::default())?;
    let location = settings
        .ledger
        .context("LEDGER_URL is not set: nothing is recorded; set it to a path, such as ledger.db, for worker and commands alike")?;
    Ok((Ledger::open(&location).await?, settings.keep))
}

pub(crate) async fn run(command: &LedgerCommand, global: &Global) -> anyhow::Result<Exit> {
    let (ledger, keep) = open_with_keep(global).await?;
    match command {
        LedgerCommand::Info => {
            let info = ledger.info().await?;
            let json = serde_json::json!({
                "location": info.location,
                "schema_version": info.schema_version,
                "bytes": info.bytes,
                "rows": info.rows,
                "oldest_minute": info.oldest_minute.map(|minute| minute.to_string()),
                "newest_minute": info.newest_minute.map(|minute| minute.to_string()),
            });
            match global.output {
                None | Some(Output::Text) => {}
                Some(Output::Json) => {
                    return print(&serde_json::to_string_pretty(&json)?).map(|()| Exit::Done);
                }
                Some(Output::Jsonl) => return print(&json.to_string()).map(|()| Exit::Done),
                Some(Output::None) => return Ok(Exit::Done),
            }
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
            let days = |given: Option<u32>, otherwise: SignedDuration| {
                given.map_or(otherwise, |days| SignedDuration::from_hours(24 * i64::from(days)))
            };
            let (minutes, hours, decisions) = (
                days(*keep_minutes, keep.minutes),
                days(*keep_hours, SignedDuration::MAX),
                days(*keep_decisions, keep.decisions),
            );
            let pruned = ledger.prune(Timestamp::now(), minutes, hours, decisions).await?;
            tell(&format!(
                "{} minutes folded into hours, {} hours dropped; {} evaluations dropped with {} decisions and {} changes",
                pruned.minutes, pruned.hours, pruned.evaluations, pruned.decisions, pruned.changes
            ));
        }
        LedgerCommand::Export { table, format } => {
            let output = std::io::BufWriter::new(std::io::stdout());
            let lines = ledger.export((*table).into(), (*format).into(), output).await?;
            tell(&format!("{lines} lines"));
        }
        LedgerCommand::Import { table, format, file } => {
            let input = reader(file)?;
            let new = ledger.import((*table).into(), (*format).into(), input).await;
            let new = new.with_context(|| format!("nothing of {} was imported", file.display()))?;
            tell(&format!("{new} new"));
        }
    }
    Ok(Exit::Done)
}

fn reader(file: &Path) -> anyhow::Result<Box<dyn BufRead>> {
    if file == Path::new("-") {
        return Ok(Box::new(BufReader::new(std::io::stdin())));
    }
    let opened = File::open(file).with_context(|| format!("{} cannot be read", file.display()))?;
    Ok(Box::new(BufReader::new(opened)))
}

impl From<LedgerTable> for Table {
    fn from(table: LedgerTable) -> Self {
        match table {
            LedgerTable::History => Self::History,
            LedgerTable::Minutes => Self::Minutes,
            LedgerTable::Hours => Self::Hours,
            LedgerTable::Evaluations => Self::Evaluations,
            LedgerTable::Decisions => Self::Decisions,
            LedgerTable::Changes => Self::Changes,
            LedgerTable::PolicyState => Self::PolicyState,
        }
    }
}

impl From<TransferFormat> for Format {
    fn from(format: TransferFormat) -> Self {
        match format {
            TransferFormat::Csv => Self::Csv,
            TransferFormat::Jsonl => Self::JsonLines,
        }
    }
}
