//! The state of the controller loop of release 0.1.0.

use std::collections::{BTreeMap, BTreeSet};

use crate::messages::ChangeReport;

/// The state of the controller loop of release 0.1.0.
#[derive(Debug, Default)]
pub(crate) struct LegacyLoop {
    pub(crate) requested: bool,
    /// Whether the requested evaluation may only scale up.
    pub(crate) raise_only: bool,
    pub(crate) evaluating_raise_only: bool,
    /// Changes of the current evaluation.
    pub(crate) begun: BTreeSet<String>,
    pub(crate) ended: BTreeMap<String, ChangeReport>,
    pub(crate) running: u32,
    /// Why no other change may start.
    pub(crate) halt: Option<String>,
}

impl LegacyLoop {
    /// Requests an evaluation. A request for a full evaluation is never reduced to one that may only scale
    /// up.
    pub(crate) fn request(&mut self, raise_only: bool) {
        self.raise_only = raise_only && (self.raise_only || !self.requested);
        self.requested = true;
    }

    pub(crate) fn request_again(&mut self) {
        self.request(self.evaluating_raise_only);
    }
}
