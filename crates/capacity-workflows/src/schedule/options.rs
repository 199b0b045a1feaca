//! The times at which evaluations run, and the corresponding schedule of the Temporal service.

use std::time::Duration;

use jiff::Timestamp;
use temporalio_common::protos::temporal::api::common::v1::{Payload, Payloads, WorkflowType};
use temporalio_common::protos::temporal::api::enums::v1::ScheduleOverlapPolicy as Overlap;
use temporalio_common::protos::temporal::api::schedule::v1 as proto;
use temporalio_common::protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_common::protos::temporal::api::workflow::v1::NewWorkflowExecutionInfo;

use crate::messages::TickRequest;
use crate::names::Installation;

/// The times at which evaluations run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScheduleOptions {
    /// Minutes of the hour.
    pub minutes: Vec<u8>,
    /// Hours of the day; empty means all.
    pub hours: Vec<u8>,
    /// IANA name of the time zone.
    pub time_zone: String,
    /// Maximum random delay of each run.
    pub jitter: Duration,
    /// How far back missed runs are caught up on.
    pub catch_up: Duration,
}

impl ScheduleOptions {
    /// Returns minute 45 of every hour. An hour is billed at its highest capacity, so capacity is released near its end.
    pub fn hourly() -> Self {
        Self {
            minutes: vec![45],
            hours: Vec::new(),
            time_zone: "UTC".to_owned(),
            jitter: Duration::ZERO,
            catch_up: Duration::from_mins(10),
        }
    }

    /// Sets the minutes of the hour.
    #[must_use]
    pub fn with_minutes(self, minutes: impl IntoIterator<Item = u8>) -> Self {
        Self {
            minutes: minutes.into_iter().collect(),
            ..self
        }
    }

    /// Sets the hours of the day; none means all.
    #[must_use]
    pub fn with_hours(self, hours: impl IntoIterator<Item = u8>) -> Self {
        Self {
            hours: hours.into_iter().collect(),
            ..self
        }
    }

    /// Sets the time zone, by its IANA name.
    #[must_use]
    pub fn with_time_zone(self, time_zone: impl Into<String>) -> Self {
        Self {
            time_zone: time_zone.into(),
            ..self
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

    /// Returns the spec. A schedule for every hour uses UTC, which never skips or repeats an hour.
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
        // The gap from the last minute of an hour to the first of the next.
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

    /// Returns the input of a tick, which stops waiting before its timeout so that it can still notify the channel.
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

    pub(super) fn wanted(&self, installation: &Installation) -> proto::Schedule {
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
                // A tick that still waits has asked for the same thing.
                overlap_policy: Overlap::Skip.into(),
                catchup_window: Duration::try_into(self.catch_up).ok(),
                // A controller that is silent for an hour must not end all later evaluations.
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
    fn a_tick_may_run_a_little_less_than_the_interval() {
        assert_eq!(at(&[45], "UTC").run_timeout(), Duration::from_mins(59));
        assert_eq!(at(&[15, 45], "UTC").run_timeout(), Duration::from_mins(29));
    }
}
