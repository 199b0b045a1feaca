//! Minutes of usage.

use std::collections::BTreeMap;
use std::sync::Arc;

use human_text::at_minute;
use jiff::{SignedDuration, Timestamp};
use sqlx::{AssertSqlSafe, Row};

use crate::backend::{Access, query, within};
use crate::codec::{self, Entry};
use crate::error::LedgerError;
use crate::pool::Pool;
use crate::records::{Minute, NamespaceMinute, Recorded};
use crate::store::Ledger;

/// How far in the future a minute may be. A later one is rejected, because a clock must be wrong.
const FUTURE: SignedDuration = SignedDuration::from_mins(5);

pub(crate) fn minute_number(time: Timestamp) -> i64 {
    time.as_second().div_euclid(60)
}

pub(crate) fn start_of(minute: i64) -> Timestamp {
    Timestamp::from_second(minute.saturating_mul(60)).unwrap_or_default()
}

/// A row in its stored form.
pub(crate) struct Stored {
    pub(crate) account: String,
    pub(crate) minute: i64,
    pub(crate) complete: bool,
    pub(crate) source: String,
    pub(crate) entries: Vec<Entry>,
}

/// Number of minutes whose blocks are in memory at the same time.
const BLOCKS_AT_A_TIME: i64 = 15;

/// A row: minute, whether it is complete, source, and the block.
type Block = (i64, i64, String, Vec<u8>);

impl Ledger {
    /// Records a minute of an account once, regardless of the number of workers. Existing data stays, and
    /// missing data is added. If a namespace occurs twice, the one with the higher usage counts.
    ///
    /// # Errors
    ///
    /// If the minute is more than five minutes after `now`, or the database cannot be written.
    pub async fn record_minute(
        &self,
        account: &str,
        minute: &Minute,
        now: Timestamp,
    ) -> Result<Recorded, LedgerError> {
        if minute.minute.duration_since(now) > FUTURE {
            return Err(self.input(format!(
                "the minute {} is in the future (now {}); check the clocks. Nothing was recorded",
                at_minute(minute.minute),
                at_minute(now)
            )));
        }
        let names: Vec<Arc<str>> = minute
            .samples
            .iter()
            .map(|sample| Arc::clone(&sample.namespace))
            .collect();
        let numbers = self.numbers_of(account, &names).await?;
        let mut entries: BTreeMap<u64, Entry> = BTreeMap::new();
        for (number, sample) in numbers.iter().zip(&minute.samples) {
            let entry = entry_of(*number, sample);
            let kept = entries.entry(entry.namespace).or_insert(entry);
            if entry.rates > kept.rates {
                *kept = entry;
            }
        }
        let entries: Vec<Entry> = entries.into_values().collect();
        let stored = Stored {
            account: account.to_owned(),
            minute: minute_number(minute.minute),
            complete: minute.complete,
            source: minute.source.clone(),
            entries,
        };
        self.write_minutes(std::slice::from_ref(&stored))
            .await
            .map(|written| written.first().copied().unwrap_or(Recorded::AlreadyThere))
    }

    /// Writes minutes in one transaction: all or none.
    pub(crate) async fn write_minutes(&self, minutes: &[Stored]) -> Result<Vec<Recorded>, LedgerError> {
        within!(self, Access::Write, transaction => {
            let mut written = Vec::with_capacity(minutes.len());
            for minute in minutes {
                let folded = query("SELECT before_hour FROM capacity_folded WHERE account = $1")
                    .bind(&minute.account)
                    .fetch_optional(&mut *transaction)
                    .await?;
                let before: Option<i64> = folded.map(|row| row.try_get(0)).transpose()?;
                if before.is_some_and(|before| minute.minute.div_euclid(60) < before) {
                    written.push(Recorded::TooOld);
                    continue;
                }
                // Inserts first and merges only on a conflict: a second worker with the same minute waits
                // here until the first has committed, and then finds its row.
                let added = query(
                    "INSERT INTO capacity_minutes (account, minute, complete, source, namespaces, block) \
                     VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (account, minute) DO NOTHING",
                )
                .bind(&minute.account)
                .bind(minute.minute)
                .bind(i64::from(minute.complete))
                .bind(&minute.source)
                .bind(count(&minute.entries))
                .bind(codec::encode(&minute.entries))
                .execute(&mut *transaction)
                .await?;
                if added.rows_affected() > 0 {
                    written.push(Recorded::Written);
                    continue;
                }
                // SQLite has only one writer, so no lock is needed.
                let lock = match self.pool {
                    Pool::Sqlite(_) => "",
                    Pool::Postgres(_) => " FOR UPDATE",
                };
                let row = query(AssertSqlSafe(format!(
                    "SELECT complete, block FROM capacity_minutes WHERE account = $1 AND minute = $2{lock}"
                )))
                .bind(&minute.account)
                .bind(minute.minute)
                .fetch_one(&mut *transaction)
                .await?;
                let (complete, block): (i64, Vec<u8>) = (row.try_get(0)?, row.try_get(1)?);
                // A damaged block is replaced by the current data.
                let there = codec::decode(&block).unwrap_or_default();
                let merged = merge(&there, &minute.entries);
                let complete = complete != 0;
                // An update writes the whole block, even if nothing in it differs.
                if merged == there && (complete || !minute.complete) {
                    written.push(Recorded::AlreadyThere);
                    continue;
                }
                query(
                    "UPDATE capacity_minutes SET complete = $1, namespaces = $2, block = $3 \
                     WHERE account = $4 AND minute = $5",
                )
                .bind(i64::from(complete || minute.complete))
                .bind(count(&merged))
                .bind(codec::encode(&merged))
                .bind(&minute.account)
                .bind(minute.minute)
                .execute(&mut *transaction)
                .await?;
                written.push(Recorded::Completed);
            }
            written
        })
    }

    /// Returns the minutes of an account from `from` (inclusive) to `to` (exclusive), oldest first.
    ///
    /// # Errors
    ///
    /// If the database cannot be read, or a minute is damaged.
    pub async fn window(
        &self,
        account: &str,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Minute>, LedgerError> {
        let mut minutes = Vec::new();
        self.each_minute(account, from, to, |minute| minutes.push(minute))
            .await?;
        Ok(minutes)
    }

    /// Like [`Ledger::window`], but passes one minute at a time to `take`, because decoded minutes of a large
    /// account take a lot of memory.
    ///
    /// # Errors
    ///
    /// As [`Ledger::window`]. Minutes before a damaged one have been passed to `take` by then.
    pub async fn each_minute(
        &self,
        account: &str,
        from: Timestamp,
        to: Timestamp,
        mut each: impl FnMut(Minute),
    ) -> Result<(), LedgerError> {
        let (mut first, end) = (minute_number(from), ceiling(to));
        let mut names = self.names_of(account).await?;
        loop {
            let blocks = self.blocks(account, first, end, BLOCKS_AT_A_TIME).await?;
            let is_last = count(&blocks) < BLOCKS_AT_A_TIME;
            for block in blocks {
                first = block.0 + 1;
                let stored = self.decoded(account, block)?;
                let number = |entry: &Entry| i64::try_from(entry.namespace).unwrap_or(-1);
                if !stored
                    .entries
                    .iter()
                    .all(|entry| names.contains_key(&number(entry)))
                {
                    // A writer may have added a namespace since.
                    names = self.names_of(account).await?;
                }
                each(self.named(stored, &names)?);
            }
            if is_last {
                return Ok(());
            }
        }
    }

    pub(crate) async fn stored_minutes(
        &self,
        account: &str,
        from: i64,
        to: i64,
    ) -> Result<Vec<Stored>, LedgerError> {
        let blocks = self.blocks(account, from, to, i64::MAX).await?;
        blocks
            .into_iter()
            .map(|block| self.decoded(account, block))
            .collect()
    }

    /// Reads the oldest stored minutes of a range, at most `limit` of them.
    async fn blocks(&self, account: &str, from: i64, to: i64, limit: i64) -> Result<Vec<Block>, LedgerError> {
        within!(self, Access::Read, transaction => {
            let rows = query(
                "SELECT minute, complete, source, block FROM capacity_minutes \
                 WHERE account = $1 AND minute >= $2 AND minute < $3 ORDER BY minute LIMIT $4",
            )
            .bind(account)
            .bind(from)
            .bind(to)
            .bind(limit)
            .fetch_all(&mut *transaction)
            .await?;
            let read = rows.iter().map(|row| {
                Ok::<_, sqlx::Error>((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?))
            });
            read.collect::<Result<_, _>>()?
        })
    }

    fn decoded(
        &self,
        account: &str,
        (minute, complete, source, block): Block,
    ) -> Result<Stored, LedgerError> {
        let entries = codec::decode(&block).map_err(|damage| {
            self.damaged(format!(
                "the minute {} of {account} contains {}",
                start_of(minute),
                damage.as_str()
            ))
        })?;
        Ok(Stored {
            account: account.to_owned(),
            minute,
            complete: complete != 0,
            source,
            entries,
        })
    }

    pub(crate) fn named(
        &self,
        stored: Stored,
        names: &std::collections::HashMap<i64, Arc<str>>,
    ) -> Result<Minute, LedgerError> {
        let samples = stored.entries.iter().map(|entry| {
            let number = i64::try_from(entry.namespace).unwrap_or(-1);
            let name = names.get(&number).ok_or_else(|| {
                self.damaged(format!(
                    "the minute {} refers to namespace number {number}, which does not exist",
                    start_of(stored.minute)
                ))
            })?;
            Ok(sample_of(entry, Arc::clone(name)))
        });
        Ok(Minute {
            minute: start_of(stored.minute),
            complete: stored.complete,
            samples: samples.collect::<Result<_, LedgerError>>()?,
            source: stored.source,
        })
    }
}

fn count<T>(these: &[T]) -> i64 {
    i64::try_from(these.len()).unwrap_or(i64::MAX)
}

/// Merges entries. An existing entry is kept, unless the other one has more rates of its namespace.
fn merge(there: &[Entry], more: &[Entry]) -> Vec<Entry> {
    let read = |entry: &Entry| entry.unread.iter().filter(|unread| !**unread).count();
    let mut merged: BTreeMap<u64, Entry> = there.iter().map(|entry| (entry.namespace, *entry)).collect();
    for entry in more {
        let kept = merged.entry(entry.namespace).or_insert(*entry);
        // Equally complete readings of a minute should agree, so the first one stays.
        if read(entry) > read(kept) {
            *kept = *entry;
        }
    }
    merged.into_values().collect()
}

/// Returns the first minute that does not begin before a time.
fn ceiling(time: Timestamp) -> i64 {
    minute_number(time) + i64::from(time.as_second().rem_euclid(60) != 0 || time.subsec_nanosecond() != 0)
}

pub(crate) fn entry_of(number: i64, sample: &NamespaceMinute) -> Entry {
    let NamespaceMinute {
        served,
        throttled,
        limits,
        envelopes,
        ..
    } = sample;
    Entry {
        namespace: u64::try_from(number).unwrap_or_default(),
        reported: sample.reported,
        unread: sample.unread,
        rates: [
            served[0],
            served[1],
            served[2],
            throttled[0],
            throttled[1],
            throttled[2],
        ],
        limits: [
            limits[0],
            limits[1],
            limits[2],
            envelopes[0],
            envelopes[1],
            envelopes[2],
        ],
    }
}

fn sample_of(entry: &Entry, namespace: Arc<str>) -> NamespaceMinute {
    let Entry { rates, limits, .. } = entry;
    NamespaceMinute {
        namespace,
        reported: entry.reported,
        unread: entry.unread,
        served: [rates[0], rates[1], rates[2]],
        throttled: [rates[3], rates[4], rates[5]],
        limits: [limits[0], limits[1], limits[2]],
        envelopes: [limits[3], limits[4], limits[5]],
    }
}
