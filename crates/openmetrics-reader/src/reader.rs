//! Reading a document that is wholly in memory.

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
    /// Makes a reader of a document.
    pub fn new(document: &'a [u8], options: Options) -> Self {
        Self { rest: document, engine: Engine::new(options), is_done: false }
    }

    /// Returns what has been read so far.
    pub fn summary(&self) -> &Summary {
        &self.engine.summary
    }

    /// Takes the next line off the rest.
    #[inline]
    fn split_line(&mut self) -> (&'a [u8], EndedBy) {
        if let Some(at) = scan::line_feed(self.rest) {
            let (line, rest) = self.rest.split_at(at);
            self.rest = &rest[1..];
            (line, EndedBy::LineFeed)
        } else {
            (std::mem::take(&mut self.rest), EndedBy::Document)
        }
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<Event<'a>, Error>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        while !self.is_done {
            if self.rest.is_empty() {
                self.is_done = true;
                return self.engine.finish().err().map(Err);
            }
            let (line, ended_by) = self.split_line();
            match self.engine.line(line, ended_by) {
                Ok(Some(event)) => return Some(Ok(event)),
                Ok(None) => {}
                Err(error) => {
                    self.is_done = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

impl FusedIterator for Reader<'_> {}
