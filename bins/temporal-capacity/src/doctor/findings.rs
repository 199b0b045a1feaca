//! The findings of `doctor`.

use serde::Serialize;

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    Good,
    Odd,
    Bad,
}

/// A check with its result, which becomes one row of `doctor`.
#[derive(Debug, Serialize)]
pub(super) struct Check {
    /// The component that was checked.
    #[serde(rename = "check")]
    pub(super) subject: String,
    pub(super) verdict: Verdict,
    pub(super) finding: String,
    /// The impact of the problem and how to fix it; empty if the check passed.
    pub(super) remedy: String,
}

#[derive(Debug, Default)]
pub(super) struct Checks(pub(super) Vec<Check>);

impl Checks {
    pub(super) fn good(&mut self, check: &'static str, finding: impl Into<String>) {
        self.add(check, Verdict::Good, finding, "");
    }

    pub(super) fn odd(&mut self, check: &'static str, finding: impl Into<String>, remedy: impl Into<String>) {
        self.add(check, Verdict::Odd, finding, remedy);
    }

    pub(super) fn bad(&mut self, check: &'static str, finding: impl Into<String>, remedy: impl Into<String>) {
        self.add(check, Verdict::Bad, finding, remedy);
    }

    fn add(&mut self, check: &str, verdict: Verdict, finding: impl Into<String>, remedy: impl Into<String>) {
        self.0.push(Check {
            subject: check.to_owned(),
            verdict,
            finding: finding.into(),
            remedy: remedy.into(),
        });
    }
}
