//! Checks the pollers and the backlog of the autopilot's task queue.

use temporalio_client::Client;
use temporalio_client::grpc::WorkflowService;
use temporalio_client::tonic::IntoRequest;
use temporalio_common::protos::temporal::api::enums::v1::TaskQueueType;
use temporalio_common::protos::temporal::api::workflowservice::v1::{
    DescribeTaskQueueRequest, DescribeTaskQueueResponse,
};

use super::probe::{CallError, bounded, queue};
use super::report::Report;

/// Task queue of the autopilot.
const AUTOPILOT_QUEUE: &str = "capacity-management-task-queue";

/// A poller that has not polled for longer than this is gone, because a long poll ends after a minute. The
/// server lists it for five minutes.
const LONG_POLL_SECONDS: i64 = 90;

/// A backlog older than this is reported.
const OLD_BACKLOG_SECONDS: i64 = 60;

/// Queries the server for the pollers and backlog of the autopilot's task queue.
pub(crate) async fn autopilot_queue(
    client: &Client,
    namespace: &str,
) -> Result<DescribeTaskQueueResponse, CallError> {
    let request = DescribeTaskQueueRequest {
        namespace: namespace.to_owned(),
        task_queue: Some(queue(AUTOPILOT_QUEUE)),
        task_queue_type: TaskQueueType::Workflow as i32,
        report_stats: true,
        ..Default::default()
    };
    bounded(async {
        let described =
            WorkflowService::describe_task_queue(&mut client.clone(), request.into_request()).await;
        Ok(described?.into_inner())
    })
    .await
}

pub(super) async fn task_queue(client: &Client, namespace: &str, report: &mut Report) {
    let described = match autopilot_queue(client, namespace).await {
        Ok(described) => described,
        Err(problem) => {
            let why = "its workers may get no work";
            report.fail(
                QUEUE_CHECK,
                problem.to_string(),
                why,
                "`temporal-stack logs matching` shows why",
            );
            return;
        }
    };
    let now = jiff::Timestamp::now().as_second();
    let polls = described
        .pollers
        .iter()
        .filter_map(|poller| Some(now - poller.last_access_time.as_ref()?.seconds));
    let pollers = polls.filter(|age| *age < LONG_POLL_SECONDS).count();
    let backlog = described.stats.map(|stats| Backlog {
        count: stats.approximate_backlog_count,
        seconds: stats.approximate_backlog_age.map_or(0, |age| age.seconds),
    });
    judge_queue(pollers, backlog.as_ref(), report);
}

const QUEUE_CHECK: &str = "task queue of the autopilot";

/// The backlog of a task queue.
#[derive(Debug)]
struct Backlog {
    count: i64,
    /// Age of the oldest task in seconds.
    seconds: i64,
}

/// Checks the pollers and the backlog of a task queue.
fn judge_queue(pollers: usize, backlog: Option<&Backlog>, report: &mut Report) {
    let found = match backlog {
        Some(Backlog { count, seconds }) => {
            format!("{pollers} pollers, {count} tasks waiting, the oldest for {seconds} s")
        }
        None => format!("{pollers} pollers, and the server does not report a backlog"),
    };
    if pollers == 0 {
        report.fail(
            QUEUE_CHECK,
            found,
            "no worker polls it: no evaluations run",
            "`deploy/stack/up` starts the worker; `temporal-stack logs capacity-worker` shows why it does not connect",
        );
    } else if let Some(backlog) = backlog {
        if backlog.seconds > OLD_BACKLOG_SECONDS {
            report.warn(
                QUEUE_CHECK,
                found,
                "tasks wait too long",
                "start more workers, or look for a slow one in their metrics",
            );
        } else {
            report.good(QUEUE_CHECK, found);
        }
    } else {
        report.warn(
            QUEUE_CHECK,
            found,
            "it is unknown whether tasks wait too long",
            "`temporal-stack status` shows whether matching serves; then run the doctor again",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;
    use crate::doctor::tests::verdicts;
    use rstest::rstest;

    #[rstest]
    #[case::idle(1, 0, 0, Verdict::Good)]
    #[case::busy(1, 40, 59, Verdict::Good)]
    #[case::slow(1, 40, 61, Verdict::Warning)]
    #[case::nobody(0, 0, 0, Verdict::Failure)]
    #[case::nobody_and_a_backlog(0, 40, 600, Verdict::Failure)]
    fn a_queue_is_judged_by_who_polls_it_and_how_long_its_tasks_wait(
        #[case] pollers: usize,
        #[case] backlog: i64,
        #[case] age: i64,
        #[case] verdict: Verdict,
    ) {
        let mut report = Report::default();
        let backlog = Backlog {
            count: backlog,
            seconds: age,
        };
        judge_queue(pollers, Some(&backlog), &mut report);
        assert_eq!(verdicts(report), [verdict]);
        let mut report = Report::default();
        judge_queue(1, None, &mut report);
        assert_eq!(
            verdicts(report),
            [Verdict::Warning],
            "an unknown backlog is not an empty one"
        );
    }
}
