//! `-o, --output`: the output format of every command.

use clap::ValueEnum;

/// Output formats of `-o`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// A table that fits the terminal.
    #[value(alias = "text")]
    Table,
    /// One JSON document.
    Json,
    /// One JSON object per line.
    Jsonl,
    /// Comma-separated values with a header.
    Csv,
    /// A Markdown table, for a ticket.
    Markdown,
    /// A report in one HTML file.
    Html,
    /// No output; the exit code is the result.
    None,
}

impl Output {
    /// Returns the name as used on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned())
    }
}
