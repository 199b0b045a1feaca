//! `ledger`: inspects, prunes, exports and imports the ledger.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, IsTerminal, Stdout, Write};
use std::path::Path;

use anyhow::{Context, bail};
use capacity_ledger::{Format, Ledger, LedgerError, Location, Table};
use capacity_settings::{Keep, Needs, Settings};
use jiff::{SignedDuration, Timestamp};

use crate::arguments::{Global, LedgerCommand, LedgerTable};
use crate::exit::{Exit, print, tell};
use crate::output::Output;
use crate::setup;
use crate::terminal::confirmed;

pub(crate) async fn open_read_only(global: &Global) -> anyhow::Result<Ledger> {
    let (location, _) = location_and_keep(global)?;
    Ok(Ledger::open_read_only(&location).await?)
}

fn location_and_keep(global: &Global) -> anyhow::Result<(Location, Keep)> {
    let settings = setup::settings(global, Needs::default())?;
    Ok((location_of(&settings)?, settings.keep))
}

/// Returns the location of the ledger; an error if none is configured.
pub(crate) fn location_of(settings: &Settings) -> anyhow::Result<Location> {
    settings.ledger.clone().context(
        "LEDGER_URL is not set: nothing is recorded; set it to a path, such as ledger.db, both for \
                  the worker and for this command",
    )
}

/// Standard output, for results that may not fit into memory.
pub(crate) struct LargeOutput {
    out: BufWriter<Stdout>,
    is_closed: bool,
    /// Text to write after the result.
    pub(crate) end: &'static str,
}

impl Default for LargeOutput {
    fn default() -> Self {
        Self {
            out: BufWriter::new(std::io::stdout()),
            is_closed: false,
            end: "",
        }
    }
}

impl LargeOutput {
    /// Finishes the output. A closed pipe (`| head`) is not an error.
    pub(crate) fn ended<T>(mut self, written: Result<T, LedgerError>) -> anyhow::Result<Option<T>> {
        if self.is_closed {
            return Ok(None);
        }
        let written = written?;
        match self.write_all(self.end.as_bytes()).and_then(|()| self.flush()) {
            Err(_) if self.is_closed => Ok(None),
            ended => ended
                .map(|()| Some(written))
                .context("cannot write to standard output"),
        }
    }

    fn noted<T>(&mut self, result: std::io::Result<T>) -> std::io::Result<T> {
        self.is_closed |= result
            .as_ref()
            .is_err_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe);
        result
    }
}

impl Write for LargeOutput {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.out.write(bytes);
        self.noted(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let flushed = self.out.flush();
        self.noted(flushed)
    }
}

pub(crate) async fn run(command: &LedgerCommand, global: &Global) -> anyhow::Result<Exit> {
    let (location, keep) = location_and_keep(global)?;
    match command {
        LedgerCommand::Info => {
            let info = Ledger::open_read_only(&location).await?.info().await?;
            let json = serde_json::json!({
                "location": info.location,
                "schema_version": info.schema_version,
                "bytes": info.bytes,
                "rows": info.rows,
                "oldest_minute": info.oldest_minute.map(|minute| minute.to_string()),
                "newest_minute": info.newest_minute.map(|minute| minute.to_string()),
            });
            match global.output() {
                Output::Json => {
                    return print(&serde_json::to_string_pretty(&json)?).map(|()| Exit::Done);
                }
                Output::Jsonl => return print(&json.to_string()).map(|()| Exit::Done),
                Output::None => return Ok(Exit::Done),
                _ => {}
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
            let problems = Ledger::open_read_only(&location).await?.verify().await?;
            for problem in &problems {
                print(problem)?;
            }
            if !problems.is_empty() {
                tell(&format!(
                    "{} problems; move the ledger away together with its -wal and -shm files, and a new one is created",
                    problems.len()
                ));
                return Ok(Exit::Failed);
            }
            tell("the ledger is intact");
        }
        LedgerCommand::Prune {
            keep_minutes,
            keep_hours,
            keep_decisions,
            yes,
        } => {
            let days = |given: Option<u32>, otherwise: SignedDuration| {
                given.map_or(otherwise, |days| SignedDuration::from_hours(24 * i64::from(days)))
            };
            let (minutes, hours, decisions) = (
                days(*keep_minutes, keep.minutes),
                days(*keep_hours, SignedDuration::MAX),
                days(*keep_decisions, keep.decisions),
            );
            let ledger = Ledger::open_existing(&location).await?;
            if !yes && !may_prune(&location, minutes, *keep_hours, decisions).await? {
                tell("nothing was changed");
                return Ok(Exit::Done);
            }
            let pruned = ledger.prune(Timestamp::now(), minutes, hours, decisions).await?;
            tell(&format!(
                "{} minutes aggregated into hours; deleted: {} hours, {} evaluations, {} decisions and {} \
                 changes",
                pruned.minutes, pruned.hours, pruned.evaluations, pruned.decisions, pruned.changes
            ));
        }
        LedgerCommand::Export { table, .. } => {
            let ledger = Ledger::open_read_only(&location).await?;
            let mut output = LargeOutput::default();
            let format = match global.output() {
                Output::Jsonl => Format::JsonLines,
                _ => Format::Csv,
            };
            let lines = ledger.export((*table).into(), format, &mut output).await;
            if let Some(lines) = output.ended(lines)? {
                tell(&format!("{lines} lines"));
            }
        }
        LedgerCommand::Import { table, format, file } => {
            let mut input = reader(file)?;
            let format = match format {
                Some(Output::Jsonl) => Format::JsonLines,
                Some(_) => Format::Csv,
                None => {
                    format_of(&mut input).with_context(|| format!("{} cannot be read", file.display()))?
                }
            };
            let ledger = Ledger::open(&location).await?;
            let new = ledger.import((*table).into(), format, input).await;
            let new = new.with_context(|| format!("nothing from {} was imported", file.display()))?;
            tell(&format!("{new} new"));
        }
    }
    Ok(Exit::Done)
}

/// Asks for confirmation, as `apply` does, because deleted rows cannot be restored.
async fn may_prune(
    location: &Location,
    minutes: SignedDuration,
    keep_hours: Option<u32>,
    decisions: SignedDuration,
) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        bail!("there is no terminal to ask for confirmation; use `ledger prune --yes`");
    }
    let days = |duration: SignedDuration| duration.as_hours() / 24;
    let hours = keep_hours.map_or(String::new(), |days| format!("hours older than {days} days and "));
    let question = format!(
        "Aggregate minutes older than {} days into hours, and delete {hours}decisions and changes older \
         than {} days from {location}?",
        days(minutes),
        days(decisions)
    );
    Ok(confirmed(&question).await)
}

fn reader(file: &Path) -> anyhow::Result<Box<dyn BufRead>> {
    if file == Path::new("-") {
        return Ok(Box::new(BufReader::new(std::io::stdin())));
    }
    let opened = File::open(file).with_context(|| format!("{} cannot be read", file.display()))?;
    Ok(Box::new(BufReader::new(opened)))
}

/// Detects the format: a JSON line begins with a brace, which no column name contains.
fn format_of(input: &mut impl BufRead) -> std::io::Result<Format> {
    let begin = input.fill_buf()?;
    let first = begin.iter().find(|byte| !byte.is_ascii_whitespace());
    Ok(if first == Some(&b'{') {
        Format::JsonLines
    } else {
        Format::Csv
    })
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
            LedgerTable::PolicyDecisions => Self::PolicyDecisions,
        }
    }
}
