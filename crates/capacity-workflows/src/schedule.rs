//! Creates, updates, shows, pauses, resumes, triggers and deletes the schedule.
//!
//! It is written with raw messages, because the typed ones leave the catch-up window at a year. The server
//! silently drops an update with a stale token, so the result is read back and compared.

mod options;

use std::time::{Duration, SystemTime};

use human_text::at_minute;
use jiff::Timestamp;
use temporalio_client::grpc::WorkflowService;
use temporalio_client::schedules::{
    DeleteScheduleOptions, PauseScheduleOptions, ScheduleHandle, ScheduleOverlapPolicy,
    TriggerScheduleOptions, UnpauseScheduleOptions,
};
use temporalio_client::tonic::{Code, IntoRequest, Status as RpcStatus};
use temporalio_client::{Client, RpcOptions, WorkflowCountOptions, WorkflowGetResultOptions};
use temporalio_common::protos::temporal::api::schedule::v1 as proto;
use temporalio_common::protos::temporal::api::workflowservice::v1::{
    CreateScheduleRequest, UpdateScheduleRequest,
};

use crate::definitions::TickWorkflow;
use crate::names::Installation;

pub use options::ScheduleOptions;

/// The outcome of [`Schedule::create`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CreateOutcome {
    /// There was no schedule.
    Created,
    /// There was a schedule with another spec.
    Updated,
}

/// Why a schedule request failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScheduleError {
    /// The service refused.
    #[error("the Temporal service refused to {what}: {text}")]
    Refused {
        /// The attempted operation.
        what: &'static str,
        /// The service's message.
        text: String,
    },
    /// There is no schedule.
    #[error("this installation has no schedule in this namespace; create it with `capacity-schedule create`")]
    Missing,
    /// An update was accepted but not applied, three times.
    #[error("someone else edited the schedule at the same time: check it, then try again")]
    Contended,
}

/// The current state of the schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Whether it is paused.
    pub paused: bool,
    /// Note of the schedule, written by a person if someone paused it.
    pub note: String,
    /// Runs started.
    pub runs: i64,
    /// Runs skipped because the previous one was still running.
    pub skipped: i64,
    /// Runs missed by more than the catch-up window.
    pub missed: i64,
    /// Minutes of the hour it runs at.
    pub minutes: Vec<i32>,
    /// Hours of the day it runs at.
    pub hours: Vec<i32>,
    /// Time zone of the schedule.
    pub time_zone: String,
    /// The next runs (UTC).
    pub next: Vec<Timestamp>,
}

fn refused(what: &'static str) -> impl Fn(RpcStatus) -> ScheduleError {
    move |status| match status.code() {
        Code::NotFound => ScheduleError::Missing,
        _ => ScheduleError::Refused {
            what,
            text: status.message().to_owned(),
        },
    }
}

fn failed(what: &'static str) -> impl Fn(temporalio_client::schedules::ScheduleError) -> ScheduleError {
    move |error| match error {
        temporalio_client::schedules::ScheduleError::Rpc(status) => refused(what)(status),
        other => ScheduleError::Refused {
            what,
            text: other.to_string(),
        },
    }
}

/// A handle to the schedule of an installation.
#[derive(Clone)]
pub struct Schedule {
    client: Client,
    installation: Installation,
}

impl std::fmt::Debug for Schedule {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Schedule")
            .field("installation", &self.installation)
            .finish_non_exhaustive()
    }
}

impl Schedule {
    /// Creates a handle. Nothing is sent until a method is called.
    pub fn new(client: &Client, installation: &Installation) -> Self {
        Self {
            client: client.clone(),
            installation: installation.clone(),
        }
    }

    /// Creates the schedule, or updates it to the wanted spec. A person's pause and notes are kept.
    pub async fn create(&self, options: &ScheduleOptions) -> Result<CreateOutcome, ScheduleError> {
        const WHAT: &str = "create the schedule";
        let request = CreateScheduleRequest {
            namespace: self.client.options().namespace.clone(),
            schedule_id: self.installation.schedule_id(),
            request_id: format!("create-{}", Timestamp::now().as_nanosecond()),
            schedule: Some(options.wanted(&self.installation)),
            ..Default::default()
        };
        match WorkflowService::create_schedule(&mut self.client.clone(), request.into_request()).await {
            Ok(_) => Ok(CreateOutcome::Created),
            Err(status) if status.code() == Code::AlreadyExists => {
                self.update(options).await.map(|()| CreateOutcome::Updated)
            }
            Err(status) => Err(refused(WHAT)(status)),
        }
    }

    async fn update(&self, options: &ScheduleOptions) -> Result<(), ScheduleError> {
        const WHAT: &str = "update the schedule";
        let handle = self.handle();
        let wanted = options.wanted(&self.installation);
        for _ in 0..3 {
            let described = handle
                .describe(RpcOptions::default())
                .await
                .map_err(failed(WHAT))?;
            let state = described
                .raw()
                .schedule
                .as_ref()
                // The state has the pause and the notes of a person; everything else is ours.
                .and_then(|schedule| schedule.state.clone());
            let request = UpdateScheduleRequest {
                namespace: self.client.options().namespace.clone(),
                schedule_id: self.installation.schedule_id(),
                schedule: Some(proto::Schedule {
                    state,
                    ..wanted.clone()
                }),
                conflict_token: described.conflict_token().to_vec(),
                request_id: format!("update-{}", Timestamp::now().as_nanosecond()),
                ..Default::default()
            };
            WorkflowService::update_schedule(&mut self.client.clone(), request.into_request())
                .await
                .map_err(refused(WHAT))?;
            // The service accepts a stale token but ignores it.
            let after = handle
                .describe(RpcOptions::default())
                .await
                .map_err(failed(WHAT))?;
            if after.raw().schedule.as_ref().is_some_and(|is| took(is, &wanted)) {
                return Ok(());
            }
        }
        Err(ScheduleError::Contended)
    }

    /// Shows the schedule.
    pub async fn show(&self) -> Result<Shown, ScheduleError> {
        let handle = self.handle();
        let described = handle
            .describe(RpcOptions::default())
            .await
            .map_err(failed("show the schedule"))?;
        let spec = described
            .raw()
            .schedule
            .as_ref()
            .and_then(|schedule| schedule.spec.clone())
            .unwrap_or_default();
        let minutes = spec
            .structured_calendar
            .iter()
            .flat_map(|calendar| &calendar.minute);
        Ok(Shown {
            paused: described.paused(),
            note: described.note().unwrap_or_default().to_owned(),
            runs: described.action_count(),
            skipped: described.overlap_skipped(),
            missed: described.missed_catchup_window(),
            minutes: minutes.map(|range| range.start).collect(),
            hours: spec
                .structured_calendar
                .iter()
                .flat_map(|calendar| &calendar.hour)
                .flat_map(|range| range.start..=range.end.max(range.start))
                .collect(),
            time_zone: if spec.timezone_name.is_empty() {
                "UTC".to_owned()
            } else {
                spec.timezone_name
            },
            next: described
                .future_action_times()
                .into_iter()
                .take(5)
                .filter_map(timestamp)
                .collect(),
        })
    }

    /// Counts the runs of the schedule since a time, for at most a week. Needs no worker.
    pub async fn ticks_since(
        &self,
        shown: &Shown,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<TicksSince, ScheduleError> {
        let count = async |status: &str| {
            let query = format!(
                "WorkflowType = 'EvaluationTick' AND TaskQueue = '{}' AND StartTime > '{}'{status}",
                self.installation.task_queue(),
                since.strftime("%Y-%m-%dT%H:%M:%SZ")
            );
            let counted = self
                .client
                .count_workflows(query, WorkflowCountOptions::default())
                .await;
            counted
                .map(|counted| u64::try_from(counted.count()).unwrap_or(u64::MAX))
                .map_err(|error| ScheduleError::Refused {
                    what: "count the runs of the schedule",
                    text: error.to_string(),
                })
        };
        let started = count("").await?;
        let failed = count(" AND ExecutionStatus IN ('Failed', 'TimedOut', 'Terminated')").await?;
        Ok(TicksSince {
            skipped: shown.due_between(since, now).saturating_sub(started),
            failed,
        })
    }

    /// Describes the last runs that the schedule started, newest first, one line each. Needs no worker.
    pub async fn last_ticks(&self, bound: Duration) -> Result<Vec<String>, ScheduleError> {
        let handle = self.handle();
        let described = handle
            .describe(RpcOptions::default())
            .await
            .map_err(failed("show the schedule"))?;
        let mut lines = Vec::new();
        for action in described.recent_actions().into_iter().rev().take(5) {
            let when = action
                .actual_time
                .and_then(timestamp)
                .map_or_else(String::new, at_minute);
            let tick = self
                .client
                .get_workflow_handle::<TickWorkflow>(action.workflow_id.clone());
            let result =
                tokio::time::timeout(bound, tick.get_result(WorkflowGetResultOptions::default())).await;
            lines.push(match result {
                Ok(Ok(report)) => format!("{when} {}", report.summary),
                Ok(Err(error)) => format!("{when} {}: {error}", action.workflow_id),
                Err(_) => format!("{when} {}: still waiting for a worker", action.workflow_id),
            });
        }
        Ok(lines)
    }

    /// Pauses the schedule, so that it starts no evaluations. Changes in progress and scale-ups triggered by the sampler
    /// continue; to stop those, see [`pauses::open`](crate::pauses::open).
    pub async fn pause(&self, reason: &str) -> Result<(), ScheduleError> {
        let handle = self.handle();
        handle
            .pause(Some(reason), PauseScheduleOptions::default())
            .await
            .map_err(failed("pause the schedule"))
    }

    /// Resumes the schedule.
    pub async fn resume(&self, note: &str) -> Result<(), ScheduleError> {
        let handle = self.handle();
        handle
            .unpause(Some(note), UnpauseScheduleOptions::default())
            .await
            .map_err(failed("resume the schedule"))
    }

    /// Starts a run now.
    pub async fn trigger(&self) -> Result<(), ScheduleError> {
        let handle = self.handle();
        let policy = ScheduleOverlapPolicy::Unspecified;
        handle
            .trigger(policy, TriggerScheduleOptions::default())
            .await
            .map_err(failed("trigger the schedule"))
    }

    /// Deletes the schedule.
    pub async fn delete(&self) -> Result<(), ScheduleError> {
        let handle = self.handle();
        handle
            .delete(DeleteScheduleOptions::default())
            .await
            .map_err(failed("delete the schedule"))
    }

    fn handle(&self) -> ScheduleHandle<Client> {
        self.client.get_schedule_handle(self.installation.schedule_id())
    }
}

/// Returns whether every field that we set in a schedule has the wanted value.
fn took(is: &proto::Schedule, wanted: &proto::Schedule) -> bool {
    let times = |schedule: &proto::Schedule| {
        let spec = schedule.spec.clone().unwrap_or_default();
        (
            spec.structured_calendar,
            spec.timezone_name,
            // No jitter may come back as absent or as zero.
            spec.jitter.unwrap_or_default(),
        )
    };
    let policies = |schedule: &proto::Schedule| {
        let policies = schedule.policies.unwrap_or_default();
        (policies.overlap_policy, policies.catchup_window)
    };
    let tick = |schedule: &proto::Schedule| match schedule.action.clone()?.action? {
        proto::schedule_action::Action::StartWorkflow(tick) => Some((
            tick.workflow_id,
            tick.workflow_type,
            tick.task_queue.map(|queue| queue.name),
            tick.workflow_run_timeout,
        )),
    };
    times(is) == times(wanted) && policies(is) == policies(wanted) && tick(is) == tick(wanted)
}

impl Shown {
    /// Returns how many runs are due between two times, for at most a week.
    fn due_between(&self, since: Timestamp, now: Timestamp) -> u64 {
        let zone = jiff::tz::TimeZone::get(&self.time_zone).unwrap_or(jiff::tz::TimeZone::UTC);
        let first = since.max(now.saturating_sub(LONGEST_LOOK_BACK).unwrap_or(since));
        let minutes = first.as_second().div_euclid(60) + 1..=now.as_second().div_euclid(60);
        let is_due = |minute: &i64| {
            let Ok(time) = Timestamp::from_second(minute * 60) else {
                return false;
            };
            let local = zone.to_datetime(time);
            self.minutes.contains(&i32::from(local.minute())) && self.hours.contains(&i32::from(local.hour()))
        };
        u64::try_from(minutes.filter(is_due).count()).unwrap_or(u64::MAX)
    }
}

/// Maximum period for which past runs of the schedule are counted.
const LONGEST_LOOK_BACK: jiff::SignedDuration = jiff::SignedDuration::from_hours(7 * 24);

/// The outcomes of the runs of a schedule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TicksSince {
    /// Runs that were due and not started, because the schedule was paused or the previous run was still
    /// running.
    pub skipped: u64,
    /// Runs that started and failed, usually because the controller did not respond.
    pub failed: u64,
}

fn timestamp(time: SystemTime) -> Option<Timestamp> {
    Timestamp::try_from(time).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_that_are_due_are_counted_in_the_zone_of_the_schedule() {
        let shown = |minutes: &[i32], hours: std::ops::RangeInclusive<i32>, time_zone: &str| Shown {
            paused: false,
            note: String::new(),
            runs: 0,
            skipped: 0,
            missed: 0,
            minutes: minutes.to_vec(),
            hours: hours.collect(),
            time_zone: time_zone.to_owned(),
            next: Vec::new(),
        };
        let time = |text: &str| text.parse::<Timestamp>().expect("a time");
        let (since, now) = (time("2026-11-25T08:45:00Z"), time("2026-11-25T12:46:00Z"));
        assert_eq!(
            shown(&[45], 0..=23, "UTC").due_between(since, now),
            4,
            "not the one at its start"
        );
        assert_eq!(shown(&[15, 45], 0..=23, "UTC").due_between(since, now), 8);
        // 10:45 to 13:45 in Berlin, of which the schedule covers the hours 8 to 11.
        assert_eq!(shown(&[45], 8..=11, "Europe/Berlin").due_between(since, now), 2);
        assert_eq!(shown(&[45], 0..=23, "UTC").due_between(now, since), 0);
    }
}
