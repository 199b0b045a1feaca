//! What the settings ask for and the server does not do, or should not be asked.

use std::collections::BTreeSet;

use crate::place::{Place, Stack};
use crate::process;
use crate::roles::Role;
use crate::settings::Replicas;

use super::report::Report;

pub(super) fn replicas(stack: &Stack, report: &mut Report) {
    judge_replicas(&stack.settings.replicas, report);
}

fn judge_replicas(replicas: &Replicas, report: &mut Report) {
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

/// Keys that the server does not know, and values that it cannot use. It logs them and continues.
pub(super) fn dynamic_config(place: &Place, stack: &Stack, report: &mut Report) {
    let logs = stack
        .settings
        .members()
        .into_iter()
        .map(|member| process::last_bytes(place, &member.to_string()));
    let warnings = logs.flat_map(|log| last_warnings(&log)).collect();
    let declared: Vec<&str> = stack.settings.dynamic_config.keys().map(String::as_str).collect();
    judge_dynamic_config(&declared, &warnings, report);
}

/// What a process said when it last read the file.
fn last_warnings(log: &str) -> BTreeSet<String> {
    let mut warnings = BTreeSet::new();
    let mut is_over = true;
    for line in log.lines() {
        if line.contains(r#""msg":"dynamic config warning""#) {
            if is_over {
                warnings.clear();
                is_over = false;
            }
            let entry = serde_json::from_str::<serde_json::Value>(line).unwrap_or_default();
            warnings.extend(entry["error"].as_str().map(str::to_owned));
        } else if line.contains(r#""msg":"Updated dynamic config""#) {
            if is_over {
                warnings.clear();
            }
            is_over = true;
        }
    }
    warnings
}

fn judge_dynamic_config(declared: &[&str], warnings: &BTreeSet<String>, report: &mut Report) {
    const CHECK: &str = "dynamic configuration";
    const REMEDY: &str = "under [dynamic_config] in stack.toml, then run `up`";
    let is_declared = |key: &str| declared.iter().any(|it| it.eq_ignore_ascii_case(key));
    let mut ignored = Vec::new();
    let mut invalid = Vec::new();
    for warning in warnings {
        let key = quoted_after(warning, "key ").filter(|key| is_declared(key));
        match key {
            Some(key) if warning.starts_with("unregistered key") => ignored.push(key),
            Some(_) => invalid.push(warning.as_str()),
            None => {}
        }
    }
    if !invalid.is_empty() {
        report.fail(
            CHECK,
            invalid.join("; "),
            "the server uses its default instead",
            format!("correct it {REMEDY}"),
        );
    }
    if !ignored.is_empty() {
        report.warn(
            CHECK,
            format!("the server does not know {}", ignored.join(", ")),
            "it ignores them: what you meant to set keeps its default",
            format!("correct or remove them {REMEDY}"),
        );
    }
    if invalid.is_empty() && ignored.is_empty() {
        let keys = declared.len();
        report.good(CHECK, format!("{keys} keys, all known to the server"));
    }
}

/// The word in quotes after a text.
fn quoted_after(line: &str, text: &str) -> Option<String> {
    let (_, rest) = line.split_once(text)?;
    let (key, _) = rest.strip_prefix('"')?.split_once('"')?;
    Some(key.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;
    use crate::doctor::tests::{only, verdicts};

    /// Recorded from server 1.29.1: the first reading, then the one after a mistake was made.
    const LOG: &str = r#"
{"level":"warn","msg":"dynamic config warning","error":"unregistered key \"limit.old\"","logging-call-at":"file_based_client.go:183"}
{"level":"info","msg":"Updated dynamic config","logging-call-at":"file_based_client.go:193"}
{"level":"warn","msg":"dynamic config warning","error":"validation failed: key \"limit.maxIDLength\" value many: value type is not int","logging-call-at":"file_based_client.go:183"}
{"level":"warn","msg":"dynamic config warning","error":"unregistered key \"limit.maxIDLenght\"","logging-call-at":"file_based_client.go:183"}
{"level":"info","msg":"dynamic config changed for the key: limit.maxidlenght oldValue: nil newValue: { constraints: {} value: 3 }"}
{"level":"info","msg":"Updated dynamic config","logging-call-at":"file_based_client.go:193"}"#;

    fn judged(warnings: &BTreeSet<String>) -> Report {
        let declared = ["limit.maxIDLength", "limit.maxIDLenght", "limit.old"];
        let mut report = Report::default();
        judge_dynamic_config(&declared, warnings, &mut report);
        report
    }

    #[test]
    fn keys_that_are_ignored_and_values_that_cannot_be_used_are_reported() {
        let findings = judged(&last_warnings(LOG)).findings();
        assert_eq!(findings.len(), 2, "{findings:?}");
        assert_eq!(findings[0].verdict, Verdict::Failure);
        assert!(findings[0].found.contains("value many: value type is not int"));
        assert_eq!(findings[1].verdict, Verdict::Warning);
        assert_eq!(findings[1].found, "the server does not know limit.maxIDLenght");
    }

    #[test]
    fn what_was_corrected_is_not_reported() {
        let corrected = format!("{LOG}\n{{\"level\":\"info\",\"msg\":\"Updated dynamic config\"}}");
        let warnings = last_warnings(&corrected);
        assert!(warnings.is_empty(), "{warnings:?}");
        assert_eq!(verdicts(judged(&warnings)), [Verdict::Good]);
    }

    #[test]
    fn one_process_of_a_role_is_a_warning() {
        let stack = crate::settings::Settings::parse("[autopilot]\nenabled = false\n[replicas]\nhistory = 2")
            .expect("valid");
        let mut report = Report::default();
        judge_replicas(&stack.replicas, &mut report);
        let finding = only(report);
        assert_eq!(finding.verdict, Verdict::Warning);
        assert_eq!(finding.found, "one process of matching, frontend, worker");
    }
}
