//! The position in a line, and the tokens that all kinds of lines share.

use crate::error::ErrorKind;
use crate::number;
use crate::scan;
use crate::text::Text;

/// Why a line cannot be parsed, and at which byte.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) kind: ErrorKind,
    pub(crate) at: usize,
    /// Whether the line could be valid if it continued. In a last line without a line feed, this indicates
    /// truncation.
    pub(crate) may_be_cut: bool,
}

/// A token, or why there is none.
pub(super) type Result<T> = std::result::Result<T, Problem>;

/// A line, the position in it, and the rules that apply.
pub(super) struct Cursor<'a> {
    pub(super) text: &'a str,
    pub(super) at: usize,
    pub(super) lenient: bool,
    pub(super) max_labels: usize,
}

impl<'a> Cursor<'a> {
    #[inline]
    pub(super) fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[inline]
    pub(super) fn take(&mut self, length: usize) -> &'a str {
        let from = self.at;
        self.at += length;
        &self.text[from..self.at]
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at >= self.text.len()
    }

    #[cold]
    pub(super) fn problem(&self, kind: ErrorKind, at: usize, reached: usize) -> Problem {
        Problem {
            kind,
            at,
            may_be_cut: reached >= self.text.len(),
        }
    }

    #[cold]
    pub(super) fn expected<T>(&self, what: &'static str) -> Result<T> {
        Err(self.problem(ErrorKind::Syntax(what), self.at, self.at))
    }

    /// Skips spaces and tabs between tokens, which only lenient mode allows.
    #[inline]
    pub(super) fn blanks(&mut self) {
        if self.lenient {
            while matches!(self.peek(), Some(b' ' | b'\t')) {
                self.at += 1;
            }
        }
    }

    /// Consumes the separator between two tokens: exactly one space, or in lenient mode any number of spaces
    /// and tabs.
    #[inline]
    pub(super) fn separator(&mut self) -> Result<()> {
        match self.peek() {
            Some(b' ') => self.at += 1,
            Some(b'\t') if self.lenient => self.at += 1,
            _ => return self.expected("a blank"),
        }
        self.blanks();
        Ok(())
    }

    /// Takes everything up to the next space, tab or end of line.
    #[inline]
    pub(super) fn word(&mut self) -> &'a str {
        let rest = self.rest();
        let length = rest
            .iter()
            .position(|byte| matches!(byte, b' ' | b'\t'))
            .unwrap_or(rest.len());
        self.take(length)
    }

    #[inline]
    pub(super) fn number(&mut self) -> Result<(f64, &'a str)> {
        // Nearly all numbers are short decimals.
        if let Some(short) = self.short_decimal() {
            return Ok(short);
        }
        let from = self.at;
        let word = self.word();
        match number::number(word) {
            Some(value) => Ok((value, word)),
            None => Err(self.problem(ErrorKind::Syntax("a number"), from, self.at)),
        }
    }

    #[inline]
    pub(super) fn timestamp(&mut self) -> Result<&'a str> {
        if let Some((_, text)) = self.short_decimal() {
            return Ok(text);
        }
        let from = self.at;
        let word = self.word();
        match number::real(word) {
            Some(_) => Ok(word),
            None => Err(self.problem(
                ErrorKind::Syntax("a timestamp, which is a finite number"),
                from,
                self.at,
            )),
        }
    }

    /// Takes a number of the usual form, if it is a whole word.
    #[inline]
    fn short_decimal(&mut self) -> Option<(f64, &'a str)> {
        let rest = self.rest();
        let (value, length) = number::short_decimal(rest)?;
        // Otherwise the word goes on, for example with an exponent.
        matches!(rest.get(length), None | Some(b' ' | b'\t')).then(|| (value, self.take(length)))
    }

    #[inline]
    pub(super) fn metric_name(&mut self) -> Result<Text<'a>> {
        match scan::metric_name(self.rest()) {
            0 => self.expected("a metric name"),
            length => Ok(Text::new(self.take(length))),
        }
    }

    /// Takes a quoted text. The cursor must be at its opening quote.
    #[inline]
    pub(super) fn quoted(&mut self) -> Result<Text<'a>> {
        let opening = self.at;
        self.at += 1;
        match scan::closing_quote(self.rest()) {
            Some(length) => {
                let text = self.take(length);
                self.at += 1;
                Ok(Text::new(text))
            }
            None => Err(self.problem(ErrorKind::Syntax("a closing quote"), opening, self.text.len())),
        }
    }

    /// Takes a quoted name (lenient mode only), which may be any text that is not empty.
    pub(super) fn quoted_name(&mut self) -> Result<Text<'a>> {
        let opening = self.at;
        let name = self.quoted()?;
        if name.raw().is_empty() {
            return Err(self.problem(ErrorKind::Syntax("a name between the quotes"), opening, opening));
        }
        Ok(name)
    }

    /// Returns whether another token follows on the line.
    #[inline]
    pub(super) fn another_token(&mut self) -> Result<bool> {
        if self.is_at_end() {
            return Ok(false);
        }
        self.separator()?;
        match self.is_at_end() {
            true if self.lenient => Ok(false),
            true => self.expected("no whitespace at the end of the line"),
            false => Ok(true),
        }
    }
}
