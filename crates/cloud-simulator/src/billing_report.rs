//! One billing report.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// A requested report.
#[derive(Debug, Clone)]
pub(crate) struct BillingReport {
    pub(crate) id: String,
    pub(crate) operation: String,
    pub(crate) spec: Value,
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
    pub(crate) download_for: SignedDuration,
    pub(crate) requested: Timestamp,
    pub(crate) ready: Timestamp,
    pub(crate) token: u64,
    /// The file, once it is ready.
    pub(crate) file: Option<String>,
}

impl BillingReport {
    pub(crate) fn created(&self, now: Timestamp) -> Value {
        let state = if now < self.ready {
            "STATE_IN_PROGRESS"
        } else {
            "STATE_FULFILLED"
        };
        json!({
            "billingReportId": self.id,
            "asyncOperation": {
                "id": self.operation,
                "state": state,
                "operationType": "CreateBillingReport",
                "startedTime": self.requested,
            },
        })
    }

    pub(crate) fn expires(&self) -> Timestamp {
        self.ready.saturating_add(self.download_for).unwrap_or(self.ready)
    }
}
