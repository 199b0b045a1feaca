//! A sample and its parts.

use crate::number;
use crate::scan;
use crate::text::Text;

/// One sample line. Borrows from the document, without copies or allocations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample<'a> {
    pub(crate) name: Text<'a>,
    pub(crate) between_braces: &'a str,
    pub(crate) value: f64,
    pub(crate) value_text: &'a str,
    pub(crate) timestamp: Option<&'a str>,
    /// Validated, and parsed again on request, because hardly any sample has one.
    pub(crate) exemplar: Option<&'a str>,
}

impl<'a> Sample<'a> {
    /// Returns the sample's name. Only a quoted name (lenient mode) can contain escapes.
    pub fn name(&self) -> Text<'a> {
        self.name
    }

    /// Iterates over the labels in the order of the document.
    pub fn labels(&self) -> Labels<'a> {
        Labels::new(self.between_braces)
    }

    /// Returns the value of the first label with this name.
    pub fn label(&self, name: &str) -> Option<Text<'a>> {
        self.labels()
            .find(|label| label.name == *name)
            .map(|label| label.value)
    }

    /// Returns the value, which may be infinite or `NaN`. `NaN` is a value, not a missing value.
    pub fn value(&self) -> f64 {
        self.value
    }

    /// Returns the value as written.
    pub fn value_text(&self) -> &'a str {
        self.value_text
    }

    /// Returns the timestamp as written, if present: a decimal number, never `NaN` or infinite.
    pub fn timestamp_text(&self) -> Option<&'a str> {
        self.timestamp
    }

    /// Returns the timestamp in milliseconds since 1970, rounded.
    ///
    /// The `OpenMetrics` 1.0 text format specifies seconds, and Temporal's documentation shows milliseconds.
    /// A magnitude above 1e11 is treated as milliseconds, anything else as seconds. Returns `None` if there
    /// is no timestamp, or if a float cannot represent it exactly (beyond some 285,000 years).
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

    /// Returns the timestamp as written, if present.
    pub fn timestamp_text(&self) -> Option<&'a str> {
        self.timestamp
    }

    /// Returns the timestamp in milliseconds since 1970, like [`Sample::timestamp_ms`].
    pub fn timestamp_ms(&self) -> Option<i64> {
        self.timestamp.and_then(number::timestamp_ms)
    }
}

/// A label of a sample or of an exemplar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Label<'a> {
    /// Name of the label. Only a quoted name (lenient mode) can contain escapes.
    pub name: Text<'a>,
    /// Value of the label, which may be empty. According to the format, an empty value is equivalent to no
    /// label.
    pub value: Text<'a>,
}

/// The labels of one sample: an iterator that parses them from the document on request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels<'a> {
    /// The content between the braces. It has been validated, so iterating cannot fail.
    between_braces: &'a str,
}

impl<'a> Labels<'a> {
    pub(crate) fn new(between_braces: &'a str) -> Self {
        Self { between_braces }
    }

    /// Splits off a quoted text: returns the text between the quotes, and the rest.
    #[inline]
    fn split_quoted(text: &'a str) -> Option<(&'a str, &'a str)> {
        let text = text.strip_prefix('"')?;
        let end = scan::closing_quote(text.as_bytes())?;
        Some((text.get(..end)?, text.get(end + 1..)?))
    }

    /// Splits off a name, quoted or not, and the spaces after it.
    #[inline]
    fn split_name(text: &'a str) -> Option<(Text<'a>, &'a str)> {
        if let Some((name, rest)) = Self::split_quoted(text) {
            return Some((Text::new(name), skip(rest, b' ')));
        }
        let (name, rest) = text.split_at_checked(scan::find(text.as_bytes(), b'=')?)?;
        Some((Text::new(name.trim_ascii_end()), rest))
    }

    /// Takes the next label, with everything that lenient mode allows.
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

/// Skips spaces, tabs and the byte `also` at the beginning.
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
        // Nearly all labels have an unquoted name, without spaces around it or around the equals sign.
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
