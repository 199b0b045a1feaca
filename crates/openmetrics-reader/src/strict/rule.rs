//! A rule, and how it is broken.

/// A broken rule.
#[derive(Debug)]
pub(crate) struct Broken {
    /// The rule, as an error says it.
    pub(crate) rule: &'static str,
    /// Where the fault is, if not on the line just read.
    pub(crate) earlier: Option<Earlier>,
}

/// The end of a metric point that turned out to lack something.
#[derive(Debug)]
pub(crate) struct Earlier {
    pub(crate) line: u64,
    pub(crate) family: String,
}

/// Whether a rule holds.
pub(super) type Result = std::result::Result<(), Broken>;

/// A rule broken on the line just read.
pub(super) fn broken(rule: &'static str) -> Broken {
    Broken { rule, earlier: None }
}

/// Requires that a rule holds.
pub(super) fn demand(holds: bool, rule: &'static str) -> Result {
    if holds { Ok(()) } else { Err(broken(rule)) }
}
