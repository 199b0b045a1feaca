//! TOML documents, read without showing their lines.

use config::{FileFormat, Map, Source, Value};

/// Reads a TOML document. Errors do not show the line, which may contain a secret.
pub(crate) fn table(text: &str) -> Result<Map<String, Value>, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let read = config::File::from_str(text, FileFormat::Toml).collect();
    read.map_err(|error| {
        // Its first line is the place.
        let place = error.to_string().lines().next().unwrap_or_default().to_owned();
        format!("this is not valid TOML: {place}")
    })
}
