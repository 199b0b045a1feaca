//! Parses TOML documents without displaying their lines.

use config::{FileFormat, Map, Source, Value};

use crate::wrong::Wrong;

/// Parses a TOML document. Errors do not contain the line, which may be secret.
pub(crate) fn table(text: &str) -> Result<Map<String, Value>, Wrong> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let read = config::File::from_str(text, FileFormat::Toml).collect();
    read.map_err(|error| {
        // The first line of the error is the position.
        let place = error.to_string().lines().next().unwrap_or_default().to_owned();
        format!("this is not valid TOML: {place}").into()
    })
}
