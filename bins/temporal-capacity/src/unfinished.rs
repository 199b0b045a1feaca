//! Changes that an earlier run left in progress.

use capacity_autopilot::Autopilot;

use crate::exit::tell;

/// Records how changes ended that an earlier run left in progress. A failure only delays it.
pub(crate) async fn finish_changes(autopilot: &Autopilot) {
    match capacity_autopilot::finish_changes(autopilot).await {
        Ok(ended) => {
            for change in ended {
                let why = change
                    .error
                    .map_or_else(String::new, |error| format!(": {error}"));
                tell(&format!(
                    "the change of {} that was left in progress has ended: {}{why}",
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
