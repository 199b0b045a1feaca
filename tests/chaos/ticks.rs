//! Checks the scheduled evaluations: one for each scheduled time, and each one successful.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use capacity_workflows::{EvaluationTick, Installation};
use futures::StreamExt;
use jiff::Timestamp;
use temporalio_client::{Client, WorkflowGetResultOptions, WorkflowListOptions};
use temporalio_common::protos::temporal::api::enums::v1::WorkflowExecutionStatus;

use crate::world::World;

/// Timeout for the last evaluation.
const FINISHED_WITHIN: Duration = Duration::from_mins(5);

/// A run of the schedule, with its status and duration.
struct Tick {
    id: String,
    status: i32,
    lasted: Option<Duration>,
}

/// Compares the runs of the schedule with its times. Missing and failed runs are violations. Returns a
/// summary line.
pub(crate) async fn check(
    world: &World,
    (since, until): (Timestamp, Timestamp),
    every: u8,
) -> anyhow::Result<String> {
    let client = world.connection().connect().await?;
    let expected = times(since, until, every);
    let begun = Instant::now();
    let ticks = loop {
        let ticks = started(&client).await?;
        let running = WorkflowExecutionStatus::Running as i32;
        let is_over = |time| ticks.get(time).is_none_or(|tick: &Tick| tick.status != running);
        if expected.iter().all(is_over) || begun.elapsed() > FINISHED_WITHIN {
            break ticks;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    };
    let (mut made, mut numbers, mut longest) = (0, BTreeSet::new(), Duration::ZERO);
    for time in &expected {
        let Some(tick) = ticks.get(time) else {
            world.violated(format!("the evaluation of {time} was skipped"));
            continue;
        };
        longest = longest.max(tick.lasted.unwrap_or(FINISHED_WITHIN));
        if tick.status != WorkflowExecutionStatus::Completed as i32 {
            world.violated(format!(
                "the evaluation of {time} has the status {}: {}",
                tick.status, tick.id
            ));
            continue;
        }
        let handle = client.get_workflow_handle::<EvaluationTick>(tick.id.clone());
        let report = handle.get_result(WorkflowGetResultOptions::default()).await?;
        let decided: usize = report.counts.values().sum();
        if decided != world.cloud.namespaces().len() {
            world.violated(format!(
                "the evaluation of {time} made {decided} decisions: {report:?}"
            ));
        }
        made += 1;
        // A run that finds an evaluation in progress joins it.
        numbers.insert(report.number);
    }
    Ok(format!(
        "  {:<36}{}\n  {:<36}{made}\n  {:<36}{}\n  {:<36}{:.1} s",
        "evaluations that were due",
        expected.len(),
        "  made",
        "  different ones",
        numbers.len(),
        "  longest, changes included",
        longest.as_secs_f64()
    ))
}

/// Returns the times of the schedule.
fn times(since: Timestamp, until: Timestamp, every: u8) -> Vec<Timestamp> {
    let minutes = since.as_second().div_euclid(60) + 1..=until.as_second().div_euclid(60);
    let due = minutes.filter(|minute| minute.rem_euclid(60) % i64::from(every) == 0);
    due.filter_map(|minute| Timestamp::from_second(minute * 60).ok())
        .collect()
}

/// Returns the runs of the schedule by their scheduled times.
async fn started(client: &Client) -> anyhow::Result<BTreeMap<Timestamp, Tick>> {
    let query = format!(
        "TemporalScheduledById = '{}'",
        Installation::default().schedule_id()
    );
    let mut list = client.list_workflows(query, WorkflowListOptions::builder().build());
    let mut ticks = BTreeMap::new();
    while let Some(workflow) = list.next().await {
        let workflow = workflow?;
        let attributes = workflow.raw().search_attributes.as_ref();
        let time = attributes.and_then(|them| them.indexed_fields.get("TemporalScheduledStartTime"));
        let time = time.and_then(|payload| serde_json::from_slice::<String>(&payload.data).ok());
        let Some(time) = time.and_then(|time| time.parse::<Timestamp>().ok()) else {
            continue;
        };
        let (started, closed) = (workflow.start_time(), workflow.close_time());
        let lasted = started
            .zip(closed)
            .and_then(|(started, closed)| closed.duration_since(started).ok());
        ticks.insert(
            time,
            Tick {
                id: workflow.id().to_owned(),
                status: workflow.raw().status,
                lasted,
            },
        );
    }
    Ok(ticks)
}
