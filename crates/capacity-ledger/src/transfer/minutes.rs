//! Exports and imports minutes as lines.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{BufRead, Write};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sqlx::Row;

use super::lines::{self, Lines};
use crate::backend::{Access, query, within};
use crate::codec::Entry;
use crate::error::LedgerError;
use crate::line::{Format, line};
use crate::minutes::{Stored, minute_number, start_of};
use crate::problem::Problem;
use crate::records::Recorded;
use crate::store::Ledger;

line! {
/// A namespace in a minute, as a line. A minute without namespaces has one line without a namespace.
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
    unread: Unread,
}
}

/// Limits whose served rates were not read, as text: `requests operations`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
struct Unread([bool; 3]);

const NOUNS: [&str; 3] = ["actions", "requests", "operations"];

impl From<Unread> for String {
    fn from(Unread(unread): Unread) -> Self {
        let words = NOUNS.into_iter().zip(unread);
        let words: Vec<&str> = words
            .filter(|(_, unread)| *unread)
            .map(|(noun, _)| noun)
            .collect();
        words.join(" ")
    }
}

impl TryFrom<String> for Unread {
    type Error = Problem;

    fn try_from(text: String) -> Result<Self, Problem> {
        let mut unread = [false; 3];
        for word in text.split_whitespace() {
            let place = NOUNS.iter().position(|noun| *noun == word);
            let place = place.ok_or_else(|| format!("`{word}` is not one of {}", NOUNS.join(", ")))?;
            unread[place] = true;
        }
        Ok(Self(unread))
    }
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
            unread: Unread(entry.unread),
        }
    }

    fn entry(&self, number: i64) -> Entry {
        Entry {
            namespace: u64::try_from(number).unwrap_or_default(),
            reported: self.reported,
            unread: self.unread.0,
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

/// Minutes of an account while a file is read, with its namespaces numbered in order of appearance.
#[derive(Default)]
struct Draft {
    names: Vec<Arc<str>>,
    places: HashMap<Arc<str>, usize>,
    minutes: BTreeMap<i64, DraftMinute>,
}

struct DraftMinute {
    complete: bool,
    source: String,
    entries: Vec<(usize, Entry)>,
}

impl Draft {
    fn take(&mut self, line: &MinuteLine) {
        let place = line.namespace.as_deref().map(|name| self.place_of(name));
        let minute = self
            .minutes
            .entry(minute_number(line.minute))
            .or_insert_with(|| DraftMinute {
                complete: true,
                source: line.source.clone(),
                entries: Vec::new(),
            });
        minute.complete &= line.complete;
        minute.entries.extend(place.map(|place| (place, line.entry(0))));
    }

    fn place_of(&mut self, name: &str) -> usize {
        if let Some(place) = self.places.get(name) {
            return *place;
        }
        let name: Arc<str> = Arc::from(name);
        self.names.push(Arc::clone(&name));
        let place = self.names.len() - 1;
        self.places.insert(name, place);
        place
    }
}

impl DraftMinute {
    /// Converts the minute to its stored form. If a namespace occurs twice, the last one counts.
    fn stored(self, account: &str, minute: i64, numbers: &[i64]) -> Stored {
        let numbered = self.entries.into_iter().filter_map(|(place, entry)| {
            let namespace = u64::try_from(*numbers.get(place)?).ok()?;
            Some((namespace, Entry { namespace, ..entry }))
        });
        let entries: BTreeMap<u64, Entry> = numbered.collect();
        Stored {
            account: account.to_owned(),
            minute,
            complete: self.complete,
            source: self.source,
            entries: entries.into_values().collect(),
        }
    }
}

impl Ledger {
    pub(super) async fn export_minutes(&self, format: Format, out: impl Write) -> Result<u64, LedgerError> {
        let unwritten = |problem| self.unwritten(&problem);
        let mut lines = Lines::begin::<MinuteLine>(format, out).map_err(unwritten)?;
        let mut accounts = self.accounts().await?;
        accounts.sort_unstable();
        for account in accounts {
            let numbers = self.minute_numbers(&account, i64::MAX).await?;
            // Read after the minutes, so that it contains every namespace in them.
            let names = self.names_of(&account).await?;
            for number in numbers {
                for stored in self.stored_minutes(&account, number, number + 1).await? {
                    self.export_minute(&stored, &names, &mut lines)?;
                }
            }
        }
        lines.end().map_err(unwritten)
    }

    fn export_minute(
        &self,
        stored: &Stored,
        names: &HashMap<i64, Arc<str>>,
        lines: &mut Lines<impl Write>,
    ) -> Result<(), LedgerError> {
        let mut samples = Vec::with_capacity(stored.entries.len());
        for entry in &stored.entries {
            let name = names.get(&i64::try_from(entry.namespace).unwrap_or(-1));
            let name = name.ok_or_else(|| self.damaged("a minute refers to an unknown namespace"))?;
            samples.push((Some(name.to_string()), *entry));
        }
        if samples.is_empty() {
            samples.push((None, Entry::default()));
        }
        // The numbers of namespaces depend on the order of insertion.
        samples.sort_by(|(one, _), (other, _)| one.cmp(other));
        for (name, entry) in samples {
            lines
                .line(&MinuteLine::of(stored, entry, name))
                .map_err(|problem| self.unwritten(&problem))?;
        }
        Ok(())
    }

    pub(super) async fn import_minutes(
        &self,
        format: Format,
        input: impl BufRead,
    ) -> Result<u64, LedgerError> {
        let mut drafts: BTreeMap<String, Draft> = BTreeMap::new();
        lines::read(format, input, |_, line: MinuteLine| {
            if !drafts.contains_key(&line.account) {
                drafts.insert(line.account.clone(), Draft::default());
            }
            if let Some(draft) = drafts.get_mut(&line.account) {
                draft.take(&line);
            }
            Ok(())
        })
        .map_err(|problem| self.input(problem))?;
        let mut minutes = Vec::new();
        for (account, draft) in drafts {
            let numbers = self.numbers_of(&account, &draft.names).await?;
            let folded = self.folded_hours(&account).await?;
            let unfolded = draft
                .minutes
                .into_iter()
                .filter(|(minute, _)| !folded.contains(&minute.div_euclid(60)));
            minutes.extend(unfolded.map(|(minute, draft)| draft.stored(&account, minute, &numbers)));
        }
        // One transaction for the file: a failure leaves nothing half imported.
        let written = self.write_minutes(&minutes).await?;
        let is_new = |it: &&Recorded| matches!(it, Recorded::Written | Recorded::Completed);
        Ok(written.iter().filter(is_new).count() as u64)
    }

    async fn folded_hours(&self, account: &str) -> Result<HashSet<i64>, LedgerError> {
        within!(self, Access::Read, transaction => {
            let rows = query("SELECT DISTINCT hour FROM capacity_hours WHERE account = $1")
                .bind(account)
                .fetch_all(&mut *transaction)
                .await?;
            rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?
        })
    }
}
