//! Sample lines: a name, labels, a value, and optionally a timestamp and an exemplar.

use crate::error::ErrorKind;
use crate::line::cursor::Cursor;
use crate::line::cursor::Result;
use crate::line::labels::Braces;
use crate::sample::{Exemplar, Sample};
use crate::shape::Shape;
use crate::text::Text;

/// Maximum number of characters in the labels of an exemplar (`OpenMetrics` 1.0, section on exemplars).
const MAX_EXEMPLAR_CHARACTERS: usize = 128;

impl<'a> Cursor<'a> {
    pub(super) fn sample(&mut self, shape: &mut Shape) -> Result<Sample<'a>> {
        let from = self.at;
        let plain_name = match self.peek() {
            Some(b'{') if self.lenient => None,
            _ => Some(self.metric_name()?),
        };
        let after_name = self.at;
        self.blanks();
        let braces = if self.peek() == Some(b'{') {
            self.braces()?
        } else {
            self.at = after_name;
            Braces::default()
        };
        let expected = match (plain_name, braces.name) {
            (Some(_), Some(_)) => "one metric name, not two",
            (None, None) => "a metric name",
            (None, Some(name)) => return self.rest_of_sample(name, braces.text),
            (Some(name), None) => {
                // A shape is compared from the first byte of a line, and its quotes must be those of values.
                if from == 0 && !braces.text.is_empty() && !braces.has_quoted_name {
                    shape.remember(self.text, after_name, braces.text);
                }
                return self.rest_of_sample(name, braces.text);
            }
        };
        Err(self.problem(ErrorKind::Syntax(expected), from, from))
    }

    /// Parses what follows the labels. The cursor must be after the closing brace, or after the name if there
    /// are no labels.
    #[inline]
    fn rest_of_sample(&mut self, name: Text<'a>, between_braces: &'a str) -> Result<Sample<'a>> {
        self.separator()?;
        let (value, value_text) = self.number()?;
        let mut sample = Sample {
            name,
            between_braces,
            value,
            value_text,
            timestamp: None,
            exemplar: None,
        };
        if self.another_token()? && self.peek() != Some(b'#') {
            sample.timestamp = Some(self.timestamp()?);
            if !self.another_token()? {
                return Ok(sample);
            }
        }
        if self.is_at_end() {
            return Ok(sample);
        }
        if self.peek() != Some(b'#') {
            return self.expected("the end of the line, or an exemplar");
        }
        self.at += 1;
        self.separator()?;
        let exemplar_from = self.at;
        let exemplar = self.exemplar()?;
        self.check_exemplar_length(&exemplar, exemplar_from)?;
        sample.exemplar = Some(&self.text[exemplar_from..]);
        Ok(sample)
    }

    /// Parses an exemplar to the end of the line. The cursor must be at its opening brace.
    pub(super) fn exemplar(&mut self) -> Result<Exemplar<'a>> {
        if self.peek() != Some(b'{') {
            return self.expected("the opening brace of an exemplar");
        }
        let opening = self.at;
        let braces = self.braces()?;
        if braces.name.is_some() {
            return Err(self.problem(
                ErrorKind::Syntax("labels of an exemplar, not a metric name"),
                opening,
                opening,
            ));
        }
        self.separator()?;
        let (value, _) = self.number()?;
        let timestamp = if self.another_token()? {
            Some(self.timestamp()?)
        } else {
            None
        };
        if timestamp.is_some() && self.another_token()? {
            return self.expected("the end of the line");
        }
        Ok(Exemplar {
            between_braces: braces.text,
            value,
            timestamp,
        })
    }

    fn check_exemplar_length(&self, exemplar: &Exemplar<'_>, from: usize) -> Result<()> {
        if self.lenient {
            return Ok(());
        }
        let characters: usize = exemplar
            .labels()
            // Label names are ASCII in strict mode, so their bytes are characters.
            .map(|label| label.name.raw().len() + label.value.unescaped().chars().count())
            .sum();
        if characters > MAX_EXEMPLAR_CHARACTERS {
            let expected = "at most 128 characters in the labels of an exemplar";
            return Err(self.problem(ErrorKind::Syntax(expected), from, from));
        }
        Ok(())
    }
}
