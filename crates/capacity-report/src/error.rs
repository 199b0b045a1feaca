//! Errors of a report.

use capacity_engine::InvalidPattern;
use capacity_ledger::LedgerError;
use cloud_ops_client::BillingReportState;
use jiff::Timestamp;
use jiff::civil::Date;

/// Why a report cannot be created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The range ends before it begins.
    #[error("--from {from} is not before --to {to}. Swap them, or leave one out")]
    Backwards {
        /// The beginning.
        from: Timestamp,
        /// The end.
        to: Timestamp,
    },
    /// The range has no full hour that is over.
    #[error(
        "there is no full hour between {from} and {to}: capacity is billed by the hour, and only hours that are over can be reported. Use an earlier --from"
    )]
    NoFullHour {
        /// The beginning.
        from: Timestamp,
        /// The end, or now.
        to: Timestamp,
    },
    /// The range is too long.
    #[error("the range has {days} days, and a report covers at most 366. Use a later --from")]
    TooLong {
        /// Its length.
        days: i64,
    },
    /// The range has dates that a calendar does not have.
    #[error("the range is outside the supported dates")]
    BeyondCalendar,
    /// The ledger is empty.
    #[error("the ledger {0} is empty: run a worker with it, or run `temporal-capacity plan --observe 1h`")]
    EmptyLedger(String),
    /// The ledger does not have the account.
    #[error(
        "the ledger {ledger} has no data for account {account}; it has data for {}. Check --account and LEDGER_URL",
        .known.join(", ")
    )]
    UnknownAccount {
        /// The ledger.
        ledger: String,
        /// The account.
        account: String,
        /// The accounts that it has.
        known: Vec<String>,
    },
    /// The ledger has several accounts.
    #[error("the ledger {ledger} has several accounts ({}). Choose one with --account", .known.join(", "))]
    SeveralAccounts {
        /// The ledger.
        ledger: String,
        /// The accounts that it has.
        known: Vec<String>,
    },
    /// A pattern of namespaces does not parse.
    #[error(transparent)]
    Pattern(#[from] InvalidPattern),
    /// The ledger has nothing of the range and the namespaces, and what it has instead.
    #[error("{0}")]
    NoData(String),
    /// The billing report is not hourly.
    #[error(
        "the billing report is not hourly: Temporal keeps hourly reports for the current and previous month only. Use a later --from"
    )]
    NotHourly,
    /// The billing report belongs to another account.
    #[error(
        "the billing report is for another account (namespace {billed}); the ledger is for account {account}. Use a key for account {account}, or the ledger for the other account"
    )]
    OtherAccount {
        /// A namespace of the bill.
        billed: String,
        /// The account of the ledger.
        account: String,
    },
    /// Nothing of the range is billed yet.
    #[error(
        "the hours from {from} to {to} are not billed yet: a billing report has hours up to about 24 hours ago. Use an earlier --from"
    )]
    NotBilledYet {
        /// The beginning.
        from: Timestamp,
        /// The end.
        to: Timestamp,
    },
    /// The service no longer keeps the hours of the range.
    #[error(
        "Temporal Cloud keeps hourly billing for the current and previous month only, from {kept}; the range begins on {from}. Use a later --from"
    )]
    NoLongerKept {
        /// The first day that is kept.
        kept: Date,
        /// The beginning.
        from: Date,
    },
    /// The billing report has no rows.
    #[error(
        "billing report {id} is empty: nothing is billed from {from} to {to}. A billing report has hours up to about 24 hours ago; use an earlier --from"
    )]
    EmptyBill {
        /// Its id.
        id: String,
        /// The beginning.
        from: Timestamp,
        /// The end.
        to: Timestamp,
    },
    /// The service could not make the billing report.
    #[error(
        "Temporal Cloud could not make billing report {0}. Run the command again in a few minutes; if it fails again, give this id to Temporal support"
    )]
    BillNotMade(String),
    /// The service takes too long to make the billing report.
    #[error(
        "billing report {id} is still {state} after {minutes} minutes. Temporal Cloud creates one report per account at a time: run the command again later"
    )]
    BillSlow {
        /// Its id.
        id: String,
        /// Its state.
        state: BillingReportState,
        /// How long it was waited for.
        minutes: u64,
    },
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
