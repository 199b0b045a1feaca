//! Terminal capabilities (colors, width, progress), and the log on standard error.

use std::io::{BufRead, IsTerminal};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use clap::ValueEnum;
use comfy_table::Table;
use indicatif::{ProgressBar, ProgressStyle, WeakProgressBar};
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
    /// Whether standard error shows a line that is overwritten while something is going on.
    shows_progress: bool,
    width: Option<u16>,
}

/// The progress line that is shown now, if any.
static PROGRESS: Mutex<Option<WeakProgressBar>> = Mutex::new(None);

/// Writes to standard error without mixing it with the progress line.
pub(crate) fn beside_progress(write: impl FnOnce()) {
    let shown = PROGRESS.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match shown.and_then(|shown| shown.upgrade()) {
        Some(bar) if !bar.is_finished() => bar.suspend(write),
        _ => write(),
    }
}

impl Terminal {
    /// Detects the properties of both streams.
    pub(crate) fn new(color: Color) -> Self {
        let (output, error) = (std::io::stdout().is_terminal(), std::io::stderr().is_terminal());
        let columns = std::env::var("COLUMNS").ok();
        let width = output.then(|| width(Table::new().width(), columns.as_deref()));
        let variable = |name: &str| std::env::var(name).unwrap_or_default();
        Self::of(
            color,
            (output, error),
            &variable("NO_COLOR"),
            &variable("TERM"),
            width,
        )
    }

    /// Decides by what the streams are and by the variables of the environment. A dumb terminal cannot move its cursor.
    fn of(
        color: Color,
        (output, error): (bool, bool),
        no_color: &str,
        term: &str,
        width: Option<u16>,
    ) -> Self {
        let is_dumb = term == "dumb";
        let wanted = |is_terminal: bool| match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => is_terminal && no_color.is_empty() && !is_dumb,
        };
        Self {
            output_colors: wanted(output),
            error_colors: wanted(error),
            shows_progress: error && !is_dumb,
            width,
        }
    }

    /// Returns a terminal of this width without colors, or a pipe if there is no width.
    #[cfg(test)]
    pub(crate) fn plain(width: Option<u16>) -> Self {
        Self {
            output_colors: false,
            error_colors: false,
            shows_progress: false,
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
    pub(crate) fn progress(self, message: impl Into<std::borrow::Cow<'static, str>>) -> ProgressBar {
        if !self.shows_progress {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new_spinner();
        let template = "{spinner} {msg} [{elapsed}]";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(message);
        bar.enable_steady_tick(Duration::from_millis(120));
        *PROGRESS.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar.downgrade());
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

    #[rstest]
    #[case::terminal(Color::Auto, "", "xterm-256color", (true, true, true))]
    #[case::dumb(Color::Auto, "", "dumb", (false, false, false))]
    #[case::no_color(Color::Auto, "1", "xterm", (false, false, true))]
    #[case::empty_no_color(Color::Auto, "", "", (true, true, true))]
    #[case::never(Color::Never, "", "xterm", (false, false, true))]
    #[case::asked_for_on_a_dumb_terminal(Color::Always, "", "dumb", (true, true, false))]
    fn colors_and_progress_depend_on_the_terminal(
        #[case] color: Color,
        #[case] no_color: &str,
        #[case] term: &str,
        #[case] expected: (bool, bool, bool),
    ) {
        let terminal = Terminal::of(color, (true, true), no_color, term, Some(80));
        let is = (
            terminal.output_colors,
            terminal.error_colors,
            terminal.shows_progress,
        );
        assert_eq!(is, expected);
        let piped = Terminal::of(Color::Auto, (false, false), no_color, term, None);
        assert!(!piped.output_colors && !piped.error_colors && !piped.shows_progress);
    }

    #[test]
    fn log_levels_are_validated_and_those_of_the_temporal_cli_accepted() {
        assert_eq!(log_level("never").as_deref(), Ok("never"));
        assert!(log_level("warn,capacity_autopilot=debug").is_ok());
        assert!(log_level("verbose").is_err());
    }
}
