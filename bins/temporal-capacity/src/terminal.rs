//! What the terminal can show: colors, width, progress; and the log on the error stream.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use process_edge::LogWriter;
use tracing_subscriber::EnvFilter;

use crate::arguments::{Color, Global, LogFormat};

/// The two streams we write to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terminal {
    output_colors: bool,
    error_colors: bool,
}

impl Terminal {
    /// Looks at both streams once.
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
        }
    }

    /// Whether standard output takes colors.
    pub(crate) fn output_colors(self) -> bool {
        self.output_colors
    }

    /// Whether the error stream takes colors.
    pub(crate) fn error_colors(self) -> bool {
        self.error_colors
    }

    /// Starts a progress line on the error stream; it shows on a terminal only.
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

/// Sends the log to the error stream. A filter that does not parse is replaced by `warn`, and said so.
pub(crate) fn log_to_stderr(global: &Global, colors: bool) {
    // The Temporal CLI, which hands its flags on, calls silence `never`.
    let level = if global.log_level == "never" {
        "off"
    } else {
        &global.log_level
    };
    let (filter, problem) = match EnvFilter::try_new(level) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new("warn"), Some(error)),
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // A line that cannot be formatted is lost, like one that cannot be written.
        .log_internal_errors(false)
        .with_writer(LogWriter::new);
    match global.log_format {
        LogFormat::Text => builder.with_ansi(colors).without_time().with_target(false).init(),
        LogFormat::Json => builder.json().init(),
    }
    if let Some(error) = problem {
        tracing::warn!(value = %global.log_level, %error, "--log-level is no log filter; using `warn`");
    }
}
