//! Reads a document that is completely in memory.

use std::iter::FusedIterator;

use crate::engine::{EndedBy, Engine};
use crate::error::Error;
use crate::event::{Event, Summary};
use crate::options::Options;
use crate::scan;

/// Reads a document from a byte slice: an iterator over its [`Event`]s.
///
/// It ends after the last event or after the first error. Only an iteration that ended without an error has read the whole
/// document; what the document held is then in [`summary`](Self::summary).
///
/// ```
/// use openmetrics_reader::{Event, Options, Reader};
///
/// let mut reader = Reader::new(b"temperature{room=\"attic\"} 31.5\n", Options::lenient());
/// for event in &mut reader {
///     if let Event::Sample(sample) = event? {
///         assert_eq!(sample.label("room").unwrap(), "attic");
///         assert_eq!(sample.value(), 31.5);
///     }
/// }
/// assert!(!reader.summary().end_marker_seen);
/// # Ok::<(), openmetrics_reader::Error>(())
/// ```
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    engine: Engine,
    is_done: bool,
}

impl<'a> Reader<'a> {
    /// Creates a reader for a document.
    pub fn new(document: &'a [u8], options: Options) -> Self {
        Self {
            rest: document,
            engine: Engine::new(options),
            is_done: false,
        }
    }

    /// Returns the summary of what has been read so far.
    pub fn summary(&self) -> &Summary {
        &self.engine.summary
    }

    /// Reads the next line of any kind.
    #[inline(never)]
    fn read_line(&mut self, line: &'a [u8], ended_by: EndedBy) -> Option<Result<Event<'a>, Error>> {
        let outcome = self.engine.line(line, ended_by).transpose();
        self.is_done = matches!(outcome, Some(Err(_)));
        outcome
    }

    fn finish(&mut self) -> Option<Result<Event<'a>, Error>> {
        self.is_done = true;
        self.engine.finish().err().map(Err)
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<Event<'a>, Error>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        while !self.is_done {
            if self.rest.is_empty() {
                return self.finish();
            }
            let outcome = if let Some(at) = scan::line_feed(self.rest) {
                let (line, rest) = self.rest.split_at(at);
                self.rest = &rest[1..];
                if let Some(sample) = self.engine.repeated_line(line) {
                    return Some(Ok(Event::Sample(sample)));
                }
                self.read_line(line, EndedBy::LineFeed)
            } else {
                let line = std::mem::take(&mut self.rest);
                self.read_line(line, EndedBy::Document)
            };
            if outcome.is_some() {
                return outcome;
            }
        }
        None
    }
}

impl FusedIterator for Reader<'_> {}
