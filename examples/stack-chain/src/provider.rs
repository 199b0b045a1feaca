//! The CI system behind a small trait: Spacelift, or anything that has a webhook to start a run and a URL to poll it.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// A stack, as far as a chain needs to know it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stack {
    /// Its id.
    pub id: String,
    /// Its display name.
    pub name: String,
    /// Its labels.
    pub labels: Vec<String>,
    /// The branch it tracks.
    pub branch: String,
    /// Ids of the stacks that the CI system itself runs before it.
    pub native_parents: Vec<String>,
    /// Who locked it.
    pub locked_by: Option<String>,
    /// Whether it cannot create runs.
    pub is_disabled: bool,
    /// Names of the attached contexts.
    pub contexts: Vec<String>,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// It waits for its turn or works.
    Active,
    /// It waits for a person.
    Waiting,
    /// It ended well. The only success.
    Succeeded,
    /// It failed.
    Failed,
    /// A person or the system ended it.
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
    /// Its id.
    pub id: String,
    /// How far it is.
    pub progress: Progress,
    /// The CI system's own word for that.
    pub state: String,
    /// Its branch.
    pub branch: String,
    /// Who triggered it, if the CI system reports it.
    pub triggered_by: Option<String>,
    /// Its URL, for people.
    pub url: String,
}

/// A stack and a run of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunRef {
    /// The stack.
    pub stack: String,
    /// The run.
    pub run: String,
}

/// Who we are to the CI system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Our id.
    pub id: String,
    /// Our name.
    pub name: String,
}

/// What went wrong, as far as the caller must act on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// It passes; the request had no effect.
    Transient,
    /// It passes; whether the request had an effect is unknown.
    Ambiguous,
    /// The credentials are refused.
    Login,
    /// The credentials lack a right.
    Permission,
    /// It does not exist, or we have no access to it.
    NotFound,
    /// The request is wrong, or the server differs from what we know.
    Permanent,
}

impl Trouble {
    /// Returns whether a retry can help.
    pub fn is_retryable(self) -> bool {
        match self {
            Self::Transient | Self::Ambiguous => true,
            Self::Login | Self::Permission | Self::NotFound | Self::Permanent => false,
        }
    }
}

/// A request to the CI system that failed.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct ProviderError {
    /// What to do about it.
    pub trouble: Trouble,
    /// What failed, why, and the remedy.
    pub text: String,
    /// How long the CI system asks us to wait.
    pub retry_after: Option<Duration>,
}

impl ProviderError {
    /// Returns an error without a wait.
    pub fn new(trouble: Trouble, text: impl Into<String>) -> Self {
        Self {
            trouble,
            text: text.into(),
            retry_after: None,
        }
    }
}

/// A CI system.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Returns what people call it.
    fn name(&self) -> &'static str;
    /// Returns whether `runs` shows a run whose answer was lost. If not, a request that may have started one is never repeated.
    fn lists_runs(&self) -> bool;
    /// Returns all stacks that we may see. An empty list is only returned when the credentials are known to be accepted.
    async fn stacks(&self) -> Result<Vec<Stack>, ProviderError>;
    /// Returns one stack; `None` if it does not exist.
    async fn stack(&self, id: &str) -> Result<Option<Stack>, ProviderError>;
    /// Starts a run. Never repeats the request by itself when the outcome of the first one is unknown.
    async fn trigger(&self, stack: &str, note: &str) -> Result<Run, ProviderError>;
    /// Returns the latest runs of a stack, newest first.
    async fn runs(&self, stack: &str) -> Result<Vec<Run>, ProviderError>;
    /// Returns one run; `None` if it does not exist.
    async fn run(&self, at: &RunRef) -> Result<Option<Run>, ProviderError>;
    /// Asks for a run to be stopped. Returns before it has stopped.
    async fn stop(&self, at: &RunRef, note: &str) -> Result<(), ProviderError>;
    /// Returns who we are, which also checks the credentials.
    async fn identity(&self) -> Result<Identity, ProviderError>;
}
