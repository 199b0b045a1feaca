//! Tests of the alert rules: `promtool` checks which of them fire and when, and docs/monitoring.md lists the
//! same rules.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::prometheus::server::promtool;

const RULES: &str = "deploy/helm/temporal-capacity/files/alerts.yml";

fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

#[test]
fn each_alert_fires_only_when_it_should() {
    let tests = "deploy/monitoring/alerts_test.yml";
    let Some(promtool) = promtool() else { return };
    let output = Command::new(promtool)
        .args(["test", "rules"])
        .arg(file(tests))
        .output()
        .expect("promtool runs");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    // All of them are tested.
    let tests = std::fs::read_to_string(file(tests)).expect("there");
    for (alert, _) in rules(&std::fs::read_to_string(file(RULES)).expect("there")) {
        assert!(
            tests.contains(&format!("alertname=\"{alert}\"")),
            "{alert} is never expected"
        );
    }
}

/// Returns each alert with its expression.
fn rules(text: &str) -> Vec<(String, String)> {
    let value = |line: &str, key: &str| {
        let rest = line.trim_start().trim_start_matches("- ").strip_prefix(key)?;
        Some(rest.trim().to_owned())
    };
    let mut rules = Vec::new();
    let mut alert = None;
    for line in text.lines() {
        alert = value(line, "alert:").or(alert);
        if let Some(expression) = value(line, "expr:") {
            rules.extend(alert.take().map(|alert| (alert, expression)));
        }
    }
    rules
}

#[test]
fn the_docs_list_all_alerts_with_their_expressions() {
    let rules = rules(&std::fs::read_to_string(file(RULES)).expect("there"));
    assert_eq!(rules.len(), 7);
    let page = std::fs::read_to_string(file("docs/monitoring.md")).expect("there");
    for (alert, expression) in &rules {
        let row = format!("| `{alert}` | `{expression}` |");
        assert!(page.contains(&row), "docs/monitoring.md lacks {row}");
    }
    let rows = page.lines().filter(|line| line.starts_with("| `Capacity"));
    assert_eq!(rows.count(), rules.len(), "the page has no others");
}

#[test]
fn the_rules_use_metrics_that_a_worker_serves() {
    // A test of the worker compares this page with the metrics it serves.
    let page = std::fs::read_to_string(file("docs/monitoring.md")).expect("there");
    for (alert, expression) in rules(&std::fs::read_to_string(file(RULES)).expect("there")) {
        let is_of_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        let names = expression.split(|letter| !is_of_name(letter));
        for name in names.filter(|name| name.starts_with("temporal_")) {
            assert!(page.contains(&format!("\n| `{name}` | ")), "{alert}: {name}");
        }
    }
}

#[test]
fn every_alert_has_a_runbook() {
    let page = std::fs::read_to_string(file("docs/runbooks.md")).expect("there");
    let text = std::fs::read_to_string(file(RULES)).expect("there");
    let rules = rules(&text);
    for (alert, _) in &rules {
        let link = format!("docs/runbooks.md#{}\n", alert.to_lowercase());
        assert!(text.contains(&link), "{alert} lacks the annotation runbook_url");
        let section = page
            .split("\n## ")
            .find_map(|section| section.strip_prefix(&format!("{alert}\n")))
            .unwrap_or_else(|| panic!("docs/runbooks.md lacks {alert}"));
        for part in ["**Meaning.**", "**Check.**", "**Do.**"] {
            assert!(section.contains(part), "the runbook of {alert} lacks {part}");
        }
    }
    assert_eq!(
        page.matches("\n## ").count(),
        rules.len(),
        "the page has no others"
    );
}
