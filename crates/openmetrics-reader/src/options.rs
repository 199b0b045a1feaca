//! How to read: which rules, what to do with a line that cannot be read, and how much to take.

/// Which rules a document is held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Mode {
    /// The whole of the `OpenMetrics` 1.0 text format: line syntax, end marker, families, units, the order of series and
    /// the rules of each type.
    Strict,
    /// Line by line, as the metrics endpoint of Temporal Cloud needs it: also blank and comment lines, blanks and tabs
    /// between tokens, a trailing comma, CRLF, the type `untyped`, quoted UTF-8 names, and a missing end marker when the
    /// last line ends in a line feed. Rules that span lines are not checked.
    #[default]
    Lenient,
}

/// What happens at a line that cannot be read.
///
/// Only the syntax of one line can be skipped. A broken rule of strict mode, a limit, text after the end marker, a cut
/// last line and an empty document are errors always, because no single line is to blame or the rest cannot be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnUnreadable {
    /// Reading ends with an error.
    #[default]
    Error,
    /// The line is counted in [`Summary::skipped_lines`](crate::Summary::skipped_lines) and reading continues. A document without
    /// any readable line is still an error.
    Skip,
}

/// How much a reader takes before it gives up, so that a broken or hostile endpoint cannot exhaust memory or time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest line in bytes, without its line feed. Also the most that [`ChunkedReader`](crate::ChunkedReader) buffers.
    pub max_line_bytes: usize,
    /// Most labels of one sample (and of one exemplar).
    pub max_labels: usize,
    /// Longest document in bytes.
    pub max_document_bytes: u64,
}

impl Default for Limits {
    /// 1 MiB a line, 128 labels, 1 GiB a document: far above any real endpoint, far below what causes harm.
    fn default() -> Self {
        Self {
            max_line_bytes: 1 << 20,
            max_labels: 128,
            max_document_bytes: 1 << 30,
        }
    }
}

/// All choices of a reader. The default is lenient, with an error at the first unreadable line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Which rules the document is held to.
    pub mode: Mode,
    /// What happens at a line that cannot be read.
    pub on_unreadable: OnUnreadable,
    /// How much is taken.
    pub limits: Limits,
}

impl Options {
    /// Strict reading, with an error at the first unreadable line and the default limits.
    pub fn strict() -> Self {
        Self {
            mode: Mode::Strict,
            ..Self::default()
        }
    }

    /// Lenient reading, with an error at the first unreadable line and the default limits.
    pub fn lenient() -> Self {
        Self::default()
    }
}
