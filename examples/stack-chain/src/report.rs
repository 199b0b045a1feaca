//! Telling people what a chain came to: a Slack message, and a line in the audit log.

use std::io::Write as _;
use std::path::PathBuf;

use slack_notifier::{Message, Section, Severity, Webhook};

use crate::progress::Outcome;
use crate::workflows::ChainReport;

/// Where summaries and the audit log go.
#[derive(Debug, Default)]
pub struct Reporter {
    /// The incoming webhook of a Slack channel.
    pub slack: Option<Webhook>,
    /// A file to which a JSON line is appended for each chain.
    pub audit_log: Option<PathBuf>,
}

impl Reporter {
    /// Posts the summary. A chain without stacks is not worth a message.
    ///
    /// # Errors
    ///
    /// In words, if Slack did not take it.
    pub async fn announce(&self, report: &ChainReport) -> Result<(), String> {
        let Some(slack) = &self.slack else { return Ok(()) };
        if report.error.is_none() && report.results.is_empty() {
            return Ok(());
        }
        slack
            .post(&message(report))
            .await
            .map(drop)
            .map_err(|error| format!("{error}: {}", error.kind()))
    }

    /// Appends a chain to the audit log.
    ///
    /// # Errors
    ///
    /// In words, if the file cannot be written.
    pub fn audit(&self, report: &ChainReport) -> Result<(), String> {
        let Some(path) = &self.audit_log else {
            return Ok(());
        };
        let failed =
            |error: std::io::Error| format!("the audit log {} cannot be written: {error}", path.display());
        let mut line = serde_json::to_vec(report).map_err(|error| error.to_string())?;
        line.push(b'\n');
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map_err(failed)?;
        // One write, so that lines of several workers do not mix.
        file.write_all(&line).map_err(failed)
    }
}

/// Returns the summary of a chain.
pub fn message(report: &ChainReport) -> Message {
    let severity = if report.is_success() {
        Severity::Info
    } else {
        Severity::Warning
    };
    let lines = |wanted: fn(Outcome) -> bool| {
        let found = report.results.iter().filter(move |it| wanted(it.outcome));
        found.map(|it| {
            let why = it.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
            let url = it.url.as_ref().map(|url| format!(" {url}")).unwrap_or_default();
            format!("{} {}{why}{url}", it.stack, it.outcome.as_str())
        })
    };
    let section = |heading: &str, lines: Vec<String>| Section {
        heading: Some(heading.to_owned()),
        lines,
    };
    let mut sections = vec![
        section(
            "Needs attention",
            lines(|it| !matches!(it, Outcome::Succeeded | Outcome::Skipped)).collect(),
        ),
        section("Not run", lines(|it| it == Outcome::Skipped).collect()),
        section("Succeeded", lines(|it| it == Outcome::Succeeded).collect()),
        section("Notes", report.notes.clone()),
    ];
    sections.retain(|section| !section.lines.is_empty());
    Message {
        severity,
        title: format!("Stacks after {}: {}", report.origin.stack, report.summary()),
        sections,
        context: vec![report.chain.clone(), format!("started by {}", report.started_by)],
    }
}
