//! From settings to where traces go.

use capacity_settings::Settings;
use otlp_spans::{Collector, Service, Spans};

/// Returns where the traces of a program go; nowhere unless the settings name a collector. Starts a task on the current Tokio runtime
/// if they do.
///
/// # Errors
///
/// If the HTTP library cannot be set up.
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
    // In a container, every process has the same number.
    let instance = format!("{}/{}", gethostname::gethostname().display(), std::process::id());
    let service = Service {
        name: program,
        version,
        instance: &instance,
    };
    let collector = |config| Collector::new(config, service);
    settings.traces.as_ref().map(collector).transpose()
}
