//! Errors of reading a document.

use std::fmt;

/// Maximum number of bytes of a document in an error.
const EXCERPT_BYTES: usize = 80;

/// The label that identifies the namespace of a series in the metrics of Temporal Cloud.
const NAMESPACE_LABEL: &str = "temporal_namespace";

/// Maximum length of a name in an error, more than that of any family or namespace.
const LONGEST_NAME: usize = 200;

/// An invalid document or line: what was expected, where, and what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(Box<Details>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Details {
    kind: ErrorKind,
    line: u64,
    column: usize,
    excerpt: String,
    subject: Option<Subject>,
    anything_understood: bool,
}

/// The family and namespace of a line, as far as they can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Subject {
    family: String,
    namespace: Option<String>,
}

/// The kind of error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The document is empty: no metric, no metadata, no end marker.
    EmptyDocument,
    /// A line is not UTF-8.
    NotUtf8,
    /// A line that cannot be parsed. The text states what was expected at the column.
    Syntax(&'static str),
    /// A violated rule that spans lines (strict mode only). The text states the rule.
    Rule(&'static str),
    /// Text follows the end marker, such as a second body.
    TextAfterEnd,
    /// The document ends without `# EOF` (strict mode only).
    MissingEndMarker,
    /// The last line ends in neither a line feed nor the end marker, so it may be truncated.
    CutLastLine,
    /// A line is longer than [`Limits::max_line_bytes`](crate::Limits::max_line_bytes).
    LineTooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// A sample has more labels than [`Limits::max_labels`](crate::Limits::max_labels).
    TooManyLabels {
        /// Maximum number of labels.
        limit: usize,
    },
    /// The document is longer than [`Limits::max_document_bytes`](crate::Limits::max_document_bytes).
    DocumentTooLong {
        /// The limit, in bytes.
        limit: u64,
    },
    /// Every line was skipped as unreadable.
    NothingReadable,
}

impl ErrorKind {
    /// Returns whether the error is the syntax of a single line, which
    /// [`OnUnreadable::Skip`](crate::OnUnreadable::Skip) skips.
    pub(crate) fn is_one_unreadable_line(self) -> bool {
        match self {
            Self::NotUtf8 | Self::Syntax(_) => true,
            Self::EmptyDocument
            | Self::Rule(_)
            | Self::TextAfterEnd
            | Self::MissingEndMarker
            | Self::CutLastLine
            | Self::LineTooLong { .. }
            | Self::TooManyLabels { .. }
            | Self::DocumentTooLong { .. }
            | Self::NothingReadable => false,
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EmptyDocument => formatter.write_str("the document is empty"),
            Self::NotUtf8 => formatter.write_str("the line is not UTF-8"),
            Self::Syntax(expected) => write!(formatter, "cannot parse the line, expected {expected}"),
            Self::Rule(rule) => formatter.write_str(rule),
            Self::TextAfterEnd => formatter.write_str("text follows the end marker `# EOF`"),
            Self::MissingEndMarker => {
                formatter.write_str("the document ends without the end marker `# EOF`, so it may be truncated")
            }
            Self::CutLastLine => formatter.write_str(
                "the last line ends in neither a line feed nor the end marker `# EOF`, so the document is truncated: fetch it again",
            ),
            Self::LineTooLong { limit } => write!(formatter, "the line is longer than the limit of {limit} bytes"),
            Self::TooManyLabels { limit } => write!(formatter, "there are more labels than the limit of {limit}"),
            Self::DocumentTooLong { limit } => write!(formatter, "the document is longer than the limit of {limit} bytes"),
            Self::NothingReadable => formatter.write_str("every line was skipped as unreadable"),
        }
    }
}

impl Error {
    /// Creates an error. `column` counts from 0 here and from 1 in the error.
    pub(crate) fn new(
        kind: ErrorKind,
        line: u64,
        column: usize,
        bytes: &[u8],
        anything_understood: bool,
    ) -> Self {
        let excerpt = excerpt(bytes, column);
        let subject = match kind {
            ErrorKind::NotUtf8
            | ErrorKind::Syntax(_)
            | ErrorKind::LineTooLong { .. }
            | ErrorKind::TooManyLabels { .. } => Subject::of(bytes),
            ErrorKind::EmptyDocument
            | ErrorKind::Rule(_)
            | ErrorKind::TextAfterEnd
            | ErrorKind::MissingEndMarker
            | ErrorKind::CutLastLine
            | ErrorKind::DocumentTooLong { .. }
            | ErrorKind::NothingReadable => None,
        };
        Self(Box::new(Details {
            kind,
            line,
            column: column + 1,
            excerpt,
            subject,
            anything_understood,
        }))
    }

    /// Returns the kind of error.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns the line number, starting from 1.
    pub fn line(&self) -> u64 {
        self.0.line
    }

    /// Returns the byte position in the line, starting from 1; 1 if it concerns the whole line.
    pub fn column(&self) -> usize {
        self.0.column
    }

    /// Returns the text at the position: at most 80 bytes of the line, with control characters escaped. For a
    /// rule whose violation is only found after its lines, returns the name of the family.
    pub fn excerpt(&self) -> &str {
        &self.0.excerpt
    }

    /// Returns the metric name at the beginning of an invalid line, if labels follow it.
    pub fn family(&self) -> Option<&str> {
        self.0.subject.as_ref().map(|subject| subject.family.as_str())
    }

    /// Returns the value of the label `temporal_namespace` of an invalid line, if it can be read.
    pub fn namespace(&self) -> Option<&str> {
        self.0.subject.as_ref()?.namespace.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Details {
            kind,
            line,
            column,
            excerpt,
            subject,
            anything_understood,
        } = &*self.0;
        write!(formatter, "line {line}, column {column}")?;
        if let Some(Subject { family, namespace }) = subject {
            write!(formatter, " (family `{family}`")?;
            if let Some(namespace) = namespace {
                write!(formatter, ", namespace `{namespace}`")?;
            }
            formatter.write_str(")")?;
        }
        write!(formatter, ": {kind}")?;
        if !excerpt.is_empty() {
            write!(formatter, ", in `{excerpt}`")?;
        }
        if !anything_understood {
            write!(
                formatter,
                "; no earlier line was valid either: check the address and the key"
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

impl Subject {
    /// Reads what it can from an invalid line: the name before the labels, and the namespace among them.
    fn of(line: &[u8]) -> Option<Self> {
        let brace = line.iter().position(|byte| *byte == b'{')?;
        let family = std::str::from_utf8(&line[..brace]).ok()?.trim();
        let is_name = |text: &str| {
            !text.is_empty()
                && text.len() <= LONGEST_NAME
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':'))
        };
        if !is_name(family) {
            return None;
        }
        let labels = String::from_utf8_lossy(&line[brace..]);
        let namespace = labels
            .split_once(NAMESPACE_LABEL)
            .and_then(|(_, rest)| {
                rest.trim_start()
                    .strip_prefix('=')?
                    .trim_start()
                    .strip_prefix('"')
            })
            // The line is damaged, so the closing quote may be missing. The checks below reject what is not a
            // name.
            .map(|rest| rest.split(['"', ',', '}']).next().unwrap_or_default())
            .filter(|name| {
                !name.is_empty()
                    && name.len() <= LONGEST_NAME
                    && name
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
            })
            .map(str::to_owned);
        Some(Self {
            family: family.to_owned(),
            namespace,
        })
    }
}

/// Returns the part of the line around the column, with ellipses where text was left out.
fn excerpt(bytes: &[u8], column: usize) -> String {
    // Near the beginning, the whole beginning is shown, which contains the family.
    let start = if column < EXCERPT_BYTES * 3 / 4 {
        0
    } else {
        column - EXCERPT_BYTES / 2
    };
    let end = bytes.len().min(start + EXCERPT_BYTES);
    let shown = String::from_utf8_lossy(bytes.get(start..end).unwrap_or_default());
    let mut text = String::with_capacity(shown.len() + 6);
    if start > 0 {
        text.push('…');
    }
    for character in shown.chars() {
        if character.is_control() || is_invisible(character) {
            text.extend(character.escape_default());
        } else {
            text.push(character);
        }
    }
    if end < bytes.len() {
        text.push('…');
    }
    text
}

/// Characters that hide or reorder text: byte-order marks, zero-width and direction marks.
fn is_invisible(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_cut_around_the_column() {
        let line = [b"x".repeat(500), b"HERE".to_vec(), b"y".repeat(500)].concat();
        let error = Error::new(ErrorKind::Syntax("a number"), 7, 500, &line, true);
        assert_eq!(error.excerpt().chars().count(), EXCERPT_BYTES + 2);
        assert!(error.excerpt().contains("HERE"), "{error}");
        assert_eq!((error.line(), error.column()), (7, 501));
    }

    #[test]
    fn a_malformed_line_names_its_family_and_namespace() {
        let line =
            br#"temporal_cloud_v1_action_limit{region="x",temporal_namespace="pay.a1b2c"} abc 1790000040"#;
        let error = Error::new(ErrorKind::Syntax("a number"), 7, 74, line, true);
        assert_eq!(error.family(), Some("temporal_cloud_v1_action_limit"));
        assert_eq!(error.namespace(), Some("pay.a1b2c"));
        assert!(
            error.to_string().starts_with(
                "line 7, column 75 (family `temporal_cloud_v1_action_limit`, namespace `pay.a1b2c`): cannot parse the line"
            ),
            "{error}"
        );
        assert!(error.excerpt().contains("abc"), "{error}");
        let cut = Error::new(ErrorKind::Syntax("a label"), 7, 3, b"a{temporal_namespace=", true);
        assert_eq!((cut.family(), cut.namespace()), (Some("a"), None));
    }

    #[test]
    fn control_characters_are_shown_escaped() {
        let error = Error::new(ErrorKind::NotUtf8, 1, 0, b"a\x1b[31m\xff\xef\xbb\xbf", true);
        assert_eq!(error.excerpt(), "a\\u{1b}[31m\u{fffd}\\u{feff}");
    }
}
