//! Renders the differences between two versions of the settings.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::Settings;

/// Renders the differences between two versions of the settings, one line per key.
pub fn differences(old: &Settings, new: &Settings) -> String {
    let flat = |settings: &Settings| {
        let mut lines = BTreeMap::new();
        if let Ok(value) = serde_json::to_value(settings) {
            flatten("", &value, &mut lines);
        }
        lines
    };
    let (old, new) = (flat(old), flat(new));
    let mut text = String::new();
    for (key, value) in &new {
        match old.get(key) {
            Some(before) if before == value => {}
            Some(before) => drop(writeln!(text, "~ {key}: {before} -> {value}")),
            None => drop(writeln!(text, "+ {key}: {value}")),
        }
    }
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        let _ = writeln!(text, "- {key}");
    }
    text
}

fn flatten(prefix: &str, value: &serde_json::Value, lines: &mut BTreeMap<String, String>) {
    if let serde_json::Value::Object(map) = value {
        for (key, value) in map {
            let key = if prefix.is_empty() {
                key.clone()
            } else {
                format!("{prefix}.{key}")
            };
            flatten(&key, value, lines);
        }
    } else {
        lines.insert(prefix.to_owned(), value.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Replicas;

    #[test]
    fn a_change_of_settings_is_shown_by_key() {
        let old = Settings::default();
        let new = Settings {
            replicas: Replicas::all(2),
            ..Settings::default()
        };
        assert!(differences(&old, &new).contains("~ replicas.history: 1 -> 2"));
    }
}
