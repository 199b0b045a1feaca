//! The schedule: created or updated to the wanted spec, shown, paused, resumed, triggered, deleted.
//!
//! It is written with raw messages, because the typed ones leave the catch-up window at a year. The server
//! silently drops an update with a stale token, so the result is read back and compared.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use temporalio_client::grpc::WorkflowService;
use temporalio_client::schedules::{
    DeleteScheduleOptions, PauseScheduleOptions, ScheduleHandle, ScheduleOverlapPolicy,
    TriggerScheduleOptions, UnpauseScheduleOptions,
};
use temporalio_client::tonic::{Code, IntoRequest, Status as RpcStatus};
use temporalio_client::{Client, RpcOptions, WorkflowCountOptions, WorkflowGetResultOptions};
use temporalio_common::protos::temporal::api::common::v1::{Payload, Payloads, WorkflowType};
use temporalio_common::protos::temporal::api::enums::v1::ScheduleOverlapPolicy as Overlap;
use temporalio_common::protos::temporal::api::schedule::v1 as proto;
use temporalio_common::protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_common::protos::temporal::api::workflow::v1::NewWorkflowExecutionInfo;
use temporalio_common::protos::temporal::api::workflowservice::v1::{
    CreateScheduleRequest, UpdateScheduleRequest,
};

use crate::definitions::TickWorkflow;
use crate::messages::TickRequest;
use crate::names::Installation;

/// The times at which evaluations run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleOptions {
    /// Minutes of the hour.
    pub minutes: Vec<u8>,
    /// Hours of the day; empty means all.
    pub hours: Vec<u8>,
    /// IANA name of the time zone.
    pub time_zone: String,
    /// Delay each run by a random time of up to this long.
    pub jitter: Duration,
    /// Catch up on runs that were missed within this time.
    pub catch_up: Duration,
}

impl ScheduleOptions {
    /// Minute 45 of every hour. An hour is billed at its highest setting, so capacity is released near its
    /// end.
    pub fn hourly() -> Self {
        Self {
            minutes: vec![45],
            hours: Vec::new(),
            time_zone: "UTC".to_owned(),
            jitter: Duration::ZERO,
            catch_up: Duration::from_mins(10),
        }
    }

    /// Returns a warning about unusual minutes: a release outside the last quarter of the UTC hour saves
    /// nothing.
    pub fn oddity(&self) -> Option<String> {
        let outside: Vec<String> = self
            .minutes
            .iter()
            .filter(|minute| !(45..60).contains(&self.minute_in_utc(**minute)))
            .map(ToString::to_string)
            .collect();
        (!outside.is_empty()).then(|| {
            format!(
                "minute {} in {} is not in the last quarter of the UTC hour: hours are billed at their highest capacity, so capacity released earlier in the hour saves nothing until the hour ends",
                outside.join(", "),
                self.time_zone
            )
        })
    }

    /// Converts to the minute of the UTC hour, because time zones may differ by half and quarter hours.
    fn minute_in_utc(&self, minute: u8) -> u8 {
        let zone = jiff::tz::TimeZone::get(&self.time_zone).unwrap_or(jiff::tz::TimeZone::UTC);
        let offset = zone.to_offset(Timestamp::now()).seconds();
        let utc = (i32::from(minute) * 60 - offset).rem_euclid(3_600) / 60;
        u8::try_from(utc).unwrap_or(minute)
    }

    fn minutes_in_utc(&self) -> Vec<u8> {
        let mut minutes: Vec<u8> = self
            .minutes
            .iter()
            .map(|minute| self.minute_in_utc(*minute))
            .collect();
        minutes.sort_unstable();
        minutes
    }

    /// Every hour in a time zone is every hour in UTC, where no night has a doubled or missing hour.
    fn spec(&self) -> proto::ScheduleSpec {
        let (minutes, time_zone) = if self.hours.is_empty() {
            (self.minutes_in_utc(), "UTC".to_owned())
        } else {
            (self.minutes.clone(), self.time_zone.clone())
        };
        let range = |start: i32, end: i32| proto::Range { start, end, step: 1 };
        let each = |values: &[u8]| {
            values
                .iter()
                .map(|value| range(i32::from(*value), i32::from(*value)))
                .collect()
        };
        let hours = if self.hours.is_empty() {
            vec![range(0, 23)]
        } else {
            each(&self.hours)
        };
        proto::ScheduleSpec {
            structured_calendar: vec![proto::StructuredCalendarSpec {
                second: vec![range(0, 0)],
                minute: each(&minutes),
                hour: hours,
                day_of_month: vec![range(1, 31)],
                month: vec![range(1, 12)],
                day_of_week: vec![range(0, 6)],
                comment: "evaluations of temporal-capacity".to_owned(),
                ..Default::default()
            }],
            timezone_name: time_zone,
            jitter: Duration::try_into(self.jitter).ok(),
            ..Default::default()
        }
    }

    /// Returns how long a tick may run: slightly less than the shortest interval.
    fn run_timeout(&self) -> Duration {
        let mut minutes: Vec<u64> = self.minutes.iter().map(|minute| u64::from(*minute)).collect();
        minutes.sort_unstable();
        let around = minutes.first().map(|first| first + 60);
        let gaps = minutes.iter().copied().chain(around).collect::<Vec<_>>();
        let shortest = gaps
            .windows(2)
            .map(|pair| pair[1] - pair[0])
            .filter(|gap| *gap > 0)
            .min()
            .unwrap_or(60);
        Duration::from_secs((shortest * 60).saturating_sub(60).max(60))
    }

    /// A tick stops waiting before its timeout, so that it can still notify the channel.
    fn tick_input(&self) -> Payload {
        let wait = (self.run_timeout() * 3 / 4).min(Duration::from_mins(16));
        let request = TickRequest {
            wait_seconds: Some(wait.as_secs()),
        };
        Payload {
            metadata: [("encoding".to_owned(), b"json/plain".to_vec())].into(),
            data: serde_json::to_vec(&request).unwrap_or_default(),
            ..Default::default()
        }
    }

    fn wanted(&self, installation: &Installation) -> proto::Schedule {
        let action = NewWorkflowExecutionInfo {
            workflow_id: installation.tick_id(),
            workflow_type: Some(WorkflowType {
                name: "EvaluationTick".to_owned(),
            }),
            task_queue: Some(TaskQueue {
                name: installation.task_queue().to_owned(),
                ..Default::default()
            }),
            workflow_run_timeout: Duration::try_into(self.run_timeout()).ok(),
            input: Some(Payloads {
                payloads: vec![self.tick_input()],
            }),
            ..Default::default()
        };
        proto::Schedule {
            spec: Some(self.spec()),
            action: Some(proto::ScheduleAction {
                action: Some(proto::schedule_action::Action::StartWorkflow(action)),
            }),
            policies: Some(proto::SchedulePolicies {
                overlap_policy: Overlap::Skip.into(),
                catchup_window: Duration::try_into(self.catch_up).ok(),
                pause_on_failure: false,
                ..Default::default()
            }),
            state: Some(proto::ScheduleState {
                notes: "created by capacity-schedule".to_owned(),
                ..Default::default()
            }),
        }
    }
}

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
                .map_or_else(String::new, |time| time.to_string());
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

    /// Pauses the schedule.
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

/// Whether everything that we set in a schedule has the wanted value.
fn took(is: &proto::Schedule, wanted: &proto::Schedule) -> bool {
    let times = |schedule: &proto::Schedule| {
        let spec = schedule.spec.clone().unwrap_or_default();
        (
            spec.structured_calendar,
            spec.timezone_name,
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

    fn at(minutes: &[u8], time_zone: &str) -> ScheduleOptions {
        ScheduleOptions {
            minutes: minutes.to_vec(),
            time_zone: time_zone.to_owned(),
            ..ScheduleOptions::hourly()
        }
    }

    #[test]
    fn a_minute_outside_the_last_quarter_of_the_utc_hour_is_odd() {
        assert_eq!(at(&[45, 50], "UTC").oddity(), None);
        assert!(at(&[15], "UTC").oddity().is_some());
        // Half an hour off: minute 15 in Kolkata is minute 45 in UTC.
        assert_eq!(at(&[15], "Asia/Kolkata").oddity(), None);
        assert!(at(&[45], "Asia/Kolkata").oddity().is_some());
    }

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
        // 10:45 to 13:45 in Berlin, of which 8 to 11 is the work of the schedule.
        assert_eq!(shown(&[45], 8..=11, "Europe/Berlin").due_between(since, now), 2);
        assert_eq!(shown(&[45], 0..=23, "UTC").due_between(now, since), 0);
    }

    #[test]
    fn a_tick_may_run_a_little_less_than_the_interval() {
        assert_eq!(at(&[45], "UTC").run_timeout(), Duration::from_mins(59));
        assert_eq!(at(&[15, 45], "UTC").run_timeout(), Duration::from_mins(29));
    }
}
