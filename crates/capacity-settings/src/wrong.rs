//! Problems with invalid values, as errors show them.

use std::borrow::Cow;
use std::fmt;

/// The problem and its remedy. Never contains a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrong(Cow<'static, str>);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&'static str> for Wrong {
    fn from(text: &'static str) -> Self {
        Self(Cow::Borrowed(text))
    }
}

impl From<String> for Wrong {
    fn from(text: String) -> Self {
        Self(Cow::Owned(text))
    }
}

impl From<Wrong> for String {
    fn from(wrong: Wrong) -> Self {
        wrong.0.into_owned()
    }
}
