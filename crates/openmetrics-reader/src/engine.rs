//! Turns lines into events. Shared by one-shot and chunked reading.

use crate::error::{Error, ErrorKind};
use crate::event::{Event, Summary};
use crate::line::{self, Problem};
use crate::options::{Mode, OnUnreadable, Options};
use crate::sample::Sample;
use crate::shape::Shape;
use crate::strict::{Broken, Strict};

/// The state between two lines.
#[derive(Debug)]
pub(crate) struct Engine {
    options: Options,
    /// The rules that span lines; `None` in lenient mode.
    strict: Option<Box<Strict>>,
    pub(crate) summary: Summary,
    /// Bytes of all lines so far, including line feeds.
    bytes: u64,
    anything_understood: bool,
    shape: Shape,
}

/// Whether a line ended with a line feed or with the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndedBy {
    LineFeed,
    Document,
}

impl Engine {
    pub(crate) fn new(options: Options) -> Self {
        Self {
            options,
            strict: (options.mode == Mode::Strict).then(Box::default),
            summary: Summary::default(),
            bytes: 0,
            anything_understood: false,
            shape: Shape::default(),
        }
    }

    pub(crate) fn max_line_bytes(&self) -> usize {
        self.options.limits.max_line_bytes
    }

    /// Reads a line by the fast path for nearly all sample lines: valid, of the same shape as the previous one, in lenient mode.
    /// `None` means that the line needs the general path, [`line`](Self::line); it changes nothing.
    #[expect(
        clippy::inline_always,
        reason = "the sample is built in place, because moving it takes longer than parsing it"
    )]
    #[inline(always)]
    pub(crate) fn repeated_line<'a>(&mut self, line: &'a [u8]) -> Option<Sample<'a>> {
        let limits = &self.options.limits;
        let bytes = self.bytes + line.len() as u64 + 1;
        if self.strict.is_some()
            || self.summary.end_marker_seen
            || line.len() > limits.max_line_bytes
            || bytes > limits.max_document_bytes
        {
            return None;
        }
        let sample = line::repeated(std::str::from_utf8(line).ok()?, &self.shape)?;
        self.bytes = bytes;
        self.summary.lines += 1;
        self.summary.samples += 1;
        Some(sample)
    }

    /// Reads one line, without its line feed. A line without meaning (blank, skipped) returns no event.
    #[inline(never)]
    pub(crate) fn line<'a>(&mut self, line: &'a [u8], ended_by: EndedBy) -> Result<Option<Event<'a>>, Error> {
        self.summary.lines += 1;
        self.check_limits(line, ended_by)?;
        if self.summary.end_marker_seen {
            return self.after_end(line);
        }
        let text = match std::str::from_utf8(line) {
            Ok(text) => text,
            Err(error) => return self.not_utf8(line, error, ended_by),
        };
        let event = match line::read(
            text,
            self.options.mode,
            self.options.limits.max_labels,
            &mut self.shape,
        ) {
            Ok(event) => event,
            Err(problem) => return self.unreadable(line, &problem, ended_by),
        };
        // Even if the line can be parsed: a timestamp or value that lost its last digits is still a number.
        if ended_by == EndedBy::Document && !matches!(event, Some(Event::End)) {
            return Err(self.error(ErrorKind::CutLastLine, line.len(), line));
        }
        let Some(event) = event else { return Ok(None) };
        if let Some(strict) = &mut self.strict
            && let Err(broken) = strict.check(&event, self.summary.lines)
        {
            return Err(self.broken(&broken, line));
        }
        match event {
            Event::Sample(_) => self.summary.samples += 1,
            Event::End => self.summary.end_marker_seen = true,
            // A comment may contain any text.
            Event::Comment(_) => return Ok(Some(event)),
            Event::Type { .. } | Event::Help { .. } | Event::Unit { .. } => {}
        }
        self.anything_understood = true;
        Ok(Some(event))
    }

    /// Checks the document as a whole, after its last line.
    pub(crate) fn finish(&mut self) -> Result<(), Error> {
        if self.summary.end_marker_seen {
            return Ok(());
        }
        // An answer without a single metric is an error in both modes: taken as data, it would mean that all
        // series are absent.
        let kind = match self.options.mode {
            _ if !self.anything_understood && self.summary.skipped_lines > 0 => ErrorKind::NothingReadable,
            _ if !self.anything_understood => ErrorKind::EmptyDocument,
            Mode::Strict => ErrorKind::MissingEndMarker,
            Mode::Lenient => return Ok(()),
        };
        Err(Error::new(kind, self.summary.lines + 1, 0, b"", true))
    }

    /// Reports a line that exceeds the limit before its end.
    #[cold]
    pub(crate) fn line_too_long(&mut self, start_of_line: &[u8]) -> Error {
        self.summary.lines += 1;
        let limit = self.max_line_bytes();
        // Both modes have read this far, which is enough.
        let seen = start_of_line.get(..=limit).unwrap_or(start_of_line);
        self.error(ErrorKind::LineTooLong { limit }, 0, seen)
    }

    #[inline]
    fn check_limits(&mut self, line: &[u8], ended_by: EndedBy) -> Result<(), Error> {
        let limits = self.options.limits;
        if line.len() > limits.max_line_bytes {
            // `line` has counted it, and so does `line_too_long`, which `ChunkedReader` calls without `line`.
            self.summary.lines -= 1;
            return Err(self.line_too_long(line));
        }
        self.bytes += line.len() as u64 + u64::from(ended_by == EndedBy::LineFeed);
        if self.bytes > limits.max_document_bytes {
            return Err(self.error(
                ErrorKind::DocumentTooLong {
                    limit: limits.max_document_bytes,
                },
                0,
                line,
            ));
        }
        Ok(())
    }

    #[cold]
    fn after_end<'a>(&self, line: &[u8]) -> Result<Option<Event<'a>>, Error> {
        let is_blank = line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r'));
        if is_blank && self.options.mode == Mode::Lenient {
            return Ok(None);
        }
        Err(self.error(ErrorKind::TextAfterEnd, 0, line))
    }

    #[cold]
    fn not_utf8<'a>(
        &mut self,
        line: &[u8],
        error: std::str::Utf8Error,
        ended_by: EndedBy,
    ) -> Result<Option<Event<'a>>, Error> {
        // A sequence that needs more bytes may have been truncated.
        let may_be_cut = error.error_len().is_none();
        self.unreadable(
            line,
            &Problem {
                kind: ErrorKind::NotUtf8,
                at: error.valid_up_to(),
                may_be_cut,
            },
            ended_by,
        )
    }

    #[cold]
    fn unreadable<'a>(
        &mut self,
        line: &[u8],
        problem: &Problem,
        ended_by: EndedBy,
    ) -> Result<Option<Event<'a>>, Error> {
        let is_skippable =
            problem.kind.is_one_unreadable_line() && self.options.on_unreadable == OnUnreadable::Skip;
        if ended_by == EndedBy::Document && (problem.may_be_cut || is_skippable) {
            return Err(self.error(ErrorKind::CutLastLine, line.len(), line));
        }
        let error = self.error(problem.kind, problem.at, line);
        if !is_skippable {
            return Err(error);
        }
        self.summary.skipped_lines += 1;
        self.summary.first_skipped.get_or_insert(error);
        Ok(None)
    }

    #[cold]
    fn broken(&self, broken: &Broken, line: &[u8]) -> Error {
        let kind = ErrorKind::Rule(broken.rule);
        match &broken.earlier {
            // The line at fault is not in memory anymore, so the error shows the family.
            Some(earlier) => Error::new(kind, earlier.line, 0, earlier.family.as_bytes(), true),
            None => self.error(kind, 0, line),
        }
    }

    fn error(&self, kind: ErrorKind, column: usize, line: &[u8]) -> Error {
        Error::new(kind, self.summary.lines, column, line, self.anything_understood)
    }
}
