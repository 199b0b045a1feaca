//! Findings of the checks.

use serde::Serialize;

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Works as expected.
    Good,
    /// Works, but should be changed.
    Warning,
    /// Does not work.
    Failure,
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The component that was checked.
    pub check: String,
    /// Result of the check.
    pub verdict: Verdict,
    /// What the check observed.
    pub found: String,
    /// Impact of a problem; empty if there is none.
    pub why: String,
    /// Remedy for a problem; empty if there is none.
    pub remedy: String,
}

/// Collects the findings of all checks.
#[derive(Debug, Default)]
pub struct Report(pub(crate) Vec<Finding>);

impl Report {
    pub(crate) fn good(&mut self, check: &str, found: impl Into<String>) {
        self.add(check, Verdict::Good, found, "", "");
    }

    pub(crate) fn warn(
        &mut self,
        check: &str,
        found: impl Into<String>,
        why: &str,
        remedy: impl Into<String>,
    ) {
        self.add(check, Verdict::Warning, found, why, remedy);
    }

    pub(crate) fn fail(
        &mut self,
        check: &str,
        found: impl Into<String>,
        why: &str,
        remedy: impl Into<String>,
    ) {
        self.add(check, Verdict::Failure, found, why, remedy);
    }

    fn add(
        &mut self,
        check: &str,
        verdict: Verdict,
        found: impl Into<String>,
        why: &str,
        remedy: impl Into<String>,
    ) {
        self.0.push(Finding {
            check: check.to_owned(),
            verdict,
            found: found.into(),
            why: why.to_owned(),
            remedy: remedy.into(),
        });
    }

    /// Returns the findings in the order of the checks.
    pub fn findings(self) -> Vec<Finding> {
        self.0
    }
}
