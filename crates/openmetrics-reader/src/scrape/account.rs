//! Reads a whole account: part by part, all for the same minute, or not at all.

use std::collections::VecDeque;

use jiff::Timestamp;

use super::client::{Answer, Completeness, Query, Scraper};
use super::error::{Error, ErrorKind};
use super::parts::{AccountQuery, Part, narrowed, plan};

/// The complete result for one minute.
#[derive(Debug)]
#[non_exhaustive]
pub struct AccountAnswer {
    /// The documents, each of them complete.
    pub documents: Vec<Vec<u8>>,
    /// The minute of the documents; `None` if no sample has a timestamp.
    pub minute: Option<Timestamp>,
    /// Number of requests, including parts that were read again and retries.
    pub requests: u32,
}

/// The result of a function for each document of one minute.
#[derive(Debug)]
pub struct AccountRead<T> {
    /// One result per document. Every document was declared complete and was read completely.
    pub parts: Vec<T>,
    /// The minute of the documents; `None` if no sample has a timestamp.
    pub minute: Option<Timestamp>,
    /// Number of requests, including retries and parts that were read again.
    pub requests: u32,
}

/// A part that was read.
struct Done<'a, T> {
    part: Part<'a>,
    newest: Option<Timestamp>,
    made: T,
}

/// How often a part is requested again if the endpoint does not know whether it is complete.
const UNKNOWN_REPEATS: u32 = 2;

/// Maximum number of parts that a part that does not fit is split into, so that an endpoint that marks all of them as limited
/// does not use up the request budget.
const PARTS_OF_ONE: usize = 4;

/// How often parts are read again because others turned out to be from a newer minute.
const MINUTE_ROUNDS: u32 = 2;

const OPERATION: &str = "read the metrics of the account";

impl Scraper {
    /// Returns how many requests it takes to read families of an account, if every estimate of their size is
    /// right.
    pub fn requests_for(&self, query: &AccountQuery<'_>) -> usize {
        plan(query, self.config().points_per_answer).len()
    }

    /// Reads families of an account in as few requests as possible.
    ///
    /// # Errors
    ///
    /// Unless every part was declared complete and was read completely, and all parts are for the same
    /// minute. Data read before an error must not be used: what is absent from a part is not zero.
    pub async fn read_account(&self, query: &AccountQuery<'_>) -> Result<AccountAnswer, Error> {
        let read = self.read_account_with(query, |document| document).await?;
        Ok(AccountAnswer {
            documents: read.parts,
            minute: read.minute,
            requests: read.requests,
        })
    }

    /// Like [`Scraper::read_account`], but keeps the result of `make` instead of each document. Results for documents of an older
    /// minute are dropped, and those parts are read again.
    ///
    /// # Errors
    ///
    /// As [`Scraper::read_account`].
    pub async fn read_account_with<T>(
        &self,
        query: &AccountQuery<'_>,
        make: impl Fn(Vec<u8>) -> T,
    ) -> Result<AccountRead<T>, Error> {
        let mut requests = 0;
        self.read_parts(query, make, &mut requests)
            .await
            .map_err(|error| error.after(requests))
    }

    async fn read_parts<T>(
        &self,
        query: &AccountQuery<'_>,
        make: impl Fn(Vec<u8>) -> T,
        requests: &mut u32,
    ) -> Result<AccountRead<T>, Error> {
        let mut read: Vec<Done<'_, T>> = Vec::new();
        let mut waiting: VecDeque<Part<'_>> = plan(query, self.config().points_per_answer).into();
        let mut parts = waiting.len();
        // In proportion to the plan, because a large account legitimately needs many.
        let most_parts = parts * PARTS_OF_ONE;
        let mut rounds = 0;
        loop {
            while let Some(part) = waiting.pop_front() {
                if let Some(answer) = self.part(&part, requests).await? {
                    let Answer { body, newest, .. } = answer;
                    read.push(Done {
                        part,
                        newest,
                        made: make(body),
                    });
                    continue;
                }
                let narrower = narrowed(&part, query).ok_or_else(|| too_large(&part))?;
                parts += narrower.len();
                if parts > most_parts {
                    return Err(incomplete(format!(
                        "the endpoint marks its responses as limited, even for {} alone",
                        part.families.join(", ")
                    )));
                }
                waiting.extend(narrower);
            }
            let shows_minute = |part: &Part<'_>| {
                query
                    .families
                    .iter()
                    .any(|family| family.is_rate && part.families.contains(&family.name))
            };
            let shown = read
                .iter()
                .filter(|done| shows_minute(&done.part))
                .filter_map(|done| done.newest);
            // The newest: while parts are read one after the other, the endpoint moves on to the next minute.
            let minute = shown.max();
            let is_of_minute = |done: &Done<'_, T>| {
                // A part without samples, such as throttling that did not happen, has no time and fits any
                // minute.
                !shows_minute(&done.part) || done.newest.is_none() || done.newest == minute
            };
            if read.iter().all(is_of_minute) {
                return Ok(AccountRead {
                    parts: read.into_iter().map(|done| done.made).collect(),
                    minute,
                    requests: *requests,
                });
            }
            rounds += 1;
            if rounds > MINUTE_ROUNDS {
                return Err(incomplete(
                    "its parts are from different minutes, even after a retry".to_owned(),
                ));
            }
            let (current, older): (Vec<_>, Vec<_>) = read.into_iter().partition(is_of_minute);
            read = current;
            waiting.extend(older.into_iter().map(|done| done.part));
        }
    }

    /// Reads one part; `None` if it did not fit into one response.
    async fn part(&self, part: &Part<'_>, requests: &mut u32) -> Result<Option<Answer>, Error> {
        let query = Query {
            metrics: &part.families,
            namespaces: &part.namespaces,
        };
        let mut repeats = 0;
        loop {
            let answer = self.scrape(&query).await?;
            *requests += answer.requests;
            match answer.completeness {
                Completeness::Complete => return Ok(Some(answer)),
                Completeness::Limited => return Ok(None),
                Completeness::Undeclared => {
                    return Err(incomplete(
                        "a response was not declared complete (header X-Completeness)".to_owned(),
                    ));
                }
                Completeness::Unknown if repeats >= UNKNOWN_REPEATS => {
                    return Err(incomplete(
                        "the endpoint does not know whether its response is complete".to_owned(),
                    ));
                }
                Completeness::Unknown => {
                    repeats += 1;
                    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                }
            }
        }
    }
}

fn too_large(part: &Part<'_>) -> Error {
    incomplete(format!(
        "{} of {} does not fit in one response and cannot be split further",
        part.families.join(", "),
        part.namespaces.first().map_or("one namespace", String::as_str)
    ))
}

fn incomplete(why: String) -> Error {
    Error::new(OPERATION, ErrorKind::Incomplete(why))
}
