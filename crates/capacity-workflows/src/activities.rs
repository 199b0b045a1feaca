//! The activities: thin over the autopilot. They translate, call, translate, and are safe to run twice.
#![allow(missing_docs, reason = "the macros make public items of their own")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use capacity_autopilot::{
    Autopilot, ChangeResult, ChangeState, chain, incidents, is_over_a_day, record_changes,
};
use capacity_engine::NamespaceId;
use jiff::Timestamp;
use slack_notifier::{Message, Section, Severity, Webhook};
use temporal_worker_kit::SharedClient;
use temporalio_client::WorkflowGetResultOptions;
use temporalio_macros::activities;
use temporalio_sdk::ApplicationFailure;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use crate::change::CapacityChange;
use crate::controller_client::{AskError, ask, status};
use crate::evaluation::{EvaluateError, EvaluateRequest, EvaluateResult, evaluate};
use crate::health::EvaluationHealth;
use crate::messages::{
    Announcement, ChangeReport, ChangeRequest, EvaluationReport, Observation, ObserveRequest, Redecide,
    Redecision, SampleRequest, Silence, StepRequest, StepResult, TickRequest,
};
use crate::names::Installation;
use crate::news::{News, Standing, news};
use crate::sampling::{SamplingSettings, Shutdown, sample};
use crate::schedule::{Shown, show};

/// What activities need. Clones share everything.
#[derive(Debug, Clone)]
pub struct CapacityActivities {
    /// The autopilot, with its keys.
    pub autopilot: Arc<Autopilot>,
    /// A client of the Temporal service, to wait for changes and to ask the controller.
    pub client: SharedClient,
    /// How this worker works.
    pub settings: ActivitySettings,
    /// The outcomes of its evaluations.
    pub health: EvaluationHealth,
    /// Whether this worker is shutting down.
    pub shutdown: Shutdown,
}

/// How a worker's activities work.
#[derive(Debug, Clone)]
pub struct ActivitySettings {
    /// Whether nothing is changed and nothing sent.
    pub dry_run: bool,
    /// How many changes run at a time.
    pub max_concurrent_changes: u32,
    /// Where notifications go.
    pub webhook: Option<Webhook>,
    /// Task queue and ids.
    pub installation: Installation,
    /// How long a change may take before it has failed.
    pub change_timeout: Duration,
    /// How usage is sampled.
    pub sampling: SamplingSettings,
    /// Version and commit of this worker: a build whose updates were verified may post side by side with others.
    pub build: String,
    /// Fields of a spec that are left out when it is compared after an update.
    pub spec_fields_not_compared: Vec<String>,
    /// How often the operation of a slow change is polled.
    pub follow_every: Duration,
    /// A change whose workflow does nothing for this long makes no progress, which is announced.
    pub no_progress_after: Duration,
    /// From this minute of the UTC hour on nothing is released: it saves nothing before the next hour, and may land in it.
    /// 60 for a simulated cloud, whose hours may be seconds.
    pub last_minute_to_release: i64,
}

impl ActivitySettings {
    /// Returns the settings of an installation that changes capacity, notifies no channel, and has the defaults elsewhere.
    pub fn new(installation: Installation) -> Self {
        Self {
            dry_run: false,
            max_concurrent_changes: 5,
            webhook: None,
            installation,
            change_timeout: capacity_autopilot::CHANGE_TIMEOUT,
            sampling: SamplingSettings::default(),
            build: build_id(),
            spec_fields_not_compared: Vec::new(),
            follow_every: Duration::from_mins(1),
            no_progress_after: Duration::from_mins(10),
            last_minute_to_release: 58,
        }
    }
}

/// The version and, if it was built from a checkout, the commit of this build.
pub fn build_id() -> String {
    match option_env!("TEMPORAL_CAPACITY_COMMIT") {
        Some(commit) => format!("{}+{commit}", env!("CARGO_PKG_VERSION")),
        None => env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// Failure types, as they appear in histories.
pub(crate) mod failure {
    pub(crate) const DRY_RUN: &str = "dry_run";
    pub(crate) const WRONG_ACCOUNT: &str = "wrong_account";
    pub(crate) const BAD_REQUEST: &str = "bad_request";
    pub(crate) const NO_ANSWER: &str = "no_answer";
    pub(crate) const JOIN: &str = "join";
    pub(crate) const EVALUATE: &str = "observe";
    pub(crate) const SILENT: &str = "controller_silent";
}

pub(crate) fn failed(kind: &str, final_word: bool, text: impl Into<String>) -> ActivityError {
    ApplicationFailure::builder(std::io::Error::other(text.into()))
        .type_name(kind.to_owned())
        .non_retryable(final_word)
        .build()
        .into()
}

#[activities]
impl CapacityActivities {
    /// Evaluates for the event loop. History records the result, so a changed rule never breaks a replay.
    #[activity(name = "evaluate_account")]
    pub async fn evaluate_account(
        self: Arc<Self>,
        context: ActivityContext,
        request: EvaluateRequest,
    ) -> Result<EvaluateResult, ActivityError> {
        Box::pin(self.evaluated(&context, &request)).await
    }

    /// Evaluates for a controller that release 0.1.0 began, and starts no changes: it rotates into the event loop within a
    /// minute, and evaluates again there.
    #[activity(name = "observe_and_decide")]
    pub async fn observe_and_decide(
        self: Arc<Self>,
        context: ActivityContext,
        request: ObserveRequest,
    ) -> Result<Observation, ActivityError> {
        let evaluate_request = EvaluateRequest {
            number: request.number,
            scale_up_only: request.scale_up_only,
            account: request.account,
            ledgers: request.ledgers,
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
        Ok(Observation {
            report,
            max_concurrent: result.max_concurrent,
            wait_seconds: 1,
            next_tick: result.next_tick,
            apart_ms: result.apart_ms,
            ledgers: result.ledgers,
            ..Observation::default()
        })
    }

    /// Does one step of a change: at most one post or poll. Refuses if this worker is in dry run.
    #[activity(name = "change_step")]
    pub async fn change_step(
        self: Arc<Self>,
        context: ActivityContext,
        step: StepRequest,
    ) -> Result<StepResult, ActivityError> {
        if self.settings.dry_run {
            return Err(failed(
                failure::DRY_RUN,
                true,
                "DRY_RUN_MODE of the worker is true: nothing is changed",
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

    /// Decides again about the namespace of a change, on fresh data.
    #[activity(name = "decide_again")]
    pub async fn decide_again(
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
                    dropped: dropped.to_string(),
                },
            },
        )
    }

    /// Waits for a change that is already running.
    #[activity(name = "await_change")]
    pub async fn await_change(
        self: Arc<Self>,
        context: ActivityContext,
        workflow_id: String,
    ) -> Result<ChangeReport, ActivityError> {
        let handle = self
            .client
            .get()
            .get_workflow_handle::<CapacityChange>(workflow_id);
        let waited = beating(&context, handle.get_result(WorkflowGetResultOptions::default())).await?;
        waited.map_err(|error| failed(failure::JOIN, false, format!("{error:?}")))
    }

    /// Announces what is new in an evaluation, in one digest. Returns the standing problems that are announced now; nothing if the
    /// notification failed, so that the next one repeats it.
    #[activity(name = "announce")]
    pub async fn announce(
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

    /// Announces a change that outlasted its time: the evaluation that began it may be over.
    #[activity(name = "announce_change")]
    pub async fn announce_change(
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

    /// Announces that the controller does not answer, or answers again. Returns when that was announced.
    #[activity(name = "announce_silence")]
    pub async fn announce_silence(
        self: Arc<Self>,
        context: ActivityContext,
        silence: Silence,
    ) -> Result<Option<String>, ActivityError> {
        let now = self.autopilot.now();
        let told_before = silence.before.as_deref().and_then(told_at);
        let (severity, title, lines) = match (silence.problem, &told_before) {
            (Some(_), Some(told)) if !told.parse().is_ok_and(|told| is_over_a_day(told, now)) => {
                return Ok(told_before);
            }
            (Some(problem), _) => (Severity::Critical, "The capacity controller is silent", problem),
            (None, Some(told)) => (
                Severity::Info,
                "The capacity controller answers again",
                format!("its silence was announced at {told}"),
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

    /// Samples usage, minute after minute, for as long as this worker lives.
    #[activity(name = "sample_usage")]
    pub async fn sample_usage(
        self: Arc<Self>,
        context: ActivityContext,
        _request: SampleRequest,
    ) -> Result<(), ActivityError> {
        sample(&self, &context).await
    }

    /// Asks the controller to evaluate, and waits until the changes of that evaluation have ended, within a bound.
    #[activity(name = "ask_controller")]
    pub async fn ask_controller(
        self: Arc<Self>,
        context: ActivityContext,
        request: TickRequest,
    ) -> Result<EvaluationReport, ActivityError> {
        let info = context.info();
        let part = |id: &Option<String>| id.clone().unwrap_or_else(|| "-".to_owned());
        // The same for every attempt: a repeated question joins the first.
        let update_id = format!("{}/{}", part(&info.workflow_id), part(&info.workflow_run_id));
        let bound = Duration::from_secs(request.wait_seconds.unwrap_or(16 * 60));
        let client = self.client.get();
        let answer = ask(&client, &self.settings.installation, &update_id, bound);
        let error = match beating(&context, answer).await? {
            Ok(report) => return Ok(report),
            Err(error @ AskError::Refused(_)) => {
                return Err(failed(failure::NO_ANSWER, false, error.to_string()));
            }
            Err(error @ AskError::NoAnswer(_)) => error,
        };
        // An evaluation that outlasts this tick does not count as silence.
        let client = self.client.get();
        let asked = status(&client, &self.settings.installation, Duration::from_secs(10));
        match beating(&context, asked).await? {
            Ok(status) => Ok(EvaluationReport {
                number: status.evaluations,
                account: status.account,
                summary: format!("not done after {} s: {}", bound.as_secs(), status.summary),
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
        let evaluated = Box::pin(beating(context, evaluate(self, request))).await?;
        evaluated.map_err(|error| match error {
            EvaluateError::Failed(why) => failed(failure::EVALUATE, false, why),
            EvaluateError::WrongAccount(why) => failed(failure::WRONG_ACCOUNT, true, why),
        })
    }

    /// Announces what is new in a report, and what else is due; with nothing to announce, it succeeds.
    pub(crate) async fn tell_digest(&self, report: &EvaluationReport, more: Vec<Section>) -> bool {
        let changes: Vec<ChangeResult> = report.changes.iter().map(ChangeResult::from).collect();
        match report.digest(&changes, more).message() {
            Some(message) => self.tell(&message).await,
            None => true,
        }
    }

    /// Returns whether the channel was notified. In dry run, or without a webhook, a log line counts.
    pub(crate) async fn tell(&self, message: &Message) -> bool {
        match &self.settings.webhook {
            Some(webhook) if !self.settings.dry_run => match webhook.post(message).await {
                Ok(()) => true,
                Err(error) => {
                    tracing::warn!(error = %chain(&error), title = message.title, "cannot notify the channel");
                    false
                }
            },
            Some(_) | None => {
                tracing::info!(title = message.title, "would notify the channel");
                true
            }
        }
    }

    /// The schedule, if there is one that can be read within a few seconds.
    pub(crate) async fn schedule(&self) -> Option<Shown> {
        let client = self.client.get();
        let shown = show(&client, &self.settings.installation);
        tokio::time::timeout(Duration::from_secs(5), shown)
            .await
            .ok()?
            .ok()
    }
}

/// Who recorded something: this worker, by its host, since in a container every process has the same number.
pub(crate) fn recorder() -> String {
    let host = gethostname::gethostname();
    format!("capacity-worker {}/{}", host.display(), std::process::id())
}

/// In the failure of a silent tick, the prefix of the time at which it was announced.
pub(crate) const TOLD_AT: &str = "announced at ";

/// The same in releases up to 0.1.
const TOLD_AT_0_1: &str = "people were told at "; // prose: quoted

fn told_at(failure: &str) -> Option<String> {
    let prefixes = [TOLD_AT, TOLD_AT_0_1];
    let (_, rest) = prefixes.iter().find_map(|prefix| failure.rsplit_once(prefix))?;
    let told = rest
        .split(|letter: char| letter == ')' || letter.is_whitespace())
        .next()?;
    told.parse::<Timestamp>().ok().map(|told| told.to_string())
}

/// Heartbeats while one slow call is in flight: a cancel request only arrives on the answer to a heartbeat.
pub(crate) async fn beating<T>(
    context: &ActivityContext,
    call: impl Future<Output = T>,
) -> Result<T, ActivityError> {
    temporal_worker_kit::beating(context, Duration::from_secs(5), (), Box::pin(call)).await
}
