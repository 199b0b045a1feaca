//! The schedule that starts requests, by default every 15 s.

use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use human_text::counted;
use jiff::Timestamp;
use temporalio_client::schedules::{
    BackfillScheduleOptions, CreateScheduleOptions, DeleteScheduleOptions, PauseScheduleOptions,
    ScheduleAction, ScheduleBackfill, ScheduleError, ScheduleHandle, ScheduleOverlapPolicy, ScheduleSpec,
    TriggerScheduleOptions, UnpauseScheduleOptions,
};
use temporalio_client::tonic::Code;
use temporalio_client::{Client, RpcOptions};

use crate::messages::ApprovalRequest;
use crate::{ApprovalFlow, TASK_QUEUE};

/// Id of the schedule.
pub const SCHEDULE_ID: &str = "approval-flow-schedule";

/// Maximum length of a backfill, because each scheduled time starts a request.
const MAX_BACKFILL: Duration = Duration::from_hours(31 * 24);

/// The times at which requests are started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum When {
    /// At a fixed interval.
    Every(Duration),
    /// By a cron expression, in UTC.
    Cron(String),
}

/// Creates the schedule.
///
/// # Errors
///
/// If the request is invalid, if the schedule already exists, or if the server rejects it.
pub async fn create(client: &Client, when: &When, text: String) -> anyhow::Result<()> {
    let request = ApprovalRequest {
        text,
        requester: "schedule".to_owned(),
        ..ApprovalRequest::default()
    };
    let problems = request.problems();
    if !problems.is_empty() {
        bail!("cannot create the schedule: {}", problems.join("; "));
    }
    let spec = match when {
        When::Every(every) => ScheduleSpec::from_interval(*every),
        When::Cron(expression) => ScheduleSpec::builder()
            .cron_strings(vec![expression.clone()])
            .build(),
    };
    let action = ScheduleAction::start_workflow(
        ApprovalFlow::run,
        request.into(),
        TASK_QUEUE,
        "approval-scheduled",
    );
    let options = CreateScheduleOptions::builder()
        .action(action)
        .spec(spec)
        // Requests wait for approval; a waiting one must not delay the next.
        .overlap_policy(ScheduleOverlapPolicy::AllowAll)
        .note("created by approval-flow schedule".to_owned())
        .build();
    match client.create_schedule(SCHEDULE_ID, options).await {
        Ok(_) => Ok(()),
        Err(ScheduleError::Rpc(status)) if status.code() == Code::AlreadyExists => {
            bail!(
                "the schedule `{SCHEDULE_ID}` already exists; delete it first: approval-flow schedule delete"
            )
        }
        Err(error) => Err(error).context("cannot create the schedule"),
    }
}

/// Operations on the schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Pauses the schedule.
    Pause,
    /// Resumes the schedule.
    Unpause,
    /// Starts one request now.
    Trigger,
    /// Starts the requests of a past period.
    Backfill(Timestamp, Timestamp),
    /// Deletes the schedule.
    Delete,
}

/// Performs one operation.
///
/// # Errors
///
/// If the schedule does not exist, if the period of a backfill is invalid, or if the server rejects the
/// operation.
pub async fn operate(client: &Client, operation: &Operation) -> anyhow::Result<()> {
    let handle: ScheduleHandle<Client> = client.get_schedule_handle(SCHEDULE_ID);
    let done = match operation {
        Operation::Pause => {
            handle
                .pause(Some("paused by approval-flow"), PauseScheduleOptions::default())
                .await
        }
        Operation::Unpause => {
            handle
                // Otherwise the note of the pause stays.
                .unpause(
                    Some("created by approval-flow schedule"),
                    UnpauseScheduleOptions::default(),
                )
                .await
        }
        Operation::Trigger => {
            handle
                .trigger(ScheduleOverlapPolicy::AllowAll, TriggerScheduleOptions::default())
                .await
        }
        Operation::Backfill(from, to) => {
            let span = Duration::try_from(to.duration_since(*from))
                .ok()
                .filter(|span| !span.is_zero());
            let Some(span) = span else {
                bail!("cannot backfill: `--from {from}` must be earlier than `--to {to}`");
            };
            if span > MAX_BACKFILL {
                bail!("cannot backfill more than 31 days at once");
            }
            let backfill = ScheduleBackfill::new(system_time(*from), system_time(*to))
                .overlap_policy(ScheduleOverlapPolicy::AllowAll)
                .build();
            handle
                .backfill([backfill], BackfillScheduleOptions::default())
                .await
        }
        Operation::Delete => handle.delete(DeleteScheduleOptions::default()).await,
    };
    match done {
        Ok(()) => Ok(()),
        Err(ScheduleError::Rpc(status)) if status.code() == Code::NotFound => {
            bail!("the schedule `{SCHEDULE_ID}` does not exist; create it: approval-flow schedule")
        }
        Err(error) => Err(error).context("the server rejected the operation"),
    }
}

/// Truncates to whole seconds, because cron expressions and intervals do not support fractions.
fn system_time(time: Timestamp) -> SystemTime {
    let seconds = u64::try_from(time.as_second()).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

/// Returns a one-line description of the schedule.
///
/// # Errors
///
/// If the schedule does not exist.
pub async fn show(client: &Client) -> anyhow::Result<String> {
    let handle: ScheduleHandle<Client> = client.get_schedule_handle(SCHEDULE_ID);
    let described = handle.describe(RpcOptions::default()).await;
    let described = described.with_context(|| format!("cannot read the schedule `{SCHEDULE_ID}`"))?;
    let state = if described.paused() { "paused" } else { "active" };
    Ok(format!(
        "{SCHEDULE_ID}: {state}, {} started",
        counted(described.action_count(), "request")
    ))
}
