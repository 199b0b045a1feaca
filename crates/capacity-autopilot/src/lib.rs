#![doc = include_str!("../README.md")]
//!
//! # Where to start
//!
//! [`Autopilot::evaluate`] observes and decides (`observe`), [`Plan`] is the document of the decisions, and
//! [`Autopilot::carry_out`] changes capacity. [`Changer::step`] is one step of one change, and never waits.

#![cfg_attr(
    not(all(
        feature = "ledger",
        feature = "prometheus",
        feature = "slack",
        feature = "traces"
    )),
    allow(dead_code, unused_imports, reason = "items that only one feature uses")
)]

mod autopilot;
mod carry_out;
mod change;
mod clock;
mod evaluation;
mod fresh;
#[cfg(feature = "slack")]
pub mod incidents;
mod inputs;
#[cfg_attr(not(feature = "ledger"), path = "no_ledger.rs")]
mod ledger;
mod listing;
mod metrics;
mod namespaces;
#[cfg(feature = "slack")]
mod news;
#[cfg(feature = "slack")]
mod notify;
mod observe;
mod operation_id;
mod plan;
mod policy_state;
mod reading;
mod sampling;
mod seen;
mod standing;
mod text;
mod timing;
#[cfg(feature = "traces")]
mod traces;
mod warning;

pub use autopilot::{Autopilot, AutopilotSettings};
pub use carry_out::{CarryOut, NotConfirmed, Stop};
pub use change::{
    Basis, CHANGE_TIMEOUT, ChangeOrder, ChangeResult, ChangeState, ChangeSteps, Changer, Checked, Ending,
    Next, Outcome, Phase, Posting, Prepared, Progressed, Reading,
};
pub use clock::{Clock, machine_time};
pub use evaluation::{
    Evaluation, EvaluationRequest, Judged, ObservedAccount, ObservedNamespace, Scope, ShadowDecision,
    UsageSource,
};
pub use inputs::assume_documented_sizes;
pub use ledger::LedgerHandle;
#[cfg(feature = "ledger")]
pub use ledger::{
    RecalledDecision, decision_in_ledger, finish_changes, minutes_of_ledger, recall_problems, record_change,
    record_changes, record_evaluation, record_policies, store_problems,
};
pub use listing::{ObserveError, Progress};
#[cfg(feature = "prometheus")]
pub use metrics::prometheus::{
    RecordedNotes, StoredSeries, minutes_of_prometheus, namespaces_of_prometheus, stored_series,
};
#[cfg(any(feature = "ledger", feature = "prometheus"))]
pub use metrics::recorded::RecordedMinute;
pub use metrics::{MetricsSource, SearchError, metric_families};
pub use namespaces::may_be_provisioned;
#[cfg(feature = "slack")]
pub use news::{PlanNews, plan_news, resolved};
#[cfg(feature = "slack")]
pub use notify::Digest;
pub use observe::{Observation, families_of_unknown_throttling};
pub use operation_id::{is_ours, operation_id};
pub use plan::{
    ActionName, PLAN_MAX_AGE, PLAN_SCHEMA, Percent, Plan, PlanError, PlanSummary, PlannedDecision,
    PlannedPolicies, PlannedPolicy, PlannedPrice,
};
pub use sampling::{Sampled, Sampler, Sampling, SamplingRule, sampling_rule};
pub use standing::{METRICS_UNUSABLE, Problem, StandingProblems, is_over_a_day};
pub use timing::{ChangeTiming, Part, StepTiming, Timing};
#[cfg(feature = "traces")]
pub use traces::{EvaluationSpans, change_span, change_spans, evaluation_part, evaluation_spans, step_span};
pub use warning::{ObserveFailure, StoppedAsking, Warning};
