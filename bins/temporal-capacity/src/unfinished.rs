//! Follows up on changes that an earlier run left in progress.

use capacity_autopilot::Autopilot;

use crate::exit::tell;

/// Records the outcomes of changes that an earlier run left in progress. If that fails, the next run tries again.
pub(crate) async fn finish_changes(autopilot: &Autopilot) {
    match capacity_autopilot::finish_changes(autopilot).await {
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
        }
        Err(error) => tell(&format!(
            "warning: the outcomes of changes in progress were not recorded: {error}"
        )),
    }
}
