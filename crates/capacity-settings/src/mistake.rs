//! Mistakes in settings, reported all at once, each with key, value, origin and remedy. The value of a secret
//! is never included.

use std::fmt;

use human_text::counted;

use crate::catalog::entry;

/// The origin of a value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Origin {
    /// The setting is not set.
    Default,
    /// A line of a settings file or a `.env`.
    Line {
        /// Path of the file.
        file: String,
        /// The line number, starting from 1.
        line: usize,
    },
    /// A file as a whole.
    File(String),
    /// The environment of the process.
    Environment,
    /// A flag of the command line.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Line { file, line } => write!(f, "{file}, line {line}"),
            Self::File(file) => write!(f, "file {file}"),
            Self::Environment => f.write_str("environment"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// A mistake in one setting or file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Name of the setting or of the file.
    pub name: String,
    /// The value, unless it is a secret.
    pub value: Option<String>,
    /// Origin of the value.
    pub origin: Option<Origin>,
    /// The problem and its remedy.
    pub problem: String,
}

impl Mistake {
    pub(crate) fn of_file(file: &str, line: Option<usize>, problem: impl Into<String>) -> Self {
        let name = match line {
            Some(line) => Origin::Line {
                file: file.to_owned(),
                line,
            }
            .to_string(),
            None => file.to_owned(),
        };
        Self {
            name,
            value: None,
            origin: None,
            problem: problem.into(),
        }
    }

    pub(crate) fn of_value(name: &str, value: &str, origin: &Origin, problem: impl Into<String>) -> Self {
        // A name that is not in the catalog may be a misspelled secret, so its value is not shown.
        let shown = entry(name).is_some_and(|entry| !entry.is_secret);
        Self {
            name: name.to_owned(),
            value: shown.then(|| value.chars().take(100).collect()),
            origin: Some(origin.clone()),
            problem: problem.into(),
        }
    }

    pub(crate) fn of_name(name: &str, origin: Option<Origin>, problem: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            value: None,
            origin,
            problem: problem.into(),
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(value) = &self.value {
            // Escaped, because an invisible character may be the mistake.
            write!(f, " = `{}`", value.escape_debug())?;
        }
        if let Some(origin) = &self.origin {
            write!(f, " ({origin})")?;
        }
        write!(f, ": {}", self.problem)
    }
}

/// All mistakes of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.0.len() == 1 { "is" } else { "are" };
        write!(f, "{} {verb} wrong", counted(self.0.len(), "setting"))?;
        for mistake in &self.0 {
            write!(f, "\n  {mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}
