//! Follows up on changes that an earlier run left in progress.

use capacity_autopilot::Autopilot;

use crate::exit::tell;
use crate::terminal::Terminal;

/// Records the outcomes of changes that an earlier run left in progress. If that fails, the next run tries again; returns the warning
/// about it.
pub(crate) async fn finish_changes(autopilot: &Autopilot, terminal: Terminal) -> Option<String> {
    let bar = terminal.progress("reading the ledger");
    let finished = capacity_autopilot::finish_changes(autopilot).await;
    bar.finish_and_clear();
    match finished {
        Ok(ended) => {
            for change in ended {
                let why = change
                    .error
                    .map_or_else(String::new, |error| format!(": {error}"));
                tell(&format!(
                    "an earlier change of {} has finished: {}{why}",
                    change.namespace,
                    change.outcome.replace('_', " ")
                ));
            }
            None
        }
        Err(error) => Some(error.to_string()),
    }
}

/// Prints the warning unless the plan, which is shown with its own warnings, has it too.
pub(crate) fn warn_once(problem: Option<&str>, warnings: &[String]) {
    if let Some(problem) = problem
        && !warnings.iter().any(|warning| warning == problem)
    {
        tell(&format!("warning: {problem}"));
    }
}
