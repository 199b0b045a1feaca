//! The queue in front of a collector, and the one task that empties it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use crate::collector::{Collector, Error};
use crate::span::Span;

/// Maximum number of queued spans, about a megabyte. When the queue is full, new spans are dropped.
const QUEUE: usize = 2_048;
/// Maximum number of spans per request.
const BATCH: usize = 512;
/// Maximum time that a span waits for others to fill a request.
const GATHER: Duration = Duration::from_secs(1);
/// Maximum number of attempts per request; one while the collector is unreachable.
const ATTEMPTS: u32 = 3;
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Maximum delay before a retry. If the collector asks for more, the spans are dropped instead of being kept in memory.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Minimum time between two log lines about dropped spans.
const LOG_EVERY: Duration = Duration::from_mins(10);

/// A queue of spans. Clones share it. The default drops all spans silently.
#[derive(Debug, Clone, Default)]
pub struct Spans(Option<Queue>);

#[derive(Debug, Clone)]
struct Queue {
    sender: mpsc::Sender<Message>,
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    sent: AtomicU64,
    dropped: AtomicU64,
}

/// Spans sent and dropped so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Spans that the collector accepted.
    pub sent: u64,
    /// Spans that were dropped: the queue was full, or the collector did not accept them.
    pub dropped: u64,
}

#[derive(Debug)]
enum Message {
    Span(Box<Span>),
    /// Completed once all spans queued before it have been sent or dropped.
    Flush(oneshot::Sender<()>),
}

impl Spans {
    /// Spawns a task on the current Tokio runtime that sends spans to a collector. It ends after the last clone of the result is
    /// dropped.
    ///
    /// # Panics
    ///
    /// If called outside a Tokio runtime.
    pub fn to(collector: Collector) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let counters = Arc::<Counters>::default();
        let sending = Sending {
            collector,
            counters: Arc::clone(&counters),
            log: Log::default(),
            seen_dropped: 0,
            is_away: false,
        };
        tokio::spawn(sending.run(receiver));
        Self(Some(Queue { sender, counters }))
    }

    /// Returns whether spans are sent. If not, there is no need to create them.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Queues a span. Never waits: if the queue is full, the span is dropped.
    pub fn send(&self, span: Span) {
        if let Some(queue) = &self.0
            && queue.sender.try_send(Message::Span(Box::new(span))).is_err()
        {
            queue.counters.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until all spans queued so far have been sent or dropped, but no longer than `bound`.
    pub async fn flush(&self, bound: Duration) {
        let Some(queue) = &self.0 else { return };
        let (done, flushed) = oneshot::channel();
        let flush = async {
            if queue.sender.send(Message::Flush(done)).await.is_ok() {
                // An error means that the task has ended, and nothing is left to wait for.
                let _ = flushed.await;
            }
        };
        let _ = tokio::time::timeout(bound, flush).await;
    }

    /// Returns how many spans have been sent and dropped so far; zeros if sending is off.
    pub fn counts(&self) -> Counts {
        let of = |queue: &Queue| Counts {
            sent: queue.counters.sent.load(Ordering::Relaxed),
            dropped: queue.counters.dropped.load(Ordering::Relaxed),
        };
        self.0.as_ref().map(of).unwrap_or_default()
    }
}

#[derive(Debug, Default)]
struct Batch {
    spans: Vec<Span>,
    flushed: Vec<oneshot::Sender<()>>,
}

impl Batch {
    fn take(&mut self, message: Message) {
        match message {
            Message::Span(span) => self.spans.push(*span),
            Message::Flush(done) => self.flushed.push(done),
        }
    }

    /// Returns whether the batch can take more spans.
    fn is_open(&self) -> bool {
        self.spans.len() < BATCH && self.flushed.is_empty()
    }
}

/// The task that sends.
struct Sending {
    collector: Collector,
    counters: Arc<Counters>,
    log: Log,
    /// Number of dropped spans passed to the log so far.
    seen_dropped: u64,
    /// Whether the last request failed.
    is_away: bool,
}

impl Sending {
    async fn run(mut self, mut receiver: mpsc::Receiver<Message>) {
        while let Some(first) = receiver.recv().await {
            let mut batch = Batch::default();
            batch.take(first);
            let gathered = tokio::time::sleep(GATHER);
            tokio::pin!(gathered);
            while batch.is_open() {
                tokio::select! {
                    // Messages first: under load, requests are full, and the time limit counts only when the
                    // queue is empty.
                    biased;
                    message = receiver.recv() => match message {
                        Some(message) => batch.take(message),
                        None => break,
                    },
                    () = &mut gathered => break,
                }
            }
            if !batch.spans.is_empty() {
                self.send(batch.spans).await;
            }
            for done in batch.flushed {
                let _ = done.send(());
            }
        }
    }

    async fn send(&mut self, spans: Vec<Span>) {
        let count = spans.len() as u64;
        let why = match self.export(spans).await {
            Ok((rejected, why)) => {
                // A collector that reports more rejected spans than were sent must not make the counter wrap
                // around.
                let rejected = rejected.min(count);
                self.counters.sent.fetch_add(count - rejected, Ordering::Relaxed);
                self.counters.dropped.fetch_add(rejected, Ordering::Relaxed);
                self.is_away = false;
                (rejected > 0).then(|| format!("the collector rejected them: {why}"))
            }
            Err(error) => {
                self.counters.dropped.fetch_add(count, Ordering::Relaxed);
                self.is_away = true;
                Some(format!("{error:#}"))
            }
        };
        // Includes spans that callers dropped because the queue was full.
        let dropped = self.counters.dropped.load(Ordering::Relaxed);
        let new = dropped - self.seen_dropped;
        self.seen_dropped = dropped;
        match self.log.of(new, self.is_away, Instant::now()) {
            Some(Line::Dropped(spans)) => {
                let why = why
                    .unwrap_or_else(|| "the queue is full because the collector cannot keep up".to_owned());
                tracing::warn!(
                    spans,
                    "dropping spans for {}; nothing else is affected: {why}",
                    self.collector.url()
                );
            }
            Some(Line::Again(spans)) => tracing::info!(
                spans,
                "{} accepts spans again; some were dropped",
                self.collector.url()
            ),
            None => {}
        }
    }

    async fn export(&self, spans: Vec<Span>) -> Result<(u64, String), Error> {
        // While the collector is unreachable, waiting for retries would only let newer spans overflow the
        // queue.
        let attempts = if self.is_away { 1 } else { ATTEMPTS };
        let mut attempt = 1;
        loop {
            let error = match self.collector.export(spans.clone()).await {
                Ok(accepted) => return Ok(accepted),
                Err(error) => error,
            };
            let wait = error.retry_after().unwrap_or_default().max(FIRST_WAIT * attempt);
            if !error.is_retryable() || attempt >= attempts || wait > LONGEST_WAIT {
                return Err(error);
            }
            tokio::time::sleep(wait).await;
            attempt += 1;
        }
    }
}

/// A line to log.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    /// This many spans were dropped.
    Dropped(u64),
    /// The collector accepts spans again, after this many were dropped.
    Again(u64),
}

/// Limits the logging of dropped spans to two lines in ten minutes.
#[derive(Debug, Default)]
struct Log {
    /// Dropped spans that have not been logged yet.
    unsaid: u64,
    /// Dropped spans since the first line about this outage.
    in_outage: u64,
    /// Whether the last line was about dropped spans.
    is_open: bool,
    said: Option<Instant>,
}

impl Log {
    fn of(&mut self, dropped: u64, is_away: bool, now: Instant) -> Option<Line> {
        self.unsaid += dropped;
        self.in_outage += dropped;
        if dropped > 0 {
            let is_due = self.said.is_none_or(|said| now.duration_since(said) >= LOG_EVERY);
            if is_due {
                (self.said, self.is_open) = (Some(now), true);
                return Some(Line::Dropped(std::mem::take(&mut self.unsaid)));
            }
        } else if self.is_open && !is_away {
            (self.is_open, self.unsaid) = (false, 0);
            return Some(Line::Again(std::mem::take(&mut self.in_outage)));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_logged_once_in_ten_minutes_and_at_its_end() {
        let (mut log, begun) = (Log::default(), Instant::now());
        let after = |minutes: u64| begun + Duration::from_mins(minutes);
        assert_eq!(log.of(0, false, begun), None, "nothing is wrong");
        assert_eq!(log.of(5, true, begun), Some(Line::Dropped(5)));
        assert_eq!(log.of(5, true, after(1)), None);
        assert_eq!(log.of(5, true, after(9)), None);
        assert_eq!(log.of(5, true, after(10)), Some(Line::Dropped(15)));
        assert_eq!(log.of(0, false, after(11)), Some(Line::Again(20)));
        assert_eq!(log.of(0, false, after(12)), None);
        // A collector that comes and goes does not flood the log.
        assert_eq!(log.of(1, true, after(13)), None);
        assert_eq!(log.of(0, false, after(14)), None);
        assert_eq!(log.of(1, true, after(20)), Some(Line::Dropped(2)));
    }

    #[tokio::test]
    async fn without_a_collector_nothing_happens() {
        let (spans, now) = (Spans::default(), std::time::SystemTime::now());
        spans.send(crate::Trace::of("a").span("b", "c", now, now));
        spans.flush(Duration::from_mins(1)).await;
        assert!(!spans.is_on());
        assert_eq!(spans.counts(), Counts::default());
    }
}
