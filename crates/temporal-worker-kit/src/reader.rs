//! Reads a TOML file key by key, so that all mistakes are reported at once, each with its line.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use human_text::{InvalidDuration, parse_duration};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::mistake::Mistake;

/// A file and the mistakes found in it so far.
pub(crate) struct Document<'t> {
    file: String,
    text: &'t str,
    pub(crate) mistakes: Vec<Mistake>,
}

/// One table of the file. Keys are taken out one by one; the remaining ones are unknown.
pub(crate) struct Section<'t> {
    name: String,
    pub(crate) line: usize,
    entries: BTreeMap<String, (usize, DeValue<'t>)>,
    known: Vec<&'static str>,
}

/// A value and its line.
pub(crate) type Given<T> = Option<(T, usize)>;

impl<'t> Document<'t> {
    /// Parses a file. Parts that cannot be parsed are recorded as mistakes, and the rest is still read.
    pub(crate) fn parse(file: &str, text: &'t str) -> (Self, Section<'t>) {
        let mut document = Self {
            file: file.to_owned(),
            text,
            mistakes: Vec::new(),
        };
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let line = error.span().map_or(1, |span| document.line_at(span.start));
            document.mistake(line, format!("not valid TOML: {}", error.message()));
        }
        let root = document.section(String::new(), 1, table.into_inner());
        (document, root)
    }

    pub(crate) fn mistake(&mut self, line: usize, problem: impl Into<String>) {
        let place = self.place(line);
        self.mistakes.push(Mistake::new(place, problem));
    }

    pub(crate) fn place(&self, line: usize) -> String {
        format!("{}:{line}", self.file)
    }

    fn line_at(&self, offset: usize) -> usize {
        let before = self.text.as_bytes().get(..offset).unwrap_or_default();
        1 + before.split(|byte| *byte == b'\n').skip(1).count()
    }

    fn section(&self, name: String, line: usize, table: DeTable<'t>) -> Section<'t> {
        let entries = table
            .into_iter()
            .map(|(key, value)| {
                let line = self.line_at(key.span().start);
                (key.into_inner().into_owned(), (line, value.into_inner()))
            })
            .collect();
        Section {
            name,
            line,
            entries,
            known: Vec::new(),
        }
    }
}

impl<'t> Section<'t> {
    fn take(&mut self, key: &'static str) -> Given<DeValue<'t>> {
        // Also if the key is absent: messages about unknown keys list all that can be set.
        self.known.push(key);
        self.entries.remove(key).map(|(line, value)| (value, line))
    }

    fn path(&self, key: &str) -> String {
        if self.name.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.name)
        }
    }

    fn wrong(&self, document: &mut Document<'_>, key: &str, line: usize, shown: impl Display, rule: &str) {
        document.mistake(line, format!("`{} = {shown}` {rule}", self.path(key)));
    }

    pub(crate) fn string(&mut self, document: &mut Document<'_>, key: &'static str) -> Given<String> {
        let (value, line) = self.take(key)?;
        match value {
            DeValue::String(text) if !text.trim().is_empty() => Some((text.into_owned(), line)),
            other => {
                self.wrong(
                    document,
                    key,
                    line,
                    shown(&other),
                    "must be a non-empty string in quotes",
                );
                None
            }
        }
    }

    pub(crate) fn flag(&mut self, document: &mut Document<'_>, key: &'static str) -> Given<bool> {
        let (value, line) = self.take(key)?;
        match value {
            DeValue::Boolean(flag) => Some((flag, line)),
            other => {
                self.wrong(document, key, line, shown(&other), "must be true or false");
                None
            }
        }
    }

    pub(crate) fn count(
        &mut self,
        document: &mut Document<'_>,
        key: &'static str,
        range: RangeInclusive<usize>,
    ) -> Given<usize> {
        let (value, line) = self.take(key)?;
        let number = match &value {
            DeValue::Integer(integer) => usize::from_str_radix(integer.as_str(), integer.radix()).ok(),
            _ => None,
        };
        if let Some(number) = number.filter(|number| range.contains(number)) {
            return Some((number, line));
        }
        let rule = format!("must be a whole number from {} to {}", range.start(), range.end());
        self.wrong(document, key, line, shown(&value), &rule);
        None
    }

    pub(crate) fn rate(&mut self, document: &mut Document<'_>, key: &'static str) -> Given<f64> {
        let (value, line) = self.take(key)?;
        let number = match &value {
            DeValue::Integer(integer) => integer.as_str().parse::<f64>().ok(),
            DeValue::Float(float) => float.as_str().parse::<f64>().ok(),
            _ => None,
        };
        if let Some(number) = number.filter(|number| number.is_finite() && *number > 0.0) {
            return Some((number, line));
        }
        let rule = "must be a number greater than 0; omit it for no limit";
        self.wrong(document, key, line, shown(&value), rule);
        None
    }

    pub(crate) fn duration(&mut self, document: &mut Document<'_>, key: &'static str) -> Given<Duration> {
        let (text, line) = self.string(document, key)?;
        if let Ok(duration) = parse_duration(&text) {
            return Some((duration, line));
        }
        let rule = format!("must be {}", InvalidDuration::EXPECTED);
        self.wrong(document, key, line, format!("\"{text}\""), &rule);
        None
    }

    pub(crate) fn table(&mut self, document: &mut Document<'t>, key: &'static str) -> Option<Section<'t>> {
        let (value, line) = self.take(key)?;
        match value {
            DeValue::Table(table) => Some(document.section(self.path(key), line, table)),
            other => {
                self.wrong(
                    document,
                    key,
                    line,
                    shown(&other),
                    &format!("must be a table: write [{key}]"),
                );
                None
            }
        }
    }

    pub(crate) fn tables(&mut self, document: &mut Document<'t>, key: &'static str) -> Vec<Section<'t>> {
        let Some((value, line)) = self.take(key) else {
            return Vec::new();
        };
        let rule = format!("must be a list of tables: write [[{key}]]");
        let DeValue::Array(array) = value else {
            self.wrong(document, key, line, shown(&value), &rule);
            return Vec::new();
        };
        let mut sections = Vec::new();
        for element in array {
            let line = document.line_at(Spanned::span(&element).start);
            match element.into_inner() {
                DeValue::Table(table) => sections.push(document.section(key.to_owned(), line, table)),
                other => self.wrong(document, key, line, shown(&other), &rule),
            }
        }
        sections
    }

    /// Reports every key that was not read.
    pub(crate) fn finish(self, document: &mut Document<'_>) {
        for (key, (line, _)) in &self.entries {
            let path = self.path(key);
            document.mistake(
                *line,
                format!("unknown key `{path}`; known keys here: {}", self.known.join(", ")),
            );
        }
    }
}

/// Formats a value for display. Text is hidden, because a misplaced key could contain a secret.
fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) if text.is_empty() => "\"\"".to_owned(),
        DeValue::String(_) => "(text)".to_owned(),
        DeValue::Integer(integer) => integer.as_str().to_owned(),
        DeValue::Float(float) => float.as_str().to_owned(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(_) => "(date)".to_owned(),
        DeValue::Array(_) => "(list)".to_owned(),
        DeValue::Table(_) => "(table)".to_owned(),
    }
}
