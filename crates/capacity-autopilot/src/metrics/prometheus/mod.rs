//! Minutes that Prometheus has stored.

mod busy;
mod error;
mod minutes;
mod recorded;

pub(crate) use prometheus_reader::PrometheusClient;

pub(crate) use busy::{busy, families_like};
pub(crate) use minutes::read;
pub use minutes::{StoredSeries, stored_series};
pub use recorded::{RecordedNotes, minutes_of_prometheus, namespaces_of_prometheus};
