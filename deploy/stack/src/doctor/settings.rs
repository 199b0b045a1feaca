//! What the settings ask for and the server does not do, or should not be asked.

use crate::place::{Place, Stack};
use crate::process;
use crate::roles::Role;

use super::Report;

pub(super) fn replicas(stack: &Stack, report: &mut Report) {
    let replicas = &stack.settings.replicas;
    let single: Vec<&str> = Role::ALL
        .into_iter()
        .filter(|role| replicas.of(*role) < 2)
        .map(Role::as_str)
        .collect();
    if single.is_empty() {
        report.good("replicas", "two or more processes of every role");
    } else {
        report.warn(
            "replicas",
            format!("one process of {}", single.join(", ")),
            "a restart or an upgrade interrupts the service",
            "`deploy/stack/up --replicas 2`",
        );
    }
}

/// Keys that the server does not know. It logs them and continues.
pub(super) fn dynamic_config(place: &Place, stack: &Stack, report: &mut Report) {
    const CHECK: &str = "dynamic configuration";
    let declared = &stack.settings.dynamic_config;
    let mut ignored: Vec<String> = Vec::new();
    let mut invalid: Vec<String> = Vec::new();
    for member in stack.settings.members() {
        let log = process::last_bytes(place, &member.to_string());
        for line in log.lines() {
            if let Some(key) = quoted_after(line, "unregistered key ")
                && is_declared(declared.keys(), &key)
                && !ignored.contains(&key)
            {
                ignored.push(key);
            }
            if line.contains("Failed to convert value") || line.contains("decode error") {
                let line: String = line.chars().take(200).collect();
                invalid.truncate(1);
                invalid.push(line);
            }
        }
    }
    if let Some(line) = invalid.first() {
        report.fail(
            CHECK,
            format!("a value cannot be used: {line}"),
            "the server uses its default instead",
            "correct it under [dynamic_config] in stack.toml, then run `up`",
        );
    }
    if ignored.is_empty() {
        report.good(
            CHECK,
            format!("{} keys, none of them unknown to the server", declared.len()),
        );
    } else {
        report.warn(
            CHECK,
            format!("the server does not know {}", ignored.join(", ")),
            "it ignores them: what you meant to set keeps its default",
            "correct or remove them under [dynamic_config] in stack.toml, then run `up`",
        );
    }
}

fn is_declared<'a>(mut keys: impl Iterator<Item = &'a String>, key: &str) -> bool {
    keys.any(|declared| declared.eq_ignore_ascii_case(key))
}

/// The word in quotes after a text, in a log line where quotes are escaped.
fn quoted_after(line: &str, text: &str) -> Option<String> {
    let (_, rest) = line.split_once(text)?;
    let rest = rest.trim_start_matches(['\\', '"']);
    let end = rest.find(['\\', '"'])?;
    Some(rest[..end].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_read_from_the_log() {
        let line = r#"{"level":"warn","msg":"dynamic config warning","error":"unregistered key \"limit.maxIDLenght\""}"#;
        assert_eq!(
            quoted_after(line, "unregistered key ").as_deref(),
            Some("limit.maxIDLenght")
        );
        assert_eq!(quoted_after("nothing", "unregistered key "), None);
    }
}
