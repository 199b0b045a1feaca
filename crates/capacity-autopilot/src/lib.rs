#![doc = include_str!("../README.md")]
//!
//! # Where to start
//!
//! [`Autopilot::evaluate`] observes and decides (`observe`), [`Plan`] is the document of what was decided, and
//! [`Autopilot::carry_out`] changes capacity: [`Changer::step`] is one step of one change, and waits for nothing.

mod autopilot;
mod carry_out;
mod change;
mod clock;
mod evaluation;
mod fresh;
pub mod incidents;
mod inputs;
mod ledger_handle;
mod listing;
mod metrics;
mod namespaces;
mod notify;
mod observe;
mod operation_id;
mod plan;
mod reading;
mod recalled;
mod record;
mod sampling;
mod seen;
mod standing;
mod text;

pub use autopilot::{Autopilot, AutopilotSettings};
pub use carry_out::{CarryOut, NotConfirmed, Stop};
pub use change::{
    Basis, CHANGE_TIMEOUT, ChangeOrder, ChangeResult, ChangeState, ChangeSteps, Changer, Checked, Ending,
    Next, Outcome, Phase, Posting, Prepared, Progressed, Reading,
};
pub use clock::Clock;
pub use evaluation::{Evaluation, EvaluationRequest, Judged, Scope, ShadowDecision, UsageSource};
pub use inputs::assume_documented_sizes;
pub use ledger_handle::LedgerHandle;
pub use listing::{ObserveError, Progress};
pub use metrics::{
    MetricsSource, RecordedMinute, RecordedNotes, StoredSeries, metric_families, minutes_of_ledger,
    minutes_of_prometheus, namespaces_of_prometheus, stored_series,
};
pub use namespaces::may_be_provisioned;
pub use notify::Digest;
pub use observe::{Observation, ObservedNamespace, families_of_unknown_throttling};
pub use operation_id::{is_ours, operation_id};
pub use plan::{
    ActionName, PLAN_MAX_AGE, PLAN_SCHEMA, Percent, Plan, PlanError, PlanSummary, PlannedDecision,
    PlannedPolicies, PlannedPolicy, PlannedPrice,
};
pub use recalled::{RecalledDecision, decision_in_ledger};
pub use record::{record_change, record_changes, record_evaluation, record_policies};
pub use sampling::{Sampled, Sampler, Sampling, SamplingRule, sampling_rule};
pub use standing::{
    METRICS_UNUSABLE, PlanNews, Problem, StandingProblems, is_over_a_day, plan_news, recall_problems,
    resolved, store_problems,
};
pub use text::{chain, counted};
