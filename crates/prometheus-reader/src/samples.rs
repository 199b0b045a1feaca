//! Reads raw samples over any span, in parts that both the server and the client can handle.
//!
//! One family and one part of the span are requested at a time. A part that is too large is halved and
//! requested again; after a while without problems, parts grow again. Parts are half-open, so a sample on a
//! boundary is returned once.

use jiff::{SignedDuration, Timestamp};

use crate::answer::{self, LabelSet, Sink};
use crate::client::{Answer, PrometheusClient};
use crate::config::SHORTEST_SPAN;
use crate::error::{Error, ErrorKind};
use crate::selector::{Namespaces, Query, ceil_ms, is_family_name, range, selector};

const OPERATION: &str = "read samples from Prometheus";
/// Number of parts without problems after which the next one may be twice as long.
const PARTS_TO_GROW: u32 = 16;
/// Maximum number of messages that are kept.
const MOST_REMARKS: usize = 20;

/// One stored sample.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct SeriesSample<'a> {
    /// The requested family.
    pub family: &'a str,
    /// Labels of the series as (name, value), without the metric's name, in the server's order.
    pub labels: &'a [(String, String)],
    /// Equal for consecutive samples of one series, so that values derived from the labels need to be
    /// computed only when this changes. A series gets another number in each part of the span.
    pub run: u64,
    /// Time of the measurement as stored, in whole milliseconds.
    pub time: Timestamp,
    /// Value in the family's unit; may be NaN or infinite.
    pub value: f64,
}

impl SeriesSample<'_> {
    /// Returns the value of a label.
    pub fn label(&self, name: &str) -> Option<&str> {
        let label = self.labels.iter().find(|(label, _)| label == name);
        label.map(|(_, value)| value.as_str())
    }
}

// Exhaustive: a value without one of these fields has no meaning.
/// A span of time that includes `from` and excludes `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Start (inclusive).
    pub from: Timestamp,
    /// End (exclusive).
    pub to: Timestamp,
}

/// Coverage of one family.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FamilyCoverage {
    /// Name of the family.
    pub family: String,
    /// Number of samples returned.
    pub samples: u64,
    /// Time of the oldest sample.
    pub first: Option<Timestamp>,
    /// Time of the newest sample.
    pub last: Option<Timestamp>,
    /// Spans for which the server reports that data may be missing. A missing sample in them does not mean that there is no series.
    pub partial: Vec<Span>,
}

/// Totals of what was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Coverage by family, in the order of the query.
    pub families: Vec<FamilyCoverage>,
    /// Number of samples returned.
    pub samples: u64,
    /// Number of requests, including retries.
    pub requests: u64,
    /// Whether the server warned that a response may be incomplete.
    pub partial: bool,
    /// The server's warnings; the first few, without duplicates.
    pub warnings: Vec<String>,
    /// The server's informational messages; the first few, without duplicates.
    pub infos: Vec<String>,
    /// Size of the largest response, in bytes.
    pub largest_answer: usize,
}

impl PrometheusClient {
    /// Passes every stored sample of the families between `from` (inclusive) and `to` (exclusive) to `each`.
    ///
    /// Samples have the timestamps with which they were stored. They are read with an *instant* query that
    /// has a range selector (`family{...}[21600000ms]` at the end of the span), not with a range query, which
    /// returns values on its own grid, repeats each sample for up to five minutes, and so turns gaps into
    /// usage.
    ///
    /// Memory is bounded for any span: one response of at most [`largest_answer`] is in memory at a time
    /// (twice that while its buffer grows), and nothing is collected. `each` runs on the caller's task,
    /// between requests: a response of 52 MB with 2.2 million samples took 0.4 s and 60 MB of memory at its
    /// peak. A response that fails returns no samples, and no sample is returned twice. Samples of one series
    /// come in order of time, and families come one after the other.
    ///
    /// [`largest_answer`]: crate::PrometheusConfigBuilder::largest_answer
    ///
    /// # Errors
    ///
    /// If the query is invalid, the server cannot be reached or refuses permanently, or a single minute is
    /// too large for one response. Samples returned before the error are valid; what follows is unknown.
    pub async fn samples(
        &self,
        query: &Query<'_>,
        mut each: impl FnMut(SeriesSample<'_>),
    ) -> Result<Coverage, Error> {
        check(query).map_err(|kind| Error::new(OPERATION, kind))?;
        let groups: Vec<Option<Namespaces>> = match query.namespaces {
            None => vec![None],
            Some(names) => Namespaces::groups(names).into_iter().map(Some).collect(),
        };
        let mut coverage = Coverage::default();
        let mut run = 0;
        for family in query.families {
            let mut read = Reading {
                client: self,
                coverage: &mut coverage,
                of_family: FamilyCoverage {
                    family: (*family).to_owned(),
                    samples: 0,
                    first: None,
                    last: None,
                    partial: Vec::new(),
                },
                run: &mut run,
                each: &mut each,
            };
            for group in &groups {
                read.family(family, group.as_ref(), ceil_ms(query.from), ceil_ms(query.to))
                    .await
                    .map_err(|kind| Error::new(OPERATION, kind))?;
            }
            let of_family = read.of_family;
            coverage.samples += of_family.samples;
            coverage.families.push(of_family);
        }
        Ok(coverage)
    }
}

fn check(query: &Query<'_>) -> Result<(), ErrorKind> {
    let wrong = |why| Err(ErrorKind::Question(why));
    if query.from > query.to {
        return wrong(format!(
            "the end of the span ({}) is before its start ({})",
            query.to, query.from
        ));
    }
    for (number, family) in query.families.iter().enumerate() {
        if !is_family_name(family) {
            return wrong(format!("`{family}` is not the name of a metric family"));
        }
        if query.families[..number].contains(family) {
            return wrong(format!("`{family}` is requested twice"));
        }
    }
    Ok(())
}

struct Reading<'r, F> {
    client: &'r PrometheusClient,
    coverage: &'r mut Coverage,
    of_family: FamilyCoverage,
    run: &'r mut u64,
    each: &'r mut F,
}

impl<F: FnMut(SeriesSample<'_>)> Reading<'_, F> {
    async fn family(
        &mut self,
        family: &str,
        namespaces: Option<&Namespaces>,
        from: i64,
        to: i64,
    ) -> Result<(), ErrorKind> {
        let selector = selector(family, namespaces, &self.client.config.extra_labels);
        // New for each family, because one with many series must not make the requests of others small.
        let mut parts = Parts::new(self.client.config.longest_span, self.client.config.max_attempts);
        let mut start = from;
        while start < to {
            let end = to.min(start.saturating_add(parts.length));
            let (query, time) = range(&selector, start, end);
            match self
                .client
                .query(&query, &time, &mut self.coverage.requests)
                .await
            {
                Ok(answer) => {
                    self.take(&answer, family, namespaces, start, end)?;
                    parts.went_well();
                    start = end;
                }
                Err(kind) if parts.shrink(&kind, end - start) => {
                    tracing::debug!(family, length_ms = parts.length, error = %kind, "splitting a query to Prometheus into smaller parts");
                }
                Err(kind) => return Err(kind),
            }
        }
        Ok(())
    }

    fn take(
        &mut self,
        answer: &Answer,
        family: &str,
        namespaces: Option<&Namespaces>,
        from: i64,
        to: i64,
    ) -> Result<(), ErrorKind> {
        let envelope = &answer.envelope;
        if !envelope.has_result {
            return Err(ErrorKind::Unreadable {
                host: self.client.host.clone(),
                why: "it has no result".to_owned(),
            });
        }
        let coverage = &mut *self.coverage;
        coverage.largest_answer = coverage.largest_answer.max(answer.body.len());
        remember(self.client, &mut coverage.warnings, &envelope.warnings);
        remember(self.client, &mut coverage.infos, &envelope.infos);
        if envelope.is_partial() {
            coverage.partial = true;
            add_span(&mut self.of_family.partial, from, to);
        }
        let mut out = HandOut {
            family,
            namespaces,
            from,
            to,
            run: self.run,
            coverage: &mut self.of_family,
            each: &mut *self.each,
        };
        // It has been parsed once before, so an error here is a bug.
        answer::hand_out(&answer.body, &mut out).map_err(|error| ErrorKind::Unreadable {
            host: self.client.host.clone(),
            why: error.to_string(),
        })
    }
}

/// The part of the span to request at once, in milliseconds.
#[derive(Debug)]
struct Parts {
    length: i64,
    longest: i64,
    quiet: u32,
    /// Number of further consecutive parts that may time out.
    patience: u32,
    most_patience: u32,
}

impl Parts {
    fn new(longest: SignedDuration, attempts: u32) -> Self {
        let longest = i64::try_from(longest.as_millis()).unwrap_or(i64::MAX);
        Self {
            length: longest,
            longest,
            quiet: 0,
            patience: attempts - 1,
            most_patience: attempts - 1,
        }
    }

    fn went_well(&mut self) {
        // Only consecutive timeouts count.
        self.patience = self.most_patience;
        self.quiet += 1;
        if self.quiet >= PARTS_TO_GROW {
            self.quiet = 0;
            self.length = self.length.saturating_mul(2).min(self.longest);
        }
    }

    /// Halves the part that failed, if that can help.
    fn shrink(&mut self, failure: &ErrorKind, asked: i64) -> bool {
        match failure {
            ErrorKind::TooLarge { .. } => {}
            // A timeout may also come from a busy server, where smaller parts only take more requests.
            ErrorKind::Timeout { .. } if self.patience > 0 => self.patience -= 1,
            _ => return false,
        }
        let shortest = i64::try_from(SHORTEST_SPAN.as_millis()).unwrap_or(i64::MAX);
        if asked <= shortest {
            return false;
        }
        self.quiet = 0;
        self.length = (asked / 2).max(shortest);
        true
    }
}

struct HandOut<'h, F> {
    family: &'h str,
    namespaces: Option<&'h Namespaces>,
    from: i64,
    to: i64,
    run: &'h mut u64,
    coverage: &'h mut FamilyCoverage,
    each: &'h mut F,
}

impl<F: FnMut(SeriesSample<'_>)> Sink for HandOut<'_, F> {
    fn series(&mut self, labels: &LabelSet) -> bool {
        *self.run += 1;
        self.namespaces.is_none_or(|wanted| wanted.includes(labels))
    }

    fn sample(&mut self, labels: &LabelSet, time_ms: i64, value: f64) {
        // The selector begins a millisecond early (see `range`), and that sample belongs to the previous
        // part.
        if !(self.from..self.to).contains(&time_ms) {
            return;
        }
        let Ok(time) = Timestamp::from_millisecond(time_ms) else {
            return;
        };
        let coverage = &mut *self.coverage;
        coverage.samples += 1;
        coverage.first = Some(coverage.first.map_or(time, |first| first.min(time)));
        coverage.last = Some(coverage.last.map_or(time, |last| last.max(time)));
        (self.each)(SeriesSample {
            family: self.family,
            labels,
            run: *self.run,
            time,
            value,
        });
    }
}

fn remember(client: &PrometheusClient, kept: &mut Vec<String>, said: &[String]) {
    for remark in said {
        let remark = client.cleaned(remark);
        if kept.len() < MOST_REMARKS && !kept.contains(&remark) {
            kept.push(remark);
        }
    }
}

/// Adds a span, and merges it with the previous one if they touch.
fn add_span(spans: &mut Vec<Span>, from: i64, to: i64) {
    let (Ok(from), Ok(to)) = (Timestamp::from_millisecond(from), Timestamp::from_millisecond(to)) else {
        return;
    };
    match spans.last_mut() {
        Some(last) if last.to == from => last.to = to,
        _ => spans.push(Span { from, to }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn too_large() -> ErrorKind {
        ErrorKind::TooLarge {
            host: "h".to_owned(),
            message: "m".to_owned(),
        }
    }

    fn timeout() -> ErrorKind {
        ErrorKind::Timeout {
            host: "h".to_owned(),
            message: "m".to_owned(),
        }
    }

    #[test]
    fn parts_shrink_to_a_minute_and_no_further() {
        let mut parts = Parts::new(SignedDuration::from_hours(6), 4);
        let mut halvings = 0;
        while parts.shrink(&too_large(), parts.length) {
            halvings += 1;
        }
        assert_eq!((parts.length, halvings), (60_000, 9));
    }

    #[test]
    fn parts_grow_again_after_a_while_without_problems() {
        let mut parts = Parts::new(SignedDuration::from_mins(8), 4);
        assert!(parts.shrink(&too_large(), parts.length));
        for _ in 1..PARTS_TO_GROW {
            parts.went_well();
            assert_eq!(parts.length, 240_000);
        }
        parts.went_well();
        assert_eq!(parts.length, 480_000);
    }

    #[test]
    fn patience_ends_after_some_timeouts_in_a_row() {
        let mut parts = Parts::new(SignedDuration::from_hours(6), 3);
        assert!(parts.shrink(&timeout(), parts.length));
        assert!(parts.shrink(&timeout(), parts.length));
        assert!(!parts.shrink(&timeout(), parts.length));
        parts.went_well();
        assert!(parts.shrink(&timeout(), parts.length));
    }

    #[test]
    fn other_failures_do_not_shrink_a_part() {
        let mut parts = Parts::new(SignedDuration::from_hours(6), 3);
        assert!(!parts.shrink(&ErrorKind::Question("q".to_owned()), 1_000_000));
    }

    #[test]
    fn touching_spans_are_one() {
        let mut spans = Vec::new();
        add_span(&mut spans, 0, 10);
        add_span(&mut spans, 10, 20);
        add_span(&mut spans, 30, 40);
        assert_eq!(spans.len(), 2);
    }
}
