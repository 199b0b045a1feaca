//! Creates the sender of traces from settings.

use capacity_settings::Settings;
use otlp_spans::{Collector, Service, Spans};

/// Returns the queue for the spans of a program. If the settings name a collector, starts a task on the current Tokio runtime
/// that sends them to it; otherwise, they are dropped.
///
/// # Errors
///
/// If the HTTP client cannot be created.
pub fn spans(settings: &Settings, program: &str, version: &str) -> Result<Spans, otlp_spans::Error> {
    Ok(match collector(settings, program, version)? {
        Some(collector) => Spans::to(collector),
        None => Spans::default(),
    })
}

/// Returns the collector that the settings name.
///
/// # Errors
///
/// As [`spans`].
pub fn collector(
    settings: &Settings,
    program: &str,
    version: &str,
) -> Result<Option<Collector>, otlp_spans::Error> {
    // The host name is needed because processes in different containers often have the same process id.
    let instance = format!("{}/{}", gethostname::gethostname().display(), std::process::id());
    let service = Service {
        name: program,
        version,
        instance: &instance,
    };
    let collector = |config| Collector::new(config, service);
    settings.traces.as_ref().map(collector).transpose()
}
