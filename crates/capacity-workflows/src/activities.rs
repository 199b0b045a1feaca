//! The activities of evaluations: thin wrappers around the autopilot that are safe to run twice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use capacity_autopilot::{Autopilot, ChangeResult, ChangeState, incidents, is_over_a_day, record_changes};
use capacity_engine::NamespaceId;
use human_text::chain;
use jiff::Timestamp;
use slack_notifier::{Message, Section, Severity};
use temporal_worker_kit::SharedClient;
use temporalio_client::WorkflowGetResultOptions;
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use crate::activity::{beating, failed, failure, recorder, told_at};
use crate::controller::{AskError, Controller};
use crate::definitions::ChangeWorkflow;
use crate::evaluation::{EvaluateError, Evaluator, evaluate};
use crate::evaluation_messages::{EvaluateRequest, EvaluateResult};
use crate::health::EvaluationHealth;
use crate::messages::{
    Announcement, ChangeReport, ChangeRequest, EvaluationReport, ObserveRequest, ObserveResult, Redecide,
    Redecision, SampleRequest, Silence, StepRequest, StepResult, TickRequest,
};
use crate::news::{News, Standing, news};
use crate::sampling::{SamplingWorker, sample};
use crate::settings::ActivitySettings;
use crate::shutdown::Shutdown;
use crate::traces::EvaluationTrace;

/// The dependencies of activities. Clones share everything.
#[derive(Debug, Clone)]
pub(crate) struct CapacityActivities {
    /// The autopilot, with its keys.
    pub(crate) autopilot: Arc<Autopilot>,
    /// A client of the Temporal service, to wait for changes and to query the controller.
    pub(crate) client: SharedClient,
    /// The settings of this worker's activities.
    pub(crate) settings: ActivitySettings,
    /// The outcomes of this worker's evaluations.
    pub(crate) health: EvaluationHealth,
    /// Whether this worker is shutting down.
    pub(crate) shutdown: Shutdown,
}

/// Time that a late attempt waits for the controller at least.
const LEAST_WAIT: Duration = Duration::from_secs(30);
/// The attempt from which on a refusal is final.
const MOST_REFUSALS: u32 = 3;

#[activities]
impl CapacityActivities {
    /// Evaluates for the event loop. History records the result, so a changed rule never breaks a replay.
    #[activity(name = "evaluate_account")]
    pub(crate) async fn evaluate_account(
        self: Arc<Self>,
        context: ActivityContext,
        request: EvaluateRequest,
    ) -> Result<EvaluateResult, ActivityError> {
        Box::pin(self.evaluated(&context, &request)).await
    }

    /// Evaluates for a controller that release 0.1.0 started, and starts no changes: the controller rotates
    /// into the event loop within a minute, and evaluates again there.
    #[activity(name = "observe_and_decide")]
    pub(crate) async fn observe_and_decide(
        self: Arc<Self>,
        context: ActivityContext,
        request: ObserveRequest,
    ) -> Result<ObserveResult, ActivityError> {
        let evaluate_request = EvaluateRequest {
            number: request.number,
            scale_up_only: request.scale_up_only,
            account: request.account,
            ledgers: request.ledgers,
            // Skips the lookup: that controller joins running changes by their workflow ids.
            knows_running: true,
            ..EvaluateRequest::default()
        };
        let result = Box::pin(self.evaluated(&context, &evaluate_request)).await?;
        let mut report = result.report;
        report.warnings.insert(
            0,
            "the controller is being upgraded: changes start with its next evaluation, within a minute"
                .to_owned(),
        );
        Ok(ObserveResult {
            report,
            max_concurrent: result.max_concurrent,
            wait_seconds: 1,
            next_tick: result.next_tick,
            apart_ms: result.apart_ms,
            ledgers: result.ledgers,
            ..ObserveResult::default()
        })
    }

    /// Runs one step of a change: at most one POST or poll. Refuses if this worker is in dry-run mode.
    #[activity(name = "change_step")]
    pub(crate) async fn change_step(
        self: Arc<Self>,
        context: ActivityContext,
        step: StepRequest,
    ) -> Result<StepResult, ActivityError> {
        if self.settings.dry_run {
            return Err(failed(
                failure::DRY_RUN,
                true,
                "DRY_RUN_MODE is true on this worker, so nothing is changed",
            ));
        }
        let order = step
            .request
            .order()
            .map_err(|problem| failed(failure::BAD_REQUEST, true, problem.to_string()))?;
        let state = step.state.unwrap_or_else(ChangeState::begin);
        let next = beating(&context, self.autopilot.step(&order, state)).await?;
        Ok(StepResult { next })
    }

    /// Re-evaluates the namespace of a change on fresh data.
    #[activity(name = "decide_again")]
    pub(crate) async fn decide_again(
        self: Arc<Self>,
        context: ActivityContext,
        question: Redecide,
    ) -> Result<Redecision, ActivityError> {
        let order = question
            .request
            .order()
            .map_err(|problem| failed(failure::BAD_REQUEST, true, problem.to_string()))?;
        Ok(
            match beating(&context, self.autopilot.decide_again(&order, &question.found)).await? {
                Ok(order) => Redecision {
                    request: Some(ChangeRequest::from(&order)),
                    dropped: String::new(),
                },
                Err(dropped) => Redecision {
                    request: None,
                    dropped: chain(&dropped),
                },
            },
        )
    }

    /// Waits for a change that is already running.
    #[activity(name = "await_change")]
    pub(crate) async fn await_change(
        self: Arc<Self>,
        context: ActivityContext,
        workflow_id: String,
    ) -> Result<ChangeReport, ActivityError> {
        let handle = self
            .client
            .get()
            .get_workflow_handle::<ChangeWorkflow>(workflow_id);
        let waited = beating(&context, handle.get_result(WorkflowGetResultOptions::default())).await?;
        waited.map_err(|error| failed(failure::JOIN, false, chain(&error)))
    }

    /// Announces what is new in an evaluation, in one digest. Returns the ongoing problems that have now been
    /// announced; none if the notification failed, so that the next evaluation announces them again.
    #[activity(name = "announce")]
    pub(crate) async fn announce(
        self: Arc<Self>,
        context: ActivityContext,
        announcement: Announcement,
    ) -> Result<Option<BTreeMap<String, Standing>>, ActivityError> {
        let Announcement {
            report,
            standing,
            last_good,
            unpaused_schedule,
        } = announcement;
        if let (Some(ledger), false) = (self.autopilot.ledger(), report.changes.is_empty()) {
            let changes: Vec<ChangeResult> = report
                .changes
                .iter()
                .filter(|change| change.has_ended())
                .map(ChangeResult::from)
                .collect();
            let (now, by) = (self.autopilot.now(), recorder());
            let recorded = record_changes(
                ledger,
                report.account.as_deref(),
                &report.plan_id,
                &changes,
                now,
                &by,
            );
            if let Err(error) = beating(&context, recorded).await? {
                // Only a controller of release 0.1.0 sends changes here; those of this release record
                // themselves.
                tracing::warn!(%error, "cannot record the changes in the ledger");
            }
        }
        tracing::info!(number = report.number, "{}", report.summary);
        let now = self.autopilot.now();
        let News {
            report,
            more,
            standing,
            failing_since,
            unpaused,
        } = news(report, &standing, unpaused_schedule.as_ref(), now);
        let mut messages = Vec::new();
        let time = |text: Option<&String>| text.and_then(|text| text.parse::<Timestamp>().ok());
        if let (Some(since), Some(error)) = (&failing_since, &report.error) {
            messages.push(incidents::failed_evaluation(
                report.account.as_deref(),
                since.parse().unwrap_or(now),
                time(last_good.as_ref()),
                now,
                error,
            ));
        }
        if let (true, Some(pause)) = (unpaused, &unpaused_schedule) {
            let since = time(Some(&pause.since)).unwrap_or(now);
            messages.push(incidents::schedule_unpaused(
                report.account.as_deref(),
                &pause.by,
                &pause.reason,
                since,
            ));
        }
        let told = beating(&context, async {
            let mut told = self.tell_digest(&report, more).await;
            for message in &messages {
                told &= self.tell(message).await;
            }
            told
        });
        Ok(told.await?.then_some(standing))
    }

    /// Announces a change that takes too long. The evaluation that started it may have ended already.
    #[activity(name = "announce_change")]
    pub(crate) async fn announce_change(
        self: Arc<Self>,
        context: ActivityContext,
        change: ChangeReport,
    ) -> Result<bool, ActivityError> {
        let report = EvaluationReport {
            evaluated_at: self.autopilot.now().to_string(),
            account: change
                .namespace
                .parse::<NamespaceId>()
                .ok()
                .and_then(|id| id.account().map(str::to_owned)),
            changes: vec![change],
            ..EvaluationReport::default()
        };
        beating(&context, self.tell_digest(&report, Vec::new())).await
    }

    /// Announces that the controller does not respond, or responds again. Returns when that was announced.
    #[activity(name = "announce_silence")]
    pub(crate) async fn announce_silence(
        self: Arc<Self>,
        context: ActivityContext,
        silence: Silence,
    ) -> Result<Option<String>, ActivityError> {
        let now = self.autopilot.now();
        let told_before = silence.before.as_deref().and_then(told_at);
        let (severity, title, lines) = match (silence.problem, &told_before) {
            // Silence was announced within a day: the failure of this tick passes that time on to the next
            // one.
            (Some(_), Some(told)) if !told.parse().is_ok_and(|told| is_over_a_day(told, now)) => {
                return Ok(told_before);
            }
            (Some(problem), _) => (
                Severity::Critical,
                "The capacity controller is not responding",
                problem,
            ),
            (None, Some(told)) => (
                Severity::Info,
                "The capacity controller is responding again",
                format!("it was reported as not responding at {told}"),
            ),
            (None, None) => return Ok(None),
        };
        let message = Message {
            severity,
            title: title.to_owned(),
            sections: vec![Section {
                heading: None,
                lines: vec![lines],
            }],
            context: vec![format!("workflow {}", self.settings.installation.controller_id())],
        };
        let told = beating(&context, self.tell(&message)).await?;
        Ok(told.then(|| now.to_string()))
    }

    /// Samples usage, minute after minute, until this worker stops.
    #[activity(name = "sample_usage")]
    pub(crate) async fn sample_usage(
        self: Arc<Self>,
        context: ActivityContext,
        _request: SampleRequest,
    ) -> Result<(), ActivityError> {
        let worker = SamplingWorker {
            autopilot: &self.autopilot,
            client: &self.client,
            settings: &self.settings,
            health: &self.health,
            shutdown: &self.shutdown,
        };
        sample(worker, &context).await
    }

    /// Requests an evaluation from the controller, and waits until its changes have ended, up to a time
    /// limit.
    #[activity(name = "ask_controller")]
    pub(crate) async fn ask_controller(
        self: Arc<Self>,
        context: ActivityContext,
        request: TickRequest,
    ) -> Result<EvaluationReport, ActivityError> {
        let info = context.info();
        let part = |id: &Option<String>| id.clone().unwrap_or_else(|| "-".to_owned());
        // Every attempt uses the same id, so that a repeated request joins the first one.
        let update_id = format!("{}/{}", part(&info.workflow_id), part(&info.workflow_run_id));
        let bound = Duration::from_secs(request.wait_seconds.unwrap_or(16 * 60));
        let bound = match info.scheduled_time.and_then(|since| since.elapsed().ok()) {
            // Earlier attempts, whose workers died, have used up part of it: the run has a timeout, too.
            Some(waited) if info.attempt > 1 => bound.saturating_sub(waited).max(bound.min(LEAST_WAIT)),
            _ => bound,
        };
        let controller = Controller::new(&self.client.get(), &self.settings.installation);
        let error = match beating(&context, controller.evaluate(&update_id, bound)).await? {
            Ok(report) => return Ok(report),
            // A refusal is worth another attempt: a closing run, too many updates in flight, or a worker
            // that starts.
            Err(error @ AskError::Refused(_)) => {
                // Only workers that die may use up all attempts. A refusal that lasts must be announced before
                // the run's timeout.
                let is_final = info.attempt >= MOST_REFUSALS;
                return Err(failed(failure::NO_ANSWER, is_final, error.to_string()));
            }
            Err(error @ AskError::NoAnswer(_)) => error,
        };
        // An evaluation that takes longer than this tick does not count as silence.
        let controller = Controller::new(&self.client.get(), &self.settings.installation);
        match beating(&context, controller.status(Duration::from_secs(10))).await? {
            Ok(status) => Ok(EvaluationReport {
                number: status.evaluations,
                account: status.account,
                summary: format!("not finished after {} s: {}", bound.as_secs(), status.summary),
                ..EvaluationReport::default()
            }),
            Err(_) => Err(failed(failure::NO_ANSWER, true, error.to_string())),
        }
    }
}

impl CapacityActivities {
    async fn evaluated(
        &self,
        context: &ActivityContext,
        request: &EvaluateRequest,
    ) -> Result<EvaluateResult, ActivityError> {
        let worker = Evaluator {
            autopilot: &self.autopilot,
            client: &self.client,
            settings: &self.settings,
            health: &self.health,
        };
        let trace = EvaluationTrace::begin(&self.settings.spans, context, request, self.settings.dry_run);
        let evaluated = Box::pin(beating(context, evaluate(worker, request, trace))).await?;
        evaluated.map_err(|error| match error {
            EvaluateError::Failed(why) => failed(failure::EVALUATE, false, why),
            EvaluateError::WrongAccount(why) => failed(failure::WRONG_ACCOUNT, true, why),
        })
    }

    /// Announces what is new in a report, and the given sections. Succeeds if there is nothing to announce.
    pub(crate) async fn tell_digest(&self, report: &EvaluationReport, more: Vec<Section>) -> bool {
        let changes: Vec<ChangeResult> = report.changes.iter().map(ChangeResult::from).collect();
        match report.digest(&changes, more).message() {
            Some(message) => self.tell(&message).await,
            None => true,
        }
    }

    /// Notifies the channel, and returns whether it was notified. In dry-run mode or without a webhook, a log
    /// line counts as a notification.
    pub(crate) async fn tell(&self, message: &Message) -> bool {
        match &self.settings.webhook {
            Some(webhook) if !self.settings.dry_run => match webhook.post(message).await {
                Ok(()) => true,
                Err(error) => {
                    tracing::warn!(error = %chain(&error), title = message.title, "cannot notify the channel");
                    false
                }
            },
            // Counts as announced, or every evaluation would log the same problems again.
            Some(_) | None => {
                tracing::info!(title = message.title, "would notify the channel");
                true
            }
        }
    }
}
