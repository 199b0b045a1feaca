//! What a command adds to the trace of its plan, if a collector is set up.

use std::time::{Duration, SystemTime};

use capacity_autopilot::{
    ChangeResult, ChangeTiming, Evaluation, EvaluationSpans, Plan, change_spans, evaluation_spans,
    machine_time,
};
use capacity_settings::Settings;
use otlp_spans::Spans;

/// What this program is called in traces.
pub(crate) const PROGRAM: &str = "temporal-capacity";

/// How long the last spans may take to arrive at the collector, after everything was printed.
const LAST_SPANS: Duration = Duration::from_secs(2);

/// The traces of one command.
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

    /// Sends the spans of an evaluation that has just been planned.
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

    /// Sends the spans of a change that has ended.
    pub(crate) fn changed(&self, plan_id: &str, change: &ChangeResult, timing: &ChangeTiming) {
        if !self.spans.is_on() {
            return;
        }
        for span in change_spans(plan_id, change, timing) {
            self.spans.send(span);
        }
    }

    /// Waits a moment until the last spans have arrived.
    pub(crate) async fn finish(&self) {
        self.spans.flush(LAST_SPANS).await;
    }
}
