//! The trait for CI systems: Spacelift, or any system with a webhook to start a run and a URL to poll it.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// A stack, with the properties that a chain needs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stack {
    /// Id of the stack in the CI system.
    pub id: String,
    /// Display name.
    pub name: String,
    /// Labels, which contain the rules for chains.
    pub labels: Vec<String>,
    /// Branch that the stack tracks.
    pub branch: String,
    /// Ids of stacks that the CI system itself runs before this one.
    pub native_parents: Vec<String>,
    /// User who locked the stack.
    pub locked_by: Option<String>,
    /// Whether the stack is disabled and cannot create runs.
    pub is_disabled: bool,
    /// Names of the attached contexts.
    pub contexts: Vec<String>,
}

/// The progress of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// The run is queued or running.
    Active,
    /// The run waits for a person.
    Waiting,
    /// The run succeeded. No other state counts as success.
    Succeeded,
    /// The run failed.
    Failed,
    /// A person or the system canceled the run.
    Canceled,
    /// The CI system decided not to execute it.
    Skipped,
}

impl Progress {
    /// Returns whether the run has ended.
    pub fn has_ended(self) -> bool {
        match self {
            Self::Active | Self::Waiting => false,
            Self::Succeeded | Self::Failed | Self::Canceled | Self::Skipped => true,
        }
    }
}

/// A run of a stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Id of the run.
    pub id: String,
    /// Progress of the run.
    pub progress: Progress,
    /// State of the run, in the CI system's terms.
    pub state: String,
    /// Branch of the run.
    pub branch: String,
    /// User who triggered it, if the CI system reports that.
    pub triggered_by: Option<String>,
    /// URL of the run's web page.
    pub url: String,
}

/// A reference to a run of a stack.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunRef {
    /// Id of the stack.
    pub stack: String,
    /// Id of the run.
    pub run: String,
}

/// The identity of our credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Id of the user or API key.
    pub id: String,
    /// Name of the user or API key.
    pub name: String,
}

/// The kind of an error, which determines how to handle it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Temporary; the request had no effect.
    Transient,
    /// Temporary; whether the request had an effect is unknown.
    Ambiguous,
    /// The credentials were rejected.
    Login,
    /// The credentials lack a permission.
    Permission,
    /// The object does not exist, or the credentials have no access to it.
    NotFound,
    /// The request is invalid, or the server does not behave as documented.
    Permanent,
}

impl Trouble {
    /// Returns whether a retry can succeed.
    pub fn is_retryable(self) -> bool {
        match self {
            Self::Transient | Self::Ambiguous => true,
            Self::Login | Self::Permission | Self::NotFound | Self::Permanent => false,
        }
    }
}

/// A failed request to the CI system.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct ProviderError {
    /// Kind of the error.
    pub trouble: Trouble,
    /// Message with the failed request, the cause, and the remedy.
    pub text: String,
    /// Wait time that the CI system requested before the next attempt.
    pub retry_after: Option<Duration>,
}

impl ProviderError {
    /// Returns an error without a wait time.
    pub fn new(trouble: Trouble, text: impl Into<String>) -> Self {
        Self {
            trouble,
            text: text.into(),
            retry_after: None,
        }
    }
}

/// A CI system that starts and reports runs of stacks.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Returns the name of the CI system.
    fn name(&self) -> &'static str;
    /// Returns whether `runs` includes a run whose response was lost. If not, a request that may have started
    /// a run is never retried.
    fn lists_runs(&self) -> bool;
    /// Returns all stacks that the credentials can access. Returns an empty list only if the credentials were
    /// accepted.
    async fn stacks(&self) -> Result<Vec<Stack>, ProviderError>;
    /// Returns one stack; `None` if it does not exist.
    async fn stack(&self, id: &str) -> Result<Option<Stack>, ProviderError>;
    /// Starts a run. Does not retry if the outcome of the first attempt is unknown.
    async fn trigger(&self, stack: &str, note: &str) -> Result<Run, ProviderError>;
    /// Returns the latest runs of a stack, newest first.
    async fn runs(&self, stack: &str) -> Result<Vec<Run>, ProviderError>;
    /// Returns one run; `None` if it does not exist.
    async fn run(&self, at: &RunRef) -> Result<Option<Run>, ProviderError>;
    /// Requests that a run be stopped. Does not wait until it has stopped.
    async fn stop(&self, at: &RunRef, note: &str) -> Result<(), ProviderError>;
    /// Returns the identity of the credentials, which also verifies them.
    async fn identity(&self) -> Result<Identity, ProviderError>;
}
