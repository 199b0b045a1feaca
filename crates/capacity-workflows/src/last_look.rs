//! The final check before a POST: whether current settings, pauses and restrictions still allow the change.

use std::time::Duration;

use capacity_autopilot::{Autopilot, ChangeOrder};
use futures::StreamExt;
use human_text::chain;
use jiff::{SignedDuration, Timestamp};
use temporalio_client::errors::ClientError;
use temporalio_client::{Client, WorkflowListOptions};

use crate::messages::{BUILD_NOT_VERIFIED, ChangeRequest, LEDGER_UNAVAILABLE, METRICS_STALE};
use crate::pauses::{self, PauseError};
use crate::settings::ActivitySettings;

/// Time limit, so that the final check and the POST are at most five seconds apart.
const BOUND: Duration = Duration::from_secs(4);

/// The reason not to make a change: a stable code and a sentence.
pub(crate) struct NotNow {
    pub(crate) code: &'static str,
    pub(crate) why: String,
}

impl NotNow {
    fn new(code: &'static str, why: impl Into<String>) -> Self {
        Self {
            code,
            why: why.into(),
        }
    }
}

/// Why the final check could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookError {
    #[error("the pauses could not be read in time")]
    PausesLate,
    #[error(transparent)]
    Pauses(#[from] PauseError),
    #[error("the open records could not be listed in time")]
    RecordsLate,
    #[error(transparent)]
    Records(#[from] ClientError),
}

/// Returns what forbids the change; an error if that cannot be read now.
pub(crate) async fn last_look(
    autopilot: &Autopilot,
    client: &Client,
    settings: &ActivitySettings,
    request: &ChangeRequest,
    order: &ChangeOrder,
) -> Result<Option<NotNow>, LookError> {
    // Local checks first; the pauses last, as close to the POST as possible.
    if let Some(found) = by_settings(autopilot, settings, request, order) {
        return Ok(Some(found));
    }
    if !request.scales_up()
        && let Some(found) = by_ledger(autopilot, client, request).await?
    {
        return Ok(Some(found));
    }
    let read = pauses::read_all(client, &settings.installation);
    let pauses = tokio::time::timeout(BOUND, read)
        .await
        .map_err(|_| LookError::PausesLate)??;
    let stops = pauses
        .into_iter()
        .find(|pause| pause.seen.open && pause.kind.stops(request.scales_up()));
    Ok(stops.map(|pause| NotNow::new("paused", pause.sentence())))
}

fn by_settings(
    autopilot: &Autopilot,
    settings: &ActivitySettings,
    request: &ChangeRequest,
    order: &ChangeOrder,
) -> Option<NotNow> {
    if settings.dry_run {
        let text = "DRY_RUN_MODE is true on this worker, so nothing is changed";
        return Some(NotNow::new("dry_run", text));
    }
    let filter = &autopilot.settings().rules.filter;
    if filter.deny.matches(&order.namespace) {
        return Some(NotNow::new("denied", "NAMESPACE_DENYLIST excludes it now"));
    }
    if !filter.allow.is_empty() && !filter.allow.matches(&order.namespace) {
        return Some(NotNow::new(
            "not_allowed",
            "NAMESPACE_ALLOWLIST does not include it now",
        ));
    }
    let is_verified = request.verified_builds.contains(&settings.build);
    if !request.canary && !is_verified {
        let text = format!("no change of build {} has been verified yet", settings.build);
        return Some(NotNow::new(BUILD_NOT_VERIFIED, text));
    }
    let now = autopilot.now();
    if let Some(found) = too_old(order, autopilot.settings().metrics_max_age(), now) {
        return Some(found);
    }
    let minute = now.as_second().rem_euclid(3_600) / 60;
    if !request.scales_up() && minute >= settings.no_release_from_minute {
        let text = format!(
            "it is minute {minute} of the UTC hour; a release this late saves nothing in this hour and might take effect in the next"
        );
        return Some(NotNow::new("too_late_in_hour", text));
    }
    None
}

/// Returns a reason if the ledger forbids the change: nothing is scaled down while the ledger is unavailable or lacks the outcome
/// of an earlier change.
async fn by_ledger(
    autopilot: &Autopilot,
    client: &Client,
    request: &ChangeRequest,
) -> Result<Option<NotNow>, LookError> {
    let Some(ledger) = autopilot.ledger() else {
        return Ok(None);
    };
    let reached = ledger.call_within(BOUND, async |ledger| Ok(ledger.identity().to_owned()));
    if let Err(error) = reached.await {
        let text = format!("the ledger is unavailable ({})", chain(&error));
        // An outcome instead of an error: the change goes back to the queue instead of blocking its
        // namespace with retries.
        return Ok(Some(NotNow::new(LEDGER_UNAVAILABLE, text)));
    }
    let open = open_records(client).await?;
    Ok(open.contains(&request.namespace).then(|| {
        NotNow::new(
            "outcome_not_recorded",
            "the outcome of its last change is not recorded yet",
        )
    }))
}

/// Returns the namespaces whose last outcome is not recorded yet.
pub(crate) async fn open_records(client: &Client) -> Result<Vec<String>, LookError> {
    let query = "WorkflowType = 'CapacityRecord' AND ExecutionStatus = 'Running'";
    let options = WorkflowListOptions::builder().limit(1_000).build();
    let listed = async {
        let mut list = client.list_workflows(query, options);
        let mut namespaces = Vec::new();
        while let Some(record) = list.next().await {
            let record = record?;
            namespaces.extend(record.memo().get::<String>("namespace").ok().flatten());
        }
        Ok::<_, LookError>(namespaces)
    };
    tokio::time::timeout(BOUND, listed)
        .await
        .map_err(|_| LookError::RecordsLate)?
}

/// Returns a code and a sentence if the data of a change is too old for a POST.
fn too_old(order: &ChangeOrder, max_age: SignedDuration, now: Timestamp) -> Option<NotNow> {
    let Some(minute) = order.sample_minute else {
        return Some(NotNow::new(
            METRICS_STALE,
            "the change does not specify which metrics it is based on",
        ));
    };
    let age = now.duration_since(minute);
    (age > max_age).then(|| {
        let text = format!(
            "the metrics behind the change are {} min old (limit {} min); the namespace will be re-evaluated",
            age.as_mins(),
            max_age.as_mins()
        );
        NotNow::new(METRICS_STALE, text)
    })
}
