//! Errors of a report.

use capacity_engine::InvalidPattern;
use capacity_ledger::LedgerError;
use cloud_ops_client::BillingReportState;
use human_text::at_minute;
use jiff::Timestamp;
use jiff::civil::Date;

/// Why a report cannot be created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The range ends before it begins.
    #[error("--from {} is not before --to {}. Swap them, or omit one", at_minute(*.from), at_minute(*.to))]
    Backwards {
        /// Beginning of the range.
        from: Timestamp,
        /// End of the range.
        to: Timestamp,
    },
    /// The range contains no complete hour in the past.
    #[error(
        "the range from {} to {} contains no complete hour: capacity is billed by the hour, and a report covers complete hours only. Use an earlier --from",
        at_minute(*.from), at_minute(*.to)
    )]
    NoFullHour {
        /// Beginning of the range.
        from: Timestamp,
        /// End of the range, or the current time.
        to: Timestamp,
    },
    /// The range is too long.
    #[error("the range is {days} days long, but a report covers at most 366. Use a later --from")]
    TooLong {
        /// Length of the range.
        days: i64,
    },
    /// The range contains dates that cannot be represented.
    #[error("the range is outside the supported dates")]
    BeyondCalendar,
    /// The ledger is empty.
    #[error(
        "the ledger {0} is empty: run a worker with this ledger, or run `temporal-capacity plan --observe 1h`"
    )]
    EmptyLedger(String),
    /// The ledger does not contain the account.
    #[error(
        "the ledger {ledger} has no data for account {account}; it has data for {}. Check --account and LEDGER_URL",
        .known.join(", ")
    )]
    UnknownAccount {
        /// Location of the ledger.
        ledger: String,
        /// Id of the account.
        account: String,
        /// Accounts in the ledger.
        known: Vec<String>,
    },
    /// The ledger contains several accounts.
    #[error("the ledger {ledger} has several accounts ({}). Choose one with --account", .known.join(", "))]
    SeveralAccounts {
        /// Location of the ledger.
        ledger: String,
        /// Accounts in the ledger.
        known: Vec<String>,
    },
    /// A namespace pattern is invalid.
    #[error(transparent)]
    Pattern(#[from] InvalidPattern),
    /// The ledger has no data for the range and the namespaces; contains what it has instead.
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
        /// A namespace in the bill.
        billed: String,
        /// Account in the ledger.
        account: String,
    },
    /// No part of the range has been billed yet.
    #[error(
        "the hours from {} to {} have not been billed yet: billing reports lag about 24 hours. Use an earlier --from",
        at_minute(*.from), at_minute(*.to)
    )]
    NotBilledYet {
        /// Beginning of the range.
        from: Timestamp,
        /// End of the range.
        to: Timestamp,
    },
    /// The service no longer stores the hours of the range.
    #[error(
        "Temporal Cloud keeps hourly billing for the current and previous month only, from {kept}; the range begins on {from}. Use a later --from"
    )]
    NoLongerKept {
        /// First day that the service still stores.
        kept: Date,
        /// Beginning of the range.
        from: Date,
    },
    /// The billing report has no rows.
    #[error(
        "billing report {id} is empty: nothing was billed from {} to {}. Billing reports lag about 24 hours; use an earlier --from",
        at_minute(*.from), at_minute(*.to)
    )]
    EmptyBill {
        /// Id of the billing report.
        id: String,
        /// Beginning of the range.
        from: Timestamp,
        /// End of the range.
        to: Timestamp,
    },
    /// The service could not generate the billing report.
    #[error(
        "Temporal Cloud could not generate billing report {0}. Run the command again in a few minutes; if it fails again, send this id to Temporal Support"
    )]
    BillNotMade(String),
    /// The service took too long to generate the billing report.
    #[error(
        "billing report {id} is still {state} after {minutes} minutes. Temporal Cloud creates one report per account at a time: run the command again later"
    )]
    BillSlow {
        /// Id of the billing report.
        id: String,
        /// State of the billing report.
        state: BillingReportState,
        /// Minutes waited so far.
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
        "the key is not allowed to read the bill: billing reports require the account role Finance Admin or Owner, which the autopilot's key should not have. Run this command once with the key of a service account that has it: TEMPORAL_CLOUD_OPS_API_KEY=... temporal-capacity report --reconcile"
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
