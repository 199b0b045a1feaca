//! Checks settings that the server ignores, or that should be changed.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use crate::place::{Place, Stack};
use crate::process::{self, State};
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
            "run `deploy/stack/up --replicas 2`",
        );
    }
}

/// Reports keys that the server does not recognize, and values that it cannot use. The server only logs these and
/// continues.
pub(super) fn dynamic_config(place: &Place, stack: &Stack, report: &mut Report) {
    let written = std::fs::metadata(place.dynamic_config()).and_then(|file| file.modified());
    let written = written.ok().and_then(|time| Timestamp::try_from(time).ok());
    let members = stack.settings.members().into_iter();
    let running = members
        .map(|member| member.to_string())
        .filter(|name| matches!(process::state(place, name), State::Running(_)));
    let readings: Vec<(String, Option<Reading>)> = running
        .map(|name| {
            let reading = process::find_in_log(place, &name, last_reading);
            (name, reading)
        })
        .collect();
    let declared: Vec<&str> = stack.settings.dynamic_config.keys().map(String::as_str).collect();
    let evidence = Evidence::of(readings, written);
    let level = &stack.settings.server.log_level;
    judge_evidence(&evidence, level, &place.log("NAME").display().to_string(), report);
    judge_dynamic_config(&declared, &evidence, report);
}

/// The warnings and errors that a process logged when it last read the file.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Reading {
    /// When the process read the file, if the log line has a time.
    at: Option<Timestamp>,
    /// Ignored keys and values.
    warnings: BTreeSet<String>,
    /// Errors because of which the whole file was ignored.
    errors: BTreeSet<String>,
}

/// Returns the last reading in a log. `None` means that the log has none, not that the file is correct.
fn last_reading(log: &str) -> Option<Reading> {
    let mut last = None;
    let mut begun: Option<Reading> = None;
    // Some of the messages begin with a capital letter.
    for line in log.lines().filter(|line| line.contains("ynamic config")) {
        let is = |message: &str| line.contains(&format!(r#""msg":"{message}""#));
        let entry = || serde_json::from_str::<serde_json::Value>(line).unwrap_or_default();
        let error = || entry()["error"].as_str().map(str::to_owned);
        if is("dynamic config warning") {
            begun.get_or_insert_default().warnings.extend(error());
        } else if is("dynamic config error") {
            begun.get_or_insert_default().errors.extend(error());
        } else if is("Updated dynamic config") || is("Unable to update dynamic config.") {
            let mut reading = begun.take().unwrap_or_default();
            if reading.errors.is_empty() && !is("Updated dynamic config") {
                reading.errors.extend(error());
            }
            reading.at = entry()["ts"].as_str().and_then(|time| time.parse().ok());
            last = Some(reading);
        }
    }
    // The reading is still in progress, or its end is not logged at this log level.
    begun.or(last)
}

/// What is known about how the processes read the file.
#[derive(Debug, Default, PartialEq, Eq)]
struct Evidence {
    /// Number of running processes.
    running: usize,
    /// Processes whose logs do not show that they read the file.
    silent: Vec<String>,
    /// Processes that have not read the file since it was written.
    behind: Vec<String>,
    warnings: BTreeSet<String>,
    errors: BTreeSet<String>,
}

impl Evidence {
    fn of(readings: Vec<(String, Option<Reading>)>, written: Option<Timestamp>) -> Self {
        let mut evidence = Self {
            running: readings.len(),
            ..Self::default()
        };
        for (name, reading) in readings {
            let Some(reading) = reading else {
                evidence.silent.push(name);
                continue;
            };
            // A log has millisecond precision.
            let is_behind = |at: Timestamp| written.is_some_and(|written| at + MOMENT < written);
            if reading.at.is_some_and(is_behind) {
                evidence.behind.push(name);
            }
            evidence.warnings.extend(reading.warnings);
            evidence.errors.extend(reading.errors);
        }
        evidence
    }

    fn is_complete(&self) -> bool {
        self.running > 0 && self.silent.is_empty() && self.behind.is_empty()
    }
}

const MOMENT: SignedDuration = SignedDuration::from_millis(2);

const CHECK: &str = "dynamic configuration";

const UNKNOWN: &str = "it is unknown whether the server ignores a key or a value";

fn judge_evidence(evidence: &Evidence, level: &str, logs: &str, report: &mut Report) {
    if evidence.running == 0 {
        report.warn(
            CHECK,
            "no server process is running to read the file",
            UNKNOWN,
            "run `deploy/stack/up`, then run the doctor again",
        );
    }
    if !evidence.silent.is_empty() {
        let names = evidence.silent.join(", ");
        let remedy = if level == "info" || level == "debug" {
            format!(
                "check that {logs} can be written; `temporal-stack restart ROLE` makes a role read it again"
            )
        } else {
            format!(
                "set server.log_level to \"info\" instead of \"{level}\", run `up`, and restart the roles"
            )
        };
        report.warn(
            CHECK,
            format!("the logs of {names} do not show whether the file was read"),
            UNKNOWN,
            remedy,
        );
    }
    if !evidence.behind.is_empty() {
        report.warn(
            CHECK,
            format!(
                "the file has changed since {} read it",
                evidence.behind.join(", ")
            ),
            UNKNOWN,
            "the roles read it every 10 s: run the doctor again; if the problem persists, run `temporal-stack restart ROLE`",
        );
    }
}

fn judge_dynamic_config(declared: &[&str], evidence: &Evidence, report: &mut Report) {
    const REMEDY: &str = "under [dynamic_config] in stack.toml, then run `up`";
    // The server ignores the case of keys. Its last warnings may be about keys that were removed since.
    let is_declared = |key: &str| declared.iter().any(|it| it.eq_ignore_ascii_case(key));
    let mut ignored = Vec::new();
    let mut invalid = Vec::new();
    for warning in &evidence.warnings {
        let key = quoted_after(warning, "key ").filter(|key| is_declared(key));
        match key {
            Some(key) if warning.starts_with("unregistered key") => ignored.push(key),
            Some(_) => invalid.push(warning.as_str()),
            None => {}
        }
    }
    if !evidence.errors.is_empty() {
        let errors: Vec<&str> = evidence.errors.iter().map(String::as_str).collect();
        report.fail(
            CHECK,
            errors.join("; "),
            "the server ignores the whole file and keeps its previous configuration",
            format!("correct it {REMEDY}"),
        );
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
            format!("the server does not recognize {}", ignored.join(", ")),
            "the server ignores them, so the intended settings keep their defaults",
            format!("correct or remove them {REMEDY}"),
        );
    }
    if evidence.is_complete() && evidence.errors.is_empty() && invalid.is_empty() && ignored.is_empty() {
        let keys = declared.len();
        report.good(CHECK, format!("{keys} keys, all recognized by the server"));
    }
}

/// Returns the first quoted word after a text.
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
    use rstest::rstest;

    /// Recorded from server 1.29.1: the first reading, and the one after a mistake was added.
    const LOG: &str = r#"
{"level":"warn","msg":"dynamic config warning","error":"unregistered key \"limit.old\"","logging-call-at":"file_based_client.go:183"}
{"level":"info","msg":"Updated dynamic config","logging-call-at":"file_based_client.go:193"}
{"level":"warn","msg":"dynamic config warning","error":"validation failed: key \"limit.maxIDLength\" value many: value type is not int","logging-call-at":"file_based_client.go:183"}
{"level":"warn","msg":"dynamic config warning","error":"unregistered key \"limit.maxIDLenght\"","logging-call-at":"file_based_client.go:183"}
{"level":"info","msg":"dynamic config changed for the key: limit.maxidlenght oldValue: nil newValue: { constraints: {} value: 3 }"}
{"level":"info","msg":"Updated dynamic config","logging-call-at":"file_based_client.go:193"}"#;

    fn judged(logs: &[&str], written: &str) -> Report {
        let declared = ["limit.maxIDLength", "limit.maxIDLenght", "limit.old"];
        let readings = logs.iter().enumerate().map(|(number, log)| {
            let name = format!("history-{}", number + 1);
            (name, last_reading(log))
        });
        let evidence = Evidence::of(readings.collect(), written.parse().ok());
        let mut report = Report::default();
        judge_evidence(&evidence, "info", "/run/stack/logs/NAME.log", &mut report);
        judge_dynamic_config(&declared, &evidence, &mut report);
        report
    }

    const BEFORE: &str = "2026-01-02T03:04:05Z";

    #[test]
    fn keys_that_are_ignored_and_values_that_cannot_be_used_are_reported() {
        let findings = judged(&[LOG], BEFORE).findings();
        assert_eq!(findings.len(), 2, "{findings:?}");
        assert_eq!(findings[0].verdict, Verdict::Failure);
        assert!(findings[0].found.contains("value many: value type is not int"));
        assert_eq!(findings[1].verdict, Verdict::Warning);
        assert_eq!(
            findings[1].found,
            "the server does not recognize limit.maxIDLenght"
        );
    }

    const CORRECTED: &str =
        r#"{"level":"info","ts":"2026-01-02T03:04:06.123Z","msg":"Updated dynamic config"}"#;

    #[test]
    fn corrected_mistakes_are_not_reported() {
        let corrected = format!("{LOG}\n{CORRECTED}");
        assert_eq!(verdicts(judged(&[&corrected], BEFORE)), [Verdict::Good]);
    }

    #[rstest]
    #[case::no_process(&[], BEFORE, "no server process is running")]
    #[case::an_empty_log(&[""], BEFORE, "the logs of history-1 do not show whether")]
    #[case::one_of_two(&[CORRECTED, "{}"], BEFORE, "the logs of history-2 do not show whether")]
    #[case::written_later(&[CORRECTED], "2026-01-02T03:04:07Z", "the file has changed since history-1 read it")]
    fn without_evidence_nothing_is_good(
        #[case] logs: &[&str],
        #[case] written: &str,
        #[case] expected: &str,
    ) {
        let finding = only(judged(logs, written));
        assert_eq!(finding.verdict, Verdict::Warning);
        assert!(finding.found.contains(expected), "{finding:?}");
        assert!(
            finding.remedy.contains("restart") || finding.remedy.contains("deploy/stack/up"),
            "{finding:?}"
        );
    }

    #[test]
    fn a_file_that_cannot_be_loaded_is_a_failure() {
        let log = r#"{"level":"warn","msg":"dynamic config error","error":"decode error: yaml: line 1"}
{"level":"error","ts":"2026-01-02T03:04:06Z","msg":"Unable to update dynamic config.","error":"loading dynamic config failed: 1 errors, 0 warnings"}"#;
        let finding = only(judged(&[log], BEFORE));
        assert_eq!(finding.verdict, Verdict::Failure);
        assert_eq!(finding.found, "decode error: yaml: line 1");
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
