//! The metrics of an account, from the endpoint, Prometheus or the ledger. All sources produce the same
//! minutes.

mod busy;
mod detail;
pub(crate) mod endpoint;
mod families;
mod history;
#[cfg_attr(not(feature = "prometheus"), path = "no_prometheus.rs")]
pub(crate) mod prometheus;
mod read;
#[cfg(any(feature = "ledger", feature = "prometheus"))]
pub(crate) mod recorded;
mod source;
mod usage;

pub use busy::SearchError;
pub(crate) use detail::{Detail, first_detail};
pub(crate) use families::family_of;
pub use families::metric_families;
pub(crate) use history::{Histories, LOOK_BACK};
pub(crate) use read::{Read, Recalled, Unread};
pub use source::MetricsSource;
pub(crate) use usage::{AccountMetrics, NamespaceMetrics};
