//! Taking a ledger's tables out, and in again.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::codec::Entry;
use crate::error::LedgerError;
use crate::minutes::{Stored, start_of};
use crate::records::HistoryFilter;
use crate::store::Ledger;

/// A table that can be taken out and in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// One line a namespace and minute.
    Minutes,
    /// One line a decision, with its evaluation and what became of it. Only taken out.
    History,
}

/// The form of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated values with a line of names.
    Csv,
    /// A JSON object a line.
    JsonLines,
}

/// A namespace in a minute, as a line. A minute without namespaces has one line without any.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct MinuteLine {
    account: String,
    minute: jiff::Timestamp,
    complete: bool,
    source: String,
    namespace: Option<String>,
    reported: bool,
    actions_served: u64,
    requests_served: u64,
    operations_served: u64,
    actions_throttled: u64,
    requests_throttled: u64,
    operations_throttled: u64,
    actions_limit: Option<u64>,
    requests_limit: Option<u64>,
    operations_limit: Option<u64>,
    actions_envelope: Option<u64>,
    requests_envelope: Option<u64>,
    operations_envelope: Option<u64>,
    /// Absent in files of before there was this column: everything was read.
    #[serde(default)]
    requests_unread: bool,
    #[serde(default)]
    operations_unread: bool,
    #[serde(default)]
    actions_unread: bool,
}

impl MinuteLine {
    fn of(stored: &Stored, entry: Entry, namespace: Option<String>) -> Self {
        let [
            actions_served,
            requests_served,
            operations_served,
            actions_throttled,
            requests_throttled,
            operations_throttled,
        ] = entry.rates;
        let [
            actions_limit,
            requests_limit,
            operations_limit,
            actions_envelope,
            requests_envelope,
            operations_envelope,
        ] = entry.limits;
        Self {
            account: stored.account.clone(),
            minute: start_of(stored.minute),
            complete: stored.complete,
            source: stored.source.clone(),
            namespace,
            reported: entry.reported,
            actions_served,
            requests_served,
            operations_served,
            actions_throttled,
            requests_throttled,
            operations_throttled,
            actions_limit,
            requests_limit,
            operations_limit,
            actions_envelope,
            requests_envelope,
            operations_envelope,
            requests_unread: entry.unread[1],
            operations_unread: entry.unread[2],
            actions_unread: entry.unread[0],
        }
    }

    fn entry(&self, number: i64) -> Entry {
        Entry {
            namespace: u64::try_from(number).unwrap_or_default(),
            reported: self.reported,
            unread: [self.actions_unread, self.requests_unread, self.operations_unread],
            rates: [
                self.actions_served,
                self.requests_served,
                self.operations_served,
                self.actions_throttled,
                self.requests_throttled,
                self.operations_throttled,
            ],
            limits: [
                self.actions_limit,
                self.requests_limit,
                self.operations_limit,
                self.actions_envelope,
                self.requests_envelope,
                self.operations_envelope,
            ],
        }
    }
}

enum Lines<W: Write> {
    Csv(Box<csv::Writer<W>>),
    Json(W),
}

impl<W: Write> Lines<W> {
    fn new(format: Format, out: W) -> Self {
        match format {
            Format::Csv => Self::Csv(Box::new(csv::Writer::from_writer(out))),
            Format::JsonLines => Self::Json(out),
        }
    }

    fn line(&mut self, line: &impl Serialize) -> Result<(), String> {
        match self {
            Self::Csv(csv) => csv.serialize(line).map_err(|error| error.to_string()),
            Self::Json(out) => {
                serde_json::to_writer(&mut *out, line).map_err(|error| error.to_string())?;
                out.write_all(b"\n").map_err(|error| error.to_string())
            }
        }
    }

    fn end(self) -> Result<(), String> {
        match self {
            Self::Csv(mut csv) => csv.flush().map_err(|error| error.to_string()),
            Self::Json(mut out) => out.flush().map_err(|error| error.to_string()),
        }
    }
}

/// A decision as a flat line, which CSV can hold as well.
#[derive(Debug, Serialize)]
struct HistoryLine {
    evaluated_at: jiff::Timestamp,
    account: String,
    namespace: String,
    action: String,
    current_trus: Option<i64>,
    wanted_trus: Option<i64>,
    reason_code: String,
    reason: String,
    price_before_micro_dollars: Option<i64>,
    price_after_micro_dollars: Option<i64>,
    price_micro_dollars: i64,
    known_minutes: Option<i64>,
    usage_window: String,
    dry_run: bool,
    by: String,
    plan_id: String,
    outcome: Option<String>,
    error: Option<String>,
}

impl Ledger {
    /// Writes a table to `out`, a minute at a time. Returns how many lines it wrote.
    ///
    /// # Errors
    ///
    /// If the database cannot be read, or `out` not be written.
    pub async fn export(&self, table: Table, format: Format, out: impl Write) -> Result<u64, LedgerError> {
        let mut lines = Lines::new(format, out);
        let unwritten = |problem: String| self.input(format!("the export cannot be written: {problem}"));
        let mut count = 0;
        match table {
            Table::Minutes => {
                for account in self.accounts().await? {
                    let names = self.names_of(&account).await?;
                    for number in self.minute_numbers(&account, i64::MAX).await? {
                        for stored in self.stored_minutes(&account, number, number + 1).await? {
                            if stored.entries.is_empty() {
                                lines
                                    .line(&MinuteLine::of(&stored, Entry::default(), None))
                                    .map_err(unwritten)?;
                                count += 1;
                            }
                            for entry in &stored.entries {
                                let name = names.get(&i64::try_from(entry.namespace).unwrap_or(-1));
                                let name =
                                    name.ok_or_else(|| self.damaged("a minute names an unknown namespace"))?;
                                let line = MinuteLine::of(&stored, *entry, Some(name.to_string()));
                                lines.line(&line).map_err(unwritten)?;
                                count += 1;
                            }
                        }
                    }
                }
            }
            Table::History => {
                for row in self.history(None, &HistoryFilter::default()).await? {
                    let it = row.decision;
                    let line = HistoryLine {
                        evaluated_at: jiff::Timestamp::from_millisecond(row.evaluated_at_ms)
                            .unwrap_or_default(),
                        account: it.account,
                        namespace: it.namespace,
                        action: it.action,
                        current_trus: it.current_trus,
                        wanted_trus: it.wanted_trus,
                        reason_code: it.reason_code,
                        reason: it.reason,
                        price_before_micro_dollars: it.price_before_micro_dollars,
                        price_after_micro_dollars: it.price_after_micro_dollars,
                        price_micro_dollars: row.price_micro_dollars,
                        known_minutes: it.known_minutes,
                        usage_window: row.usage_window,
                        dry_run: row.dry_run,
                        by: row.by,
                        plan_id: it.plan_id,
                        outcome: row.outcome,
                        error: row.error,
                    };
                    lines.line(&line).map_err(unwritten)?;
                    count += 1;
                }
            }
        }
        lines.end().map_err(unwritten)?;
        Ok(count)
    }

    /// Takes exported minutes in. What is there stays as it is; a line that cannot be read is told by its number, and nothing of
    /// the file is written then. Returns how many minutes were new.
    ///
    /// # Errors
    ///
    /// If a line cannot be read, or the database not be written.
    pub async fn import_minutes(&self, format: Format, input: impl BufRead) -> Result<u64, LedgerError> {
        let lines: Vec<MinuteLine> = read_lines(format, input).map_err(|problem| self.input(problem))?;
        let mut minutes: BTreeMap<(String, i64), Vec<MinuteLine>> = BTreeMap::new();
        for line in lines {
            let key = (line.account.clone(), crate::minutes::minute_number(line.minute));
            minutes.entry(key).or_default().push(line);
        }
        let mut stored = Vec::with_capacity(minutes.len());
        for ((account, minute), lines) in minutes {
            let of_namespaces: Vec<&MinuteLine> =
                lines.iter().filter(|line| line.namespace.is_some()).collect();
            let names: Vec<Arc<str>> = of_namespaces
                .iter()
                .filter_map(|line| line.namespace.as_deref().map(Arc::from))
                .collect();
            let numbers = self.numbers_of(&account, &names).await?;
            let entries: BTreeMap<i64, Entry> = numbers
                .iter()
                .zip(&of_namespaces)
                .map(|(number, line)| (*number, line.entry(*number)))
                .collect();
            stored.push(Stored {
                account,
                minute,
                complete: lines.iter().all(|line| line.complete),
                source: lines.first().map(|line| line.source.clone()).unwrap_or_default(),
                entries: entries.into_values().collect(),
            });
        }
        let written = self.write_minutes(&stored).await?;
        let new = written
            .iter()
            .filter(|it| !matches!(it, crate::Recorded::AlreadyThere | crate::Recorded::TooOld));
        Ok(new.count() as u64)
    }
}

fn read_lines<T: DeserializeOwned>(format: Format, input: impl BufRead) -> Result<Vec<T>, String> {
    match format {
        Format::Csv => csv::Reader::from_reader(input)
            .deserialize()
            .enumerate()
            // The first line holds the names.
            .map(|(index, line)| line.map_err(|error| format!("line {}: {error}", index + 2)))
            .collect(),
        Format::JsonLines => input
            .lines()
            .enumerate()
            .filter(|(_, line)| line.as_ref().map_or(true, |line| !line.trim().is_empty()))
            .map(|(index, line)| {
                let read = line
                    .map_err(|error| error.to_string())
                    .and_then(|line| serde_json::from_str(&line).map_err(|error| error.to_string()));
                read.map_err(|problem| format!("line {}: {problem}", index + 1))
            })
            .collect(),
    }
}
