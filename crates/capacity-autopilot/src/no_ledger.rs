//! Replaces `ledger` in a build without that feature. Nothing is stored, and nothing fails.

#![expect(
    clippy::unused_async,
    clippy::unused_self,
    reason = "same signatures as with the feature"
)]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::marker::PhantomData;

use capacity_engine::{Capacity, NamespaceId, PolicyState};
use jiff::{SignedDuration, Timestamp};

use crate::metrics::{AccountMetrics, Recalled};

/// A ledger, which this build does not have: see the feature `ledger`.
#[derive(Debug)]
pub struct LedgerHandle(Infallible);

pub(crate) struct AccountLedger<'a>(PhantomData<&'a LedgerHandle>);

impl<'a> AccountLedger<'a> {
    pub(crate) fn new(_: Option<&'a LedgerHandle>, _: Option<String>) -> Self {
        Self(PhantomData)
    }

    pub(crate) fn failure(&self) -> Option<&Infallible> {
        None
    }

    pub(crate) async fn recall(&mut self, _: Timestamp) -> Recalled {
        Recalled::default()
    }

    pub(crate) async fn claim(&mut self, _: u32, _: u32, _: Timestamp) -> Option<Timestamp> {
        None
    }

    pub(crate) async fn requests_available(
        &mut self,
        _: SignedDuration,
        _: u32,
        _: Timestamp,
    ) -> Option<u32> {
        None
    }

    pub(crate) async fn record(&mut self, _: &AccountMetrics, _: bool, _: &str, _: Timestamp) -> bool {
        false
    }

    pub(crate) async fn policy_states(&mut self, _: &str) -> BTreeMap<String, PolicyState> {
        BTreeMap::new()
    }

    pub(crate) async fn capacity_before(&mut self, _: &NamespaceId, _: Timestamp) -> Option<Capacity> {
        None
    }
}
