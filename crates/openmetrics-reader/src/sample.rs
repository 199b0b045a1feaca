//! A sample and its parts.

use crate::line;
use crate::number;
use crate::scan;
use crate::text::Text;

/// One sample line. Borrows from the document; nothing is copied and nothing allocated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample<'a> {
    pub(crate) name: Text<'a>,
    pub(crate) labels: Labels<'a>,
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
        self.labels
    }

    /// Returns the value of the first label of this name.
    pub fn label(&self, name: &str) -> Option<Text<'a>> {
        self.labels.into_iter().find(|label| label.name == *name).map(|label| label.value)
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

    /// Returns the exemplar, if there is one.
    pub fn exemplar(&self) -> Option<Exemplar<'a>> {
        self.exemplar.and_then(line::exemplar)
    }
}

/// A reference to data outside the document, such as a trace, attached to a sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exemplar<'a> {
    pub(crate) labels: Labels<'a>,
    pub(crate) value: f64,
    pub(crate) timestamp: Option<&'a str>,
}

impl<'a> Exemplar<'a> {
    /// Iterates over the exemplar's labels in the order of the document.
    pub fn labels(&self) -> Labels<'a> {
        self.labels
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Labels<'a> {
    /// What stands between the braces. Has been checked, so that iterating cannot fail.
    between_braces: &'a str,
}

impl<'a> Labels<'a> {
    pub(crate) fn new(between_braces: &'a str) -> Self {
        Self { between_braces }
    }

    /// Reads a name or a quoted name at the start, and returns it with what follows.
    #[inline]
    fn split_name(text: &'a str) -> Option<(Text<'a>, &'a str)> {
        if let Some(quoted) = text.strip_prefix('"') {
            let end = scan::closing_quote(quoted.as_bytes())?;
            return Some((Text::new(quoted.get(..end)?), quoted.get(end + 1..)?));
        }
        let end = text.bytes().position(|byte| matches!(byte, b'=' | b' ' | b'\t'))?;
        let (name, rest) = text.split_at_checked(end)?;
        Some((Text::new(name), rest))
    }
}

impl<'a> Iterator for Labels<'a> {
    type Item = Label<'a>;

    #[inline]
    fn next(&mut self) -> Option<Label<'a>> {
        loop {
            let text = self.between_braces.trim_start_matches([',', ' ', '\t']);
            let (name, rest) = Self::split_name(text)?;
            let rest = rest.trim_start_matches([' ', '\t']);
            let Some(rest) = rest.strip_prefix('=') else {
                // A quoted name without a value is the metric's own.
                self.between_braces = rest;
                continue;
            };
            let value = rest.trim_start_matches([' ', '\t']).strip_prefix('"')?;
            let end = scan::closing_quote(value.as_bytes())?;
            self.between_braces = value.get(end + 1..)?;
            return Some(Label { name, value: Text::new(value.get(..end)?) });
        }
    }
}
