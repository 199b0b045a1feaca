//! What only a client can see: namespaces, a workflow from its start to its record in visibility, task queues, archives.

use std::time::{Duration, Instant};

use temporalio_client::Client;
use temporalio_client::grpc::WorkflowService;
use temporalio_client::tonic::{IntoRequest, Status};
use temporalio_common::protos::temporal::api::command::v1::{
    Command, CompleteWorkflowExecutionCommandAttributes, command::Attributes,
};
use temporalio_common::protos::temporal::api::common::v1::{WorkflowExecution, WorkflowType};
use temporalio_common::protos::temporal::api::enums::v1::{
    CommandType, TaskQueueType, WorkflowExecutionStatus,
};
use temporalio_common::protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_common::protos::temporal::api::workflowservice::v1::{
    CountWorkflowExecutionsRequest, DescribeTaskQueueRequest, DescribeTaskQueueResponse,
    DescribeWorkflowExecutionRequest, PollWorkflowTaskQueueRequest, RespondWorkflowTaskCompletedRequest,
    StartWorkflowExecutionRequest, TerminateWorkflowExecutionRequest,
};

use crate::client::connection;
use crate::namespaces::{Present, Wanted, difference, read, wanted};
use crate::place::{Place, Stack};
use crate::roles::Role;

use super::report::{Finding, Report};

/// How long one step of the probe may take. A shard that moves takes a few seconds.
const STEP: Duration = Duration::from_secs(15);

/// The queue that only probes use.
const QUEUE: &str = "temporal-stack-doctor";

/// The autopilot's queue.
const AUTOPILOT_QUEUE: &str = "capacity-management-task-queue";

/// A long poll ends after a minute: who has not asked for longer has gone. The server lists it for five minutes.
const LONG_POLL_SECONDS: i64 = 90;

/// A backlog that is older is reported.
const OLD_BACKLOG_SECONDS: i64 = 60;

pub(super) async fn frontend(place: &Place, stack: &Stack, report: &mut Report) {
    const CHECK: &str = "client connection";
    let mut first = None;
    for member in stack.settings.members_of(Role::Frontend) {
        let mut settings = connection(place, stack, "default");
        settings.address = member.grpc(&stack.network().loopback);
        let connected = tokio::time::timeout(STEP, settings.connect()).await;
        let problem = match connected {
            Ok(Ok(client)) => {
                report.good(
                    CHECK,
                    format!("TLS with a client certificate to {}", settings.address),
                );
                first = first.or(Some(client));
                continue;
            }
            Ok(Err(error)) => temporal_worker_kit::chain(&error),
            Err(_) => format!(
                "no response from {} within {} s",
                settings.address,
                STEP.as_secs()
            ),
        };
        report.fail(
            CHECK,
            problem,
            "workers and commands that use this address cannot reach Temporal",
            "`temporal-stack status`, then `temporal-stack logs frontend`; a TLS problem: `temporal-stack certificates`",
        );
    }
    let Some(client) = first else {
        return;
    };
    namespaces(wanted(place, stack), &client, report).await;
    archives(place, stack, report);
    let Some(namespace) = stack.settings.namespaces.first() else {
        report.warn(
            "round trip",
            "stack.toml declares no namespace to run a probe in",
            "whether workflows run is not known",
            "declare a [[namespace]] in stack.toml, then `temporal-stack apply`",
        );
        return;
    };
    round_trip(&client, &namespace.name, report).await;
    if stack.settings.autopilot.enabled {
        task_queue(&client, &stack.settings.autopilot.namespace, report).await;
    }
}

/// Checks the namespaces of a stack that runs elsewhere, and runs a workflow through every role.
pub async fn elsewhere(client: &Client, wanted: Vec<Wanted>) -> Vec<Finding> {
    let mut report = Report::default();
    let first = wanted.first().map(|wanted| wanted.declared.name.clone());
    namespaces(wanted, client, &mut report).await;
    if let Some(namespace) = first {
        round_trip(client, &namespace, &mut report).await;
    }
    report.findings()
}

async fn namespaces(wanted: Vec<Wanted>, client: &Client, report: &mut Report) {
    for wanted in wanted {
        let name = &wanted.declared.name;
        let check = format!("namespace {name}");
        let read = bounded(async { read(client, name).await.map_err(|error| format!("{error:#}")) }).await;
        match read {
            Err(problem) => report.fail(
                &check,
                problem,
                "its workflows cannot be reached",
                "`temporal-stack logs frontend` shows why",
            ),
            Ok(None) => report.fail(
                &check,
                "it does not exist",
                "its workers and clients are refused",
                "`temporal-stack apply` creates it",
            ),
            Ok(present) => judge_namespace(&check, &wanted, present.as_ref(), report),
        }
    }
}

/// Judges a namespace by what is declared.
fn judge_namespace(check: &str, wanted: &Wanted, present: Option<&Present>, report: &mut Report) {
    const REMEDY: &str = "`temporal-stack apply` applies what is declared";
    let difference = difference(wanted, present);
    let lines = difference.lines.join("; ");
    if difference.is_empty() {
        let attributes = wanted.declared.search_attributes.len();
        report.good(
            check,
            format!("as declared, {attributes} custom search attributes"),
        );
    } else if !difference.conflicts.is_empty() {
        report.fail(
            check,
            lines,
            "a workflow that sets a search attribute of another type is refused",
            "use another name in stack.toml and in the workflow, or remove the attribute, which loses its values",
        );
    } else if !difference.attributes.is_empty() {
        report.fail(
            check,
            lines,
            "a workflow that sets a missing search attribute is refused",
            REMEDY,
        );
    } else {
        report.warn(check, lines, "what stack.toml declares is not in effect", REMEDY);
    }
}

/// File stores are looked at; buckets are the provider's to check.
fn archives(place: &Place, stack: &Stack, report: &mut Report) {
    const CHECK: &str = "archival";
    let mut uris: Vec<String> = wanted(place, stack)
        .into_iter()
        .flat_map(|wanted| [wanted.history_archive, wanted.visibility_archive])
        .flatten()
        .collect();
    uris.sort();
    uris.dedup();
    if uris.is_empty() {
        report.good(CHECK, "no namespace archives");
        return;
    }
    for uri in &uris {
        let Some(folder) = uri.strip_prefix("file://") else {
            report.good(CHECK, format!("{uri}; its contents are not checked"));
            continue;
        };
        // It is created with the first archived workflow: until then the nearest folder above it counts.
        let nearest = std::path::Path::new(folder)
            .ancestors()
            .find(|folder| folder.exists());
        let writable = nearest.is_some_and(|nearest| {
            nearest.is_dir()
                && tempfile::Builder::new()
                    .prefix(".doctor")
                    .tempfile_in(nearest)
                    .is_ok()
        });
        if writable {
            report.good(CHECK, format!("{folder} can be written"));
        } else {
            report.fail(
                CHECK,
                format!("{folder} cannot be written"),
                "closed workflows stay in the database until they can be archived, past their retention",
                "make it a folder that this user can write to",
            );
        }
    }
}

async fn round_trip(client: &Client, namespace: &str, report: &mut Report) {
    let begun = Instant::now();
    let id = format!(
        "stack-doctor/{}/{}",
        std::process::id(),
        jiff::Timestamp::now().as_millisecond()
    );
    let started = bounded(start(client, namespace, &id)).await;
    let run_id = match started {
        Ok(run_id) => run_id,
        Err(problem) => {
            report.fail(
                "round trip: history",
                format!("a workflow cannot be started: {problem}"),
                "no workflow of this namespace can start",
                "`temporal-stack logs history` and `temporal-stack logs frontend` show why",
            );
            return;
        }
    };
    report.good(
        "round trip: history",
        format!("a workflow was started after {} ms", begun.elapsed().as_millis()),
    );
    let completed = completed(client, namespace, &id, &run_id).await;
    match &completed {
        Ok(()) => report.good(
            "round trip: matching",
            format!(
                "its task was dispatched and completed after {} ms",
                begun.elapsed().as_millis()
            ),
        ),
        Err(problem) => {
            report.fail(
                "round trip: matching",
                format!("its task was not dispatched: {problem}"),
                "workers get no work; `temporal operator cluster health` does not detect this",
                "`temporal-stack status` shows whether matching serves; `temporal-stack logs matching` shows why not",
            );
            terminate(client, namespace, &id).await;
        }
    }
    let status = if completed.is_ok() {
        WorkflowExecutionStatus::Completed
    } else {
        WorkflowExecutionStatus::Terminated
    };
    if let Err(problem) = bounded(ended(client, namespace, &id, &run_id, status)).await {
        report.fail(
            "round trip: state",
            problem,
            "what history has accepted cannot be read back",
            "`temporal-stack logs history` shows why",
        );
        return;
    }
    match indexed(client, namespace, &id).await {
        Ok(after) => report.good(
            "visibility",
            format!("the probe was found after {} ms", after.as_millis()),
        ),
        Err(problem) => report.fail(
            "visibility",
            format!("a query does not find the probe: {problem}"),
            "lists, counts and the web UI miss workflows; the autopilot does not find its changes",
            "check the schema of temporal_visibility above, then `temporal-stack logs history`",
        ),
    }
}

/// Completes the probe, and any that another doctor has left.
async fn completed(client: &Client, namespace: &str, id: &str, run_id: &str) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        let polled = tokio::time::timeout(STEP / 5, complete(client, namespace)).await;
        if matches!(is_completed(client, namespace, id, run_id).await, Ok(true)) {
            return Ok(());
        }
        if begun.elapsed() > STEP {
            return Err(match polled {
                Ok(Err(problem)) => problem,
                _ => format!("not within {} s", STEP.as_secs()),
            });
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn bounded<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    tokio::time::timeout(STEP, work)
        .await
        .unwrap_or_else(|_| Err(format!("not within {} s", STEP.as_secs())))
}

fn said(status: &Status) -> String {
    status.message().to_owned()
}

fn queue(name: &str) -> TaskQueue {
    TaskQueue {
        name: name.to_owned(),
        ..TaskQueue::default()
    }
}

/// Starts a probe workflow, and returns its run id.
///
/// # Errors
///
/// What the server answers.
pub async fn start(client: &Client, namespace: &str, id: &str) -> Result<String, String> {
    let request = StartWorkflowExecutionRequest {
        namespace: namespace.to_owned(),
        workflow_id: id.to_owned(),
        workflow_type: Some(WorkflowType {
            name: "StackDoctorProbe".to_owned(),
        }),
        task_queue: Some(queue(QUEUE)),
        // It never outlives a doctor that was stopped.
        workflow_execution_timeout: Duration::from_mins(2).try_into().ok(),
        request_id: id.to_owned(),
        identity: QUEUE.to_owned(),
        ..Default::default()
    };
    let started =
        WorkflowService::start_workflow_execution(&mut client.clone(), request.into_request()).await;
    started
        .map(|started| started.into_inner().run_id)
        .map_err(|status| said(&status))
}

/// Takes the task of a probe and completes it.
///
/// # Errors
///
/// What the server answers.
pub async fn complete(client: &Client, namespace: &str) -> Result<(), String> {
    loop {
        let request = PollWorkflowTaskQueueRequest {
            namespace: namespace.to_owned(),
            task_queue: Some(queue(QUEUE)),
            identity: QUEUE.to_owned(),
            ..Default::default()
        };
        let polled =
            WorkflowService::poll_workflow_task_queue(&mut client.clone(), request.into_request()).await;
        let task = polled.map_err(|status| said(&status))?.into_inner();
        if task.task_token.is_empty() {
            continue;
        }
        let request = RespondWorkflowTaskCompletedRequest {
            namespace: namespace.to_owned(),
            task_token: task.task_token,
            identity: QUEUE.to_owned(),
            commands: vec![Command {
                command_type: CommandType::CompleteWorkflowExecution as i32,
                attributes: Some(Attributes::CompleteWorkflowExecutionCommandAttributes(
                    CompleteWorkflowExecutionCommandAttributes::default(),
                )),
                ..Default::default()
            }],
            ..Default::default()
        };
        let completed =
            WorkflowService::respond_workflow_task_completed(&mut client.clone(), request.into_request())
                .await;
        return completed.map(drop).map_err(|status| said(&status));
    }
}

async fn terminate(client: &Client, namespace: &str, id: &str) {
    let request = TerminateWorkflowExecutionRequest {
        namespace: namespace.to_owned(),
        workflow_execution: Some(WorkflowExecution {
            workflow_id: id.to_owned(),
            run_id: String::new(),
        }),
        reason: "the probe has failed".to_owned(),
        ..Default::default()
    };
    let mut client = client.clone();
    let terminate = WorkflowService::terminate_workflow_execution(&mut client, request.into_request());
    let _ = tokio::time::timeout(STEP, terminate).await;
}

/// Returns whether a workflow has completed.
///
/// # Errors
///
/// What the server answers.
pub async fn is_completed(client: &Client, namespace: &str, id: &str, run_id: &str) -> Result<bool, String> {
    let status = status(client, namespace, id, run_id).await?;
    Ok(status == WorkflowExecutionStatus::Completed as i32)
}

async fn status(client: &Client, namespace: &str, id: &str, run_id: &str) -> Result<i32, String> {
    let request = DescribeWorkflowExecutionRequest {
        namespace: namespace.to_owned(),
        execution: Some(WorkflowExecution {
            workflow_id: id.to_owned(),
            run_id: run_id.to_owned(),
        }),
    };
    let described =
        WorkflowService::describe_workflow_execution(&mut client.clone(), request.into_request()).await;
    let described = described.map_err(|status| said(&status))?.into_inner();
    Ok(described.workflow_execution_info.unwrap_or_default().status)
}

async fn ended(
    client: &Client,
    namespace: &str,
    id: &str,
    run_id: &str,
    expected: WorkflowExecutionStatus,
) -> Result<(), String> {
    let status = status(client, namespace, id, run_id).await?;
    if status == expected as i32 {
        Ok(())
    } else {
        Err(format!(
            "the probe has the status {status} instead of {}",
            expected as i32
        ))
    }
}

async fn indexed(client: &Client, namespace: &str, id: &str) -> Result<Duration, String> {
    let begun = Instant::now();
    loop {
        let request = CountWorkflowExecutionsRequest {
            namespace: namespace.to_owned(),
            query: format!("WorkflowId = '{id}'"),
        };
        let counted = bounded(async {
            let counted =
                WorkflowService::count_workflow_executions(&mut client.clone(), request.into_request()).await;
            counted
                .map(|counted| counted.into_inner().count)
                .map_err(|status| said(&status))
        })
        .await?;
        if counted > 0 {
            return Ok(begun.elapsed());
        }
        if begun.elapsed() > STEP {
            return Err(format!("not within {} s", STEP.as_secs()));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The autopilot's task queue: who polls it, and what waits there.
pub(crate) async fn autopilot_queue(
    client: &Client,
    namespace: &str,
) -> Result<DescribeTaskQueueResponse, String> {
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
        described
            .map(temporalio_client::tonic::Response::into_inner)
            .map_err(|status| said(&status))
    })
    .await
}

async fn task_queue(client: &Client, namespace: &str, report: &mut Report) {
    let described = match autopilot_queue(client, namespace).await {
        Ok(described) => described,
        Err(problem) => {
            let why = "its workers may get no work";
            report.fail(
                QUEUE_CHECK,
                problem,
                why,
                "`temporal-stack logs matching` shows why",
            );
            return;
        }
    };
    let stats = described.stats.unwrap_or_default();
    let now = jiff::Timestamp::now().as_second();
    let polls = described
        .pollers
        .iter()
        .map(|poller| poller.last_access_time.map_or(0, |time| now - time.seconds));
    let pollers = polls.filter(|age| *age < LONG_POLL_SECONDS).count();
    let age = stats.approximate_backlog_age.map_or(0, |age| age.seconds);
    judge_queue(pollers, stats.approximate_backlog_count, age, report);
}

const QUEUE_CHECK: &str = "task queue of the autopilot";

/// Judges a task queue by who polls it and what waits there.
fn judge_queue(pollers: usize, backlog: i64, age: i64, report: &mut Report) {
    let found = format!("{pollers} pollers, {backlog} tasks waiting, the oldest for {age} s");
    if pollers == 0 {
        report.fail(
            QUEUE_CHECK,
            found,
            "no worker polls it: no evaluations run",
            "`deploy/stack/up` starts the worker; `temporal-stack logs capacity-worker` shows why it does not connect",
        );
    } else if age > OLD_BACKLOG_SECONDS {
        report.warn(
            QUEUE_CHECK,
            found,
            "tasks wait longer than they should",
            "start more workers, or look for a slow one in their metrics",
        );
    } else {
        report.good(QUEUE_CHECK, found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;
    use crate::doctor::tests::{only, verdicts};
    use crate::settings::Namespace;
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
        judge_queue(pollers, backlog, age, &mut report);
        assert_eq!(verdicts(report), [verdict]);
    }

    fn wanted() -> Wanted {
        Wanted {
            declared: Namespace {
                name: "pay".to_owned(),
                description: String::new(),
                retention_days: 7,
                archive_history: false,
                archive_visibility: false,
                search_attributes: [("Customer".to_owned(), "Keyword".to_owned())].into(),
            },
            history_archive: None,
            visibility_archive: None,
        }
    }

    #[rstest]
    #[case::as_declared(7, Some("Keyword"), Verdict::Good, "as declared")]
    #[case::another_retention(1, Some("Keyword"), Verdict::Warning, "retention 24 h -> 7 days")]
    #[case::a_missing_attribute(7, None, Verdict::Failure, "search attribute Customer")]
    #[case::another_type(7, Some("Int"), Verdict::Failure, "has the type Int")]
    fn a_namespace_is_judged_by_what_is_declared(
        #[case] days: u64,
        #[case] kind: Option<&str>,
        #[case] verdict: Verdict,
        #[case] expected: &str,
    ) {
        let attributes = kind.map(|kind| ("Customer".to_owned(), kind.to_owned()));
        let present = Present {
            retention_seconds: days * 24 * 3600,
            search_attributes: attributes.into_iter().collect(),
            ..Present::default()
        };
        let mut report = Report::default();
        judge_namespace("namespace pay", &wanted(), Some(&present), &mut report);
        let finding = only(report);
        assert_eq!(finding.verdict, verdict, "{finding:?}");
        assert!(finding.found.contains(expected), "{finding:?}");
    }
}
