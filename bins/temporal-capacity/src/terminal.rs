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
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let wanted = |is_terminal: bool| match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => is_terminal && !no_color,
        };
        Self {
            output_colors: wanted(std::io::stdout().is_terminal()),
            error_colors: wanted(std::io::stderr().is_terminal()),
            // A terminal that does not report its size has a width of 0.
            width: Table::new().width().filter(|width| *width > 0),
        }
    }

    /// Returns a terminal of this width without colors, or a pipe.
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
        reason = "asked of the terminal, like everything that it shows"
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

/// Sends the log to standard error. Replaces an invalid filter by `warn` and logs that.
pub(crate) fn log_to_stderr(level: &str, format: LogFormat, colors: bool) {
    // The Temporal CLI passes its flags on and uses `never` to disable logs.
    let filter = if level == "never" { "off" } else { level };
    let (filter, problem) = match EnvFilter::try_new(filter) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new("warn"), Some(error)),
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // Lines that cannot be formatted or written are dropped.
        .log_internal_errors(false)
        .with_writer(LogWriter::new);
    match format {
        LogFormat::Text => builder.with_ansi(colors).without_time().with_target(false).init(),
        LogFormat::Json => builder.json().init(),
    }
    if let Some(error) = problem {
        tracing::warn!(value = %level, %error, "--log-level is not a log filter; using `warn`");
    }
}

/// Asks a yes-or-no question on the terminal.
pub(crate) async fn confirmed(question: &str) -> bool {
    write_error(format!("{question} [y/N] "));
    let (sender, answer) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut answer = String::new();
        if std::io::stdin().lock().read_line(&mut answer).is_ok() {
            let _ = sender.send(answer);
        }
    });
    let answer = answer.await.unwrap_or_default();
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}
