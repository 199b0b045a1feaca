//! Everything that a report shows, independent of the format.

use capacity_report::{Figure, Reconciliation, Report};

/// A report with its optional parts.
pub(super) struct Shown {
    pub(super) report: Report,
    pub(super) figures: Option<Vec<Figure>>,
    pub(super) bill: Option<Reconciliation>,
}
