//! One evaluation as a trace: its parts, and each of its changes with its steps.
//!
//! The trace id is derived from the plan id, and the span id of a change from its operation id, so that every process that has these
//! ids adds to the same trace. Attributes are names, numbers and codes, never specs or keys.

use std::time::SystemTime;

use otlp_spans::{Span, Trace};

use crate::change::ChangeResult;
use crate::evaluation::Evaluation;
use crate::plan::Plan;
use crate::timing::{ChangeTiming, Part, Timing};

/// Key of the root span of a trace.
const EVALUATION: &str = "evaluation";
/// Key of the parent of all spans that read something.
const OBSERVE: &str = "observe";

/// The spans of an evaluation.
#[derive(Debug, Clone)]
#[must_use]
pub struct EvaluationSpans {
    /// The evaluation itself.
    pub root: Span,
    /// The parts of the evaluation.
    pub parts: Vec<Span>,
}

/// Returns the spans of an evaluation that ran at this time, including recording. An evaluation without usable metrics has
/// failed.
pub fn evaluation_spans(
    plan: &Plan,
    evaluation: &Evaluation,
    from: SystemTime,
    until: SystemTime,
) -> EvaluationSpans {
    let (trace, summary) = (Trace::of(&plan.plan_id), &plan.summary);
    let mut root = trace
        .span(EVALUATION, EVALUATION, from, until)
        .with("capacity.plan_id", plan.plan_id.as_str())
        .with("capacity.usage_source", evaluation.account.usage_source.as_str())
        .with("capacity.namespaces", summary.namespaces)
        .with("capacity.decisions.enable", summary.enable)
        .with("capacity.decisions.resize", summary.resize)
        .with("capacity.decisions.disable", summary.disable)
        .with("capacity.decisions.keep", summary.keep)
        .with("capacity.decisions.hold", summary.hold)
        .with("capacity.decisions.skip", summary.skip)
        .with("capacity.requests.cloud_ops", summary.ops_requests)
        .with("capacity.requests.metrics", summary.metrics_requests)
        .with("capacity.warnings", plan.warnings.len())
        .failed(
            evaluation
                .metrics_unavailable
                .map(|problem| format!("metrics unavailable: {}", problem.as_str())),
        );
    if let Some(account) = &plan.account {
        root = root.with("capacity.account", account.as_str());
    }
    let observed = evaluation
        .account
        .timings
        .iter()
        .filter(|it| it.part != Part::Decide);
    let mut parts: Vec<Span> = evaluation
        .account
        .timings
        .iter()
        .map(|timing| part(trace, timing))
        .collect();
    if let (Some(first), Some(last)) = (
        observed.clone().map(|it| it.from).min(),
        observed.clone().map(|it| it.until).max(),
    ) {
        let failed = observed.clone().find_map(|it| it.error.clone());
        parts.push(
            trace
                .span(OBSERVE, OBSERVE, first, last)
                .under(EVALUATION)
                .failed(failed),
        );
    }
    EvaluationSpans { root, parts }
}

fn part(trace: Trace, timing: &Timing) -> Span {
    let (name, parent) = match timing.part {
        Part::List => ("list namespaces", OBSERVE),
        Part::Metrics => ("read metrics", OBSERVE),
        Part::Details => ("read details", OBSERVE),
        Part::CapacityInfo => ("read capacity info", OBSERVE),
        Part::Decide => ("decide", EVALUATION),
    };
    trace
        .span(name, name, timing.from, timing.until)
        .under(parent)
        .with("capacity.namespaces", timing.namespaces)
        .failed(timing.error.clone())
}

/// Returns the span of another part of an evaluation, such as recording it. Its name is unique in the trace.
pub fn evaluation_part(plan_id: &str, name: &'static str, from: SystemTime, until: SystemTime) -> Span {
    Trace::of(plan_id).span(name, name, from, until).under(EVALUATION)
}

/// Returns the span of a change that has ended, under its evaluation.
pub fn change_span(plan_id: &str, change: &ChangeResult, from: SystemTime, until: SystemTime) -> Span {
    let failed = (!change.outcome.is_success()).then(|| match &change.error {
        Some(error) => format!("{}: {error}", change.outcome.as_str()),
        None => change.outcome.as_str().to_owned(),
    });
    Trace::of(plan_id)
        .span(&change.operation_id, "change", from, until)
        .under(EVALUATION)
        .with("capacity.namespace", change.namespace.as_str())
        .with("capacity.operation_id", change.operation_id.as_str())
        .with("capacity.trus.from", change.from_trus)
        .with("capacity.trus.to", change.to_trus)
        .with("capacity.outcome", change.outcome.as_str())
        .failed(failed)
}

/// Returns the span of a step of a change. Its key is unique among the steps of that change.
pub fn step_span(
    plan_id: &str,
    operation_id: &str,
    key: &str,
    name: &'static str,
    from: SystemTime,
    until: SystemTime,
) -> Span {
    Trace::of(plan_id)
        .span(&format!("{operation_id}/{key}"), name, from, until)
        .under(operation_id)
}

/// Returns the spans of a change that was carried out here, and of its steps. An error is attached to the last step.
pub fn change_spans(plan_id: &str, change: &ChangeResult, timing: &ChangeTiming) -> Vec<Span> {
    let last = timing.steps.len().saturating_sub(1);
    let failed = (!change.outcome.is_success()).then_some(change.outcome.as_str());
    let step = |(number, step): (usize, &crate::timing::StepTiming)| {
        let key = format!("{number} {}", step.step);
        step_span(
            plan_id,
            &change.operation_id,
            &key,
            step.step,
            step.from,
            step.until,
        )
        // A change ends in its last step; the steps before it succeeded.
        .failed(failed.filter(|_| number == last))
    };
    let mut spans: Vec<Span> = timing.steps.iter().enumerate().map(step).collect();
    spans.push(change_span(plan_id, change, timing.from, timing.until));
    spans
}
