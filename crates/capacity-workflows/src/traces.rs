//! Spans that activities add to the trace of their evaluation, whichever workers run them. For traces, a history contains only
//! two times.

use std::time::{Duration, SystemTime};

use capacity_autopilot::{
    ChangeResult, EvaluationSpans, change_span, evaluation_part, machine_time, step_span,
};
use otlp_spans::{Span, Spans, Trace};
use temporalio_sdk::activities::{ActivityContext, ActivityError, ActivityInfo};

use crate::evaluation_messages::EvaluateRequest;
use crate::messages::{ChangeReport, ChangeRequest};
use crate::step_messages::{Conclusion, StepAnswer};

/// An evaluation that runs in an activity.
pub(crate) struct EvaluationTrace<'a> {
    spans: &'a Spans,
    info: &'a ActivityInfo,
    request: &'a EvaluateRequest,
    dry_run: bool,
    from: SystemTime,
    /// Parts besides observing and deciding.
    parts: Vec<(&'static str, SystemTime, SystemTime, Option<String>)>,
    /// Spans of observing and deciding, with the root.
    observed: Option<EvaluationSpans>,
}

impl<'a> EvaluationTrace<'a> {
    pub(crate) fn begin(
        spans: &'a Spans,
        context: &'a ActivityContext,
        request: &'a EvaluateRequest,
        dry_run: bool,
    ) -> Self {
        Self {
            spans,
            info: context.info(),
            request,
            dry_run,
            from: machine_time(),
            parts: Vec::new(),
            observed: None,
        }
    }

    /// Records a part that began at `from` and ends now.
    pub(crate) fn part(&mut self, name: &'static str, from: SystemTime, error: Option<String>) {
        self.parts.push((name, from, machine_time(), error));
    }

    /// Stores the spans of observing and deciding, which `spans` creates from the start and end times of the evaluation.
    pub(crate) fn observed(&mut self, spans: impl FnOnce(SystemTime, SystemTime) -> EvaluationSpans) {
        if self.spans.is_on() {
            self.observed = Some(spans(self.from, machine_time()));
        }
    }

    /// Sends the spans of an evaluation that made its decisions and ends now.
    pub(crate) fn decided(mut self, plan_id: &str, changes: usize) {
        let Some(EvaluationSpans { root, parts }) = self.observed.take() else {
            return;
        };
        for span in parts {
            self.spans.send(span);
        }
        for (name, from, until, error) in &self.parts {
            let span = evaluation_part(plan_id, name, *from, *until).failed(error.clone());
            self.spans.send(span);
        }
        let root = self.described(root).with("capacity.changes", changes);
        self.spans.send(root.until(machine_time()));
    }

    /// Sends the span of an attempt that made no decisions, in a separate trace because there is no plan.
    pub(crate) fn failed(self, why: &str) {
        if !self.spans.is_on() {
            return;
        }
        let run = self.info.workflow_run_id.as_deref().unwrap_or_default();
        let attempt = format!("{run}/{}/{}", self.info.activity_id, self.info.attempt);
        let trace = Trace::of(&attempt);
        let root = trace.span("evaluation", "evaluation", self.from, machine_time());
        self.spans.send(self.described(root).failed(Some(why)));
    }

    fn described(&self, root: Span) -> Span {
        of_run(root, self.info)
            .with("capacity.evaluation", self.request.number)
            .with("capacity.scale_up_only", self.request.scale_up_only)
            .with("capacity.dry_run", self.dry_run)
    }
}

/// One attempt of an activity of a change.
pub(crate) struct Step<'a> {
    spans: &'a Spans,
    info: &'a ActivityInfo,
    plan_id: &'a str,
    operation_id: &'a str,
    name: &'static str,
    from: SystemTime,
}

/// The result of a step, as shown in its span.
pub(crate) struct Seen {
    /// Name of the step, if it depends on the result.
    name: Option<&'static str>,
    state: String,
    code: Option<String>,
    error: Option<String>,
}

impl Seen {
    pub(crate) fn state(state: &str) -> Self {
        Self {
            name: None,
            state: state.to_owned(),
            code: None,
            error: None,
        }
    }

    pub(crate) fn failed(self, error: Option<String>) -> Self {
        Self { error, ..self }
    }

    pub(crate) fn named(self, name: &'static str) -> Self {
        Self {
            name: Some(name),
            ..self
        }
    }
}

/// Describes the result of a step. It counts as failed if the change ended without success or its state is uncertain.
pub(crate) fn answered(answer: &StepAnswer) -> Seen {
    let has_ended = answer.state == "ended";
    let is_good = matches!(answer.outcome.as_str(), "changed" | "already");
    let is_uncertain = matches!(answer.state.as_str(), "uncertain" | "unreadable" | "never_posted");
    let word = if has_ended { &answer.outcome } else { &answer.state };
    let failed = (has_ended && !is_good) || is_uncertain;
    let error = || answer.error.clone().unwrap_or_else(|| word.clone());
    let differs = !answer.changed_fields.is_empty();
    Seen {
        name: None,
        state: word.clone(),
        code: answer.code.clone(),
        error: if differs {
            Some(format!("the spec changed: {}", answer.changed_fields.join(", ")))
        } else {
            failed.then(error)
        },
    }
}

impl<'a> Step<'a> {
    pub(crate) fn begin(
        spans: &'a Spans,
        context: &'a ActivityContext,
        (plan_id, operation_id): (&'a str, &'a str),
        name: &'static str,
    ) -> Self {
        Self {
            spans,
            info: context.info(),
            plan_id,
            operation_id,
            name,
            from: machine_time(),
        }
    }

    /// Runs the step and sends its span.
    pub(crate) async fn trace<T>(
        self,
        work: impl Future<Output = Result<T, ActivityError>>,
        seen: impl FnOnce(&T) -> Seen,
    ) -> Result<T, ActivityError> {
        // Boxed, because otherwise the layout of the callers gets too deep for the compiler.
        let answer = Box::pin(work).await;
        if self.spans.is_on() {
            let seen = match &answer {
                Ok(answer) => seen(answer),
                Err(error) => Seen::state("retried").failed(Some(text(error))),
            };
            self.send(seen);
        }
        answer
    }

    fn send(self, seen: Seen) {
        let run = self.info.workflow_run_id.as_deref().unwrap_or_default();
        let key = format!("{run}/{}/{}", self.info.activity_id, self.info.attempt);
        let name = seen.name.unwrap_or(self.name);
        let mut span = step_span(
            self.plan_id,
            self.operation_id,
            &key,
            name,
            self.from,
            machine_time(),
        )
        .with("capacity.state", seen.state)
        .failed(seen.error);
        if let Some(code) = seen.code {
            span = span.with("capacity.code", code);
        }
        self.spans.send(of_run(span, self.info));
    }
}

fn text(error: &ActivityError) -> String {
    match error {
        ActivityError::Application(failure) => failure.source_error().to_string(),
        ActivityError::Cancelled { .. } => "canceled".to_owned(),
        _ => "not completed".to_owned(),
    }
}

/// Adds the workflow and the activity, under the attribute names that Temporal's own tracing uses.
fn of_run(span: Span, info: &ActivityInfo) -> Span {
    let part = |id: &Option<String>| id.clone().unwrap_or_default();
    span.with("temporalWorkflowID", part(&info.workflow_id))
        .with("temporalRunID", part(&info.workflow_run_id))
        .with("temporalActivityID", info.activity_id.as_str())
        .with("temporalAttempt", info.attempt)
}

/// Sends the span of a change that has ended, and of its wait for the service.
pub(crate) fn change(spans: &Spans, info: &ActivityInfo, conclusion: &Conclusion) {
    if !spans.is_on() {
        return;
    }
    let (report, now) = (&conclusion.report, machine_time());
    let time = |milliseconds: u64| SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(milliseconds));
    let result = ChangeResult::from(report);
    let from = conclusion.started_ms.and_then(time).unwrap_or(now);
    if let Some(posted) = conclusion.posted_ms.and_then(time) {
        let wait = step_span(&report.plan_id, &report.operation_id, "wait", "wait", posted, now);
        spans.send(wait.with("capacity.verdict", report.verdict));
    }
    let mut span = change_span(&report.plan_id, &result, from, now)
        .with("capacity.evaluation", report.evaluation)
        .with("capacity.build", report.build.as_str());
    if let Some(code) = &report.code {
        span = span.with("capacity.code", code.as_str());
    }
    spans.send(of_run(span, info));
}

/// Sends the span of a change that ended before the service accepted it and that no activity concludes.
pub(crate) fn not_started(
    spans: &Spans,
    info: &ActivityInfo,
    request: &ChangeRequest,
    answer: &StepAnswer,
    started_ms: Option<u64>,
) {
    if answer.outcome != "not_started" {
        return;
    }
    let report = ChangeReport {
        code: answer.code.clone(),
        build: answer.build.clone(),
        ..ChangeReport::of(request, &answer.outcome, answer.error.clone())
    };
    let conclusion = Conclusion {
        report,
        started_ms,
        ..Conclusion::default()
    };
    change(spans, info, &conclusion);
}
