//! The result of reading metrics, the same for every source.

use std::time::Duration;

use capacity_engine::MetricsProblem;
use human_text::chain;
use jiff::Timestamp;
use openmetrics_reader::scrape::ErrorKind;

use super::history::Histories;
use super::usage::AccountMetrics;
use crate::warning::ObserveFailure;

/// Time to wait after a refusal without `Retry-After`.
const AFTER_REFUSAL: Duration = Duration::from_mins(2);

/// Metrics that were read.
#[derive(Debug, Default)]
pub(crate) struct Read {
    /// The newest minute of each namespace.
    pub(crate) metrics: AccountMetrics,
    /// Older minutes, if the source has any. The endpoint has none.
    pub(crate) older: Histories,
}

/// Metrics that could not be read. Do not draw conclusions from their absence.
#[derive(Debug, Clone)]
pub(crate) struct Unread {
    /// The kind of problem.
    pub(crate) problem: MetricsProblem,
    /// Description of the problem.
    pub(crate) why: String,
    /// How long not to call the endpoint, if the endpoint or the budget requires a wait.
    pub(crate) wait: Option<Duration>,
    /// The HTTP status, if the key was rejected.
    pub(crate) rejected: Option<u16>,
    /// Number of failed requests.
    pub(crate) requests: u32,
}

impl Unread {
    pub(crate) fn because(why: impl Into<String>) -> Self {
        Self {
            problem: MetricsProblem::Incomplete,
            why: why.into(),
            wait: None,
            rejected: None,
            requests: 0,
        }
    }

    /// Returns an error message if the key was rejected, because someone has to act.
    pub(crate) fn rejection(&self) -> Option<ObserveFailure> {
        let status = self.rejected?;
        Some(ObserveFailure::MetricsRefused { status })
    }
}

impl From<openmetrics_reader::scrape::Error> for Unread {
    fn from(error: openmetrics_reader::scrape::Error) -> Self {
        let wait = match error.kind() {
            ErrorKind::Refused { status: 429, .. } => Some(error.retry_after().unwrap_or(AFTER_REFUSAL)),
            ErrorKind::OverBudget { free_in, .. } => Some(*free_in),
            _ => error.retry_after(),
        };
        let rejected = match error.kind() {
            ErrorKind::Refused { status, .. } => Some(*status).filter(|status| matches!(status, 401 | 403)),
            _ => None,
        };
        let problem = match error.kind() {
            ErrorKind::OverBudget { .. } | ErrorKind::Refused { status: 429, .. } => {
                MetricsProblem::OverBudget
            }
            ErrorKind::Refused { .. } if rejected.is_some() => MetricsProblem::Refused,
            ErrorKind::Refused { .. } | ErrorKind::Transport { .. } => MetricsProblem::Unreachable,
            _ => MetricsProblem::Incomplete,
        };
        Self {
            problem,
            why: chain(&error),
            wait,
            rejected,
            requests: error.requests(),
        }
    }
}

/// The ledger's minutes of the last hour.
#[derive(Debug, Default)]
pub(crate) struct Recalled {
    /// The newest minute of each namespace, as if it had just been read.
    pub(crate) newest: AccountMetrics,
    /// The newest minute in which all namespaces were read.
    pub(crate) complete: Option<Timestamp>,
    /// All minutes.
    pub(crate) older: Histories,
}
