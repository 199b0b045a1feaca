//! What the loop of release 0.1.0 keeps.

use std::collections::{BTreeMap, BTreeSet};

use crate::messages::ChangeReport;

/// What the loop of release 0.1.0 keeps.
#[derive(Debug, Default)]
pub(crate) struct LegacyLoop {
    pub(crate) requested: bool,
    /// Whether the evaluation that was asked for may only scale up.
    pub(crate) raise_only: bool,
    pub(crate) evaluating_raise_only: bool,
    /// Changes of the present evaluation.
    pub(crate) begun: BTreeSet<String>,
    pub(crate) ended: BTreeMap<String, ChangeReport>,
    pub(crate) running: u32,
    /// Why no other change may begin.
    pub(crate) halt: Option<String>,
}

impl LegacyLoop {
    /// Asks for an evaluation. One that may do everything is never turned into one that may only scale up.
    pub(crate) fn request(&mut self, raise_only: bool) {
        self.raise_only = raise_only && (self.raise_only || !self.requested);
        self.requested = true;
    }

    pub(crate) fn request_again(&mut self) {
        self.request(self.evaluating_raise_only);
    }
}
