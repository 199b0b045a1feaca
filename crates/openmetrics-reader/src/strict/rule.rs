//! A rule, and its violation.

/// A violated rule.
#[derive(Debug)]
pub(crate) struct Broken {
    /// The rule, as errors state it.
    pub(crate) rule: &'static str,
    /// Position of the error, if it is not on the line that was just read.
    pub(crate) earlier: Option<Earlier>,
}

/// The end of a metric point that turned out to be incomplete.
#[derive(Debug)]
pub(crate) struct Earlier {
    pub(crate) line: u64,
    pub(crate) family: String,
}

/// Whether a rule is met.
pub(super) type Result = std::result::Result<(), Broken>;

/// Returns a violation on the line that was just read.
pub(super) fn broken(rule: &'static str) -> Broken {
    Broken { rule, earlier: None }
}

/// Requires that a rule is met.
pub(super) fn demand(holds: bool, rule: &'static str) -> Result {
    if holds { Ok(()) } else { Err(broken(rule)) }
}
