//! The activities of one change: read, post once, check, follow, conclude. Thin wrappers around the
//! autopilot's steps.

use std::sync::Arc;
use std::time::Duration;

use capacity_autopilot::incidents::{self, OpenChange};
use capacity_autopilot::{
    ChangeOrder, ChangeResult, ChangeSteps, Ending, Outcome, Posting, Progressed, Reading, record_change,
};
use human_text::chain;
use jiff::Timestamp;
use temporal_worker_kit::Lenient;
use temporalio_client::{WorkflowIdConflictPolicy, WorkflowIdReusePolicy, WorkflowStartOptions};
use temporalio_common::MemoValues;
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use crate::activities::CapacityActivities;
use crate::activity::{again, beating, failed, failure, recorder};
use crate::definitions::RecordWorkflow;
use crate::last_look::last_look;
use crate::messages::{ChangeReport, ChangeRequest, EvaluationReport, TOO_MANY_OPERATIONS};
use crate::pauses::{self, PauseKind};
use crate::step_messages::{
    CheckRequest, Concluded, Conclusion, Incident, PauseOrder, PostRequest, StepAnswer,
};
use crate::traces::{self, Seen, Step, answered};

/// The activities of changes.
#[derive(Debug)]
pub(crate) struct ChangeActivities {
    /// Dependencies that they share with the activities of evaluations.
    pub(crate) shared: Arc<CapacityActivities>,
}

/// Maximum time for recording and announcing in one attempt, so that the lock on the namespace is released
/// within a minute.
const CONCLUDE: Duration = Duration::from_secs(12);

#[activities]
impl ChangeActivities {
    /// Reads the namespace. The digests are in the history before anything is posted.
    #[activity(name = "change_read")]
    pub(crate) async fn change_read(
        self: Arc<Self>,
        context: ActivityContext,
        request: ChangeRequest,
    ) -> Result<StepAnswer, ActivityError> {
        let step = self.step(&context, &request, "read");
        step.trace(self.read(&context, &request), answered).await
    }

    /// Checks a last time whether the change is still allowed, and posts it. Sends at most one POST per
    /// attempt.
    #[activity(name = "change_post")]
    pub(crate) async fn change_post(
        self: Arc<Self>,
        context: ActivityContext,
        post: PostRequest,
    ) -> Result<StepAnswer, ActivityError> {
        let step = self.step(&context, &post.request, "request");
        let answer = step.trace(self.post(&context, &post), answered).await?;
        let spans = &self.shared.settings.spans;
        traces::not_started(spans, context.info(), &post.request, &answer, post.started_ms);
        Ok(answer)
    }

    /// Returns whether the service knows the operation of a change.
    #[activity(name = "change_was_posted")]
    pub(crate) async fn change_was_posted(
        self: Arc<Self>,
        context: ActivityContext,
        request: ChangeRequest,
    ) -> Result<bool, ActivityError> {
        let step = self.step(&context, &request, "look for the operation");
        step.trace(self.was_posted(&context, &request), |posted| {
            Seen::state(if *posted { "posted" } else { "not_posted" })
        })
        .await
    }

    /// Reads the namespace back after "nothing to change".
    #[activity(name = "change_read_back")]
    pub(crate) async fn change_read_back(
        self: Arc<Self>,
        context: ActivityContext,
        request: ChangeRequest,
    ) -> Result<StepAnswer, ActivityError> {
        let step = self.step(&context, &request, "read back");
        step.trace(self.read_back(&context, &request), answered).await
    }

    /// Checks a posted change once.
    #[activity(name = "change_check")]
    pub(crate) async fn change_check(
        self: Arc<Self>,
        context: ActivityContext,
        check: CheckRequest,
    ) -> Result<StepAnswer, ActivityError> {
        let step = self.step(&context, &check.request, "poll");
        step.trace(self.check(&context, &check), checked).await
    }

    /// Polls a slow change once. Further polls are retries of this activity, so they add nothing to the history.
    #[activity(name = "change_follow")]
    pub(crate) async fn change_follow(
        self: Arc<Self>,
        context: ActivityContext,
        request: ChangeRequest,
    ) -> Result<(), ActivityError> {
        // Not traced: a slow change may be polled all day, and the wait already has a span.
        let order = order(&request)?;
        let checked = beating(&context, self.steps().check(&order, None)).await?;
        match checked.progress {
            Progressed::Running { .. } | Progressed::Unreadable(_) => Err(again(
                "the operation has not ended",
                Some(self.shared.settings.follow_every),
            )),
            // The workflow reads the end itself, with the digests that this activity does not have.
            _ => Ok(()),
        }
    }

    /// Records and announces the end of a change, as far as the ledger and the channel can be reached.
    #[activity(name = "change_conclude")]
    pub(crate) async fn change_conclude(
        self: Arc<Self>,
        context: ActivityContext,
        conclusion: Conclusion,
    ) -> Result<Concluded, ActivityError> {
        let (spans, report) = (&self.shared.settings.spans, &conclusion.report);
        let ids = (report.plan_id.as_str(), report.operation_id.as_str());
        let step = Step::begin(spans, &context, ids, "conclude");
        let concluded = step
            .trace(self.conclude(&context, &conclusion), |it| concluded(*it))
            .await?;
        if !conclusion.complete {
            traces::change(spans, context.info(), &conclusion);
        }
        Ok(concluded)
    }

    /// Starts the workflow that continues recording and announcing after the change has closed.
    #[activity(name = "start_record")]
    pub(crate) async fn start_record(
        self: Arc<Self>,
        _context: ActivityContext,
        report: ChangeReport,
    ) -> Result<(), ActivityError> {
        let installation = &self.shared.settings.installation;
        let mut memo = MemoValues::new();
        memo.insert("namespace", report.namespace.clone());
        let id = crate::names::record_id(&report.operation_id);
        let options = WorkflowStartOptions::new(installation.task_queue(), id)
            .id_conflict_policy(WorkflowIdConflictPolicy::UseExisting)
            .id_reuse_policy(WorkflowIdReusePolicy::AllowDuplicate)
            .static_summary(format!("Record and announce the change of {}", report.namespace))
            .memo(memo)
            .build();
        let client = self.shared.client.get();
        let started = client.start_workflow(RecordWorkflow, Lenient::from(report), options);
        match tokio::time::timeout(CONCLUDE, started).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(again(&error.to_string(), None)),
            Err(_) => Err(again("the Temporal service did not respond", None)),
        }
    }

    /// Opens or ends a pause.
    #[activity(name = "set_pause")]
    pub(crate) async fn set_pause(
        self: Arc<Self>,
        context: ActivityContext,
        order: PauseOrder,
    ) -> Result<(), ActivityError> {
        let shared = &self.shared;
        let installation = &shared.settings.installation;
        let kinds: Vec<PauseKind> = match (PauseKind::from_word(&order.kind), order.resume) {
            (Some(kind), _) => vec![kind],
            // Not `spec`: only a person who has checked the spec ends that pause.
            (None, true) => vec![PauseKind::All, PauseKind::ScaleUp, PauseKind::ScaleDown],
            (None, false) => vec![PauseKind::All],
        };
        for kind in kinds {
            let client = shared.client.get();
            let set = async {
                if order.resume {
                    let closed = pauses::close(&client, installation, kind, &order.by);
                    closed.await.map(drop)
                } else {
                    let opened = pauses::open(&client, installation, kind, &order.reason, &order.by, None);
                    opened.await.map(drop)
                }
            };
            beating(&context, set)
                .await?
                .map_err(|error| again(&chain(&error), None))?;
        }
        Ok(())
    }

    /// Notifies the channel about events of changes other than their end. Returns whether it was notified.
    #[activity(name = "announce_incident")]
    pub(crate) async fn announce_incident(
        self: Arc<Self>,
        context: ActivityContext,
        incident: Incident,
    ) -> Result<bool, ActivityError> {
        let now = self.shared.autopilot.now();
        let time = |milliseconds: u64| {
            let milliseconds = i64::try_from(milliseconds).ok()?;
            Timestamp::from_millisecond(milliseconds).ok()
        };
        let started_at = incident.started_ms.and_then(time);
        let open: Vec<OpenChange<'_>> = incident
            .changes
            .iter()
            .map(|change| OpenChange {
                namespace: &change.namespace,
                from_trus: change.from_trus,
                to_trus: change.to_trus,
                operation_id: &change.operation_id,
                started_at,
            })
            .collect();
        let Some(first) = open.first() else {
            return Ok(true);
        };
        let message = match incident.kind.as_str() {
            "slow" => incidents::slow_change(first, now),
            "unknown" => incidents::unknown_outcome(first, now),
            "spec_changed" => incidents::spec_changed(first, &incident.fields),
            "spec_changed_later" => incidents::spec_changed_later(first, &incident.fields),
            "spec_appeared" => incidents::spec_field_appeared(first, &incident.fields),
            "no_verdict" => incidents::changes_without_verdict(&open, now),
            "places_used_up" => incidents::places_used_up(&open, now),
            "terminated" => incidents::terminated_with_changes(&open, now),
            "no_progress" => {
                let since = incident.since_ms.and_then(time).unwrap_or(now);
                incidents::change_without_progress(first, since, now)
            }
            other => {
                tracing::warn!(
                    kind = other,
                    "received a kind of incident that this version does not support"
                );
                return Ok(false);
            }
        };
        beating(&context, self.shared.tell(&message)).await
    }
}

impl ChangeActivities {
    async fn read(
        &self,
        context: &ActivityContext,
        request: &ChangeRequest,
    ) -> Result<StepAnswer, ActivityError> {
        let order = order(request)?;
        let reading = beating(context, self.steps().read(&order)).await?;
        match reading {
            Reading::Ready(basis) => Ok(StepAnswer {
                basis: Some(basis),
                ..self.state("ready")
            }),
            Reading::Posted => Ok(self.state("posted")),
            Reading::Ended(ending) => Ok(self.ended(ending)),
            Reading::Unreadable { why, retry_after } => Err(again(&why, retry_after)),
            // A worker that understands it may take the next attempt.
            _ => Err(again("this version cannot interpret what it read", None)),
        }
    }

    async fn post(&self, context: &ActivityContext, post: &PostRequest) -> Result<StepAnswer, ActivityError> {
        let order = order(&post.request)?;
        let steps = self.steps();
        if context.info().attempt > 1 {
            // An earlier attempt may have sent the POST.
            match beating(context, steps.was_posted(&order)).await? {
                Some(true) => return Ok(self.state("accepted")),
                Some(false) => {}
                None => {
                    return Err(again(
                        "cannot tell whether an earlier attempt posted the change",
                        None,
                    ));
                }
            }
        }
        let posting = match beating(context, steps.prepare(&order, &post.basis)).await? {
            Err(posting) => posting,
            Ok(prepared) => {
                let (shared, client) = (&self.shared, self.shared.client.get());
                // After the second reading, so that nothing but the POST follows it.
                let look = last_look(
                    &shared.autopilot,
                    &client,
                    &shared.settings,
                    &post.request,
                    &order,
                );
                match beating(context, look).await? {
                    Err(error) => return Err(again(&chain(&error), None)),
                    Ok(Some(not_now)) => return Ok(self.not_started(not_now.code, not_now.why)),
                    Ok(None) => {}
                }
                beating(context, steps.post(&order, &prepared)).await?
            }
        };
        match posting {
            Posting::Accepted { check_after } => Ok(StepAnswer {
                check_after_ms: milliseconds(check_after),
                ..self.state("accepted")
            }),
            Posting::Ended(ending) => Ok(self.ended(ending)),
            Posting::TooManyOperations(why) => Ok(self.not_started(TOO_MANY_OPERATIONS, why)),
            Posting::NothingToChange(why) => Ok(StepAnswer {
                error: Some(why),
                ..self.state("nothing_to_change")
            }),
            Posting::Uncertain(why) => Ok(StepAnswer {
                error: Some(why),
                ..self.state("uncertain")
            }),
            Posting::NotSent { why, retry_after } => Err(again(&why, retry_after)),
            _ => Err(again("this version cannot interpret the response", None)),
        }
    }

    async fn was_posted(
        &self,
        context: &ActivityContext,
        request: &ChangeRequest,
    ) -> Result<bool, ActivityError> {
        let order = order(request)?;
        let posted = beating(context, self.steps().was_posted(&order)).await?;
        posted.ok_or_else(|| again("the operation of the change cannot be read", None))
    }

    async fn read_back(
        &self,
        context: &ActivityContext,
        request: &ChangeRequest,
    ) -> Result<StepAnswer, ActivityError> {
        let order = order(request)?;
        let read = beating(context, self.steps().read_back(&order)).await?;
        read.map(|ending| self.ended(ending))
            .map_err(|error| again(&chain(&error), None))
    }

    async fn check(
        &self,
        context: &ActivityContext,
        check: &CheckRequest,
    ) -> Result<StepAnswer, ActivityError> {
        let order = order(&check.request)?;
        let checked = beating(context, self.steps().check(&order, check.digests.as_ref())).await?;
        let mut answer = match checked.progress {
            Progressed::Running { check_after } => StepAnswer {
                check_after_ms: milliseconds(check_after),
                ..self.state("running")
            },
            Progressed::Arriving => self.state("arriving"),
            Progressed::Ended(ending) => self.ended(ending),
            Progressed::NeverPosted => self.state("never_posted"),
            Progressed::Unreadable(why) => StepAnswer {
                error: Some(why),
                ..self.state("unreadable")
            },
            _ => self.state("unreadable"),
        };
        answer.shows_posted = checked.shows_posted;
        if let Some(difference) = checked.difference {
            answer.compared = true;
            answer.changed_fields = difference.changed;
            answer.appeared_fields = difference.appeared;
        }
        Ok(answer)
    }

    async fn conclude(
        &self,
        context: &ActivityContext,
        conclusion: &Conclusion,
    ) -> Result<Concluded, ActivityError> {
        let report = &conclusion.report;
        let shared = &self.shared;
        // Log it once per change: later attempts and the workflow that continues recording do not repeat it.
        if !conclusion.complete && context.info().attempt <= 1 {
            shared.health.concluded(report);
        }
        if let Some(error) = &report.error
            && !report.is_success()
            && !conclusion.complete
            && context.info().attempt <= 1
        {
            tracing::warn!(
                namespace = report.namespace,
                operation_id = report.operation_id,
                outcome = report.outcome,
                %error,
                "a capacity change was not carried out"
            );
        }
        let record = tokio::time::timeout(CONCLUDE, record(shared, report));
        let announce = tokio::time::timeout(CONCLUDE, announce(shared, report));
        let (recorded, announced) =
            // At the same time: each has its own limit, and a channel that hangs must not cost the ledger
            // its time.
            Box::pin(beating(context, async { tokio::join!(record, announce) })).await?;
        let concluded = Concluded {
            recorded: recorded.unwrap_or(false),
            announced: announced.unwrap_or(false),
        };
        if conclusion.complete && !(concluded.recorded && concluded.announced) {
            let missing = if concluded.recorded {
                "announced"
            } else {
                "recorded"
            };
            let why = format!("the change of {} has not been {missing} yet", report.namespace);
            return Err(again(&why, None));
        }
        Ok(concluded)
    }

    fn step<'a>(
        &'a self,
        context: &'a ActivityContext,
        request: &'a ChangeRequest,
        name: &'static str,
    ) -> Step<'a> {
        let ids = (request.plan_id.as_str(), request.operation_id.as_str());
        Step::begin(&self.shared.settings.spans, context, ids, name)
    }

    fn steps(&self) -> ChangeSteps {
        let shared = &self.shared;
        ChangeSteps::new(
            shared.autopilot.ops().clone(),
            shared.settings.spec_fields_not_compared.clone(),
        )
    }

    fn state(&self, state: &str) -> StepAnswer {
        StepAnswer {
            state: state.to_owned(),
            build: self.shared.settings.build.clone(),
            ..StepAnswer::default()
        }
    }

    fn ended(&self, ending: Ending) -> StepAnswer {
        StepAnswer {
            outcome: ending.outcome.as_str().to_owned(),
            error: ending.error,
            ..self.state("ended")
        }
    }

    fn not_started(&self, code: &str, why: String) -> StepAnswer {
        StepAnswer {
            code: Some(code.to_owned()),
            ..self.ended(Ending::because(Outcome::NotStarted, why))
        }
    }
}

/// Names the step `verify` in its span if the spec was compared or the change has ended.
fn checked(answer: &StepAnswer) -> Seen {
    let seen = answered(answer);
    if answer.compared || answer.state == "ended" {
        seen.named("verify")
    } else {
        seen
    }
}

fn concluded(concluded: Concluded) -> Seen {
    let missing = match (concluded.recorded, concluded.announced) {
        (true, true) => return Seen::state("done"),
        (false, true) => "not recorded",
        (true, false) => "not announced",
        (false, false) => "neither recorded nor announced",
    };
    Seen::state("later").failed(Some(format!("{missing} yet; retrying in a separate workflow")))
}

async fn record(shared: &CapacityActivities, report: &ChangeReport) -> bool {
    let (Some(ledger), false) = (shared.autopilot.ledger(), report.recorded) else {
        return true;
    };
    let now = shared.autopilot.now();
    let recorded = record_change(
        ledger,
        &report.plan_id,
        &ChangeResult::from(report),
        now,
        &recorder(),
    )
    .await;
    if let Err(error) = &recorded {
        tracing::warn!(namespace = report.namespace, operation_id = report.operation_id, error = %chain(error), "cannot record a change in the ledger; retrying");
    }
    recorded.is_ok()
}

async fn announce(shared: &CapacityActivities, report: &ChangeReport) -> bool {
    if report.announced || !report.is_news() {
        return true;
    }
    let digest = EvaluationReport {
        evaluated_at: shared.autopilot.now().to_string(),
        account: report
            .namespace
            .split_once('.')
            .map(|(_, account)| account.to_owned()),
        plan_id: report.plan_id.clone(),
        changes: vec![report.clone()],
        ..EvaluationReport::default()
    };
    shared.tell_digest(&digest, Vec::new()).await
}

fn order(request: &ChangeRequest) -> Result<ChangeOrder, ActivityError> {
    request
        .order()
        .map_err(|problem| failed(failure::BAD_REQUEST, true, problem.to_string()))
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
