//! A piece of the document that may contain escapes.

use std::borrow::Cow;
use std::fmt;

/// A name, label value or help text as written in the document.
///
/// The escapes `\n`, `\"` and `\\` mean a line feed, a quote and a backslash. The `OpenMetrics` text format
/// keeps any other backslash unchanged. Unescaping allocates only if there is something to unescape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Text<'a> {
    raw: &'a str,
}

impl<'a> Text<'a> {
    pub(crate) fn new(raw: &'a str) -> Self {
        Self { raw }
    }

    /// Returns the text as written, including escapes, without surrounding quotes.
    pub fn raw(self) -> &'a str {
        self.raw
    }

    /// Returns the unescaped text. Unknown escapes keep their backslash.
    pub fn unescaped(self) -> Cow<'a, str> {
        let Some(first) = self.raw.find('\\') else {
            return Cow::Borrowed(self.raw);
        };
        let (plain, escaped) = self.raw.split_at(first);
        let mut text = String::with_capacity(self.raw.len());
        text.push_str(plain);
        let mut characters = escaped.chars();
        while let Some(character) = characters.next() {
            if character != '\\' {
                text.push(character);
                continue;
            }
            match characters.next() {
                Some('n') => text.push('\n'),
                Some(plain @ ('"' | '\\')) => text.push(plain),
                Some(other) => text.extend(['\\', other]),
                None => text.push('\\'),
            }
        }
        Cow::Owned(text)
    }

    /// Returns whether two texts are equal after unescaping.
    pub(crate) fn means_same(self, other: Text<'_>) -> bool {
        self.raw == other.raw
            || ((self.raw.contains('\\') || other.raw.contains('\\'))
                && self.unescaped() == other.unescaped())
    }
}

/// Compares the unescaped text with a plain string.
impl PartialEq<str> for Text<'_> {
    fn eq(&self, other: &str) -> bool {
        if self.raw.contains('\\') {
            self.unescaped() == other
        } else {
            self.raw == other
        }
    }
}

/// Compares the unescaped text with a plain string.
impl PartialEq<&str> for Text<'_> {
    fn eq(&self, other: &&str) -> bool {
        *self == **other
    }
}

/// Writes the unescaped text.
impl fmt::Display for Text<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.unescaped())
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::nothing_to_do("plain", "plain")]
    #[case::line_feed(r"a\nb", "a\nb")]
    #[case::quote(r#"a\"b"#, "a\"b")]
    #[case::backslash(r"a\\b", r"a\b")]
    #[case::backslash_before_n(r"a\\nb", r"a\nb")]
    #[case::unknown_escape_keeps_its_backslash(r"a\zb\é", r"a\zb\é")]
    #[case::last_backslash_stays(r"a\", r"a\")]
    fn unescaping(#[case] raw: &str, #[case] meaning: &str) {
        assert_eq!(Text::new(raw).unescaped(), meaning);
        assert_eq!(Text::new(raw), meaning);
        assert_eq!(Text::new(raw).to_string(), meaning);
    }

    #[test]
    fn nothing_to_unescape_borrows() {
        assert!(matches!(Text::new("plain").unescaped(), Cow::Borrowed("plain")));
    }

    #[test]
    fn differently_escaped_texts_mean_the_same() {
        assert!(Text::new(r"\z").means_same(Text::new(r"\\z")));
        assert!(!Text::new(r"\n").means_same(Text::new("n")));
    }
}
