//! Inputs and outputs of the workflow. Fields may be added but not removed, so that old histories still
//! decode.

use serde::{Deserialize, Serialize};

use crate::policy::PolicyDecision;

/// Maximum length of the input, in characters.
pub const MAX_CHARACTERS: usize = 10_000;

/// A request for approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ApprovalRequest {
    /// Text that describes the task.
    pub text: String,
    /// Requester: a person, the schedule, or an event.
    pub requester: String,
    /// Interval between reminders, in seconds.
    pub remind_every_seconds: u64,
    /// Time until the request expires, in seconds.
    pub expires_after_seconds: u64,
}

impl Default for ApprovalRequest {
    fn default() -> Self {
        Self {
            text: String::new(),
            requester: String::new(),
            remind_every_seconds: 4 * 3_600,
            expires_after_seconds: 7 * 24 * 3_600,
        }
    }
}

impl ApprovalRequest {
    /// Returns all reasons why the request is invalid.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let characters = self.text.chars().count();
        if self.text.trim().is_empty() {
            problems.push("the text is empty".to_owned());
        }
        if characters > MAX_CHARACTERS {
            problems.push(format!(
                "the text has {characters} characters; at most {MAX_CHARACTERS} are allowed"
            ));
        }
        if self.remind_every_seconds == 0 {
            problems.push("the reminder interval must be at least 1 s".to_owned());
        }
        if self.expires_after_seconds == 0 {
            problems.push("the expiry must be at least 1 s".to_owned());
        }
        problems
    }
}

/// A person's decision, without its result.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Verdict {
    /// Name of the person.
    pub who: String,
    /// Reason for the decision.
    pub reason: String,
}

/// An accepted decision.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Decision {
    /// Whether the request was approved.
    pub approved: bool,
    /// The person who decided, and the reason.
    pub verdict: Verdict,
}

impl Decision {
    /// Returns the decision as text.
    pub fn sentence(&self) -> String {
        let verb = if self.approved { "approved" } else { "rejected" };
        let who = if self.verdict.who.is_empty() {
            "an unnamed person"
        } else {
            &self.verdict.who
        };
        let reason = if self.verdict.reason.is_empty() {
            String::new()
        } else {
            format!(": {}", self.verdict.reason)
        };
        format!("{verb} by {who}{reason}")
    }
}

/// The response to a decision.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Answer {
    /// Whether the decision was accepted.
    pub accepted: bool,
    /// The result as text.
    pub sentence: String,
}

/// The phase of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The policy check is running.
    #[default]
    Checking,
    /// The request is waiting for a person's decision.
    Waiting,
    /// The task is running.
    Executing,
    /// The request is closed.
    Closed,
}

impl Phase {
    /// Returns the phase as text.
    pub fn name(self) -> &'static str {
        match self {
            Self::Checking => "checking the policy",
            Self::Waiting => "waiting for approval",
            Self::Executing => "executing",
            Self::Closed => "closed",
        }
    }
}

/// Current status, as returned by the query `status`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Current phase of the request.
    pub phase: Phase,
    /// The request.
    pub request: ApprovalRequest,
    /// Decision of the policy.
    pub policy: Option<PolicyDecision>,
    /// Decision of a person.
    pub decision: Option<Decision>,
    /// Number of reminders sent.
    pub reminders: u32,
}

/// The way a request ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The task was executed.
    #[default]
    Executed,
    /// The policy denied it.
    Denied,
    /// A person rejected it.
    Rejected,
    /// No decision was made in time.
    Expired,
}

/// The result of the workflow, and the audit record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Outcome {
    /// Workflow id.
    pub id: String,
    /// The way the request ended.
    pub end: End,
    /// The result as text.
    pub sentence: String,
    /// The request.
    pub request: ApprovalRequest,
    /// Decision of the policy.
    pub policy: PolicyDecision,
    /// Decision of a person.
    pub decision: Option<Decision>,
    /// Number of reminders sent.
    pub reminders: u32,
    /// Output of the task.
    pub output: Option<String>,
}
