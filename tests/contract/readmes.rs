//! Tests that each crate's README is usable: it has a snippet for Cargo.toml with the versions of this
//! workspace, and a short program that uses the crates in the snippet. The crate's documentation tests
//! compile the program.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Returns the maximum number of lines of a crate's program, without comments, blank lines and hidden lines.
fn longest_program(name: &str) -> usize {
    match name {
        "capacity-engine" => 12,
        // A complete worker: a workflow, an activity and `main`.
        "temporal-worker-kit" => 40,
        _ => 25,
    }
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Returns the contents of fenced code blocks with this info string.
fn blocks(text: &str, begins: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut inside: Option<(bool, String)> = None;
    for line in text.lines() {
        match (line.strip_prefix("```"), inside.take()) {
            (Some(info), None) => inside = Some((info.starts_with(begins), String::new())),
            (Some(_), Some((wanted, block))) => {
                if wanted {
                    blocks.push(block);
                }
            }
            (None, Some((wanted, block))) => inside = Some((wanted, block + line + "\n")),
            (None, None) => {}
        }
    }
    blocks
}

/// Returns the names and version requirements in a table of dependencies.
fn dependencies(table: &toml::Table) -> Vec<(String, String)> {
    let version = |value: &toml::Value| match value {
        toml::Value::String(version) => Some(version.clone()),
        other => Some(other.get("version")?.as_str()?.to_owned()),
    };
    let found = table
        .iter()
        .filter_map(|(name, value)| Some((name.clone(), version(value)?)));
    found.collect()
}

fn read_table(text: &str) -> toml::Table {
    text.parse().expect("valid TOML")
}

/// Returns the crates that a program uses: `use a::b`, `a::b::c(..)`.
fn crates_named(program: &str, known: &BTreeSet<String>) -> BTreeSet<String> {
    let names = program.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
    names
        .filter_map(|path| path.split_once("::"))
        .map(|(first, _)| first.replace('_', "-"))
        .filter(|name| known.contains(name))
        .collect()
}

#[test]
fn the_readme_of_each_crate_can_be_followed() {
    let manifest = fs::read_to_string(workspace().join("Cargo.toml")).expect("a manifest");
    let versions = dependencies(
        read_table(&manifest)["workspace"]["dependencies"]
            .as_table()
            .expect("a table"),
    );
    let known: BTreeSet<String> = versions.iter().map(|(name, _)| name.clone()).collect();
    let mut problems = Vec::new();
    for folder in fs::read_dir(workspace().join("crates")).expect("a folder") {
        let folder = folder.expect("an entry").path();
        let name = folder
            .file_name()
            .and_then(|name| name.to_str())
            .expect("a name")
            .to_owned();
        let readme = fs::read_to_string(folder.join("README.md")).expect("a README");
        let snippets = blocks(&readme, "toml");
        let Some(given) = snippets
            .iter()
            .map(|text| read_table(text))
            .find_map(|table| Some(dependencies(table.get("dependencies")?.as_table()?)))
        else {
            problems.push(format!("{name}: no snippet for Cargo.toml"));
            continue;
        };
        for (dependency, version) in &given {
            let ours = versions
                .iter()
                .find(|(name, _)| name == dependency)
                .map(|(_, version)| version);
            if ours.is_none_or(|ours| !ours.starts_with(version.as_str())) {
                problems.push(format!(
                    "{name}: {dependency} = {version:?}, the workspace has {ours:?}"
                ));
            }
        }
        let programs = blocks(&readme, "rust");
        let Some(program) = programs.first() else {
            problems.push(format!("{name}: no program"));
            continue;
        };
        let counts = |line: &&str| {
            let line = line.trim();
            !line.is_empty() && line != "#" && !line.starts_with("# ") && !line.starts_with("//")
        };
        let lines = program.lines().filter(counts).count();
        if lines > longest_program(&name) {
            problems.push(format!(
                "{name}: the program has {lines} lines, {} are allowed",
                longest_program(&name)
            ));
        }
        let listed: BTreeSet<&str> = given.iter().map(|(name, _)| name.as_str()).collect();
        for used in crates_named(program, &known) {
            if !listed.contains(used.as_str()) {
                problems.push(format!(
                    "{name}: the program uses {used}, which is not in the snippet"
                ));
            }
        }
    }
    problems.sort();
    assert!(problems.is_empty(), "{problems:#?}");
}
