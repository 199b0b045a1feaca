//! Sends the spans of a command's plan and changes to a trace collector, if one is configured.

use std::time::{Duration, SystemTime};

use capacity_autopilot::{
    ChangeResult, ChangeTiming, Evaluation, EvaluationSpans, Plan, change_spans, evaluation_spans,
    machine_time,
};
use capacity_settings::Settings;
use otlp_spans::Spans;

/// Service name of this program in traces.
pub(crate) const PROGRAM: &str = "temporal-capacity";

/// How long to wait at exit for the collector to accept the last spans.
const LAST_SPANS: Duration = Duration::from_secs(2);

/// Sends the spans of one command.
pub(crate) struct Traces {
    spans: Spans,
    begun: SystemTime,
}

impl Traces {
    pub(crate) fn begin(settings: &Settings) -> anyhow::Result<Self> {
        Ok(Self {
            spans: capacity_wiring::spans(settings, PROGRAM, process_edge::version())?,
            begun: machine_time(),
        })
    }

    /// Sends the spans of the evaluation that the plan was made from.
    pub(crate) fn planned(&self, plan: &Plan, evaluation: &Evaluation, dry_run: bool) {
        if !self.spans.is_on() {
            return;
        }
        let EvaluationSpans { root, parts } = evaluation_spans(plan, evaluation, self.begun, machine_time());
        for span in parts {
            self.spans.send(span);
        }
        self.spans.send(root.with("capacity.dry_run", dry_run));
    }

    /// Sends the spans of a finished change.
    pub(crate) fn changed(&self, plan_id: &str, change: &ChangeResult, timing: &ChangeTiming) {
        if !self.spans.is_on() {
            return;
        }
        for span in change_spans(plan_id, change, timing) {
            self.spans.send(span);
        }
    }

    /// Waits for up to [`LAST_SPANS`] until the collector has accepted the last spans.
    pub(crate) async fn finish(&self) {
        self.spans.flush(LAST_SPANS).await;
    }
}
