//! Reports the outcome of a chain: a Slack message, an email, and a line in the audit log.

use std::io::Write as _;
use std::path::PathBuf;

use slack_notifier::{Message, Section, Severity, Webhook};

use crate::mail::{Mail, MailError};
use crate::progress::Outcome;
use crate::workflows::ChainReport;

/// A destination of summaries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// A Slack channel.
    Slack,
    /// Email recipients.
    Mail,
}

impl Channel {
    /// Returns the name of the channel, for logs and notes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Slack => "slack",
            Self::Mail => "mail",
        }
    }
}

/// The destinations of summaries and of the audit log.
#[derive(Debug, Default)]
pub struct Reporter {
    /// The incoming webhook of a Slack channel.
    pub slack: Option<Webhook>,
    /// A mail server, with sender and recipients.
    pub mail: Option<Mail>,
    /// File to which a JSON line is appended for each chain.
    pub audit_log: Option<PathBuf>,
}

/// Why a summary was not delivered.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// Slack did not accept the message.
    #[error(transparent)]
    Slack(#[from] slack_notifier::Error),
    /// The mail server did not accept the message.
    #[error(transparent)]
    Mail(#[from] MailError),
    /// The audit log could not be written.
    #[error("cannot write the audit log {}", .path.display())]
    Audit {
        /// Path of the audit log.
        path: PathBuf,
        /// Cause of the failure.
        source: std::io::Error,
    },
}

impl Reporter {
    /// Returns the channels to notify of this chain; none if the chain has no stacks.
    pub fn channels(&self, report: &ChainReport) -> Vec<Channel> {
        // Each run of a stack without dependents starts an empty chain, which is not worth a message.
        let is_worth = report.error.is_some() || !report.results.is_empty();
        let slack = self.slack.is_some().then_some(Channel::Slack);
        let mail = self.mail.is_some().then_some(Channel::Mail);
        slack.into_iter().chain(mail).filter(|_| is_worth).collect()
    }

    /// Sends the summary to one channel.
    ///
    /// # Errors
    ///
    /// If the channel does not accept the message.
    pub async fn announce(&self, report: &ChainReport, channel: Channel) -> Result<(), ReportError> {
        let message = message(report);
        match (channel, &self.slack, &self.mail) {
            (Channel::Slack, Some(slack), _) => {
                slack.post(&message).await?;
                Ok(())
            }
            (Channel::Mail, _, Some(mail)) => {
                mail.send(&report.chain, &message.title, plain(&message)).await?;
                Ok(())
            }
            (Channel::Slack | Channel::Mail, _, _) => Ok(()),
        }
    }

    /// Appends a chain to the audit log.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn audit(&self, report: &ChainReport) -> Result<(), ReportError> {
        let Some(path) = &self.audit_log else {
            return Ok(());
        };
        let failed = |source: std::io::Error| ReportError::Audit {
            path: path.clone(),
            source,
        };
        let mut line = serde_json::to_vec(report).map_err(|error| failed(error.into()))?;
        line.push(b'\n');
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map_err(failed)?;
        // A single write, so that lines of several workers do not mix.
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

/// Renders a message as plain text for an email.
fn plain(message: &Message) -> String {
    let mut text = String::new();
    for section in &message.sections {
        if let Some(heading) = &section.heading {
            text.push_str(heading);
            text.push('\n');
        }
        for line in &section.lines {
            text.push_str("  ");
            text.push_str(line);
            text.push('\n');
        }
        text.push('\n');
    }
    text.push_str(&message.context.join("\n"));
    text.push('\n');
    text
}
