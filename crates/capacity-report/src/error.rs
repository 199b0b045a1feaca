//! Errors of a report.

use capacity_ledger::LedgerError;

/// Why a report cannot be created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The requested range, account, namespaces or bill do not exist.
    #[error("{0}")]
    Asked(String),
    /// The ledger cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The bill cannot be fetched or parsed.
    #[error(transparent)]
    Bill(Box<cloud_ops_client::Error>),
    /// The key is not allowed to fetch the bill.
    #[error(
        "the key may not read the bill: billing reports need the account role Finance Admin or Owner, and the key of the autopilot should not have it. Run this command once with the key of such a service account: TEMPORAL_CLOUD_OPS_API_KEY=... temporal-capacity report --reconcile"
    )]
    NotPermitted(#[source] Box<cloud_ops_client::Error>),
}

impl ReportError {
    pub(crate) fn of_bill(error: cloud_ops_client::Error) -> Self {
        let error = Box::new(error);
        if error.is_permission_denied() {
            Self::NotPermitted(error)
        } else {
            Self::Bill(error)
        }
    }
}
