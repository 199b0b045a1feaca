//! The syntax of one line.
//!
//! Strict and lenient reading share one grammar; lenient allows more at the places marked by `self.lenient`. Nothing here
//! allocates.

use crate::error::ErrorKind;
use crate::event::{Event, Kind};
use crate::number;
use crate::options::Mode;
use crate::sample::{Exemplar, Labels, Sample};
use crate::scan;
use crate::shape::Shape;
use crate::text::Text;

/// Most characters in the labels of an exemplar (`OpenMetrics` 1.0, section on exemplars).
const MAX_EXEMPLAR_CHARACTERS: usize = 128;

/// Why a line is not understood, and at which byte.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) kind: ErrorKind,
    pub(crate) at: usize,
    /// Whether the line might be sound if it went on: in a last line without line feed, a sign that it was cut.
    pub(crate) may_be_cut: bool,
}

type Result<T> = std::result::Result<T, Problem>;

/// Reads one line, without its line feed. `None` is a blank line of lenient mode.
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

/// Reads a sample of the same shape as the last, whose value and timestamp have their usual forms: what nearly every line
/// is. `None` says nothing about any other line.
#[expect(
    clippy::inline_always,
    reason = "the sample is built where it is wanted; moving it takes longer than reading it"
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

/// Reads an exemplar, from its opening brace on, that has been checked before.
pub(crate) fn exemplar(text: &str) -> Option<Exemplar<'_>> {
    let mut cursor = Cursor {
        text,
        at: 0,
        lenient: true,
        max_labels: usize::MAX,
    };
    cursor.exemplar().ok()
}

/// What stands between braces.
struct Braces<'a> {
    text: &'a str,
    /// A quoted metric name.
    name: Option<Text<'a>>,
    has_quoted_name: bool,
}

struct Cursor<'a> {
    text: &'a str,
    at: usize,
    lenient: bool,
    max_labels: usize,
}

impl<'a> Cursor<'a> {
    #[inline]
    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[inline]
    fn take(&mut self, length: usize) -> &'a str {
        let from = self.at;
        self.at += length;
        &self.text[from..self.at]
    }

    fn is_at_end(&self) -> bool {
        self.at >= self.text.len()
    }

    #[cold]
    fn problem(&self, kind: ErrorKind, at: usize, reached: usize) -> Problem {
        Problem {
            kind,
            at,
            may_be_cut: reached >= self.text.len(),
        }
    }

    #[cold]
    fn expected<T>(&self, what: &'static str) -> Result<T> {
        Err(self.problem(ErrorKind::Syntax(what), self.at, self.at))
    }

    /// Skips blanks and tabs between tokens, which only lenient mode allows.
    #[inline]
    fn blanks(&mut self) {
        if self.lenient {
            while matches!(self.peek(), Some(b' ' | b'\t')) {
                self.at += 1;
            }
        }
    }

    /// Passes what separates two tokens: exactly one blank, or in lenient mode any number of blanks and tabs.
    #[inline]
    fn separator(&mut self) -> Result<()> {
        match self.peek() {
            Some(b' ') => self.at += 1,
            Some(b'\t') if self.lenient => self.at += 1,
            _ => return self.expected("a blank"),
        }
        self.blanks();
        Ok(())
    }

    /// Takes everything up to the next blank, tab or end.
    #[inline]
    fn word(&mut self) -> &'a str {
        let rest = self.rest();
        let length = rest
            .iter()
            .position(|byte| matches!(byte, b' ' | b'\t'))
            .unwrap_or(rest.len());
        self.take(length)
    }

    #[inline]
    fn number(&mut self) -> Result<(f64, &'a str)> {
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
    fn timestamp(&mut self) -> Result<&'a str> {
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
        matches!(rest.get(length), None | Some(b' ' | b'\t')).then(|| (value, self.take(length)))
    }

    #[inline]
    fn metric_name(&mut self) -> Result<Text<'a>> {
        match scan::metric_name(self.rest()) {
            0 => self.expected("a metric name"),
            length => Ok(Text::new(self.take(length))),
        }
    }

    /// Takes a quoted text; the cursor stands on its opening quote.
    #[inline]
    fn quoted(&mut self) -> Result<Text<'a>> {
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

    /// Takes a quoted name (lenient mode only), which may be any text but an empty one.
    fn quoted_name(&mut self) -> Result<Text<'a>> {
        let opening = self.at;
        let name = self.quoted()?;
        if name.raw().is_empty() {
            return Err(self.problem(ErrorKind::Syntax("a name between the quotes"), opening, opening));
        }
        Ok(name)
    }

    #[inline]
    fn sample(&mut self, shape: &mut Shape) -> Result<Sample<'a>> {
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
            Braces {
                text: "",
                name: None,
                has_quoted_name: false,
            }
        };
        let name = match (plain_name, braces.name) {
            (Some(name), None) => {
                if from == 0 && !braces.text.is_empty() && !braces.has_quoted_name {
                    shape.remember(self.text, after_name, braces.text);
                }
                name
            }
            (None, Some(name)) => name,
            (Some(_), Some(_)) => {
                return Err(self.problem(ErrorKind::Syntax("one metric name, not two"), after_name, 0));
            }
            (None, None) => return Err(self.problem(ErrorKind::Syntax("a metric name"), from, 0)),
        };
        self.rest_of_sample(name, braces.text)
    }

    /// Reads what follows the labels; the cursor stands after the closing brace, or after the name if there are no labels.
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

    /// Whether another token follows on the line.
    #[inline]
    fn another_token(&mut self) -> Result<bool> {
        if self.is_at_end() {
            return Ok(false);
        }
        self.separator()?;
        match self.is_at_end() {
            true if self.lenient => Ok(false),
            true => self.expected("no blank at the end of the line"),
            false => Ok(true),
        }
    }

    /// Reads braces with labels; the cursor stands on the opening one.
    #[inline]
    fn braces(&mut self) -> Result<Braces<'a>> {
        self.at += 1;
        let from = self.at;
        let mut metric_name = None;
        let mut count = 0;
        let mut names_seen = 0_u64;
        let mut has_quoted_name = false;
        self.blanks();
        if self.peek() != Some(b'}') {
            loop {
                let label_from = self.at;
                let name = match self.peek() {
                    Some(b'"') if self.lenient => self.quoted_name()?,
                    _ => self.label_name()?,
                };
                let is_quoted = self.text.as_bytes().get(label_from) == Some(&b'"');
                has_quoted_name |= is_quoted;
                self.blanks();
                if is_quoted && matches!(self.peek(), Some(b',' | b'}')) {
                    if metric_name.replace(name).is_some() {
                        return Err(self.problem(
                            ErrorKind::Syntax("one metric name, not two"),
                            label_from,
                            0,
                        ));
                    }
                } else {
                    self.label_value()?;
                    count += 1;
                    if count > self.max_labels {
                        let limit = self.max_labels;
                        return Err(self.problem(ErrorKind::TooManyLabels { limit }, label_from, 0));
                    }
                    let mark = name_mark(name);
                    if names_seen & mark != 0 && has_label(&self.text[from..label_from], name) {
                        let expected = "each label name once";
                        return Err(self.problem(ErrorKind::Syntax(expected), label_from, 0));
                    }
                    names_seen |= mark;
                }
                self.blanks();
                match self.peek() {
                    Some(b'}') => break,
                    Some(b',') => self.at += 1,
                    _ => return self.expected("a comma or a closing brace"),
                }
                self.blanks();
                if self.lenient && self.peek() == Some(b'}') {
                    break;
                }
            }
        }
        let text = &self.text[from..self.at];
        self.at += 1;
        Ok(Braces {
            text,
            name: metric_name,
            has_quoted_name,
        })
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

    /// Reads an exemplar to the end of the line; the cursor stands on its opening brace.
    fn exemplar(&mut self) -> Result<Exemplar<'a>> {
        if self.peek() != Some(b'{') {
            return self.expected("the opening brace of an exemplar");
        }
        let opening = self.at;
        let braces = self.braces()?;
        if braces.name.is_some() {
            return Err(self.problem(
                ErrorKind::Syntax("labels of an exemplar, not a metric name"),
                opening,
                0,
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
            .map(|label| label.name.raw().len() + label.value.unescaped().chars().count())
            .sum();
        if characters > MAX_EXEMPLAR_CHARACTERS {
            let expected = "at most 128 characters in the labels of an exemplar";
            return Err(self.problem(ErrorKind::Syntax(expected), from, 0));
        }
        Ok(())
    }

    /// Reads a line that begins with `#`, on which the cursor stands.
    fn metadata(&mut self) -> Result<Event<'a>> {
        let hash = self.at;
        self.at += 1;
        let comment = &self.text[self.at..];
        if self.separator().is_err() {
            return self.comment(comment, hash);
        }
        match self.word() {
            "EOF" => {
                self.blanks();
                if self.is_at_end() {
                    Ok(Event::End)
                } else {
                    self.expected("nothing after the end marker on its line")
                }
            }
            "TYPE" => {
                let family = self.family()?;
                self.kind().map(|kind| Event::Type { family, kind })
            }
            "HELP" => {
                let family = self.family()?;
                self.help().map(|help| Event::Help { family, help })
            }
            "UNIT" => {
                let family = self.family()?;
                self.unit().map(|unit| Event::Unit { family, unit })
            }
            _ => self.comment(comment, hash),
        }
    }

    fn comment(&self, comment: &'a str, hash: usize) -> Result<Event<'a>> {
        if self.lenient {
            return Ok(Event::Comment(comment));
        }
        let expected = "`# TYPE`, `# HELP`, `# UNIT` or `# EOF`";
        Err(self.problem(ErrorKind::Syntax(expected), hash, self.at))
    }

    fn family(&mut self) -> Result<Text<'a>> {
        self.separator()?;
        match self.peek() {
            Some(b'"') if self.lenient => self.quoted_name(),
            _ => self.metric_name(),
        }
    }

    fn kind(&mut self) -> Result<Kind> {
        self.separator()?;
        let from = self.at;
        let word = self.word();
        let kind = match Kind::from_word(word) {
            Some(kind) => kind,
            None if self.lenient && word == "untyped" => Kind::Unknown,
            None => return Err(self.problem(ErrorKind::Syntax("the name of a metric type"), from, self.at)),
        };
        self.blanks();
        if self.is_at_end() {
            Ok(kind)
        } else {
            self.expected("the end of the line after the metric type")
        }
    }

    fn help(&mut self) -> Result<Text<'a>> {
        if self.lenient && self.is_at_end() {
            return Ok(Text::new(""));
        }
        self.separator()?;
        let help = self.take(self.text.len() - self.at);
        if !self.lenient {
            let backslashes = help.bytes().rev().take_while(|&byte| byte == b'\\').count();
            if backslashes % 2 == 1 {
                return self.expected("a character after the last backslash");
            }
            if help.ends_with('\r') {
                return self.expected("a line feed without a carriage return at the end of the line");
            }
        }
        Ok(Text::new(help))
    }

    fn unit(&mut self) -> Result<&'a str> {
        if self.lenient && self.is_at_end() {
            return Ok("");
        }
        self.separator()?;
        let from = self.at;
        let unit = self.word();
        if !self.lenient && !scan::is_metric_name_part(unit) {
            return Err(self.problem(
                ErrorKind::Syntax("a unit of letters, digits, `_` and `:`"),
                from,
                from,
            ));
        }
        self.blanks();
        if self.is_at_end() {
            Ok(unit)
        } else {
            self.expected("the end of the line after the unit")
        }
    }
}

/// One of 64 bits for a label name, so that most samples are seen to repeat no name without comparing any two.
#[inline]
fn name_mark(name: Text<'_>) -> u64 {
    let bytes = name.raw().as_bytes();
    // Texts that differ may mean the same: those with escapes share one mark.
    let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else {
        return 1;
    };
    if bytes.contains(&b'\\') {
        return u64::MAX;
    }
    let mixed =
        usize::from(first).wrapping_mul(5) ^ usize::from(last).wrapping_mul(3) ^ bytes.len().wrapping_mul(7);
    1 << (mixed % 64)
}

#[cold]
fn has_label(between_braces: &str, name: Text<'_>) -> bool {
    Labels::new(between_braces).any(|label| label.name.means_same(name))
}
