//! `doctor stack`: checks a self-hosted Temporal stack, and converts the findings for display.

use std::path::Path;

use temporal_stack::doctor::{self, Finding};
use temporal_stack::place::Place;

use super::findings::{Check, Verdict};
use crate::terminal::Terminal;

/// Checks the stack of a run directory, or the one that was started last.
pub(super) async fn examine(dir: Option<&Path>, terminal: Terminal) -> anyhow::Result<Vec<Check>> {
    let place = Place::find(dir)?;
    let bar = terminal.progress("examining");
    let findings = doctor::examine(&place, &|what| bar.set_message(what.to_owned())).await;
    bar.finish_and_clear();
    Ok(findings?.into_iter().map(check).collect())
}

fn check(finding: Finding) -> Check {
    let remedy = match (finding.why.as_str(), finding.remedy.as_str()) {
        ("", remedy) => remedy.to_owned(),
        (why, remedy) => format!("{why}. Remedy: {remedy}"),
    };
    Check {
        subject: finding.check,
        verdict: match finding.verdict {
            doctor::Verdict::Good => Verdict::Good,
            doctor::Verdict::Warning => Verdict::Odd,
            doctor::Verdict::Failure => Verdict::Bad,
        },
        finding: finding.found,
        remedy,
    }
}
