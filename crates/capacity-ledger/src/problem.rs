//! Problems with an address, a path or a line of a file, as one sentence of an error.

use std::borrow::Cow;
use std::fmt;

/// The problem and its remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem(Cow<'static, str>);

impl Problem {
    /// Adds the line number.
    pub(crate) fn in_line(self, number: u64) -> Self {
        format!("line {number}: {self}").into()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&'static str> for Problem {
    fn from(text: &'static str) -> Self {
        Self(Cow::Borrowed(text))
    }
}

impl From<String> for Problem {
    fn from(text: String) -> Self {
        Self(Cow::Owned(text))
    }
}

impl From<Problem> for String {
    fn from(problem: Problem) -> Self {
        problem.0.into_owned()
    }
}
