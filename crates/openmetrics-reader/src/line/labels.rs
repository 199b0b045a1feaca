//! Labels between braces, of samples and exemplars.

use crate::error::ErrorKind;
use crate::line::cursor::Cursor;
use crate::line::cursor::Result;
use crate::sample::Labels;
use crate::scan;
use crate::text::Text;

/// The content between braces.
#[derive(Default)]
pub(super) struct Braces<'a> {
    pub(super) text: &'a str,
    /// A quoted metric name.
    pub(super) name: Option<Text<'a>>,
    /// Whether any name is quoted, whether the metric's or a label's.
    pub(super) has_quoted_name: bool,
    label_count: usize,
    /// The marks of all label names so far; see [`name_mark`].
    marks: u64,
}

impl<'a> Cursor<'a> {
    /// Parses braces with labels. The cursor must be at the opening brace.
    pub(super) fn braces(&mut self) -> Result<Braces<'a>> {
        self.at += 1;
        let from = self.at;
        let mut braces = Braces::default();
        self.blanks();
        let mut is_closed = self.peek() == Some(b'}');
        while !is_closed {
            self.label_or_metric_name(&mut braces, from)?;
            self.blanks();
            match self.peek() {
                Some(b'}') => break,
                Some(b',') => self.at += 1,
                _ => return self.expected("a comma or a closing brace"),
            }
            self.blanks();
            // A comma before the closing brace, which the Prometheus text format allows.
            is_closed = self.lenient && self.peek() == Some(b'}');
        }
        braces.text = &self.text[from..self.at];
        self.at += 1;
        Ok(braces)
    }

    /// Parses the text between two commas. The content of the braces begins at `content_from`.
    fn label_or_metric_name(&mut self, braces: &mut Braces<'a>, content_from: usize) -> Result<()> {
        let from = self.at;
        let is_quoted = self.lenient && self.peek() == Some(b'"');
        braces.has_quoted_name |= is_quoted;
        let name = if is_quoted {
            self.quoted_name()?
        } else {
            self.label_name()?
        };
        self.blanks();
        // A quoted name without a value is the metric's, in the UTF-8 syntax of Prometheus 3.
        if is_quoted && matches!(self.peek(), Some(b',' | b'}')) {
            return match braces.name.replace(name) {
                None => Ok(()),
                Some(_) => Err(self.problem(ErrorKind::Syntax("one metric name, not two"), from, from)),
            };
        }
        self.label_value()?;
        braces.label_count += 1;
        if braces.label_count > self.max_labels {
            return Err(self.problem(
                ErrorKind::TooManyLabels {
                    limit: self.max_labels,
                },
                from,
                from,
            ));
        }
        let mark = name_mark(name);
        // Equal marks can belong to different names, so the names are compared as well.
        if braces.marks & mark != 0 && has_label(&self.text[content_from..from], name) {
            return Err(self.problem(ErrorKind::Syntax("each label name once"), from, from));
        }
        braces.marks |= mark;
        Ok(())
    }

    #[inline]
    fn label_name(&mut self) -> Result<Text<'a>> {
        match scan::label_name(self.rest()) {
            0 => self.expected("a label name"),
            length => Ok(Text::new(self.take(length))),
        }
    }

    #[inline]
    fn label_value(&mut self) -> Result<()> {
        if self.peek() != Some(b'=') {
            return self.expected("an equals sign after the label name");
        }
        self.at += 1;
        self.blanks();
        if self.peek() != Some(b'"') {
            return self.expected("a quote before the label value");
        }
        self.quoted().map(|_| ())
    }
}

/// Returns one of 64 bits for a label name. If all bits differ, the names differ, so most samples need no
/// comparison of names.
#[inline]
fn name_mark(name: Text<'_>) -> u64 {
    let bytes = name.raw().as_bytes();
    // A name with escapes can only equal another name with escapes, so they share one mark.
    let (Some(&first), Some(&last), false) = (bytes.first(), bytes.last(), bytes.contains(&b'\\')) else {
        return 1;
    };
    let mixed =
        usize::from(first).wrapping_mul(5) ^ usize::from(last).wrapping_mul(3) ^ bytes.len().wrapping_mul(7);
    1 << (mixed % 64)
}

#[cold]
fn has_label(between_braces: &str, name: Text<'_>) -> bool {
    Labels::new(between_braces).any(|label| label.name.means_same(name))
}
