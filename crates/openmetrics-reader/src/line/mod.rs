//! The syntax of one line.
//!
//! Strict and lenient reading share one grammar; `self.lenient` marks the places where lenient mode allows
//! more. Nothing here allocates.
//!
//! [`cursor`] takes the tokens; [`sample`], [`labels`] and [`metadata`] know their order.

mod cursor;
mod labels;
mod metadata;
mod sample;

use crate::event::Event;
pub(crate) use crate::line::cursor::Problem;
use crate::line::cursor::{Cursor, Result};
use crate::number;
use crate::options::Mode;
use crate::sample::{Exemplar, Sample};
use crate::shape::Shape;

/// Parses one line, without its line feed. `None` is a blank line in lenient mode.
pub(crate) fn read<'a>(
    line: &'a str,
    mode: Mode,
    max_labels: usize,
    shape: &mut Shape,
) -> Result<Option<Event<'a>>> {
    let lenient = mode == Mode::Lenient;
    let line = if lenient {
        line.strip_suffix('\r').unwrap_or(line)
    } else {
        line
    };
    if let Some(sample) = repeated(line, shape) {
        return Ok(Some(Event::Sample(sample)));
    }
    let mut cursor = Cursor {
        text: line,
        at: 0,
        lenient,
        max_labels,
    };
    cursor.blanks();
    match cursor.peek() {
        Some(b'#') => cursor.metadata().map(Some),
        None if lenient => Ok(None),
        None => cursor.expected("a sample or metadata, not a blank line"),
        Some(_) => cursor.sample(shape).map(|sample| Some(Event::Sample(sample))),
    }
}

/// Parses a line by the fast path for nearly all lines: a sample of the same shape as the last one, with a value and timestamp in
/// their usual forms. `None` means that the line needs the general path.
#[expect(
    clippy::inline_always,
    reason = "the sample is built in place, because moving it takes longer than parsing it"
)]
#[inline(always)]
pub(crate) fn repeated<'a>(line: &'a str, shape: &Shape) -> Option<Sample<'a>> {
    let start = shape.read(line)?;
    let rest = line.get(start.length..)?.strip_prefix(' ')?;
    let (value, length) = number::short_decimal(rest.as_bytes())?;
    let (value_text, rest) = rest.split_at_checked(length)?;
    let timestamp = match rest.as_bytes() {
        [] => None,
        [b' ', digits @ ..] if number::is_short_integer(digits) => rest.get(1..),
        _ => return None,
    };
    Some(Sample {
        name: start.name,
        between_braces: start.between_braces,
        value,
        value_text,
        timestamp,
        exemplar: None,
    })
}

impl<'a> Sample<'a> {
    /// Returns the exemplar, if there is one.
    pub fn exemplar(&self) -> Option<Exemplar<'a>> {
        self.exemplar.and_then(exemplar)
    }
}

/// Parses an exemplar that has been validated before, starting at its opening brace.
fn exemplar(text: &str) -> Option<Exemplar<'_>> {
    let mut cursor = Cursor {
        text,
        at: 0,
        lenient: true,
        max_labels: usize::MAX,
    };
    cursor.exemplar().ok()
}
