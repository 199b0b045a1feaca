//! Carries out one change: read, post once, check until it ends, conclude. The workflow id is the lock on the
//! namespace.
//!
//! The digests of the spec are in the history before the POST, so that any remaining worker can check whether
//! the update changed more than the capacity. Constants here change only behind a patch marker.
#![allow(missing_docs, reason = "the macros generate public items")]

use std::time::{Duration, SystemTime};

use cloud_ops_client::SpecDigests;
use temporal_worker_kit::Lenient;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    SignalWorkflowOptions, TimerOptions, WorkflowCancellationToken, WorkflowContext, WorkflowContextView,
    WorkflowResult,
};

use crate::change_steps::ChangeActivities;
use crate::definitions::ChangeProgress;
use crate::failures::cause_of;
use crate::legacy_change;
use crate::messages::{ChangeEvent, ChangeReport, ChangeRequest, LONGEST_ERROR};
use crate::options;
use crate::step_messages::{
    CheckRequest, Concluded, Conclusion, Incident, PauseOrder, PostRequest, StepAnswer,
};
use crate::time::milliseconds;

/// Marks the changes of this release. Those of 0.1.0 have no marker.
const STEPS: &str = "change-steps-1";
/// Time after which a change is announced as slow, unless the request sets it.
const SLOW_AFTER: Duration = Duration::from_mins(15);
/// Maximum time from the end of the operation until the namespace shows the new capacity.
// Temporal's target is two minutes.
const ARRIVES_WITHIN: Duration = Duration::from_mins(3);
/// Minimum time between the POST and a reading that counts as a verdict.
const FIRST_CHECK: Duration = Duration::from_secs(1);
/// Maximum interval between polls.
const LONGEST_DELAY: Duration = Duration::from_mins(1);
/// Maximum number of further readings after a POST with an unknown outcome.
const MOST_READINGS: u32 = 4;

/// One change of one namespace.
#[workflow]
pub struct CapacityChange {
    request: ChangeRequest,
    input_problem: Option<String>,
    started: Option<SystemTime>,
}

#[workflow_methods]
impl CapacityChange {
    #[init]
    pub fn new(context: &WorkflowContextView, input: Lenient<ChangeRequest>) -> Self {
        Self {
            request: input.value,
            input_problem: input.problem,
            started: context.start_time(),
        }
    }

    #[run(name = "CapacityChange")]
    pub async fn run(context: &mut WorkflowContext<Self>) -> WorkflowResult<ChangeReport> {
        let request = context.state(|it| it.request.clone());
        // A run that failed to decode its input would hold the lock on its namespace until someone
        // terminates it.
        if let Some(problem) = context.state(|it| it.input_problem.clone()) {
            return Ok(ChangeReport::of(
                &request,
                "refused",
                Some(format!("it was started with {problem}")),
            ));
        }
        if !context.patched(STEPS) {
            let started = context.state(|it| it.started);
            return legacy_change::run(context, started, request).await;
        }
        let mut change = Change {
            context: &context.clone(),
            report: ChangeReport::of(&request, "failed", None),
            request,
            digests: None,
            posted: None,
        };
        change.carry_out().await;
        Ok(change.conclude().await)
    }
}

/// The result of reading and posting.
enum Posted {
    /// The service has received the change, or may have.
    Yes,
    /// The change has ended.
    No,
    /// The namespace has to be read again.
    Again,
}

struct Change<'a> {
    context: &'a WorkflowContext<CapacityChange>,
    request: ChangeRequest,
    report: ChangeReport,
    /// Digests from before the POST; `None` if an earlier run posted the change.
    digests: Option<SpecDigests>,
    /// When the service accepted the POST.
    posted: Option<SystemTime>,
}

impl Change<'_> {
    async fn carry_out(&mut self) {
        for _ in 0..MOST_READINGS {
            if self.context.cancellation_token().is_cancelled() {
                self.report.code = Some("canceled".to_owned());
                return self.end(
                    "not_started",
                    Some("its workflow was canceled before anything was sent".to_owned()),
                );
            }
            match self.read_and_post().await {
                Posted::Yes => {
                    self.report.posted = true;
                    self.posted = self.context.workflow_time();
                    self.tell(false).await;
                    return self.follow().await;
                }
                Posted::No => return,
                Posted::Again => self.wait(Duration::from_secs(5), "before reading again").await,
            }
        }
        self.end(
            "failed",
            Some("the update did not take effect; the namespace will be re-evaluated".to_owned()),
        );
    }

    async fn read_and_post(&mut self) -> Posted {
        let read = self
            .context
            .execute_activity(
                ChangeActivities::change_read,
                self.request.clone(),
                options::READ.detached(),
            )
            .await;
        let basis = match read {
            Err(error) => {
                self.end("failed", Some(cause_of(&error)));
                return Posted::No;
            }
            Ok(answer) => match (answer.state.as_str(), answer.basis.clone()) {
                ("ready", Some(basis)) => basis,
                // Without digests: the spec from before that POST is unknown, so there will be no verdict.
                ("posted", _) => return Posted::Yes,
                _ => {
                    self.take_end(answer);
                    return Posted::No;
                }
            },
        };
        self.digests = Some(basis.digests.clone());
        self.report.resource_version.clone_from(&basis.resource_version);
        let post = PostRequest {
            request: self.request.clone(),
            basis,
            started_ms: self.started_ms(),
        };
        let posted = self
            .context
            // Detached: a cancellation between POST and answer would lose the only proof of what was sent.
            .execute_activity(ChangeActivities::change_post, post, options::POST.detached())
            .await;
        match posted {
            Err(error) => self.after_lost_post(cause_of(&error)).await,
            Ok(answer) => {
                self.report.build.clone_from(&answer.build);
                match answer.state.as_str() {
                    "accepted" => Posted::Yes,
                    "nothing_to_change" => self.read_back(answer.error).await,
                    "uncertain" => self.after_uncertain_post().await,
                    _ => {
                        self.take_end(answer);
                        Posted::No
                    }
                }
            }
        }
    }

    /// Handles the case that every attempt to post failed. Unless the service knows the operation, the change
    /// has failed.
    async fn after_lost_post(&mut self, why: String) -> Posted {
        match self.was_posted().await {
            Some(true) => Posted::Yes,
            Some(false) => {
                self.end("failed", Some(why));
                Posted::No
            }
            None => {
                // Counts as posted, so that the gate and the namespace stay closed until someone knows
                // more.
                self.report.posted = true;
                self.end("unknown", Some(why));
                Posted::No
            }
        }
    }

    /// Handles a POST that the service may have received: looks for the operation, and posts again only if it does not exist.
    async fn after_uncertain_post(&mut self) -> Posted {
        self.wait(Duration::from_secs(2), "before looking for the operation")
            .await;
        match self.was_posted().await {
            Some(true) => Posted::Yes,
            // The service is certain that it does not know the operation, so posting again sends nothing
            // twice.
            Some(false) => Posted::Again,
            None => {
                self.report.posted = true;
                let why = "the service did not confirm the update, and its operation cannot be read";
                self.end("unknown", Some(why.to_owned()));
                Posted::No
            }
        }
    }

    async fn was_posted(&self) -> Option<bool> {
        let asked = self.context.execute_activity(
            ChangeActivities::change_was_posted,
            self.request.clone(),
            options::READ.detached(),
        );
        asked.await.ok()
    }

    async fn read_back(&mut self, said: Option<String>) -> Posted {
        let read = self
            .context
            .execute_activity(
                ChangeActivities::change_read_back,
                self.request.clone(),
                options::READ.detached(),
            )
            .await;
        match read {
            Ok(answer) => self.take_end(answer),
            // "Nothing to change" without a read-back proves nothing, so it does not pass for `already`.
            Err(_) => self.end("stuck", said),
        }
        Posted::No
    }

    /// Follows a posted change until it ends.
    async fn follow(&mut self) {
        let slow_after = self
            .request
            .timeout_seconds
            .map_or(SLOW_AFTER, Duration::from_secs);
        let mut delay = FIRST_CHECK;
        let mut arriving_since: Option<Duration> = None;
        let mut first_reading = true;
        let mut announced_slow = false;
        loop {
            self.wait(delay, "until the next check").await;
            let Some(answer) = self.check().await else {
                delay = LONGEST_DELAY.min(delay * 2);
                if self.took() > slow_after && !announced_slow {
                    announced_slow = true;
                    self.incident("slow", Vec::new()).await;
                }
                continue;
            };
            if answer.shows_posted && answer.compared {
                if first_reading {
                    first_reading = false;
                    self.first_reading(&answer).await;
                } else if self.report.verdict && !answer.changed_fields.is_empty() {
                    self.later_difference(&answer).await;
                }
            }
            match answer.state.as_str() {
                "ended" => return self.take_end(answer),
                // If the spec does show our capacity, the operation was only forgotten: wait for the
                // capacity instead.
                "never_posted" if !answer.shows_posted => {
                    let why = "the service no longer has the operation, and the namespace does not show the new capacity";
                    return self.end("failed", Some(why.to_owned()));
                }
                "arriving" | "never_posted" => {
                    let since = *arriving_since.get_or_insert_with(|| self.took());
                    let waited = self.took().saturating_sub(since);
                    if waited > ARRIVES_WITHIN {
                        let why = format!(
                            "the operation ended, but {} s later the namespace still does not have the new capacity",
                            waited.as_secs()
                        );
                        return self.end("failed", Some(why));
                    }
                    delay = (waited / 2).clamp(Duration::from_millis(250), Duration::from_secs(5));
                }
                _ => {
                    let took = self.took();
                    if took > slow_after {
                        if !announced_slow {
                            announced_slow = true;
                            self.incident("slow", Vec::new()).await;
                        }
                        if !self.follow_slowly().await {
                            self.incident("unknown", Vec::new()).await;
                            let why = "the operation had not ended after 24 h";
                            return self.end("unknown", Some(why.to_owned()));
                        }
                        // The operation has just ended. The next check reads how, and compares the spec a
                        // last time.
                        delay = Duration::from_millis(250);
                        continue;
                    }
                    let asked = Duration::from_millis(answer.check_after_ms);
                    delay = asked
                        // The longer it runs, the less the next poll is worth; each one adds events to the
                        // history.
                        .max(took / 8)
                        .clamp(Duration::from_millis(50), LONGEST_DELAY);
                }
            }
        }
    }

    async fn check(&self) -> Option<StepAnswer> {
        let check = CheckRequest {
            request: self.request.clone(),
            digests: self.digests.clone(),
        };
        let checked = self
            .context
            .execute_activity(ChangeActivities::change_check, check, options::READ.detached())
            .await;
        checked.ok().filter(|answer| answer.state != "unreadable")
    }

    /// Polls once a minute for up to a day, without writing to the history. Returns whether the operation
    /// ended.
    async fn follow_slowly(&self) -> bool {
        let followed = self.context.execute_activity(
            ChangeActivities::change_follow,
            self.request.clone(),
            options::follow(),
        );
        followed.await.is_ok()
    }

    /// Handles the first reading that shows our capacity, which decides the verdict.
    async fn first_reading(&mut self, answer: &StepAnswer) {
        if !answer.changed_fields.is_empty() {
            self.report.spec_differences.clone_from(&answer.changed_fields);
            // Open the pause first, and retry until it is open, so that nothing else is changed.
            let pause = PauseOrder {
                kind: "spec".to_owned(),
                reason: format!(
                    "the spec of {} changed after our update (fields: {})",
                    self.request.namespace,
                    answer.changed_fields.join(", ")
                ),
                by: "the autopilot".to_owned(),
                ..PauseOrder::default()
            };
            let _ = self
                .context
                .execute_activity(ChangeActivities::set_pause, pause, options::until_done())
                .await;
            self.incident("spec_changed", answer.changed_fields.clone()).await;
            self.tell(false).await;
            return;
        }
        self.report.verdict = true;
        if !answer.appeared_fields.is_empty() {
            self.report.appeared_fields.clone_from(&answer.appeared_fields);
            self.incident("spec_appeared", answer.appeared_fields.clone())
                .await;
        }
        self.tell(false).await;
    }

    /// Handles a difference after a clean first reading, which holds the namespace. The controller decides whether to pause
    /// everything.
    async fn later_difference(&mut self, answer: &StepAnswer) {
        if self.report.spec_differences.is_empty() {
            self.report.spec_differences.clone_from(&answer.changed_fields);
            self.incident("spec_changed_later", answer.changed_fields.clone())
                .await;
            self.tell(false).await;
        }
    }

    fn end(&mut self, outcome: &str, error: Option<String>) {
        let error = error.map(|text| text.chars().take(LONGEST_ERROR).collect());
        outcome.clone_into(&mut self.report.outcome);
        self.report.error = error;
    }

    fn take_end(&mut self, answer: StepAnswer) {
        self.report.code = answer.code;
        self.end(&answer.outcome, answer.error);
    }

    /// Signals the controller. A failed signal never fails a change.
    async fn tell(&mut self, ended: bool) {
        if self.request.controller_id.is_empty() {
            return;
        }
        let event = ChangeEvent {
            report: self.report.clone(),
            ended,
        };
        let controller = self
            .context
            .external_workflow(self.request.controller_id.clone(), None);
        let signaled = controller
            .signal(
                ChangeProgress,
                Lenient::from(event),
                SignalWorkflowOptions::builder()
                    .cancellation_token(WorkflowCancellationToken::new())
                    .build(),
            )
            .await;
        // Only the end counts: a controller that misses it finds the change by this flag.
        self.report.signaled = ended && signaled.is_ok();
    }

    async fn incident(&self, kind: &str, fields: Vec<String>) {
        let incident = Incident {
            kind: kind.to_owned(),
            changes: vec![self.request.clone()],
            started_ms: self.started_ms(),
            fields,
            ..Incident::default()
        };
        let _ = self
            .context
            .execute_activity(
                ChangeActivities::announce_incident,
                incident,
                options::CONCLUDE.detached(),
            )
            .await;
    }

    /// Signals, records and announces the end, and closes within a minute. Unfinished work is left to a
    /// separate workflow.
    async fn conclude(&mut self) -> ChangeReport {
        self.tell(true).await;
        // Nothing happened to the namespace, so nothing is recorded. The controller decides what happens
        // next.
        if self.report.outcome == "not_started" {
            return self.report.clone();
        }
        let conclusion = Conclusion {
            report: self.report.clone(),
            complete: false,
            started_ms: self.started_ms(),
            posted_ms: self.posted.and_then(milliseconds),
        };
        // A failed activity counts as nothing done; the record repeats both, which the ledger tolerates.
        let concluded: Concluded = self
            .context
            .execute_activity(
                ChangeActivities::change_conclude,
                conclusion,
                options::CONCLUDE.detached(),
            )
            .await
            .unwrap_or_default();
        self.report.recorded = concluded.recorded;
        self.report.announced = concluded.announced;
        if !(concluded.recorded && concluded.announced) {
            let _ = self
                .context
                .execute_activity(
                    ChangeActivities::start_record,
                    self.report.clone(),
                    options::until_done(),
                )
                .await;
        }
        self.report.clone()
    }

    async fn wait(&self, delay: Duration, why: &str) {
        if delay.is_zero() {
            return;
        }
        // A posted change is followed until it ends, even if it was canceled.
        let timer = TimerOptions::builder(delay)
            .summary(why.to_owned())
            .cancellation_token(WorkflowCancellationToken::new())
            .build();
        let _ = self.context.timer(timer).await;
    }

    fn started_ms(&self) -> Option<u64> {
        self.context.state(|it| it.started).and_then(milliseconds)
    }

    fn took(&self) -> Duration {
        match (self.context.workflow_time(), self.context.state(|it| it.started)) {
            (Some(now), Some(started)) => now.duration_since(started).unwrap_or_default(),
            _ => Duration::ZERO,
        }
    }
}
