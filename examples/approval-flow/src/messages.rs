//! What goes in and out of the workflow. Fields are only added, so that old histories keep decoding.

use serde::{Deserialize, Serialize};

use crate::policy::PolicyDecision;

/// The longest input, in characters.
pub const MAX_CHARACTERS: usize = 10_000;

/// A request for approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ApprovalRequest {
    /// The input.
    pub text: String,
    /// Who or what asks: a person, the schedule, an event.
    pub requester: String,
    /// How often people are reminded, in seconds.
    pub remind_every_seconds: u64,
    /// After how long the request expires, in seconds.
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
    /// Returns every reason why the request is invalid.
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

/// What a person decides.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Verdict {
    /// Who.
    pub who: String,
    /// Why.
    pub reason: String,
}

/// A decision that was taken.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Decision {
    /// Approved or rejected.
    pub approved: bool,
    /// Who and why.
    pub verdict: Verdict,
}

impl Decision {
    /// Returns the decision in one sentence.
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

/// The answer to a decision.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Answer {
    /// Whether the decision counts.
    pub accepted: bool,
    /// One sentence.
    pub sentence: String,
}

/// Where a request is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The policy is checked.
    #[default]
    Checking,
    /// A person has to decide.
    Waiting,
    /// The task runs.
    Executing,
    /// It is over.
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

/// Current status, as the query `status` answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Where the request is.
    pub phase: Phase,
    /// The request.
    pub request: ApprovalRequest,
    /// What the policy decided.
    pub policy: Option<PolicyDecision>,
    /// What a person decided.
    pub decision: Option<Decision>,
    /// How many reminders were sent.
    pub reminders: u32,
}

/// How a request ended.
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
    /// No decision in time.
    Expired,
}

/// The result of the workflow, and the audit record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Outcome {
    /// Workflow id.
    pub id: String,
    /// How it ended.
    pub end: End,
    /// One sentence.
    pub sentence: String,
    /// The request.
    pub request: ApprovalRequest,
    /// What the policy decided.
    pub policy: PolicyDecision,
    /// What a person decided.
    pub decision: Option<Decision>,
    /// How many reminders were sent.
    pub reminders: u32,
    /// What the task returned.
    pub output: Option<String>,
}
