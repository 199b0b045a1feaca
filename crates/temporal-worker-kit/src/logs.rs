//! Structured logs on standard error, one line per event.
//!
//! This crate never installs a global logger: `main` does, with the subscriber from here. A log line that
//! cannot be written is dropped, and never stops or delays the worker. Call `process_edge::flush_errors`
//! before the process ends.

use process_edge::LogWriter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

// Exhaustive: callers use struct update syntax (`..`), so a new field gets its default.
/// Level and format of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// A log level or a `tracing` filter, such as `info` or `info,my_crate=debug`.
    pub level: String,
    /// Output format.
    pub format: LogFormat,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::Text,
        }
    }
}

/// A text that is neither a log level nor a filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{level}` must be error, warn, info, debug, trace, off or a filter such as info,my_crate=debug")]
pub struct InvalidLevel {
    level: String,
}

impl LogSettings {
    /// Creates settings with this level.
    ///
    /// # Errors
    ///
    /// If it is neither a level nor a `tracing` filter.
    pub fn try_new(level: &str, format: LogFormat) -> Result<Self, InvalidLevel> {
        let level = level.to_owned();
        if is_filter(&level) {
            Ok(Self { level, format })
        } else {
            Err(InvalidLevel { level })
        }
    }
}

/// Returns whether a text is a level or a filter. `tracing` would take a single word that is not a level, such as `verbose`, for
/// a target, and log only that target.
pub(crate) fn is_filter(text: &str) -> bool {
    let is_known = |part: &str| {
        let is_level = !part.is_empty() && part.parse::<LevelFilter>().is_ok();
        is_level || part.contains(['=', '['])
    };
    EnvFilter::try_new(text).is_ok() && text.split(',').all(|part| is_known(part.trim()))
}

/// Output format of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum LogFormat {
    /// Human-readable lines.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Returns the subscriber that writes the log. Events inside workflows and activities include the workflow id
/// and run id.
pub fn subscriber(settings: &LogSettings) -> Box<dyn tracing::Subscriber + Send + Sync> {
    let filter = EnvFilter::try_new(&settings.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // A line that cannot be formatted is dropped, like one that cannot be written.
        .log_internal_errors(false)
        .with_writer(LogWriter::new);
    match settings.format {
        LogFormat::Text => Box::new(builder.with_ansi(false).with_target(false).finish()),
        LogFormat::Json => Box::new(builder.json().finish()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_level_is_a_level_or_a_filter() {
        for text in ["error", "INFO", "off", "warn,my_crate=debug", "hyper=trace"] {
            assert!(LogSettings::try_new(text, LogFormat::Text).is_ok(), "{text}");
        }
        for text in ["verbose", "debgu", "", "warn,loud", "my_crate=loud"] {
            let error = LogSettings::try_new(text, LogFormat::Text).expect_err(text);
            assert!(error.to_string().contains("debug, trace"), "{error}");
        }
    }
}
