//! What the ledger stores: minutes, decisions and their inputs, changes, policy state, and announcements.

mod account;
mod handle;
mod inputs;
mod minutes;
mod problems;
mod recalled;
mod record;
mod unfinished;

pub(crate) use account::AccountLedger;
pub use handle::LedgerHandle;
pub use minutes::minutes_of_ledger;
pub use problems::{recall_problems, store_problems};
pub use recalled::{RecalledDecision, decision_in_ledger};
pub use record::{record_change, record_changes, record_evaluation, record_policies};
pub use unfinished::finish_changes;
