//! The example files and the published table match the catalog.

use super::{effective, folder, loaded};
use crate::CATALOG;

#[test]
fn the_example_env_names_every_setting_and_is_valid() {
    let text = include_str!("../../../../.env.example");
    let folder = folder(&[(".env", text)]);
    loaded(folder.path(), &[]).expect("valid");
    let named = |name: &str| {
        text.lines().any(|line| {
            line.trim_start_matches(['#', ' '])
                .strip_prefix(name)
                .is_some_and(|rest| rest.starts_with('='))
        })
    };
    let missing: Vec<&str> = CATALOG
        .iter()
        .map(|entry| entry.name)
        .filter(|name| !named(name))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn the_example_file_names_every_default_and_changes_nothing() {
    let text = include_str!("../../capacity.toml");
    let folder = folder(&[("capacity.toml", text)]);
    let settings = loaded(folder.path(), &[]).expect("valid");
    for entry in CATALOG.iter().filter(|entry| entry.default.is_some()) {
        assert_eq!(
            effective(&settings, entry.name).value.as_deref(),
            entry.default,
            "{}",
            entry.name
        );
    }
    for entry in CATALOG.iter().filter(|entry| !entry.is_secret) {
        assert!(text.contains(&entry.name.to_ascii_lowercase()), "{}", entry.name);
    }
}

#[test]
fn the_published_table_of_settings_is_the_catalog() {
    let published = include_str!("../../../../docs/settings.md");
    for entry in CATALOG {
        let default = entry
            .default
            .map(|default| format!("`{default}` "))
            .unwrap_or_default();
        let row = format!("| `{}` | {default}| {} |", entry.name, entry.help);
        assert!(published.lines().any(|line| line == row), "missing: {row}");
    }
}
