//! `ledger`: inspects, prunes, exports and imports the ledger.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, IsTerminal, Stdout, Write};
use std::path::Path;

use anyhow::{Context, bail};
use capacity_ledger::{Format, Info, Ledger, LedgerError, Location, Table};
use capacity_settings::{Keep, Needs, Settings};
use human_text::{at_minute, counted, grouped};
use jiff::{SignedDuration, Timestamp};

use crate::arguments::{Global, LedgerCommand, LedgerTable};
use crate::exit::{Exit, print, tell};
use crate::output::Output;
use crate::setup;
use crate::tables;
use crate::terminal::{Terminal, confirmed};

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

/// Standard output for results that may not fit in memory.
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
        // A closed pipe is handled above: here the ledger reports it as an error of its own.
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

pub(crate) async fn run(
    command: &LedgerCommand,
    global: &Global,
    terminal: Terminal,
) -> anyhow::Result<Exit> {
    let (location, keep) = location_and_keep(global)?;
    match command {
        LedgerCommand::Info => info(&location, global.output(), terminal).await,
        LedgerCommand::Verify => verify(&location).await,
        LedgerCommand::Prune {
            keep_minutes,
            keep_hours,
            keep_decisions,
            yes,
        } => {
            let kept = Kept {
                minutes: keep_minutes.unwrap_or(keep.minutes),
                hours: *keep_hours,
                decisions: keep_decisions.unwrap_or(keep.decisions),
            };
            prune(&location, kept, *yes).await
        }
        LedgerCommand::Export { table, .. } => export(&location, (*table).into(), global.output()).await,
        LedgerCommand::Import { table, format, file } => {
            import(&location, (*table).into(), *format, file).await
        }
    }
}

async fn info(location: &Location, output: Output, terminal: Terminal) -> anyhow::Result<Exit> {
    let info = Ledger::open_read_only(location).await?.info().await?;
    let json = serde_json::json!({
        "location": info.location,
        "schema_version": info.schema_version,
        "bytes": info.bytes,
        "rows": info.rows,
        "oldest_minute": info.oldest_minute.map(|minute| minute.to_string()),
        "newest_minute": info.newest_minute.map(|minute| minute.to_string()),
    });
    match output {
        Output::Json => print(&serde_json::to_string_pretty(&json)?)?,
        Output::Jsonl => print(&json.to_string())?,
        Output::None => {}
        _ => print(table(&info, terminal).trim_end())?,
    }
    Ok(Exit::Done)
}

async fn verify(location: &Location) -> anyhow::Result<Exit> {
    let problems = Ledger::open_read_only(location).await?.verify().await?;
    for problem in &problems {
        print(problem)?;
    }
    if problems.is_empty() {
        tell("the ledger is intact");
        return Ok(Exit::Done);
    }
    tell(&format!(
        "{}; move the ledger file and its -wal and -shm files elsewhere, and a new ledger is created",
        counted(problems.len(), "problem")
    ));
    Ok(Exit::Failed)
}

/// How long rows are kept.
#[derive(Debug, Clone, Copy)]
struct Kept {
    minutes: SignedDuration,
    /// Hours are small and the only basis of past bills, so they are kept unless asked otherwise.
    hours: Option<SignedDuration>,
    decisions: SignedDuration,
}

async fn prune(location: &Location, kept: Kept, is_agreed: bool) -> anyhow::Result<Exit> {
    let ledger = Ledger::open_existing(location).await?;
    if !is_agreed && !may_prune(location, kept).await? {
        tell("nothing was changed");
        return Ok(Exit::Done);
    }
    let hours = kept.hours.unwrap_or(SignedDuration::MAX);
    let pruned = ledger.prune(Timestamp::now(), kept.minutes, hours, kept.decisions);
    let pruned = pruned.await?;
    tell(&format!(
        "{} aggregated into hours; deleted: {}, {}, {} and {}",
        counted(pruned.minutes, "minute"),
        counted(pruned.hours, "hour"),
        counted(pruned.evaluations, "evaluation"),
        counted(pruned.decisions, "decision"),
        counted(pruned.changes, "change")
    ));
    Ok(Exit::Done)
}

async fn export(location: &Location, table: Table, output: Output) -> anyhow::Result<Exit> {
    let ledger = Ledger::open_read_only(location).await?;
    let format = match output {
        Output::Jsonl => Format::JsonLines,
        _ => Format::Csv,
    };
    let mut output = LargeOutput::default();
    let lines = ledger.export(table, format, &mut output).await;
    if let Some(lines) = output.ended(lines)? {
        tell(&counted(lines, "line"));
    }
    Ok(Exit::Done)
}

async fn import(
    location: &Location,
    table: Table,
    format: Option<Output>,
    file: &Path,
) -> anyhow::Result<Exit> {
    let mut input = reader(file)?;
    let format = match format {
        Some(Output::Jsonl) => Format::JsonLines,
        Some(_) => Format::Csv,
        None => format_of(&mut input).with_context(|| format!("{} cannot be read", file.display()))?,
    };
    // Creates a ledger that does not exist, unlike the other commands: an import restores one.
    let ledger = Ledger::open(location).await?;
    let new = ledger.import(table, format, input).await;
    let new = new.with_context(|| format!("nothing from {} was imported", file.display()))?;
    tell(&format!("imported {}", counted(new, "new row")));
    Ok(Exit::Done)
}

/// Returns the time of the ledger's minutes: now, or the end of the newest minute, because the clock of a simulated cloud may be
/// ahead.
pub(crate) async fn time_of(ledger: &Ledger) -> anyhow::Result<Timestamp> {
    let newest = ledger.info().await?.newest_minute;
    let over = newest.and_then(|minute| minute.checked_add(SignedDuration::from_mins(1)).ok());
    Ok(over.map_or_else(Timestamp::now, |over| over.max(Timestamp::now())))
}

/// Renders `ledger info`.
fn table(info: &Info, terminal: Terminal) -> String {
    let mut rows = vec![
        ("location".to_owned(), info.location.clone()),
        ("format".to_owned(), format!("version {}", info.schema_version)),
        ("size".to_owned(), size(info.bytes)),
    ];
    let counts = info.rows.iter();
    rows.extend(counts.map(|(name, rows)| (name.replace('_', " "), grouped(*rows))));
    if let (Some(oldest), Some(newest)) = (info.oldest_minute, info.newest_minute) {
        rows.push(("oldest minute".to_owned(), at_minute(oldest)));
        rows.push(("newest minute".to_owned(), at_minute(newest)));
    }
    let mut table = tables::plain(terminal);
    for (name, value) in rows {
        table.add_row([name, tables::printable(&value)]);
    }
    tables::lines(&table)
}

/// Formats a size, such as `244 KiB`.
fn size(bytes: i64) -> String {
    let (mut amount, mut unit) = (bytes, "bytes");
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        // Keeps at least two digits.
        if amount < 10 * 1024 {
            break;
        }
        (amount, unit) = ((amount + 512) / 1024, next);
    }
    format!("{} {unit}", grouped(amount))
}

/// Asks for confirmation, as `apply` does, because deleted rows cannot be restored.
async fn may_prune(location: &Location, kept: Kept) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        bail!("there is no terminal to ask for confirmation; use `ledger prune --yes`");
    }
    let days = |duration: SignedDuration| counted(duration.as_hours() / 24, "day");
    let hours = kept.hours.map_or(String::new(), |keep| {
        format!("hours older than {} and ", days(keep))
    });
    let question = format!(
        "Aggregate minutes older than {} into hours, and delete {hours}decisions and changes older than {} \
         from {location}?",
        days(kept.minutes),
        days(kept.decisions)
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
    // This consumes nothing, so the import still reads the first line.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_at_most_five_digits() {
        assert_eq!(size(512), "512 bytes");
        assert_eq!(size(249_856), "244 KiB");
        assert_eq!(size(50 * 1024 * 1024), "50 MiB");
    }
}
