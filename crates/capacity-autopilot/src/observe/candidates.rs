//! Selects the namespaces that need more of their metrics, or their capacity info.

use capacity_engine::{AccountView, LimitKind, ReportedUsage, Snapshot};
use jiff::Timestamp;

use super::policies::Judge;
use crate::namespaces::is_on_demand;

/// The first pass of the pure rule. Namespaces are identified by the index of their snapshot.
pub(super) struct Candidates<'a> {
    pub(super) acting: &'a Judge,
    pub(super) shadow: Option<&'a Judge>,
    pub(super) account: &'a AccountView,
    pub(super) now: Timestamp,
}

impl Candidates<'_> {
    fn wants_info(&self, snapshot: &Snapshot) -> bool {
        self.acting.wants_capacity_info(snapshot, self.account, self.now)
    }

    /// Returns the namespaces for which the active policy wants a change.
    pub(super) fn of_acting(&self, snapshots: &[Snapshot]) -> Vec<usize> {
        numbers(snapshots, |snapshot| self.wants_info(snapshot))
    }

    /// Returns the namespaces for which the active or the shadow policy wants a change.
    pub(super) fn of_both(&self, snapshots: &[Snapshot]) -> Vec<usize> {
        let in_shadow = |snapshot: &Snapshot| {
            let mut shadow = self.shadow.iter();
            shadow.any(|shadow| shadow.wants_capacity_info(snapshot, self.account, self.now))
        };
        numbers(snapshots, |snapshot| {
            self.wants_info(snapshot) || in_shadow(snapshot)
        })
    }

    /// Returns the namespaces that are throttled, or for which the active policy may want a change.
    pub(super) fn worth_details(&self, snapshots: &[Snapshot]) -> Vec<usize> {
        numbers(snapshots, |snapshot| {
            is_throttled(snapshot) || self.wants_info(snapshot)
        })
    }

    /// Returns the namespaces from the ledger that must be read again: those that may be released, unless `ledger_is_enough`, and
    /// throttled ones that were only partly read.
    pub(super) fn worth_reading_again(&self, snapshots: &[Snapshot], ledger_is_enough: bool) -> Vec<usize> {
        numbers(snapshots, |snapshot| {
            let wants = self.wants_info(snapshot);
            (wants && !is_on_demand(snapshot) && !ledger_is_enough)
                || ((wants || is_throttled(snapshot)) && !is_read_whole(snapshot))
        })
    }
}

fn numbers(snapshots: &[Snapshot], holds: impl Fn(&Snapshot) -> bool) -> Vec<usize> {
    (0..snapshots.len())
        .filter(|number| holds(&snapshots[*number]))
        .collect()
}

pub(super) fn is_throttled(snapshot: &Snapshot) -> bool {
    match &snapshot.usage {
        ReportedUsage::Known(window) => {
            let usage = &window.newest().usage;
            LimitKind::ALL
                .into_iter()
                .any(|kind| !usage[kind].throttled.is_zero())
        }
        _ => false,
    }
}

fn is_read_whole(snapshot: &Snapshot) -> bool {
    match &snapshot.usage {
        ReportedUsage::Known(window) => LimitKind::ALL
            .into_iter()
            .all(|kind| window.newest().served_read[kind]),
        _ => false,
    }
}
