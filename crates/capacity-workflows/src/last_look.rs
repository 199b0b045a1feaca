//! The last look before a POST: whether current settings, pauses and restrictions still allow the change.

use std::time::Duration;

use capacity_autopilot::{ChangeOrder, chain};
use futures::StreamExt;
use temporalio_client::WorkflowListOptions;

use crate::activities::CapacityActivities;
use crate::change_steps::too_old;
use crate::messages::{BUILD_NOT_VERIFIED, ChangeRequest, LEDGER_UNAVAILABLE};
use crate::pauses;

/// The last look and the POST lie within five seconds.
const BOUND: Duration = Duration::from_secs(4);

/// Returns the code and the sentence of what forbids the change; an error if that cannot be read now.
pub(crate) async fn last_look(
    activities: &CapacityActivities,
    request: &ChangeRequest,
    order: &ChangeOrder,
) -> Result<Option<(&'static str, String)>, String> {
    if let Some(found) = by_settings(activities, request, order) {
        return Ok(Some(found));
    }
    if !request.scales_up()
        && let Some(found) = by_ledger(activities, request).await?
    {
        return Ok(Some(found));
    }
    let client = activities.client.get();
    let read = pauses::read_all(&client, &activities.settings.installation);
    let pauses = tokio::time::timeout(BOUND, read)
        .await
        .map_err(|_| "the pauses could not be read in time".to_owned())?
        .map_err(|error| chain(&error))?;
    let stops = pauses
        .into_iter()
        .find(|pause| pause.seen.open && pause.kind.stops(request.scales_up()));
    Ok(stops.map(|pause| ("paused", pause.sentence())))
}

fn by_settings(
    activities: &CapacityActivities,
    request: &ChangeRequest,
    order: &ChangeOrder,
) -> Option<(&'static str, String)> {
    let settings = &activities.settings;
    if settings.dry_run {
        let text = "DRY_RUN_MODE is true on this worker, so nothing is changed";
        return Some(("dry_run", text.to_owned()));
    }
    let filter = &activities.autopilot.settings().rules.filter;
    if filter.deny.matches(&order.namespace) {
        return Some(("denied", "NAMESPACE_DENYLIST excludes it now".to_owned()));
    }
    if !filter.allow.is_empty() && !filter.allow.matches(&order.namespace) {
        return Some((
            "not_allowed",
            "NAMESPACE_ALLOWLIST does not include it now".to_owned(),
        ));
    }
    let is_verified = request.verified_builds.contains(&settings.build);
    if !request.canary && !is_verified {
        let text = format!("no change of build {} has been verified yet", settings.build);
        return Some((BUILD_NOT_VERIFIED, text));
    }
    let now = activities.autopilot.now();
    if let Some(found) = too_old(order, activities.autopilot.settings().metrics_max_age(), now) {
        return Some(found);
    }
    let minute = now.as_second().rem_euclid(3_600) / 60;
    if !request.scales_up() && minute >= settings.last_minute_to_release {
        let text = format!(
            "it is minute {minute} of the UTC hour; a release this late saves nothing in this hour and might take effect in the next"
        );
        return Some(("too_late_in_hour", text));
    }
    None
}

/// What the ledger forbids: nothing is scaled down without it, nor while an earlier outcome is not in it.
async fn by_ledger(
    activities: &CapacityActivities,
    request: &ChangeRequest,
) -> Result<Option<(&'static str, String)>, String> {
    let Some(ledger) = activities.autopilot.ledger() else {
        return Ok(None);
    };
    let reached = ledger.call_within(BOUND, async |ledger| Ok(ledger.identity().to_owned()));
    if let Err(error) = reached.await {
        let text = format!("the ledger is unavailable ({})", chain(&error));
        return Ok(Some((LEDGER_UNAVAILABLE, text)));
    }
    let open = open_records(activities).await?;
    Ok(open.contains(&request.namespace).then(|| {
        (
            "outcome_not_recorded",
            "the outcome of its last change is not recorded yet".to_owned(),
        )
    }))
}

/// Returns the namespaces whose last outcome is not recorded yet.
pub(crate) async fn open_records(activities: &CapacityActivities) -> Result<Vec<String>, String> {
    let query = "WorkflowType = 'CapacityRecord' AND ExecutionStatus = 'Running'";
    let options = WorkflowListOptions::builder().limit(1_000).build();
    let client = activities.client.get();
    let listed = async {
        let mut list = client.list_workflows(query, options);
        let mut namespaces = Vec::new();
        while let Some(record) = list.next().await {
            let record = record.map_err(|error| error.to_string())?;
            namespaces.extend(record.memo().get::<String>("namespace").ok().flatten());
        }
        Ok(namespaces)
    };
    tokio::time::timeout(BOUND, listed)
        .await
        .map_err(|_| "the open records could not be listed in time".to_owned())?
}
