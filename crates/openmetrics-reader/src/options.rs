//! Reading options: the rules, the handling of unreadable lines, and limits.

/// The rules that a document must follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Mode {
    /// The complete `OpenMetrics` 1.0 text format: line syntax, end marker, families, units, the order of
    /// series and the rules of each type.
    Strict,
    /// Line by line, as the metrics endpoint of Temporal Cloud needs it. Also allows blank and comment lines,
    /// spaces and tabs between tokens, a trailing comma, CRLF, the type `untyped`, quoted UTF-8 names, and a
    /// missing end marker if the last line ends in a line feed. Rules that span lines are not checked.
    #[default]
    Lenient,
}

/// The handling of lines that cannot be parsed.
///
/// Only syntax errors of a single line can be skipped. A violated rule of strict mode, a limit, text after
/// the end marker, a truncated last line and an empty document are always errors, because they do not belong
/// to a single line, or because the rest cannot be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnUnreadable {
    /// Reading ends with an error.
    #[default]
    Error,
    /// The line is counted in [`Summary::skipped_lines`](crate::Summary::skipped_lines), and reading
    /// continues. A document without any readable line is still an error.
    Skip,
}

// Exhaustive: callers use struct update syntax (`..`), so a new field gets its default.
/// Limits of a document, so that a broken or hostile endpoint cannot exhaust memory or time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Maximum length of a line in bytes, without its line feed. [`ChunkedReader`](crate::ChunkedReader)
    /// buffers at most this much.
    pub max_line_bytes: usize,
    /// Maximum number of labels of one sample, or of one exemplar.
    pub max_labels: usize,
    /// Maximum length of the document in bytes.
    pub max_document_bytes: u64,
}

impl Default for Limits {
    /// Returns 1 MiB per line, 128 labels and 1 GiB per document: far above any real endpoint, and low enough to be harmless.
    fn default() -> Self {
        Self {
            max_line_bytes: 1 << 20,
            max_labels: 128,
            max_document_bytes: 1 << 30,
        }
    }
}

// Exhaustive: callers use struct update syntax (`..`), so a new field gets its default.
/// Options of a reader. The default is lenient, with an error at the first unreadable line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// The rules that the document must follow.
    pub mode: Mode,
    /// The handling of lines that cannot be parsed.
    pub on_unreadable: OnUnreadable,
    /// Limits of the document.
    pub limits: Limits,
}

impl Options {
    /// Returns options for strict reading, with an error at the first unreadable line and the default limits.
    pub fn strict() -> Self {
        Self {
            mode: Mode::Strict,
            ..Self::default()
        }
    }

    /// Returns options for lenient reading, with an error at the first unreadable line and the default
    /// limits.
    pub fn lenient() -> Self {
        Self::default()
    }
}
