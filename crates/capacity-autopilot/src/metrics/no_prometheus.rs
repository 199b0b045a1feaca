//! Replaces `prometheus` in a build without that feature. There is no client, so nothing here is ever called.

#![expect(clippy::unused_async, reason = "same signatures as with the feature")]

use std::convert::Infallible;

use capacity_engine::NamespaceId;
use jiff::Timestamp;

use super::busy::{Busy, SearchError};
use super::detail::Detail;
use super::read::{Read, Unread};

/// A Prometheus client, which this build does not have: see the feature `prometheus`.
#[derive(Debug)]
pub struct PrometheusClient(Infallible);

pub(crate) async fn read(
    client: &PrometheusClient,
    _: &[NamespaceId],
    _: Detail,
    _: bool,
    _: Timestamp,
    _: Timestamp,
    _: Timestamp,
) -> Result<Read, Unread> {
    match client.0 {}
}

pub(crate) async fn families_like(
    client: &PrometheusClient,
    _: &str,
    _: Timestamp,
) -> Result<Vec<String>, SearchError> {
    match client.0 {}
}

pub(crate) async fn busy(
    client: &PrometheusClient,
    _: &[NamespaceId],
    _: &[String],
    _: Timestamp,
) -> Result<Busy, SearchError> {
    match client.0 {}
}
