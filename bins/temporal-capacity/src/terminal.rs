//! Terminal capabilities (colors, width, progress), and the log on standard error.

use std::io::{BufRead, IsTerminal};
use std::time::Duration;

use clap::ValueEnum;
use comfy_table::Table;
use indicatif::{ProgressBar, ProgressStyle};
use process_edge::{LogWriter, write_error};
use tracing_subscriber::EnvFilter;

/// When to use colors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Format of the log on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Human-readable lines.
    #[value(alias = "pretty")]
    Text,
    /// One JSON object per line.
    Json,
}

/// The properties of standard output and standard error.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terminal {
    output_colors: bool,
    error_colors: bool,
    width: Option<u16>,
}

impl Terminal {
    /// Detects the properties of both streams.
    pub(crate) fn new(color: Color) -> Self {
        let (no_color, kind) = (std::env::var_os("NO_COLOR"), std::env::var_os("TERM"));
        let is_plain =
            // An empty NO_COLOR counts as not set (no-color.org).
            no_color.is_some_and(|value| !value.is_empty()) || kind.is_some_and(|kind| kind == "dumb");
        let wanted = |is_terminal: bool| match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => is_terminal && !is_plain,
        };
        let columns = std::env::var("COLUMNS").ok();
        Self {
            output_colors: wanted(std::io::stdout().is_terminal()),
            error_colors: wanted(std::io::stderr().is_terminal()),
            width: std::io::stdout()
                .is_terminal()
                .then(|| width(Table::new().width(), columns.as_deref())),
        }
    }

    /// Returns a terminal of this width without colors, or a pipe if there is no width.
    #[cfg(test)]
    pub(crate) fn plain(width: Option<u16>) -> Self {
        Self {
            output_colors: false,
            error_colors: false,
            width,
        }
    }

    /// Returns the width of standard output in characters; `None` unless it is a terminal.
    pub(crate) fn width(self) -> Option<u16> {
        self.width
    }

    /// Returns whether standard output supports colors.
    pub(crate) fn output_colors(self) -> bool {
        self.output_colors
    }

    /// Returns whether standard error supports colors.
    pub(crate) fn error_colors(self) -> bool {
        self.error_colors
    }

    /// Starts a progress line on standard error, which is visible only on a terminal.
    #[expect(
        clippy::unused_self,
        reason = "a method, like the other properties of the terminal"
    )]
    pub(crate) fn progress(self, message: impl Into<std::borrow::Cow<'static, str>>) -> ProgressBar {
        if !std::io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new_spinner();
        let template = "{spinner} {msg} [{elapsed}]";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(message);
        bar.enable_steady_tick(Duration::from_millis(120));
        bar
    }
}

/// Returns the width of a terminal. A terminal that does not report its size has a width of 0.
fn width(reported: Option<u16>, columns: Option<&str>) -> u16 {
    let columns = columns.and_then(|columns| columns.trim().parse().ok());
    let known = [reported, columns];
    let usable = known.into_iter().flatten().find(|width| *width > 0);
    usable.unwrap_or(80)
}

/// Parses a log level or filter.
pub(crate) fn log_level(text: &str) -> Result<String, temporal_worker_kit::InvalidLevel> {
    // The Temporal CLI passes its flags on and uses `never` to disable logs.
    if text != "never" {
        temporal_worker_kit::LogSettings::try_new(text, temporal_worker_kit::LogFormat::Text)?;
    }
    Ok(text.to_owned())
}

/// Sends the log to standard error.
pub(crate) fn log_to_stderr(level: &str, format: LogFormat, colors: bool) {
    let filter = if level == "never" { "off" } else { level };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        // Lines that cannot be formatted or written are dropped.
        .log_internal_errors(false)
        .with_writer(LogWriter::new);
    match format {
        LogFormat::Text => builder.with_ansi(colors).without_time().with_target(false).init(),
        LogFormat::Json => builder.json().init(),
    }
}

/// Asks a yes-or-no question on the terminal.
pub(crate) async fn confirmed(question: &str) -> bool {
    write_error(format!("{question} [y/N] "));
    let (sender, answer) = tokio::sync::oneshot::channel();
    // A blocking read cannot be canceled: if a signal comes first, the thread ends with the process.
    std::thread::spawn(move || {
        let mut answer = String::new();
        if std::io::stdin().lock().read_line(&mut answer).is_ok() {
            let _ = sender.send(answer);
        }
    });
    let answer = answer.await.unwrap_or_default();
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::known(Some(120), Some("60"), 120)]
    #[case::unknown(Some(0), Some("60"), 60)]
    #[case::nothing_known(Some(0), None, 80)]
    #[case::not_a_number(None, Some("wide"), 80)]
    #[case::zero_everywhere(Some(0), Some("0"), 80)]
    fn a_terminal_that_reports_no_width_uses_the_columns_variable(
        #[case] reported: Option<u16>,
        #[case] columns: Option<&str>,
        #[case] expected: u16,
    ) {
        assert_eq!(width(reported, columns), expected);
    }

    #[test]
    fn log_levels_are_validated_and_those_of_the_temporal_cli_accepted() {
        assert_eq!(log_level("never").as_deref(), Ok("never"));
        assert!(log_level("warn,capacity_autopilot=debug").is_ok());
        assert!(log_level("verbose").is_err());
    }
}
