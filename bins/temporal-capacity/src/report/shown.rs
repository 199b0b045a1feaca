//! Everything that a report shows, in any format.

use capacity_report::{Figure, Reconciliation, Report};

/// A report, with what was asked for in addition.
pub(super) struct Shown {
    pub(super) report: Report,
    pub(super) figures: Option<Vec<Figure>>,
    pub(super) bill: Option<Reconciliation>,
}
