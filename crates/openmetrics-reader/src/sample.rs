//! A sample and its parts.

use crate::number;
use crate::scan;
use crate::text::Text;

/// One sample line. Borrows from the document; nothing is copied and nothing allocated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample<'a> {
    pub(crate) name: Text<'a>,
    pub(crate) between_braces: &'a str,
    pub(crate) value: f64,
    pub(crate) value_text: &'a str,
    pub(crate) timestamp: Option<&'a str>,
    /// Checked, and read again when asked for: hardly any sample has one.
    pub(crate) exemplar: Option<&'a str>,
}

impl<'a> Sample<'a> {
    /// Returns the sample's name. Only a quoted name (lenient mode) can hold escapes.
    pub fn name(&self) -> Text<'a> {
        self.name
    }

    /// Iterates over the labels in the order of the document.
    pub fn labels(&self) -> Labels<'a> {
        Labels::new(self.between_braces)
    }

    /// Returns the value of the first label of this name.
    pub fn label(&self, name: &str) -> Option<Text<'a>> {
        self.labels()
            .find(|label| label.name == *name)
            .map(|label| label.value)
    }

    /// Returns the value, which may be infinite or `NaN`. `NaN` is a value, not a missing one.
    pub fn value(&self) -> f64 {
        self.value
    }

    /// Returns the value as written.
    pub fn value_text(&self) -> &'a str {
        self.value_text
    }

    /// Returns the timestamp as written, if there is one: a decimal number, never `NaN` or infinite.
    pub fn timestamp_text(&self) -> Option<&'a str> {
        self.timestamp
    }

    /// Returns the timestamp in milliseconds since 1970, rounded.
    ///
    /// The `OpenMetrics` 1.0 text format says seconds, Temporal's documentation shows milliseconds: a magnitude above 1e11
    /// is taken for milliseconds, anything else for seconds. `None` if there is no timestamp or if it lies beyond what a
    /// float counts exactly (some 285,000 years).
    pub fn timestamp_ms(&self) -> Option<i64> {
        self.timestamp.and_then(number::timestamp_ms)
    }
}

/// A reference to data outside the document, such as a trace, attached to a sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exemplar<'a> {
    pub(crate) between_braces: &'a str,
    pub(crate) value: f64,
    pub(crate) timestamp: Option<&'a str>,
}

impl<'a> Exemplar<'a> {
    /// Iterates over the exemplar's labels in the order of the document.
    pub fn labels(&self) -> Labels<'a> {
        Labels::new(self.between_braces)
    }

    /// Returns the exemplar's value.
    pub fn value(&self) -> f64 {
        self.value
    }

    /// Returns the timestamp as written, if there is one.
    pub fn timestamp_text(&self) -> Option<&'a str> {
        self.timestamp
    }

    /// Returns the timestamp in milliseconds since 1970, as [`Sample::timestamp_ms`] does.
    pub fn timestamp_ms(&self) -> Option<i64> {
        self.timestamp.and_then(number::timestamp_ms)
    }
}

/// One label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label<'a> {
    /// Its name. Only a quoted name (lenient mode) can hold escapes.
    pub name: Text<'a>,
    /// Its value, which may be empty; the format says that an empty value should count as no label.
    pub value: Text<'a>,
}

/// The labels of one sample: an iterator that reads them from the document as they are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels<'a> {
    /// What is between the braces. Has been checked, so that iterating cannot fail.
    between_braces: &'a str,
}

impl<'a> Labels<'a> {
    pub(crate) fn new(between_braces: &'a str) -> Self {
        Self { between_braces }
    }

    /// Takes a quoted text off the start: what is between the quotes, and what follows them.
    #[inline]
    fn split_quoted(text: &'a str) -> Option<(&'a str, &'a str)> {
        let text = text.strip_prefix('"')?;
        let end = scan::closing_quote(text.as_bytes())?;
        Some((text.get(..end)?, text.get(end + 1..)?))
    }

    /// Takes a name off the start, quoted or not, and the blanks after it.
    #[inline]
    fn split_name(text: &'a str) -> Option<(Text<'a>, &'a str)> {
        if let Some((name, rest)) = Self::split_quoted(text) {
            return Some((Text::new(name), skip(rest, b' ')));
        }
        let (name, rest) = text.split_at_checked(scan::find(text.as_bytes(), b'=')?)?;
        Some((Text::new(name.trim_ascii_end()), rest))
    }

    /// Takes the next label, with all that lenient mode allows.
    #[cold]
    fn next_unusual(&mut self) -> Option<Label<'a>> {
        loop {
            let (name, rest) = Self::split_name(skip(self.between_braces, b','))?;
            let Some(rest) = rest.strip_prefix('=') else {
                // A quoted name without a value is the metric's own.
                self.between_braces = rest;
                continue;
            };
            let (value, rest) = Self::split_quoted(skip(rest, b' '))?;
            self.between_braces = rest;
            return Some(Label {
                name,
                value: Text::new(value),
            });
        }
    }
}

/// Skips blanks, tabs and the byte `also` at the start.
#[inline]
fn skip(text: &str, also: u8) -> &str {
    let length = text
        .bytes()
        .take_while(|byte| matches!(byte, b' ' | b'\t') || *byte == also)
        .count();
    text.get(length..).unwrap_or_default()
}

impl<'a> Iterator for Labels<'a> {
    type Item = Label<'a>;

    #[inline]
    fn next(&mut self) -> Option<Label<'a>> {
        let text = self.between_braces;
        let bytes = text.as_bytes();
        let name_from = usize::from(bytes.first() == Some(&b','));
        let name_bytes = bytes.get(name_from..)?;
        let name_end = name_from + scan::find(name_bytes, b'=')?;
        let value_from = name_end + 2;
        // Nearly all labels have a plain name and no blanks around it, before or behind the equals sign.
        let is_usual = bytes.get(name_end + 1) == Some(&b'"')
            && !matches!(name_bytes.first(), Some(b'"' | b' ' | b'\t'))
            && !bytes[..name_end].ends_with(b" ")
            && !bytes[..name_end].ends_with(b"\t");
        if !is_usual {
            return self.next_unusual();
        }
        let value_end = value_from + scan::closing_quote(bytes.get(value_from..)?)?;
        let name = Text::new(text.get(name_from..name_end)?);
        let value = Text::new(text.get(value_from..value_end)?);
        self.between_braces = text.get(value_end + 1..)?;
        Some(Label { name, value })
    }
}
