//! Parses TOML documents without displaying their lines.

use config::{FileFormat, Map, Source, Value};

use crate::wrong::Wrong;

/// Parses a TOML document. Errors do not contain the line, which may be secret.
pub(crate) fn table(text: &str) -> Result<Map<String, Value>, Wrong> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let read = config::File::from_str(text, FileFormat::Toml).collect();
    read.map_err(|error| {
        // The first line of the error is the position.
        let error = error.to_string();
        let first = error.lines().next().unwrap_or_default();
        let place = first.split_once(" at ").map(|(_, place)| format!(" at {place}"));
        format!(
            "invalid TOML{}: write NAME = VALUE, with text in quotes, every name once, and every quote and bracket closed",
            place.unwrap_or_default()
        )
        .into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_the_place_and_the_remedy_but_not_the_line() {
        let error = table("SLACK = hunter2").expect_err("no quotes").to_string();
        assert!(error.starts_with("invalid TOML at line 1, column "), "{error}");
        assert!(
            error.contains("write NAME = VALUE, with text in quotes"),
            "{error}"
        );
        assert!(!error.contains("hunter2"), "{error}");
    }
}
