//! The metrics of an account, from the endpoint, from a Prometheus or from the ledger: all of them become the same minutes.

mod detail;
pub(crate) mod endpoint;
mod families;
mod history;
mod read;
mod recorded;
mod source;
pub(crate) mod stored;
mod usage;

pub(crate) use detail::{Detail, first_detail};
pub(crate) use families::family_of;
pub use families::metric_families;
pub(crate) use history::{Histories, keep_newest, minutes_of, sample_of};
pub(crate) use read::{Read, Unread};
pub use recorded::{
    RecordedMinute, RecordedNotes, minutes_of_ledger, minutes_of_prometheus, namespaces_of_prometheus,
};
pub use source::MetricsSource;
pub use stored::{StoredSeries, stored_series};
pub(crate) use usage::{AccountMetrics, NamespaceMetrics};
