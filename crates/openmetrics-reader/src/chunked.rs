//! Reads a document that arrives in chunks.

use crate::engine::{EndedBy, Engine};
use crate::error::Error;
use crate::event::{Event, Summary};
use crate::options::Options;
use crate::scan;

/// Reads a document pushed in chunks of any size, such as an HTTP body as it arrives.
///
/// Events, summary and errors are those of [`Reader`](crate::Reader), wherever the chunks are split. At most one line is
/// buffered. After an error every further call returns the same error.
///
/// ```
/// use openmetrics_reader::{ChunkedReader, Event, Options};
///
/// let mut sum = 0.0;
/// let mut add = |event: Event<'_>| {
///     if let Event::Sample(sample) = event {
///         sum += sample.value();
///     }
/// };
/// let mut reader = ChunkedReader::new(Options::lenient());
/// for chunk in ["rate 1", "0\nra", "te 5\n# EOF\n"] {
///     reader.push(chunk.as_bytes(), &mut add)?;
/// }
/// let summary = reader.finish(&mut add)?;
/// assert!(summary.end_marker_seen);
/// assert_eq!(sum, 15.0);
/// # Ok::<(), openmetrics_reader::Error>(())
/// ```
#[derive(Debug)]
pub struct ChunkedReader {
    engine: Engine,
    /// The beginning of a line whose end has not arrived yet.
    unfinished: Vec<u8>,
    failed: Option<Error>,
}

impl ChunkedReader {
    /// Creates a reader.
    pub fn new(options: Options) -> Self {
        Self {
            engine: Engine::new(options),
            unfinished: Vec::new(),
            failed: None,
        }
    }

    /// Returns the summary of what has been read so far.
    pub fn summary(&self) -> &Summary {
        &self.engine.summary
    }

    /// Reads the next chunk of the document, and passes the events of every line that is now complete to
    /// `on_event`.
    ///
    /// # Errors
    ///
    /// The first [`Error`] of the document. Events before it have been passed to `on_event`.
    pub fn push<F: FnMut(Event<'_>)>(&mut self, chunk: &[u8], mut on_event: F) -> Result<(), Error> {
        self.guard(|reader| reader.lines(chunk, &mut on_event))
    }

    /// Ends the document: reads a last line without a line feed, checks the document as a whole, and returns
    /// its summary.
    ///
    /// # Errors
    ///
    /// The first [`Error`] of the document, including that it is empty or truncated.
    pub fn finish<F: FnMut(Event<'_>)>(mut self, mut on_event: F) -> Result<Summary, Error> {
        self.guard(|reader| {
            if !reader.unfinished.is_empty()
                && let Some(event) = reader.engine.line(&reader.unfinished, EndedBy::Document)?
            {
                on_event(event);
            }
            reader.engine.finish()
        })?;
        Ok(self.engine.summary)
    }

    fn guard(&mut self, read: impl FnOnce(&mut Self) -> Result<(), Error>) -> Result<(), Error> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        read(self).inspect_err(|error| self.failed = Some(error.clone()))
    }

    fn lines<F: FnMut(Event<'_>)>(&mut self, mut chunk: &[u8], on_event: &mut F) -> Result<(), Error> {
        if !self.unfinished.is_empty() {
            let end = scan::line_feed(chunk);
            self.buffer(&chunk[..end.unwrap_or(chunk.len())])?;
            let Some(end) = end else { return Ok(()) };
            if let Some(event) = self.engine.line(&self.unfinished, EndedBy::LineFeed)? {
                on_event(event);
            }
            self.unfinished.clear();
            chunk = &chunk[end + 1..];
        }
        while let Some(end) = scan::line_feed(chunk) {
            let line = &chunk[..end];
            // Not used for the line that spans two chunks, because there is at most one of it in a chunk.
            if let Some(sample) = self.engine.repeated_line(line) {
                on_event(Event::Sample(sample));
            } else if let Some(event) = self.engine.line(line, EndedBy::LineFeed)? {
                on_event(event);
            }
            chunk = &chunk[end + 1..];
        }
        self.buffer(chunk)
    }

    /// Keeps the beginning of a line, unless it already exceeds the maximum line length.
    fn buffer(&mut self, start_of_line: &[u8]) -> Result<(), Error> {
        // One byte more than a line may have, which is enough to know that it is too long.
        let room = (self.engine.max_line_bytes() - self.unfinished.len()).saturating_add(1);
        let kept = &start_of_line[..start_of_line.len().min(room)];
        self.unfinished.extend_from_slice(kept);
        if self.unfinished.len() > self.engine.max_line_bytes() {
            return Err(self.engine.line_too_long(&self.unfinished));
        }
        Ok(())
    }
}
