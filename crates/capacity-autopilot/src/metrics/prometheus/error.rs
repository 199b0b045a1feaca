//! Converts errors of Prometheus to the reason why metrics are unavailable.

use capacity_engine::MetricsProblem;
use human_text::chain;

use crate::metrics::Unread;

impl From<prometheus_reader::Error> for Unread {
    fn from(error: prometheus_reader::Error) -> Self {
        use prometheus_reader::ErrorKind as Kind;
        let rejected = match error.kind() {
            Kind::Unauthorized { status, .. } => Some(*status),
            _ => None,
        };
        let problem = match error.kind() {
            Kind::Unauthorized { .. } => MetricsProblem::Refused,
            Kind::Refused { status: 429, .. } => MetricsProblem::OverBudget,
            Kind::Unreachable { .. } | Kind::Timeout { .. } | Kind::Refused { .. } => {
                MetricsProblem::Unreachable
            }
            _ => MetricsProblem::Incomplete,
        };
        Self {
            problem,
            rejected,
            ..Self::because(chain(&error))
        }
    }
}
